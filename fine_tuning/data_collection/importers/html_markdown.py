"""HTML as replies are exported in, made into the Markdown that the model wrote."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import ClassVar

_BLOCKS = {"p", "div", "section", "article", "ul", "ol", "table", "blockquote", "pre", "hr"}
_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_MARKS = {"strong": "**", "b": "**", "em": "*", "i": "*", "del": "~~", "s": "~~"}
_SILENT = {"script", "style", "head", "title", "button", "svg"}
_SPACE = re.compile(r"[ \t\r\n\f]+")
MAX_DEPTH = 50


def markdown(html: str) -> str:
    """Return the text of HTML as Markdown: headings, lists, tables, code, links."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    return parser.text()


@dataclass(slots=True)
class _List:
    """A list that is open: its number for the next item, 0 for bullets."""

    number: int


@dataclass(slots=True)
class _Table:
    """A table that is open: its rows of cells so far."""

    rows: list[list[str]] = field(default_factory=list)


class _Parser(HTMLParser):
    """Writes lines as the elements come; what is not known is passed over, its text is kept."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._lines: list[str] = [""]
        self._lists: list[_List] = []
        self._tables: list[_Table] = []
        self._links: list[str] = []
        self._fence: list[str] | None = None
        self._language = ""
        self._silent = self._quotes = 0
        self._in_list = False
        self._cell: list[str] | None = None

    def text(self) -> str:
        """Return what was read so far."""
        text = "\n".join(line if line.strip() else "" for line in self._lines)
        return re.sub(r"\n{3,}", "\n\n", text).strip("\n").rstrip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin an element."""
        given = {name: value or "" for name, value in attrs}
        if tag in _SILENT:
            self._silent += 1
        elif self._fence is not None:
            self._within_code(tag, given)
        elif tag in _MARKS:
            self._write(_MARKS[tag])
        elif tag in _HEADINGS:
            self._block()
            self._write(_HEADINGS[tag] + " ")
        elif tag in self._open:
            self._open[tag](self, given)
        elif tag in _BLOCKS and not (self._lists and self._is_fresh()):
            self._block()

    def handle_endtag(self, tag: str) -> None:
        """End an element."""
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif self._fence is not None:
            if tag == "pre":
                self._end_fence()
        elif tag in _MARKS:
            self._write(_MARKS[tag])
        elif tag in self._close:
            self._close[tag](self)
        elif tag in _BLOCKS or tag in _HEADINGS:
            self._block()

    def _within_code(self, tag: str, given: dict[str, str]) -> None:
        if tag == "code" and not self._language:
            found = re.search(r"language-([\w+#.-]+)", given.get("class", ""))
            self._language = found[1] if found else ""
        elif tag == "br" and self._fence is not None:
            self._fence.append("\n")

    def _open_fence(self, _: dict[str, str]) -> None:
        self._block()
        self._fence, self._language = [], ""

    def _code(self, _: dict[str, str] | None = None) -> None:
        self._write("`")

    def _break(self, _: dict[str, str]) -> None:
        self._write("\n")

    def _open_link(self, given: dict[str, str]) -> None:
        self._links.append(given.get("href", ""))
        self._write("[" if self._links[-1] else "")

    def _close_link(self) -> None:
        href = self._links.pop() if self._links else ""
        self._write(f"]({href})" if href else "")

    def _image(self, given: dict[str, str]) -> None:
        self._write(f"![{given.get('alt', '')}]({given.get('src', '')})")

    def _open_bullets(self, _: dict[str, str]) -> None:
        if not self._lists:
            self._block()
        self._lists.append(_List(0))

    def _open_numbers(self, given: dict[str, str]) -> None:
        if not self._lists:
            self._block()
        start = given.get("start", "")
        self._lists.append(_List(int(start) if re.fullmatch(r"[1-9]\d{0,4}", start) else 1))

    def _close_list(self) -> None:
        if self._lists:
            self._lists.pop()
        if not self._lists:
            self._in_list = False
            self._block()

    def _open_table(self, _: dict[str, str]) -> None:
        self._block()
        self._tables.append(_Table())

    def _open_row(self, _: dict[str, str]) -> None:
        if self._tables:
            self._tables[-1].rows.append([])

    def _open_cell(self, _: dict[str, str]) -> None:
        self._cell = [] if self._tables else None

    def _close_cell(self) -> None:
        if self._cell is not None and self._tables and self._tables[-1].rows:
            self._tables[-1].rows[-1].append("".join(self._cell).strip())
        self._cell = None

    def _close_table(self) -> None:
        if self._tables:
            self._end_table(self._tables.pop())

    def _open_quote(self, _: dict[str, str]) -> None:
        self._block()
        self._quotes = min(self._quotes + 1, MAX_DEPTH)
        self._lines[-1] = self._indent()

    def _close_quote(self) -> None:
        self._block()
        self._quotes = max(0, self._quotes - 1)
        while len(self._lines) > 1 and not self._lines[-1].strip("> "):
            self._lines.pop()
        self._lines += ["", self._indent()]

    def _rule(self, _: dict[str, str]) -> None:
        self._block()
        self._write("---")
        self._block()

    def handle_data(self, data: str) -> None:
        """Take text: as it stands within code blocks, with single spaces elsewhere."""
        if self._silent:
            return
        if self._fence is not None:
            self._fence.append(data)
            return
        said = _SPACE.sub(" ", data)
        if said == " " and (not self._lines[-1].strip() or (self._tables and self._cell is None)):
            return
        self._write(said if self._lines[-1].strip() or self._cell is not None else said.lstrip(" "))

    def _write(self, said: str) -> None:
        if self._cell is not None:
            self._cell.append(said.replace("\n", " ").replace("|", "\\|"))
            return
        first, *others = said.split("\n")
        self._lines[-1] += first
        for line in others:
            self._lines[-1] = self._lines[-1].rstrip(" ")
            self._lines.append(self._indent() + line)

    def _indent(self) -> str:
        depth = min(len(self._lists), MAX_DEPTH)
        return "> " * self._quotes + "   " * depth

    def _is_fresh(self) -> bool:
        return self._lines[-1].rstrip().endswith(("-", ".")) and len(self._lines[-1].strip()) < 7  # noqa: PLR2004

    def _block(self) -> None:
        """Leave an empty line, and begin a new one."""
        if self._cell is not None:
            return
        if self._lines[-1].strip("> "):
            self._lines += ["> " * self._quotes, ""]
        self._lines[-1] = self._indent()

    def _item(self, _: dict[str, str]) -> None:
        if self._lines[-1].strip("> "):
            self._lines.append("")
        while len(self._lines) > 1 and not self._lines[-2].strip("> ") and self._in_list:
            self._lines.pop()
        self._in_list = True
        depth = min(len(self._lists), MAX_DEPTH)
        mark = "-"
        if self._lists and self._lists[-1].number:
            mark = f"{self._lists[-1].number}."
            self._lists[-1].number += 1
        self._lines[-1] = "> " * self._quotes + "   " * max(0, depth - 1) + mark + " "

    def _end_fence(self) -> None:
        code = "".join(self._fence or ()).strip("\n")
        indent = self._indent()
        fence = "```"
        while fence in code:
            fence += "`"
        written = [fence + self._language, *code.split("\n"), fence]
        self._lines[-1:] = [indent + line for line in written]
        self._lines += ["", indent]
        self._fence = None

    def _end_table(self, table: _Table) -> None:
        rows = [row for row in table.rows if row]
        if not rows:
            return
        width = max(map(len, rows))
        lines = ["| " + " | ".join([*row, *[""] * (width - len(row))]) + " |" for row in rows]
        lines.insert(1, "|" + " --- |" * width)
        self._lines[-1:] = lines
        self._lines += ["", self._indent()]

    _open: ClassVar[dict[str, Callable[..., None]]] = {
        "br": _break, "pre": _open_fence, "code": _code,
        "a": _open_link, "img": _image, "ul": _open_bullets,
        "ol": _open_numbers, "li": _item, "table": _open_table,
        "tr": _open_row, "td": _open_cell, "th": _open_cell,
        "blockquote": _open_quote, "hr": _rule,
    }  # fmt: skip
    _close: ClassVar[dict[str, Callable[..., None]]] = {
        "code": _code, "a": _close_link, "ul": _close_list,
        "ol": _close_list, "td": _close_cell, "th": _close_cell,
        "table": _close_table, "blockquote": _close_quote,
    }  # fmt: skip
