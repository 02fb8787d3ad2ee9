"""What every experiment shares: command line, output folder, data."""
