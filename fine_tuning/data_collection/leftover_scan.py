"""Where the words of a conversation still stand in files: a search of bytes, as by ``grep``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fine_tuning.core.conversation import Conversation
from fine_tuning.storage.atomic import storage_errors

SHORTEST_TRACE = 16
"""Characters a piece of text must have to tell one conversation from others."""
MOST_TRACES = 200
CHUNK_BYTES = 1 << 22
WEIGHTS = (".gguf", ".safetensors", ".pt", ".bin", ".so")
"""Files of numbers: they hold no text, though a model may have learnt some."""
_PLAIN = re.compile(f"[0-9A-Za-z .,;:!?()-]{{{SHORTEST_TRACE},}}")


def traces(conversation: Conversation) -> tuple[bytes, ...]:
    """Return what to search a conversation's words by: the longest plain piece of each text.

    A plain piece is written alike in JSON, HTML and SQLite. A text without one is searched by its
    longest line, as UTF-8 and as JSON escapes it. Texts that are too short are left out.
    """
    found: dict[bytes, None] = {}
    for text in _texts(conversation):
        pieces = _PLAIN.findall(text)
        if pieces:
            found[max(pieces, key=len).strip().encode()] = None
            continue
        line = max((line.strip() for line in text.splitlines()), key=len, default="")
        if len(line) >= SHORTEST_TRACE // 2:
            found[line.encode("utf-8", "replace")] = None
            found[json.dumps(line)[1:-1].encode()] = None
    return tuple(list(found)[:MOST_TRACES])


def _texts(conversation: Conversation) -> Iterator[str]:
    yield conversation.title
    for message in conversation.messages:
        for part in message.content:
            yield part.text
        yield message.reasoning


def files_with(wanted: Sequence[bytes], folder: Path) -> Iterator[tuple[Path, frozenset[bytes]]]:
    """Yield the files under a folder that hold any of some pieces, and which ones.

    Raises:
        StorageError: if a file cannot be read.
    """
    if not wanted:
        return
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.suffix not in WEIGHTS:
            found = pieces_in(path, wanted)
            if found:
                yield path, found


def pieces_in(path: Path, wanted: Sequence[bytes]) -> frozenset[bytes]:
    """Return those of some pieces that a file holds.

    Raises:
        StorageError: if it cannot be read.
    """
    search = re.compile(b"|".join(re.escape(piece) for piece in wanted))
    overlap = max(map(len, wanted), default=0)
    found: set[bytes] = set()
    rest = b""
    with storage_errors(path), path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            data = rest + chunk
            found.update(search.findall(data))
            rest = data[-overlap:]
    return frozenset(found)


def lines_without(lines: Iterable[bytes], pieces: Sequence[bytes]) -> tuple[list[bytes], int]:
    """Return the lines that hold none of some pieces, and how many did."""
    given = list(lines)
    kept = [line for line in given if not any(piece in line for piece in pieces)]
    return kept, len(given) - len(kept)
