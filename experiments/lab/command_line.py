"""What every command line here does: options, messages, results, exit codes."""

import ast
import contextlib
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TextIO, TypeVar

import tyro

from experiments.lab.errors import INTERRUPTED, UNEXPECTED, CommandError, OutputError
from experiments.lab.files import strict

Parsed = TypeVar("Parsed")


class Description(NamedTuple):
    """What is said of an experiment before it is run."""

    name: str
    claim: str
    run_time: str


def describe(name: str, file: Path) -> Description:
    """Reads the docstring of a module without running it; a broken one says so itself."""
    try:
        text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    except (SyntaxError, ValueError) as error:
        text = f"{file.name} cannot be read: {error}"
    claim, _, rest = text.partition("\n")
    _, _, run_time = rest.partition("\nRun time:")
    return Description(name, claim, " ".join(run_time.partition("\n\n")[0].split()))


def parse(options_type: type[Parsed], **how: Any) -> Parsed:
    """The options on the command line, or whatever `how` tells tyro besides."""
    with printing():  # the help
        return tyro.cli(options_type, config=(tyro.conf.FlagCreatePairsOff,), **how)


def command(main: Callable[[], int]) -> NoReturn:
    """Runs a command line, and ends the process with the exit code it returns.

    What the person at the terminal can mend is told in one line on standard error, what
    nobody expected with its traceback. A character that the terminal's encoding does not
    have is shown by its number.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed: what is printed to None goes to the other one
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main()
    except CommandError as error:
        say(f"error: {error}")
        code = error.code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception:
        say(traceback.format_exc().rstrip())
        code = UNEXPECTED
    sys.exit(code)


def say(text: str) -> None:
    """A message for the person at the terminal; standard output is for results."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # where nobody can be told, the work goes on
        _give_up(sys.stderr)


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Whatever prints results stands inside; at its end all of them are out.

    Raises:
      OutputError: standard output does not take it.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        _give_up(sys.stdout)
        raise OutputError(
            f"standard output: expected it to take the results, got: {error.strerror}; "
            "send it elsewhere"
        ) from error


def _give_up(stream: TextIO) -> None:
    """Lets Python end without a complaint about what a stream did not take."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_json(value: Any) -> None:
    """Strict JSON on standard output, in ASCII, which it can hold whatever its encoding."""
    print(json.dumps(strict(value), indent=2, allow_nan=False))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """On standard output; the first column is to the left, the others to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    # A pipe has no width: leave room for every column.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 240)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(headers[0], no_wrap=True)
    for header in headers[1:]:
        table.add_column(header, justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
