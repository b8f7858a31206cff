"""Send recorded requests to a server; compare status and shape of its answers with those recorded.

python -m tests.recordings.replay http://127.0.0.1:11434 0.33.0 [cli|api|js|deploy|special|repeat]

The server needs the models that README.md names. Shape: keys and kinds of values of the first and
the last JSON object of an answer, two levels deep.
"""

from __future__ import annotations

import http.client
import json
import lzma
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FOLDER = Path(__file__).parent
VERSIONS = ("0.24.0", "0.33.0")
TIMEOUT_S = 300.0
DEPTH = 1
CUT = "<cut>"


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A recorded request and its answer."""

    client: str
    n: int
    method: str
    path: str
    request: str
    request_headers: dict[str, str]
    status: int
    response_headers: dict[str, str]
    response: str

    @property
    def name(self) -> str:
        return f"{self.client}-{self.n:03d}"

    @property
    def is_told(self) -> bool:
        """Whether the whole request is there to be sent: bodies of uploads are not."""
        is_upload = "/api/blobs/" in self.path and self.method == "POST"
        return not is_upload and not self.request.startswith("<")

    def told(self) -> Any:
        """Return the answer as JSON."""
        return json.loads(self.response)


@dataclass(frozen=True)
class Outcome:
    """An exchange, and what another server's answer differs in."""

    exchange: Exchange
    differences: list[str]


def recorded(version: str, clients: Collection[str] = ()) -> list[Exchange]:
    """Return a version's exchanges in order; those of some clients, when any are named."""
    with lzma.open(FOLDER / f"ollama-{version}.jsonl.xz", "rt", encoding="utf-8") as file:
        fields = set(Exchange.__annotations__)
        rows = [json.loads(line) for line in file]
    exchanges = [Exchange(**{key: row[key] for key in fields}) for row in rows]
    return [one for one in exchanges if not clients or one.client in clients]


def replay(
    url: str,
    exchanges: Collection[Exchange],
    prepare: Callable[[Exchange], Exchange] | None = None,
) -> Iterator[Outcome]:
    """Send what can be sent; ``prepare`` returns what is sent in an exchange's place.

    It is called for uploads, too, whose bodies are not there to be sent.
    """
    for exchange in exchanges:
        asked = prepare(exchange) if prepare else exchange
        if exchange.is_told:
            yield Outcome(exchange, sent(url, asked))


def sent(url: str, exchange: Exchange) -> list[str]:
    """Send a request and return what its answer differs in."""
    headers = {
        key: value
        for key, value in exchange.request_headers.items()
        if key.lower() not in ("transfer-encoding", "content-length")
    }
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=TIMEOUT_S)
    try:
        body = exchange.request.encode() or None
        connection.request(exchange.method, exchange.path, body, headers)
        answer = connection.getresponse()
        return compared(exchange, answer.status, answer.read().decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        return [f"no answer: {error!r}"]
    finally:
        connection.close()


def compared(exchange: Exchange, status: int, text: str) -> list[str]:
    """Return what an answer's status and shape differ in from those recorded."""
    if status != exchange.status:
        return [f"status {status}, recorded {exchange.status}: {text[:160]!r}"]
    theirs = _objects(exchange.response)
    if exchange.method == "HEAD" or theirs is None or exchange.response.endswith(CUT):
        return []
    ours = _objects(text)
    if ours is None:
        return [f"no JSON: {text[:80]!r}"]
    if not ours or not theirs:
        return [] if len(ours) == len(theirs) else ["one answer is empty"]
    first = [f"first: {one}" for one in _differences(theirs[0], ours[0])]
    last = [f"last: {one}" for one in _differences(theirs[-1], ours[-1])]
    return first + [one for one in last if one.replace("last", "first") not in first]


def _differences(theirs: object, ours: object, where: str = "", depth: int = 0) -> list[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        if depth > DEPTH:
            return []
        lost = [f"lacks {where}{key}" for key in theirs if key not in ours]
        both = [key for key in theirs if key in ours]
        return lost + [
            one
            for key in both
            for one in _differences(theirs[key], ours[key], f"{where}{key}.", depth + 1)
        ]
    if isinstance(theirs, list) and isinstance(ours, list):
        return _differences(theirs[0], ours[0], f"{where}[].", depth) if theirs and ours else []
    if _kind(theirs) != _kind(ours):
        return [f"{where[:-1]} is {_kind(ours)}, recorded {_kind(theirs)}"]
    return []


def _kind(value: object) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__


def _objects(text: str) -> list[Any] | None:
    """Return an answer's JSON objects: one, lines of them, or events; None for other text."""
    text = text.strip()
    lines = text.split("\n")
    if text.startswith(("data:", "event:")):
        lines = [line[5:] for line in lines if line.startswith("data:") and "[DONE]" not in line]
    else:
        try:
            return [json.loads(text)]
        except ValueError:
            pass
    try:
        return [json.loads(line) for line in lines if line.strip()]
    except ValueError:
        return None


def main() -> None:
    """Write what differs, then a count."""
    url, version, *clients = sys.argv[1:]
    outcomes = list(replay(url, recorded(version, clients)))
    for outcome in outcomes:
        if outcome.differences:
            one = outcome.exchange
            asked = one.request[:120].replace("\n", " ")
            sys.stdout.write(f"{one.name} {one.method} {one.path} {asked}\n")
            sys.stdout.writelines(f"    {line}\n" for line in outcome.differences[:8])
    same = sum(not outcome.differences for outcome in outcomes)
    sys.stdout.write(f"{same} of {len(outcomes)} the same in status and shape\n")


if __name__ == "__main__":
    main()
