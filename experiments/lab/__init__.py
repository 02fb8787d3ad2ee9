"""What experiments and benchmarks share: command lines, files, versions."""
