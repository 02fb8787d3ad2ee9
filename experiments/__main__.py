"""`python -m experiments` lists the experiments; with a name, it runs one.

A folder with an `options.py` is an experiment. `lesson` is none: it runs them all and binds them
into one page.
"""

import sys

from experiments.lab.command_line import command, printing
from experiments.lab.errors import DONE, UsageError
from experiments.lab.harness import about, main, names


def choose() -> int:
    """Lists, or hands over to an experiment's own command line."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        with printing():
            print("python -m experiments NAME [OPTION...] runs one; NAME --help shows its options")
            print("python -m experiments lesson runs them all and binds them into one page")
            for found in map(about, names()):
                print(f"\n{found.name}\n  {found.claim}\n  {found.run_time}")
        return DONE
    if sys.argv[1] == "lesson":
        from experiments.page.command import main as lesson

        return lesson(sys.argv[2:])
    name = sys.argv[1].replace("-", "_")
    if name not in names():
        raise UsageError(
            f"NAME: expected lesson or one of {', '.join(names())}, got {sys.argv[1]}; "
            "python -m experiments lists what each is about"
        )
    del sys.argv[1]
    main(f"experiments.{name}")


command(choose)
