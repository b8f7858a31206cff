"""The pieces a reply is sent in, with their probabilities, as each engine tells them.

llama-server (``native`` generations) sends a character when its last token is drawn, with that
token's entry alone. Ollama's own runners keep an entry for every token; its text is what JSON makes
of the token's bytes: U+FFFD for each that is no character by itself. Sources:
llm/llama_server.go of v0.33.0-rc2, runner/llamarunner/runner.go and llm/server.go of v0.24.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fine_tuning.runtimes.embedded import EmbeddedServer

REPLACEMENT = "\ufffd"
MAX_REPEATS = 30
LIKELY = 40
"""So many of a position's tokens are asked for, to come upon the one that was drawn."""


@dataclass(frozen=True)
class Piece:
    """Some of a reply; ``last`` is llama-server's final event when there is no more."""

    text: str
    logprobs: Sequence[Mapping[str, Any]] = ()
    last: Mapping[str, Any] | None = None


@dataclass
class Repeats:
    """Counts pieces that are equal without their blanks: after 30 repeats a reply is given up."""

    text: str = ""
    count: int = 0

    def too_many(self, piece: str) -> bool:
        """Note a piece, and tell whether the reply ends before it."""
        self.count = self.count + 1 if piece.strip() == self.text else 0
        self.text = piece.strip()
        return self.count > MAX_REPEATS


def joined(server: EmbeddedServer, body: Mapping[str, Any], top: int) -> Iterator[Piece]:
    """Yield a reply as llama-server sends it."""
    for event in server._client.events("/completion", body):
        if event.get("stop"):
            yield Piece(str(event.get("content", "")), last=event)
            return
        probabilities = event.get("completion_probabilities") or ()
        yield Piece(str(event["content"]), [_entry(raw, top) for raw in probabilities])


def by_token(server: EmbeddedServer, body: Mapping[str, Any], top: int) -> Iterator[Piece]:
    """Yield a reply as Ollama's own runner sends it: an entry for every token."""
    answer = server._client.post("/completion", {**body, "return_tokens": True})
    drawn = _Drawn(server, body, top, list(answer.get("completion_probabilities") or ()))
    left = str(answer["content"]).rstrip(REPLACEMENT)
    waiting: list[Mapping[str, Any]] = []
    buffer = b""
    for index, token in enumerate(answer["tokens"]):
        if not left:
            break  # Tokens of a stop text, and the end of the turn.
        piece, entry = drawn.at(answer["tokens"][:index], token, buffer)
        buffer += piece
        waiting.append(entry)
        text = _whole(buffer)
        if text is None:
            continue
        text = text if left.startswith(text) else left
        yield Piece(text, waiting)
        left, buffer, waiting = left[len(text) :], b"", []
    if left:
        yield Piece(left, waiting)
    yield Piece("", last=answer)


@dataclass
class _Drawn:
    """What is known of the tokens of a reply that was drawn in one go."""

    server: EmbeddedServer
    body: Mapping[str, Any]
    top: int
    known: list[Mapping[str, Any]]
    """Entries of the tokens that end a character, in order."""

    def at(
        self, before: Sequence[int], token: int, open_bytes: bytes
    ) -> tuple[bytes, Mapping[str, Any]]:
        """Return a token's bytes and its entry, behind the bytes of a character begun."""
        raw = self.known[0] if self.known and self.known[0].get("id") == token else None
        own = bytes(raw["bytes"]) if raw is not None else b""
        if raw is not None and not open_bytes and own and _whole(own) is not None:
            self.known.pop(0)
            return own, _entry(raw, self.top, go_text)
        position = self._likely([*self.body["prompt"], *before])
        # A token that was drawn though it is none of the likeliest has a text nobody tells.
        chosen = next(
            (one for one in position if one["id"] == token), {**position[-1], "bytes": []}
        )
        piece = bytes(chosen["bytes"])
        if raw is not None and _whole(open_bytes + piece) is not None:
            self.known.pop(0)
        return piece, _entry({**chosen, "top_logprobs": position}, self.top, go_text)

    def _likely(self, ids: Sequence[int]) -> list[Mapping[str, Any]]:
        """Return a position's likeliest tokens; a bias draws one that has an entry."""
        asked = {"prompt": list(ids), "n_predict": 1, "temperature": 0.0, "n_probs": LIKELY,
                 "logit_bias": [["a", 1e6]], "cache_prompt": True, "id_slot": 0}  # fmt: skip
        (position,) = self.server._client.post("/completion", asked)["completion_probabilities"]
        return list(position["top_logprobs"])


def _whole(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def go_text(data: bytes) -> str:
    """Return bytes as Go writes them to JSON: U+FFFD for every byte that is no character's."""
    text = ""
    while data:
        try:
            return text + data.decode()
        except UnicodeDecodeError as error:
            text += data[: error.start].decode() + REPLACEMENT
            data = data[error.start + 1 :]
    return text


def _entry(
    raw: Mapping[str, Any], top: int, read: Callable[[bytes], str] | None = None
) -> dict[str, Any]:
    """Return an entry in Ollama's words; ``top`` is how many more were asked for."""

    def token(one: Mapping[str, Any]) -> dict[str, Any]:
        text = read(bytes(one["bytes"])) if read else str(one["token"])
        told = {"token": text, "logprob": one["logprob"]}
        return told | ({"bytes": list(text.encode())} if text else {})

    more = {"top_logprobs": [token(one) for one in raw["top_logprobs"][:top]]} if top else {}
    return token(raw) | more
