"""The blocks of a section as HTML."""

import functools
import inspect
import io
import itertools
import keyword
import re
import textwrap
import tokenize
import xml.etree.ElementTree
from collections.abc import Callable, Container, Iterator, Mapping
from typing import NamedTuple

from latex2mathml.converter import convert
from markupsafe import Markup, escape

from experiments.page.section import (
    Block,
    Bullets,
    Code,
    Drawing,
    Equation,
    Heading,
    Plot,
    Widget,
)
from experiments.style import PALETTE


class Place(NamedTuple):
    """Where a block stands.

    Attributes:
      section: its name.
      title: its title.
      panel: the SVG of a panel, by name.
      data: the experiments whose data the page holds.
      numbers: of the figures from here on.
      remedies: by experiment, the command that makes its data anew where a run left none that
        can be read.
    """

    section: str
    title: str
    panel: Callable[[str], str]
    data: Container[str]
    numbers: Iterator[int]
    remedies: Mapping[str, str] = {}


def html(blocks: list[Block], place: Place) -> Markup:
    """The body of a section."""
    return Markup("\n").join(one(block, place) for block in blocks)


@functools.singledispatch
def one(block: Block, place: Place) -> Markup:
    """One block."""
    raise TypeError(f"{place.section}: expected a block of page/section.py, got {block!r:.80}")


@one.register
def _(block: str, place: Place) -> Markup:
    return Markup("<p>{}</p>").format(text(block))


@one.register
def _(block: Heading, place: Place) -> Markup:
    return Markup("<h3>{}</h3>").format(text(block.text))


@one.register
def _(block: Bullets, place: Place) -> Markup:
    items = Markup("\n").join(Markup("<li>{}</li>").format(text(item)) for item in block.items)
    return Markup("<{0}>\n{1}\n</{0}>").format("ol" if block.numbered else "ul", items)


@one.register
def _(block: Equation, place: Place) -> Markup:
    return Markup('<div class="equation" tabindex="0">{}</div>').format(
        mathematics(block.tex, "block")
    )


@one.register
def _(block: Plot, place: Place) -> Markup:
    drawn = Markup("\n").join(
        inline(place.panel(name), f"{place.section}-{name}") for name in block.panels
    )
    shape = "panels" if len(block.panels) > 1 else "panels alone"
    return _figure(shape, drawn, block, place)


@one.register
def _(block: Drawing, place: Place) -> Markup:
    number = next(place.numbers)
    again = place._replace(numbers=itertools.repeat(number))
    drawn = inline(block.svg, f"{place.section}-drawing{number}")
    return _figure("drawing", drawn, block, again)


def _figure(shape: str, drawn: Markup, block: Plot | Drawing, place: Place) -> Markup:
    return Markup(
        '<figure><div class="{}" role="img" aria-label="{}">\n{}\n</div>\n'
        '<figcaption><span class="number">Figure {}.</span> {}</figcaption></figure>'
    ).format(shape, block.alt, drawn, next(place.numbers), text(block.caption))


@one.register
def _(block: Widget, place: Place) -> Markup:
    if block.source and block.source not in place.data:
        usual = f"python -m experiments lesson --only {block.source}"
        return Markup(
            '<p class="aside">Something to try appears here once <code>{}</code> has run.</p>'
        ).format(place.remedies.get(block.source, usual))
    source = Markup(' data-source="data-{}"').format(block.source) if block.source else ""
    return Markup(
        '<div class="widget" data-widget="{}"{} role="group" aria-label="Try it: {}" hidden></div>'
        '<noscript><p class="aside">There is something to try here, which needs JavaScript.</p>'
        "</noscript>"
    ).format(block.name, source, place.title)


@one.register
def _(block: Code, place: Place) -> Markup:
    source = "\n\n".join(
        textwrap.dedent(inspect.getsource(function)) for function in block.functions
    )
    return Markup(
        '<details class="code"{}><summary>{}</summary>\n<pre tabindex="0" role="region" '
        'aria-label="Code: {}"><code>{}</code></pre>\n</details>'
    ).format(Markup(" open") * block.open, block.title, block.functions[0].__name__,
             highlighted(source))  # fmt: skip


_INLINE = re.compile(
    r"`(?P<code>[^`]+)`|\$(?P<tex>[^$]+)\$|\*(?P<em>[^*\s][^*]*)\*|\[(?P<words>[^]]+)\]\((?P<to>#\w+)\)"
)


def text(words: str) -> Markup:
    """A paragraph's `code`, *emphasis*, [links](#opening) and $mathematics$ as HTML.

    Raises:
      ValueError: a mark of code or mathematics stands alone, or the TeX cannot be read.
    """
    pieces, at = [], 0
    for found in _INLINE.finditer(words):
        pieces.append(_without_marks(words[at : found.start()]))
        at = found.end()
        if found["code"]:
            pieces.append(Markup("<code>{}</code>").format(found["code"]))
        elif found["tex"]:
            pieces.append(mathematics(found["tex"], "inline"))
        elif found["em"]:
            pieces.append(Markup("<em>{}</em>").format(text(found["em"])))
        else:
            pieces.append(Markup('<a href="{}">{}</a>').format(found["to"], text(found["words"])))
    return Markup().join([*pieces, _without_marks(words[at:])])


def _without_marks(words: str) -> Markup:
    for mark in "`$":
        if mark in words:
            raise ValueError(f"text: expected {mark} in pairs, got one alone in {words!r:.80}")
    return escape(words)


@functools.cache
def mathematics(tex: str, display: str) -> Markup:
    """TeX as MathML.

    Raises:
      ValueError: it is none that latex2mathml can read whole.
    """
    wanted = f"mathematics: expected TeX that latex2mathml knows, got {tex!r}"
    try:
        found = convert(tex, display=display)
        xml.etree.ElementTree.fromstring(found)
    except Exception as error:  # its errors have no class in common
        raise ValueError(f"{wanted}: {type(error).__name__}") from error
    # Both of these it passes over in silence.
    braces = re.sub(r"\\.", "", tex)
    if braces.count("{") != braces.count("}"):
        raise ValueError(f"{wanted}: a brace without its other one")
    if "\\" in found:
        raise ValueError(f"{wanted}: an unknown command")
    return Markup(found)


def highlighted(source: str) -> Markup:
    """Python as HTML, its comments, strings and keywords marked."""
    ends = [0]
    for line in source.splitlines(keepends=True):
        ends.append(ends[-1] + len(line))
    pieces, at = [Markup()], 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = {tokenize.COMMENT: "comment", tokenize.STRING: "string"}.get(token.type)
        if keyword.iskeyword(token.string):
            kind = "keyword"
        if kind:
            start, end = (ends[row - 1] + column for row, column in (token.start, token.end))
            pieces += [escape(source[at:start])]
            pieces += [Markup('<span class="{}">{}</span>').format(kind, source[start:end])]
            at = end
    return Markup().join([*pieces, escape(source[at:].rstrip())])


def inline(svg: str, name: str) -> Markup:
    """An SVG as part of the page: ids and colours the page's own, nothing fetched.

    Args:
      svg: as matplotlib or a section wrote it.
      name: set before every id.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Matplotlib's style for all elements would hold for the whole page.
    svg = re.sub(r'<style type="text/css">\*.*?</style>', "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'((?:xlink:)?href=")#', rf"\1#{name}-", svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    root, _, rest = svg.partition(">")
    root = re.sub(r'\s(?:width|height|version)="[^"]*"', "", root)
    return Markup(f'{root} aria-hidden="true">{coloured(rest)}')


# What a figure is drawn with, and the page's name for it.
_VARIABLES = {"#000000": "--ink", "#ffffff": "--page"} | {
    light: f"--c{light.removeprefix('#')}" for light in PALETTE
}


def coloured(svg: str) -> str:
    """With the page's variables in the place of colours, so that a dark page sets them anew."""
    return re.sub(
        r"#[0-9a-f]{6}\b",
        lambda found: f"var({_VARIABLES[found[0]]})" if found[0] in _VARIABLES else found[0],
        svg,
    )


def palette() -> Markup:
    """The figures' colours as variables, on a light page and on a dark one."""

    def rule(column: int) -> str:
        pairs = zip(list(_VARIABLES.values())[2:], PALETTE.items(), strict=True)
        return ":root {" + " ".join(f"{name}: {pair[column]};" for name, pair in pairs) + "}"

    return Markup(f"{rule(0)}\n@media (prefers-color-scheme: dark) {{ {rule(1)} }}")
