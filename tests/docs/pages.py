"""The documentation's pages as tests read them: their code blocks, and the commands in these."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
# Written by other programs, or kept as they were written.
NOT_FOR_READERS = ("decisions", "LOG.md")
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", flags=re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A code block; ``lines`` are without the indentation of the list it may stand in."""

    page: str
    language: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def pages() -> list[Path]:
    """Return every page a reader walks, the README first."""
    inside = (path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
    shown = (p for p in inside if p.relative_to(DOCS).parts[0] not in NOT_FOR_READERS)
    return [ROOT / "README.md", *sorted(shown)]


def name_of(path: Path) -> str:
    """Return a page's name: its path in docs, or README.md."""
    return path.relative_to(DOCS if DOCS in path.parents else ROOT).as_posix()


def blocks(path: Path) -> Iterator[Block]:
    """Yield a page's code blocks in order."""
    for indent, language, body in FENCE.findall(path.read_text(encoding="utf-8")):
        lines = (line.removeprefix(indent) for line in body.splitlines())
        yield Block(name_of(path), language, tuple(lines))


def commands(block: Block) -> Iterator[str]:
    """Yield the commands of a block: with their here-documents, without the shell's prompt."""
    if block.language == "console":
        shown = (line.removeprefix("$ ") for line in block.lines if line.startswith("$ "))
        lines = iter(list(shown))
    else:
        lines = iter(block.lines)
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        here = re.search(r"<<'(\w+)'", line)
        whole = [line]
        while here and whole[-1] != here.group(1):
            whole.append(next(lines))
        yield "\n".join(whole)
