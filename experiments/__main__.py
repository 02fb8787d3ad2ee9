"""`python -m experiments` lists the experiments; with a name, it runs one.

Any file in this folder is an experiment. `lesson` is none: it runs them all and binds them
into one page.
"""

import runpy
import sys

from experiments.lab.command_line import command, describe, printing
from experiments.lab.errors import DONE, UsageError
from experiments.lab.harness import experiment_files


def main() -> int:
    """Lists, or hands over to an experiment's own command line."""
    files = experiment_files()
    names = [file.stem for file in files]
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        with printing():
            print(
                "python -m experiments NAME [OPTION...], or NAME --help for what it tells and takes"
            )
            print("python -m experiments lesson runs them all and binds them into one page")
            for found in map(describe, files):
                print(f"\n{found.name}\n  {found.claim}\n  {found.run_time}")
        return DONE
    if sys.argv[1] == "lesson":
        from experiments.page.command import main as lesson

        return lesson(sys.argv[2:])
    name = sys.argv[1].replace("-", "_")
    if name not in names:
        raise UsageError(
            f"NAME: expected lesson or one of {', '.join(names)}, got {sys.argv[1]}; "
            "python -m experiments tells what each is about"
        )
    del sys.argv[1]
    runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)
    return DONE


command(main)
