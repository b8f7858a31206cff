"""Pieces of a reply put together, and events written, for the interfaces that tell them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import orjson

from fine_tuning.core.json_value import JsonValue
from fine_tuning.runtimes.llama_api import TokenProbability, ToolCallDelta
from fine_tuning.runtimes.openai_answers import WholeCall
from fine_tuning.runtimes.serving.pieces import ReplyPiece


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockChange:
    """What happens to a block of a streamed reply: it opens, grows by a text, or closes.

    ``text`` is what it grows by, or, where it closes, all it holds. Blocks are counted from 0.
    """

    change: Literal["opens", "grows", "closes"]
    kind: Literal["thinking", "text"]
    index: int
    text: str = ""


@dataclass(slots=True)
class Blocks:
    """The blocks of a streamed reply, thoughts and texts, told apart as the pieces come.

    Args:
        pieces: As they come.
    """

    pieces: AsyncIterator[ReplyPiece]
    count: int = 0
    whole: list[ReplyPiece] = field(default_factory=list)

    async def changes(self) -> AsyncIterator[BlockChange]:
        """Yield what happens, piece by piece; the last block is closed at the end."""
        open_kind: Literal["", "thinking", "text"] = ""
        held = ""
        async for piece in self.pieces:
            self.whole.append(piece)
            for kind, text in _parts(piece):
                if open_kind != kind:
                    if open_kind:
                        yield self._closed(open_kind, held)
                    open_kind, held = kind, ""
                    yield BlockChange(change="opens", kind=kind, index=self.count)
                held += text
                yield BlockChange(change="grows", kind=kind, index=self.count, text=text)
        if open_kind:
            yield self._closed(open_kind, held)

    def _closed(self, kind: Literal["thinking", "text"], text: str) -> BlockChange:
        self.count += 1
        return BlockChange(change="closes", kind=kind, index=self.count - 1, text=text)

    @property
    def merged(self) -> ReplyPiece:
        """All that came, as one piece."""
        return ReplyPiece(
            text="".join(piece.text for piece in self.whole),
            thinking="".join(piece.thinking for piece in self.whole),
            tool_calls=[delta for piece in self.whole for delta in piece.tool_calls],
        )


def _parts(piece: ReplyPiece) -> list[tuple[Literal["thinking", "text"], str]]:
    parts: list[tuple[Literal["thinking", "text"], str]] = []
    if piece.thinking:
        parts.append(("thinking", piece.thinking))
    if piece.text:
        parts.append(("text", piece.text))
    return parts


async def gathered(pieces: AsyncIterator[ReplyPiece]) -> ReplyPiece:
    """Join the pieces of a reply.

    Args:
        pieces: As they come.
    """
    texts: list[str] = []
    thoughts: list[str] = []
    deltas: list[ToolCallDelta] = []
    told: list[TokenProbability] = []
    async for piece in pieces:
        texts.append(piece.text)
        thoughts.append(piece.thinking)
        deltas += piece.tool_calls
        told += piece.log_probabilities
    return ReplyPiece(
        text="".join(texts),
        thinking="".join(thoughts),
        tool_calls=deltas,
        log_probabilities=told,
    )


def whole_calls(deltas: Sequence[ToolCallDelta]) -> list[WholeCall]:
    """Join the deltas of tool calls into whole ones.

    Args:
        deltas: OpenAI's, in order.
    """
    joined: dict[int, WholeCall] = {}
    for delta in deltas:
        call = joined.setdefault(
            delta.get("index", 0),
            {"id": "", "type": "function", "function": {"name": "", "arguments": ""}},
        )
        call["id"] = delta.get("id") or call["id"]
        for key, text in (delta.get("function") or {}).items():
            call["function"][key] = call["function"].get(key, "") + str(text or "")
    return [joined[index] for index in sorted(joined)]


def event_line(event: Mapping[str, JsonValue]) -> bytes:
    """Return a server-sent event that has a name.

    Args:
        event: Its ``type`` is the name.
    """
    return f"event: {event['type']}\n".encode() + b"data: " + orjson.dumps(event) + b"\n\n"
