"""What a section of the lesson consists of.

An experiment's `section.py`, or a module in `experiments/page/sections/`, defines `SECTION`;
`experiments/page/contents.py` gives its place. The body of a section is a list of blocks, in the
order in which they are read. A paragraph is a string, in which

    `code`   *emphasis*   [words](#name-of-a-section)   $TeX$

are set as code, emphasis, a link, and mathematics (MathML).

A widget is `experiments/page/<name>.js` and defines `lesson.widgets.<name> = (box, data)`; `data`
is the `lesson.json` of an experiment, which `Section.data` made from what the run found: numbers
rounded, under 300 kB (one megabyte where it holds a network); one that is not finite arrives as
null. The functions that make it say in their docstrings what it holds.
"""

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

Found = Mapping[str, Any]  # what `result.json` holds


class Heading(NamedTuple):
    """Above a part of a section."""

    text: str


class Bullets(NamedTuple):
    """A list; each item is written as a paragraph is."""

    items: Sequence[str]
    numbered: bool = False


class Equation(NamedTuple):
    """Displayed mathematics, in TeX."""

    tex: str


class Plot(NamedTuple):
    """A numbered figure of one to four panels.

    Attributes:
      panels: their names, as `panels` of the experiment's `figure.py` gives them.
      caption: how to read it, written as a paragraph is; not the result once more.
      alt: the figure in words, with its numbers.
    """

    panels: Sequence[str]
    caption: str
    alt: str


class Drawing(NamedTuple):
    """A numbered figure drawn by hand: SVG whose colours are the variables of page.css."""

    svg: str
    caption: str
    alt: str


class Widget(NamedTuple):
    """Something to try.

    Attributes:
      name: of the file, without `.js`.
      source: the experiment whose `lesson.json` it reads; nothing where it needs none.
    """

    name: str
    source: str = ""


class Code(NamedTuple):
    """Functions, or whole modules, whose source is shown, folded away unless `open`."""

    functions: Sequence[Callable[..., Any] | ModuleType]
    title: str = "The code behind it"
    open: bool = False


Block = str | Heading | Bullets | Equation | Plot | Drawing | Widget | Code


class Exercise(NamedTuple):
    """A question with its answer, both written as paragraphs are.

    Attributes:
      question: what the reader is to do or to work out.
      answer: shown on request.
      numbers: what the page asks for and checks to 2 %, by label; empty where the answer is
        none.
    """

    question: str
    answer: str
    numbers: Mapping[str, float] = {}


class Section(NamedTuple):
    """One section of the lesson.

    Attributes:
      title: a few words, or a question.
      body: `result.json -> blocks`, the numbers filled in from the result.
      exercises: one or two.
      data: what the experiment's `run` returned as `shown` -> what its `lesson.json` holds.
    """

    title: str
    body: Callable[[Found], Sequence[Block]]
    exercises: Callable[[Found], Sequence[Exercise]]
    data: Callable[[Any], Any] | None = None
