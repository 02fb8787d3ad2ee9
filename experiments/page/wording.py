"""Phrases that several sections need."""

from collections.abc import Sequence


def listed(items: Sequence[object]) -> str:
    """1, 6 and 24."""
    *first, last = map(str, items)
    return f"{', '.join(first)} and {last}" if first else last


def power_of_ten(value: float) -> str:
    """A small or a large number in TeX."""
    digits, exponent = f"{value:.1e}".split("e")
    return rf"{digits} \cdot 10^{{{int(exponent)}}}"
