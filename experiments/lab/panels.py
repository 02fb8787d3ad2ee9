"""Figures made of panels: all on one sheet for the folder, one by one for the page.

On the page, panels stand side by side where there is room and one below the other where there is
not; so each is drawn alone, in the width of half a page.
"""

import io
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure, FigureBase

WIDTH = 4.4  # inches
# Nine points are twelve pixels where two panels stand side by side on a page of 1280.
FONTS = {
    "font.size": 10, "axes.titlesize": 10.5, "axes.labelsize": 10, "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5, "legend.fontsize": 9, "legend.framealpha": 0.0,
}  # fmt: skip


class Panel(NamedTuple):
    """A part of a figure.

    Attributes:
      draw: draws it on an empty figure, `ax = figure.subplots()` and so on, title included.
      height: in inches.
    """

    draw: Callable[[FigureBase], None]
    height: float = 3.2


def rendered(panels: Mapping[str, Panel], name: str) -> dict[str, bytes]:
    """Every file of a figure: the sheet as SVG and PNG, and each panel as SVG, by file name."""
    whole = sheet(panels)
    files = {f"{name}.{kind}": saved(whole, kind, name) for kind in ("svg", "png")}
    return files | {f"panels/{part}.svg": svg(panel, part) for part, panel in panels.items()}


def svg(panel: Panel, name: str) -> bytes:
    """One panel, without a background."""
    with matplotlib.rc_context(FONTS):
        figure = Figure(figsize=(WIDTH, panel.height), layout="constrained")
        panel.draw(figure)
    return saved(figure, "svg", name, transparent=True)


def sheet(panels: Mapping[str, Panel]) -> Figure:
    """All panels, two in a row."""
    parts = list(panels.values())
    rows = [parts[i : i + 2] for i in range(0, len(parts), 2)]
    heights = [max(panel.height for panel in row) for row in rows]
    columns = min(2, len(parts))
    with matplotlib.rc_context(FONTS):
        figure = Figure(figsize=(WIDTH * columns, sum(heights)), layout="constrained")
        for band, row in zip(
            figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0], rows,
            strict=True,
        ):  # fmt: skip
            for part, panel in zip(
                band.subfigures(1, columns, squeeze=False)[0], row, strict=False
            ):
                panel.draw(part)
    return figure


def saved(figure: Figure, kind: str, name: str, **how: Any) -> bytes:
    """A figure as a file of this kind.

    Args:
      figure: what is drawn.
      kind: svg or png.
      name: sets the ids in the SVG, so that the same figure gives the same file.
      how: further options of `Figure.savefig`.
    """
    buffer = io.BytesIO()
    # Text remains text in the SVG.
    with matplotlib.rc_context({**FONTS, "svg.fonttype": "none", "svg.hashsalt": name}):
        metadata = {"Date": None} if kind == "svg" else {}
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata, **how)
    return buffer.getvalue()
