"""A report as values, written as one self-contained HTML file or as Markdown.

Nothing is loaded from anywhere when the page is opened; all text is escaped, so that what a chat
holds is shown and never run. What this does not know: what a report is about.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Literal

from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import Template

Tone = Literal["good", "bad", "open", "plain"]


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence that must not be overlooked, such as a verdict; ``tone`` colours it."""

    title: str
    text: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headers; numbers are texts already, and every row is as long as the headers.

    ``numeric`` holds the indices of columns whose texts are numbers, set flush right.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    numeric: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot as SVG text from :mod:`fine_tuning.pages.charts`; the caption says what is seen."""

    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Compared:
    """Texts side by side, each under its name, after what they answer."""

    prompt: str
    texts: Sequence[tuple[str, str]]
    note: str = ""


Block = Text | Notice | Table | Figure | Compared


@dataclass(frozen=True, slots=True)
class PageSection:
    """A part of the page under its title."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Page:
    """A report. ``subtitle`` says of what and when."""

    title: str
    subtitle: str
    sections: Sequence[PageSection]

    def to_html(self) -> str:
        """Return the page as one HTML file."""
        return _template().render(page=self, kind=_kind, drawn=_drawn)

    def to_markdown(self) -> str:
        """Return the page as Markdown; plots become their captions."""
        parts = [f"# {_inline(self.title)}", _inline(self.subtitle)]
        for section in self.sections:
            parts.append(f"## {_inline(section.title)}")
            parts += [_markdown(block) for block in section.blocks]
        return "\n\n".join(part for part in parts if part) + "\n"


def _kind(block: Block) -> str:
    return type(block).__name__.lower()


def _drawn(figure: Figure) -> Markup:
    # The only text that is not escaped: drawn by charts.py, which escapes what it is given.
    return Markup(figure.svg)  # noqa: S704


@functools.cache
def _template() -> Template:
    # Slow to import, and seldom needed.
    from jinja2 import Environment, select_autoescape  # noqa: PLC0415

    source = resources.files("fine_tuning.pages").joinpath("page.html.j2")
    environment = Environment(
        autoescape=select_autoescape(default=True), trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source.read_text(encoding="utf-8"))


def _markdown(block: Block) -> str:
    if isinstance(block, Text):
        return _inline(block.text)
    if isinstance(block, Notice):
        return f"> **{_inline(block.title)}** {_inline(block.text)}".rstrip()
    if isinstance(block, Table):
        return _markdown_table(block)
    if isinstance(block, Figure):
        return f"*{_inline(block.caption)}*"
    parts = [f"**{_inline(block.prompt)}**"]
    parts += [f"- {_inline(name)}: {_inline(text)}" for name, text in block.texts]
    return "\n".join([*parts, _inline(block.note)]).rstrip()


def _markdown_table(table: Table) -> str:
    rule = ["---:" if i in table.numeric else "---" for i in range(len(table.headers))]
    lines = [list(table.headers), rule, *table.rows]
    text = "\n".join(
        "| " + " | ".join(cell if line is rule else _cell(cell) for cell in line) + " |"
        for line in lines
    )
    return f"{_inline(table.caption)}\n\n{text}" if table.caption else text


def _inline(text: str) -> str:
    """Return text on one line in which nothing is HTML."""
    return html.escape(" ".join(text.split()), quote=False)


def _cell(text: str) -> str:
    return _inline(text).replace("|", "\\|")
