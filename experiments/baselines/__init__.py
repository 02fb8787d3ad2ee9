"""What needs no network, one kind a file."""
