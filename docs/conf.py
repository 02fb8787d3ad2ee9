"""Sphinx: `make docs` builds docs/ into results/docs/."""

import re
from importlib import metadata
from typing import Any

project = "rnnjax"
copyright = "the rnnjax developers, Apache License 2.0"
release = version = metadata.version("rnnjax")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["Thumbs.db"]
html_theme = "furo"
html_title = f"rnnjax {release}"
myst_heading_anchors = 3

highlight_language = "text"  # equations
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings tell shapes, which the hints do not
autodoc_preserve_defaults = True
napoleon_use_ivar = True  # fields of a NamedTuple stand once, in its docstring
napoleon_attr_annotations = False
napoleon_use_rtype = False

nitpick_ignore_regex = [
    ("py:obj", ".*"),  # code in backticks that names no object of ours
    ("py:class", r"collections\..*"),
    ("py:exc", "Others"),
]


def plain(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turns a docstring as it is written here into reStructuredText, before napoleon reads it.

    An indented paragraph becomes a literal block; names and code in backticks become links
    and code; a bar in the text, as in |x|, remains a bar, and "D." a letter, not a list;
    "As `unroll`" among the errors is what is said of errors that are not named.
    """
    out: list[str] = []
    outer = None  # the indentation around the block that a line is in
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if outer is not None and line and indent <= outer:
            outer = None
        if outer is None and line and number >= 2 and not lines[number - 1]:
            before = lines[number - 2]
            around = len(before) - len(before.lstrip())
            if indent > around:
                outer = around
                out += [" " * outer + "::", ""]
        line = re.sub(r"^(  +)As `", r"\1Others: as `", re.sub(r": ([A-Z])\.$", r": \1\\.", line))
        out.append(line if outer is None else BLOCK + line)
    lines[:] = MARKED.sub(marked, "\n".join(out)).split("\n")


BLOCK = "\0"  # before the lines of literal blocks
MARKED = re.compile(rf"{BLOCK}.*|`([^`{BLOCK}]+)`|\|")


def marked(match: re.Match[str]) -> str:
    """A line of a literal block, what stood in backticks, or a bar."""
    if match[1] is None:
        return r"\|" if match[0] == "|" else match[0].removeprefix(BLOCK)
    text = " ".join(match[1].split())
    return f":py:obj:`{text}`" if re.fullmatch(r"[\w.]+", text) else f"``{text}``"


def fields(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Skips the fields of a NamedTuple, which its docstring tells of."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def readme(app: Any, docname: str, source: list[str]) -> None:
    """README and CONTRIBUTING are pages too; what links to them from docs/ finds them there."""
    source[0] = source[0].replace("](../../README.md", "](../readme.md")
    source[0] = source[0].replace("](../CONTRIBUTING.md", "](contributing.md")


def setup(app: Any) -> None:
    """Docstrings as they are written here, read by Sphinx."""
    app.connect("autodoc-process-docstring", plain, priority=400)
    app.connect("autodoc-skip-member", fields)
    app.connect("source-read", readme)
