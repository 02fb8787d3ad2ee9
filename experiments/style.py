"""How a network is drawn: one colour, line and marker for each, in every figure.

The page sets these colours anew for a dark screen: it replaces those of `PALETTE` in its figures,
and no others. Draw with them, with black for ink and white for the page.
"""

from typing import Any, NamedTuple

from matplotlib.colors import LinearSegmentedColormap, to_rgba

# On a light page, and on a dark one.
PALETTE = {
    "#c1272d": "#ff8a80",
    "#b36a00": "#f2ab4e",
    "#7b3fa0": "#cda6ea",
    "#1b7837": "#74d18e",
    "#1f5fa8": "#8ab8f2",
    "#4a90c2": "#a5d3f3",
    "#0b2545": "#c3cff0",
    "#117a8b": "#62cfdf",
    "#8c510a": "#dba970",
    "#666666": "#b0b0b0",
    "#cccccc": "#4a4f56",
}
RED, ORANGE, PURPLE, GREEN, BLUE, SKY, NAVY, TEAL, BROWN, GREY, FAINT = PALETTE


class Style(NamedTuple):
    """How one network is drawn.

    Attributes:
      label: in figures and tables.
      colour: one of PALETTE.
      line: of matplotlib.
      marker: of matplotlib.
    """

    label: str
    colour: str
    line: Any
    marker: str

    @property
    def curve(self) -> dict[str, Any]:
        """What `Axes.plot` is called with."""
        return {"color": self.colour, "linestyle": self.line}


STYLES = {
    "tanh": Style("tanh", RED, "-", "o"),
    "tanh-orthogonal": Style("tanh (orthogonal)", PURPLE, (0, (4, 1.5, 1, 1.5)), "s"),
    "relu-identity": Style("ReLU (identity)", ORANGE, (0, (6, 2)), "^"),
    "gru": Style("GRU", GREEN, (0, (2, 1)), "D"),
    "lstm": Style("LSTM", BLUE, (0, (10, 3)), "v"),
    "lstm-0": Style("LSTM (forget bias 0)", SKY, (0, (1, 1)), "v"),
    "lstm-1": Style("LSTM (forget bias 1)", BLUE, (0, (10, 3)), "<"),
    "lstm-chrono": Style("LSTM (chrono)", NAVY, (0, (8, 2, 2, 2)), ">"),
    "lru": Style("LRU", TEAL, (0, (5, 1, 1, 1, 1, 1)), "P"),
    "min-gru": Style("minGRU", BROWN, (0, (1, 1)), "X"),
}


def _clear(name: str, *colours: Any) -> LinearSegmentedColormap:
    """A map of colours that lets the page show through, whatever its colour is."""
    return LinearSegmentedColormap.from_list(name, colours)


# From nothing to much, and from below through nothing to above.
SEQUENTIAL = _clear("sequential", to_rgba(BLUE, 0.0), to_rgba(BLUE, 0.9))
DIVERGING = _clear("diverging", to_rgba(BLUE, 0.95), to_rgba(GREY, 0.0), to_rgba(RED, 0.95))
