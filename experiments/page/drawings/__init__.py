"""Figures drawn by hand: SVG with room for numbers, a jinja template each."""

from pathlib import Path
from typing import Any

import jinja2


def drawing(name: str, **values: Any) -> str:
    """The SVG of `name`.svg, its numbers filled in."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    return templates.get_template(f"{name}.svg").render(**values)
