"""The blocks of a section as HTML, and figures as a dark page shows them."""

import itertools
import re
import xml.etree.ElementTree

import pytest
from matplotlib.figure import FigureBase

from experiments.lab.panels import FONTS, WIDTH, Panel, rendered, svg
from experiments.page.blocks import Place, coloured, html, inline, palette, text
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
from experiments.style import BLUE, PALETTE, STYLES


def place() -> Place:
    return Place("here", "A <title>", lambda name: f"<svg><g/></svg>{name}", {"known"},
                 itertools.count(7))  # fmt: skip


def square(number: int) -> int:
    return number**2


def drawn(figure: FigureBase) -> None:
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], color=BLUE)
    ax.plot([0, 1], [1, 0], "o", color="black", markerfacecolor="white")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a < b & c", "a &lt; b &amp; c"),
        ("`x < 1`", "<code>x &lt; 1</code>"),
        ("2 * 3 and *so on*", "2 * 3 and <em>so on</em>"),
        ("*the `h` of $x$*", "<em>the <code>h</code> of <math"),
        ("see [the *gates*](#gates)", 'see <a href="#gates">the <em>gates</em></a>'),
        ("a list [1] (2)", "a list [1] (2)"),
        ("`*not* $x$`", "<code>*not* $x$</code>"),
    ],
)
def test_a_paragraph(words: str, expected: str) -> None:
    assert text(words).startswith(expected) or text(words) == expected


def test_mathematics_is_mathml() -> None:
    found = text("where $h_t = f(W_{hh} h_{t-1})$ is").partition("<math")[2]
    assert "<msub><mi>h</mi><mi>t</mi></msub>" in found
    assert "$" not in found


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("it costs $5", r"text: expected \$ in pairs, got one alone in 'it costs \$5'"),
        ("a ` alone", "text: expected ` in pairs"),
        ("*a $ in emphasis*", r"text: expected \$ in pairs"),
        (r"$\frac{a}{b$", r"latex2mathml knows, got .*: a brace without its other one"),
        ("$a}$", "a brace without its other one"),
        ("$h_{t$", "a brace without its other one"),
        ("${$", "NoAvailableTokensError"),
        ("$h_t_s$", "DoubleSubscriptsError"),
        (r"$\left( a$", "ExtraLeftOrMissingRightError"),
        (r"$\nosuch x$", "got '.*nosuch x': an unknown command"),
        ("$a & b$", "ParseError"),
    ],
)
def test_a_paragraph_that_cannot_be_set_is_refused(words: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        text(words)


@pytest.mark.parametrize(
    "tex", [r"\{a\}", r"\left\{ a \right.", r"f(x)=\begin{cases} a & b \\ c & d \end{cases}"]
)
def test_mathematics_with_braces_and_rows(tex: str) -> None:
    assert "<math" in text(f"${tex}$")


BLOCKS: list[tuple[Block, str]] = [
    ("One & two", "<p>One &amp; two</p>"),
    (Heading("*Why*"), "<h3><em>Why</em></h3>"),
    (Bullets(["a", "b"]), "<ul>\n<li>a</li>\n<li>b</li>\n</ul>"),
    (Bullets(["a"], numbered=True), "<ol>\n<li>a</li>\n</ol>"),
    (Equation("x"), 'display="block"'),
    (Plot(["a", "b"], "Read *it*.", 'a "line"'), '<div class="panels" role="img" aria-label="a '
     '&#34;line&#34;">'),
    (Plot(["a"], "*It*.", "a line"), '<span class="number">Figure 7.</span> <em>It</em>.'),
    (Drawing('<svg><g id="x"/></svg>', "It.", "a box"), '<g id="here-drawing7-x"/>'),
    (Drawing("<svg></svg>", "It.", "a box"), '<span class="number">Figure 7.</span> It.'),
    (Widget("states"), 'data-widget="states" role="group" aria-label="Try it: A &lt;title&gt;"'),
    (Widget("states", "known"), 'data-widget="states" data-source="data-known"'),
    (Widget("states", "unknown"), "python -m experiments lesson --only unknown</code>"),
    (Plot(["a"], "<script>oh</script>", '"><b>'), "</span> &lt;script&gt;oh&lt;/script&gt;"),
    (Plot(["a"], "", '"><b>'), 'aria-label="&#34;&gt;&lt;b&gt;"'),
    (Code([square]), '<details class="code"><summary>The code behind it</summary>'),
    (Code([square], "Squares", open=True), '<details class="code" open><summary>Squares</summary>'),
    (Code([square]), '<span class="keyword">def</span> square(number: int)'),
]  # fmt: skip


@pytest.mark.parametrize(("block", "expected"), BLOCKS)
def test_a_block(block: Block, expected: str) -> None:
    assert expected in html([block], place())


def test_figures_are_numbered_in_order() -> None:
    plot, drawing = Plot(["a"], "", ""), Drawing("<svg></svg>", "", "")
    found = re.findall(r"Figure (\d+)\.", html([plot, "text", drawing, plot], place()))
    assert found == ["7", "8", "9"]


def test_what_is_no_block_is_refused() -> None:
    with pytest.raises(TypeError, match="here: expected a block"):
        html([3], place())  # type: ignore[list-item]


def test_an_inline_figure_has_ids_of_its_own_and_colours_of_the_page() -> None:
    found = inline(svg(Panel(drawn), "line").decode(), "here-line")
    ids = re.findall(r'\bid="([^"]*)"', found)
    assert ids and all(name.startswith("here-line-") for name in ids)
    assert set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', found)[0]) - {""} <= set(ids)
    assert f"var(--c{BLUE[1:]})" in found
    assert "var(--ink)" in found and "var(--page)" in found
    assert not re.search(r"#[0-9a-f]{6}\b", found)
    assert "<style" not in found and "<metadata" not in found
    xml.etree.ElementTree.fromstring(str(found))


def test_only_the_palette_is_replaced() -> None:
    assert coloured("#123456 #1f5fa8 #1f5fa8ff") == "#123456 var(--c1f5fa8) #1f5fa8ff"
    assert palette().count("--c") == 2 * len(PALETTE)


def test_every_network_is_drawn_with_the_palette_and_unlike_the_others() -> None:
    assert {style.colour for style in STYLES.values()} <= set(PALETTE)
    looks = [(style.colour, str(style.line), style.marker) for style in STYLES.values()]
    assert len(set(looks)) == len(looks)
    assert len({style.label for style in STYLES.values()}) == len(STYLES)


def test_a_figure_is_one_sheet_and_a_file_for_each_panel() -> None:
    files = rendered({"a": Panel(drawn), "b": Panel(drawn, 2.0), "c": Panel(drawn)}, "demo")
    assert set(files) == {"demo.svg", "demo.png", *(f"panels/{name}.svg" for name in "abc")}
    assert f'viewBox="0 0 {72 * WIDTH:g} 144"' in files["panels/b.svg"].decode()
    assert files == rendered({"a": Panel(drawn), "b": Panel(drawn, 2.0), "c": Panel(drawn)}, "demo")
    for name, content in files.items():
        if name.endswith(".svg"):
            sizes = [
                float(size) for size in re.findall(r"font(?:-size)?: ([\d.]+)px", content.decode())
            ]
            assert sizes and min(sizes) >= min(
                size for option, size in FONTS.items() if option.endswith("size")
            )
