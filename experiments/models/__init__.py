"""Networks that more than one experiment trains."""
