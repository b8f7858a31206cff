"""One request's work on a model: messages or a prompt in, pieces and figures out.

Asks llama-server's own chat endpoint, which renders the template, writes tool calls and thinking
apart, and constrains replies to a schema. Knows neither of the two interfaces that speak of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from fine_tuning.core.errors import DataError, RuntimeFailedError
from fine_tuning.runtimes.llama_api import (
    EmbeddingList,
    ReplyDelta,
    StreamEvent,
    TokenProbabilities,
)
from fine_tuning.runtimes.loadable import LoadableModel
from fine_tuning.runtimes.serving.asked import Work
from fine_tuning.runtimes.serving.go_replies import (
    ReplyReader,
    go_prompt,
    reply_reader,
    text_request,
)
from fine_tuning.runtimes.serving.pieces import ReplyPiece
from fine_tuning.runtimes.serving.pool import Lease, Pool
from fine_tuning.runtimes.serving.room import rendered_prompt, text_of, tokens_of, within_room

EMBEDDED_AT_ONCE = 64


@dataclass(slots=True, kw_only=True)
class ReplyOutcome:
    """How a reply ended, filled in when it did; durations in seconds."""

    reason: str = ""
    prompt_tokens: int = 0
    reply_tokens: int = 0
    cached_tokens: int = 0
    load_s: float = 0.0
    prompt_s: float = 0.0
    reply_s: float = 0.0
    begin_s: float = field(default_factory=time.monotonic)

    @property
    def total_s(self) -> float:
        """Time since the request came."""
        return time.monotonic() - self.begin_s


async def reply(pool: Pool, work: Work, outcome: ReplyOutcome) -> AsyncGenerator[ReplyPiece, None]:
    """Yield a reply piece by piece.

    Args:
        pool: Where the model is loaded.
        work: What is asked.
        outcome: Filled in on the way.

    Raises:
        FineTuningError: if the model cannot be loaded, or refuses the request.
    """
    body = work.body()
    prompt = work.prompt if work.prompt is not None else _beginning(body)
    async with pool.lease(
        work.model, prompt, reuse=not work.is_repeatable, room_tokens=work.wanted_room
    ) as lease:
        outcome.load_s = lease.load_s
        body |= lease.fields | _own_stop(lease, work)
        body |= await within_room(lease, work, body)
        pieces = (
            _text_pieces(lease, work, body, outcome)
            if work.prompt is not None or work.model.go_template
            else _chat_pieces(lease, body, outcome)
        )
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece
    if not outcome.reason:
        raise RuntimeFailedError("the model server stopped half-way through a reply")


async def _chat_pieces(
    lease: Lease, body: dict[str, object], outcome: ReplyOutcome
) -> AsyncGenerator[ReplyPiece, None]:
    """Yield the pieces of a reply whose prompt llama-server makes."""
    async for event in lease.engine.stream.events("/v1/chat/completions", body):
        piece = _chat_piece(event)
        _take_figures(event, outcome)
        if piece is not None:
            yield piece


async def _text_pieces(
    lease: Lease, work: Work, body: dict[str, object], outcome: ReplyOutcome
) -> AsyncGenerator[ReplyPiece, None]:
    """Yield the pieces of a reply to a text: a prompt as it was given, or a Go TEMPLATE's."""
    reader = ReplyReader()
    if work.prompt is None:
        turns: Sequence[Mapping[str, object]] = body["messages"]  # type: ignore[assignment]
        prompt = go_prompt(work, turns)
        reader = reply_reader(work, prompt)
        body = text_request(body, prompt)
    async for event in lease.engine.stream.events("/completion", body):
        raw = _raw_piece(event)
        _take_figures(event, outcome)
        if raw is not None:
            for piece in reader.feed(raw):
                yield piece
    for piece in reader.end():
        yield piece
    if reader.num_calls and outcome.reason == "stop":
        outcome.reason = "tool_calls"


async def rendered(pool: Pool, work: Work) -> str:
    """Return the prompt of a request, as it would be read.

    Raises:
        DataError: if the template refuses the messages.
        RequestRefusedError: if they must not be cut and do not fit.
    """
    begin = work.prompt if work.prompt is not None else _beginning({"messages": work.with_system})
    async with pool.lease(work.model, begin, room_tokens=work.wanted_room) as lease:
        fitted = await within_room(lease, work, {})
        if work.prompt is not None:
            kept = fitted.get("prompt", work.prompt)
            return kept if isinstance(kept, str) else await text_of(lease, kept)  # type: ignore[arg-type]
        turns = fitted.get("messages", work.with_system)
        return await rendered_prompt(lease, work, turns)  # type: ignore[arg-type]


async def tokens_of_exchange(pool: Pool, work: Work, reply_text: str) -> list[int]:
    """Return the tokens of a prompt and the reply to it, which a later request may go on from.

    Args:
        pool: Where the model is loaded.
        work: What was asked.
        reply_text: What was replied.
    """
    prompt = await rendered(pool, work)
    async with pool.lease(work.model, "", room_tokens=work.wanted_room) as lease:
        return await tokens_of(lease, prompt + reply_text)


async def text_of_tokens(pool: Pool, model: LoadableModel, tokens: Sequence[int]) -> str:
    """Return the text of tokens, special ones included.

    Args:
        pool: Where the model is loaded.
        model: Whose tokens they are.
        tokens: Their ids.

    Raises:
        DataError: if the model has no such token.
    """
    async with pool.lease(model, "") as lease:
        try:
            return await text_of(lease, tokens)
        except RuntimeFailedError as error:
            raise DataError(f"the field 'context' holds no tokens of the model: {error}") from error


async def embed(
    pool: Pool,
    model: LoadableModel,
    texts: Sequence[str | Sequence[int]],
    *,
    truncates: bool = True,
) -> tuple[list[list[float]], int, float]:
    """Return one vector of length 1 per text, the tokens read, and the time of loading.

    Args:
        pool: Where the model is loaded.
        model: Which one.
        texts: Any number; each as text or as tokens.
        truncates: Whether a text that is too long is read as far as there is room.

    Raises:
        DataError: if a text is too long and must not be cut.
        FineTuningError: if the model cannot be loaded.
    """
    vectors: list[list[float]] = []
    count = 0
    async with pool.lease(model, "", embeds=True) as lease:
        for begin in range(0, len(texts), EMBEDDED_AT_ONCE):
            batch = list(texts[begin : begin + EMBEDDED_AT_ONCE])
            fitting = [await _fitting(lease, text, truncates=truncates) for text in batch]
            asked = {"input": fitting}
            answer: EmbeddingList = await lease.engine.stream.post("/v1/embeddings", asked)
            rows = sorted(answer["data"], key=lambda row: row["index"])
            vectors += [row["embedding"] for row in rows]
            count += int(answer["usage"]["prompt_tokens"])
    return vectors, count, lease.load_s


async def _fitting(
    lease: Lease, text: str | Sequence[int], *, truncates: bool
) -> str | Sequence[int]:
    """Return a text, or as many of its tokens as the server reads.

    Raises:
        DataError: if it is too long and must not be cut.
    """
    if not text:
        return " "  # llama-server refuses what is empty; whoever asks wants a vector for each
    room = lease.engine.server.context_tokens - 2  # a beginning and an end may be added
    if len(text) <= room:  # a token has a character or more
        return text
    tokens = text if not isinstance(text, str) else await tokens_of(lease, text, add_special=False)
    if len(tokens) <= room:
        return text
    if not truncates:
        raise DataError(f"the input length exceeds the context length: {len(tokens)} > {room}")
    return tokens[:room]


def _own_stop(lease: Lease, work: Work) -> dict[str, list[str]]:
    """Add the turn end of a template that writes one which is no token."""
    own = () if work.model.go_template else lease.engine.server.chat_model.stop
    return {"stop": [*work.stop, *(text for text in own if text not in work.stop)]}


def _beginning(body: Mapping[str, object]) -> str:
    """Return a text that begins alike where prompts do."""
    return json.dumps([body.get("tools"), body["messages"]], ensure_ascii=False, default=str)


def _chat_piece(event: StreamEvent) -> ReplyPiece | None:
    for choice in event.get("choices") or ():
        delta: ReplyDelta = choice.get("delta") or {}
        told: TokenProbabilities = choice.get("logprobs") or {}
        piece = ReplyPiece(
            text=delta.get("content") or "",
            thinking=delta.get("reasoning_content") or "",
            tool_calls=delta.get("tool_calls") or (),
            log_probabilities=told.get("content") or (),
        )
        if piece.text or piece.thinking or piece.tool_calls or piece.log_probabilities:
            return piece
    return None


def _raw_piece(event: StreamEvent) -> ReplyPiece | None:
    text, told = event.get("content") or "", event.get("completion_probabilities") or ()
    return ReplyPiece(text=text, log_probabilities=told) if text or told else None


def _take_figures(event: StreamEvent, outcome: ReplyOutcome) -> None:
    for choice in event.get("choices") or ():
        outcome.reason = choice.get("finish_reason") or outcome.reason
    if event.get("stop"):
        outcome.reason = "length" if event.get("stop_type") == "limit" else "stop"
        outcome.prompt_tokens = event.get("tokens_evaluated", 0)
        outcome.reply_tokens = event.get("tokens_predicted", 0)
    if usage := event.get("usage"):
        outcome.prompt_tokens = usage["prompt_tokens"]
        outcome.reply_tokens = usage["completion_tokens"]
    if timings := event.get("timings"):
        outcome.cached_tokens = timings["cache_n"]
        outcome.prompt_s = timings["prompt_ms"] / 1e3
        outcome.reply_s = timings["predicted_ms"] / 1e3
