"""Requests that real clients sent to a real Ollama, sent again, and their answers compared.

Status and shape are compared: the keys and kinds of values of the first and the last JSON object of
an answer, two levels deep.
"""

from __future__ import annotations

import http.client
import json
import lzma
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

RECORDINGS = Path(__file__).parents[2] / "recordings"


def recorded(version: str, clients: Collection[str]) -> list[dict[str, Any]]:
    """Return the exchanges of some clients that can be sent again: all but uploads."""
    with lzma.open(RECORDINGS / f"ollama-{version}.jsonl.xz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [
        row
        for row in rows
        if row["client"] in clients
        and not row["request"].startswith("<")
        and not ("/api/blobs/" in row["path"] and row["method"] == "POST")
    ]


def sent_again(url: str, row: Mapping[str, Any]) -> list[str]:
    """Return in what the answer differs from the recorded one."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=120)
    headers = {k: v for k, v in row["request_headers"].items() if k.lower() != "transfer-encoding"}
    connection.request(row["method"], row["path"], row["request"].encode() or None, headers)
    answer = connection.getresponse()
    text = answer.read().decode("utf-8", "replace")
    connection.close()
    return list(_compared(row, answer.status, text))


def _compared(row: Mapping[str, Any], status: int, text: str) -> Iterator[str]:
    if status != row["status"]:
        yield f"status {status}, recorded {row['status']}: {text[:160]!r}"
        return
    theirs = _objects(row["response"])
    if row["method"] == "HEAD" or theirs is None or row["response"].endswith("<cut>"):
        return
    ours = _objects(text)
    if ours is None or bool(ours) != bool(theirs):
        yield f"another kind of answer: {text[:80]!r}"
    elif ours:
        yield from _differences(theirs[0], ours[0], "first: ")
        yield from _differences(theirs[-1], ours[-1], "last: ")


def _objects(text: str) -> list[Any] | None:
    text = text.strip()
    lines = text.split("\n")
    try:
        if text.startswith(("data:", "event:")):
            lines = [line[5:] for line in lines if line.startswith("data:") and "[D" not in line]
        elif text.startswith("{") and len(lines) == 1:
            return [json.loads(text)]
        return [json.loads(line) for line in lines if line.strip()]
    except ValueError:
        return None


def _differences(recorded: Any, given: Any, where: str, depth: int = 0) -> Iterator[str]:
    if isinstance(recorded, dict) and isinstance(given, dict):
        for key, value in recorded.items() if depth < 2 else ():
            if key in given:
                yield from _differences(value, given[key], f"{where}{key}.", depth + 1)
            else:
                yield f"{where}lacks {key}"
    elif isinstance(recorded, Sequence) and isinstance(given, list):
        if recorded and given:
            yield from _differences(recorded[0], given[0], f"{where}[].", depth + 1)
    elif _kind(recorded) != _kind(given):
        yield f"{where}is {_kind(given)}, recorded {_kind(recorded)}"


def _kind(value: Any) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__
