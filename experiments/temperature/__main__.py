"""The command line."""

from experiments.lab import harness

harness.main(__package__)
