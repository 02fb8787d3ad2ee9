"""One claim a module: `python -m experiments` lists them, and runs one by name.

A folder with an `options.py` is an experiment. What they share: `data` (loaders), `models`,
`baselines`, `measures`, `style`, `page` (the lesson), and `lab` (command line, folders of results),
which the benchmarks use as well.
"""

import importlib.util
import sys

# Asked for here, which is imported before whatever needs them, by the benchmarks as well.
_MISSING = [
    name
    for name in ("jinja2", "latex2mathml", "matplotlib", "rich", "tyro")
    if importlib.util.find_spec(name) is None
]
if _MISSING:
    sys.exit(
        f"error: expected the packages of the experiments, found no {', '.join(_MISSING)}; "
        "install them with: pip install '.[experiments]'"
    )
