"""Errors that the person at the terminal can mend, and the exit codes of every command."""

DONE, UNEXPECTED, USAGE, DATA_MISSING, DIVERGED, INTERRUPTED = 0, 1, 2, 3, 4, 130


class CommandError(Exception):
    """Ends a command with one line on standard error.

    Attributes:
      code: the exit code.
    """

    code = UNEXPECTED


class UsageError(CommandError):
    """What was asked for cannot be done."""

    code = USAGE


class OutputError(CommandError):
    """Results cannot be put where they belong, as on a full disk."""
