"""One request's work on a model: messages or a prompt in, pieces and figures out.

Asks llama-server's own chat endpoint, which renders the template, writes tool calls and thinking
apart, and constrains replies to a schema. Knows neither of the two interfaces that speak of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field

from fine_tuning.core.errors import DataError, RuntimeFailedError
from fine_tuning.core.json_value import JsonObject
from fine_tuning.runtimes.llama_api import (
    EmbeddingList,
    RenderedPrompt,
    ReplyDelta,
    StreamEvent,
    TokenList,
    TokenProbabilities,
    TokenProbability,
    ToolCallDelta,
)
from fine_tuning.runtimes.llama_client import SYSTEM_ROLES
from fine_tuning.runtimes.loadable import LoadableModel, texts_in
from fine_tuning.runtimes.serving.pool import Lease, Pool

# Ollama's defaults for what a request leaves open (ollama: api/types.go, DefaultOptions).
DEFAULT_SAMPLING: Mapping[str, float] = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "repeat_penalty": 1.0,
}
SAMPLING = (
    *DEFAULT_SAMPLING,
    "typical_p", "repeat_last_n", "presence_penalty", "frequency_penalty", "seed",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is asked of a model.

    Attributes:
        messages: OpenAI's form; or ``prompt``, a text that no template touches.
        options: Ollama's names; what is absent comes from the model, then from the defaults.
        fields: Further fields of llama-server's request: tools, response_format.
        top_log_probabilities: Likeliest tokens to tell per token; None tells no probabilities.
    """

    model: LoadableModel
    messages: Sequence[Mapping[str, object]] = ()
    prompt: str | None = None
    options: JsonObject = field(default_factory=dict)
    fields: Mapping[str, object] = field(default_factory=dict)
    top_log_probabilities: int | None = None

    @property
    def with_system(self) -> list[Mapping[str, object]]:
        """The messages, after the model's own system prompt unless they bring one."""
        turns = list(self.messages)
        if self.model.system and not (turns and turns[0].get("role") in SYSTEM_ROLES):
            turns.insert(0, {"role": "system", "content": self.model.system})
        return turns

    def body(self) -> dict[str, object]:
        """Return llama-server's request, but for the slot."""
        given = {**self.model.parameters, **self.options}
        body: dict[str, object] = {
            **DEFAULT_SAMPLING,
            **{key: given[key] for key in SAMPLING if given.get(key) is not None},
            **self.fields,
            "stop": self.stop,
            "return_progress": True,
        }
        if isinstance(seed := body.get("seed"), int | float):
            body["seed"] = seed % (1 << 32)
        limit = given.get("num_predict")
        if isinstance(limit, int | float) and limit >= 0:
            body["n_predict" if self.prompt is not None else "max_tokens"] = limit
        if self.prompt is not None:
            body["prompt"] = self.prompt
            if self.top_log_probabilities is not None:
                body["n_probs"] = max(1, self.top_log_probabilities)
        else:
            body["messages"] = self.with_system
            body["stream_options"] = {"include_usage": True}
            if self.top_log_probabilities is not None:
                body["logprobs"], body["top_logprobs"] = True, self.top_log_probabilities
        return body

    @property
    def stop(self) -> list[str]:
        """Texts that end a reply: a request's own replace the model's, as in Ollama."""
        asked = self.options.get("stop")
        if asked is None:
            return list(self.model.stop)
        return [asked] if isinstance(asked, str) else texts_in(asked)

    @property
    def is_repeatable(self) -> bool:
        """Whether the reply must not depend on what was asked before.

        Who names a seed or asks for probabilities measures; everyone else chats, and wants what a
        long conversation has in common with its last turn not to be computed again.
        """
        return self.options.get("seed") is not None or self.top_log_probabilities is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some of a reply, as it comes; ``tool_calls`` are OpenAI's deltas."""

    text: str = ""
    thinking: str = ""
    tool_calls: Sequence[ToolCallDelta] = ()
    log_probabilities: Sequence[TokenProbability] = ()


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


async def reply(pool: Pool, work: Work, outcome: ReplyOutcome) -> AsyncGenerator[Piece, None]:
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
    async with pool.lease(work.model, prompt, reuse=not work.is_repeatable) as lease:
        outcome.load_s = lease.load_s
        path = "/v1/chat/completions" if work.prompt is None else "/completion"
        body |= lease.fields | _own_stop(lease, work)
        body |= await _within_room(lease, work, body)
        async for event in lease.engine.stream.events(path, body):
            piece = _chat_piece(event) if work.prompt is None else _raw_piece(event)
            _take_figures(event, outcome)
            if piece is not None:
                yield piece
    if not outcome.reason:
        raise RuntimeFailedError("the model server stopped half-way through a reply")


async def rendered(pool: Pool, work: Work) -> str:
    """Return the prompt of a request.

    Raises:
        DataError: if the template refuses the messages.
    """
    if work.prompt is not None:
        return work.prompt
    async with pool.lease(work.model, _beginning({"messages": work.with_system})) as lease:
        return await _rendered(lease, work)


async def _rendered(lease: Lease, work: Work) -> str:
    body: dict[str, object] = {"messages": work.with_system, "add_generation_prompt": True}
    if tools := work.fields.get("tools"):
        body["tools"] = tools
    try:
        answer: RenderedPrompt = await lease.engine.stream.post("/apply-template", body)
    except RuntimeFailedError as error:
        raise DataError(f"the chat template refuses the messages: {error.message}") from error
    return str(answer["prompt"])


async def _within_room(lease: Lease, work: Work, body: Mapping[str, object]) -> dict[str, float]:
    """Return where a reply must end so that it fits a request's own ``num_ctx`` with its prompt.

    A wish for more room than the model was loaded with changes nothing.

    Raises:
        DataError: if the prompt alone does not fit.
    """
    room = work.options.get("num_ctx")
    if not isinstance(room, int | float) or not room or room >= lease.engine.server.context_tokens:
        return {}
    prompt = await _rendered(lease, work) if work.prompt is None else work.prompt
    asked = {"content": prompt, "add_special": True, "parse_special": True}
    answer: TokenList = await lease.engine.stream.post("/tokenize", asked)
    count = len(answer["tokens"])
    if count >= room:
        raise DataError(
            f"the prompt has {count} tokens, expected fewer than the request's num_ctx of {room}"
        )
    key = "max_tokens" if work.prompt is None else "n_predict"
    limit = body.get(key)
    return {key: min(limit if isinstance(limit, int | float) else room, room - count)}


async def embed(
    pool: Pool, model: LoadableModel, texts: Sequence[str]
) -> tuple[list[list[float]], int, float]:
    """Return one vector of length 1 per text, the tokens read, and the time of loading.

    Raises:
        FineTuningError: if the model cannot be loaded, or a text is too long.
    """
    async with pool.lease(model, "", embeds=True) as lease:
        asked = {"input": list(texts)}
        answer: EmbeddingList = await lease.engine.stream.post("/v1/embeddings", asked)
    vectors = sorted(answer["data"], key=lambda row: row["index"])
    count = int(answer["usage"]["prompt_tokens"])
    return [row["embedding"] for row in vectors], count, lease.load_s


def _own_stop(lease: Lease, work: Work) -> dict[str, list[str]]:
    """Add the turn end of a template that writes one which is no token."""
    own = lease.engine.server.chat_model.stop
    return {"stop": [*work.stop, *(text for text in own if text not in work.stop)]}


def _beginning(body: Mapping[str, object]) -> str:
    """Return a text that begins alike where prompts do."""
    return json.dumps([body.get("tools"), body["messages"]], ensure_ascii=False, default=str)


def _chat_piece(event: StreamEvent) -> Piece | None:
    for choice in event.get("choices") or ():
        delta: ReplyDelta = choice.get("delta") or {}
        told: TokenProbabilities = choice.get("logprobs") or {}
        piece = Piece(
            text=delta.get("content") or "",
            thinking=delta.get("reasoning_content") or "",
            tool_calls=delta.get("tool_calls") or (),
            log_probabilities=told.get("content") or (),
        )
        if piece.text or piece.thinking or piece.tool_calls or piece.log_probabilities:
            return piece
    return None


def _raw_piece(event: StreamEvent) -> Piece | None:
    text, told = event.get("content") or "", event.get("completion_probabilities") or ()
    return Piece(text=text, log_probabilities=told) if text or told else None


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
