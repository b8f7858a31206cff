"""OpenAI's routes, for clients that speak those (OpenAI API reference: chat, completions)."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncIterator, Sequence

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonValue
from fine_tuning.runtimes.loadable import LoadableModel
from fine_tuning.runtimes.openai_answers import (
    AnswerChoice,
    AssistantMessage,
    ChatProbabilities,
    Head,
    ListedModel,
    MessageDelta,
    OpenAiAnswer,
    OpenAiChunk,
    Said,
    TextProbabilities,
    TokenUsage,
)
from fine_tuning.runtimes.serving.asked import Work
from fine_tuning.runtimes.serving.http import SSE, answer, body_of, sse, streamed, while_connected
from fine_tuning.runtimes.serving.pieces import ReplyPiece
from fine_tuning.runtimes.serving.pool import Pool
from fine_tuning.runtimes.serving.replies import gathered, whole_calls
from fine_tuning.runtimes.serving.requests import (
    ChatCompletion,
    Completion,
    EmbeddingInput,
    Embeddings,
    OpenAiAsking,
    OpenAiMessage,
    read_request,
)
from fine_tuning.runtimes.serving.work import ReplyOutcome, embed, reply

OWNER = "fine-tuning"
PASSED_ON = ("logit_bias",)
CHAT_FIELDS = (
    "response_format", "tools", "tool_choice", "parallel_tool_calls", "chat_template_kwargs",
)  # fmt: skip
DONE = b"data: [DONE]\n\n"


class OpenAiApi:
    """OpenAI's routes over a pool of models.

    Args:
        pool: Where models are loaded; its catalog knows their names.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._catalog = pool.catalog

    def routes(self) -> list[Route]:
        """Return all routes."""
        return [
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{name:path}", self.model, methods=["GET"]),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.completions, methods=["POST"]),
            Route("/v1/embeddings", self.embeddings, methods=["POST"]),
        ]

    async def models(self, _: Request) -> Response:
        """List all models."""
        models = await asyncio.to_thread(self._catalog.models)
        return answer({"object": "list", "data": [_listed(model) for model in models]})

    async def model(self, request: Request) -> Response:
        """Tell about one model."""
        return answer(_listed(await self._find(request.path_params["name"])))

    async def chat(self, request: Request) -> Response:
        """Answer a conversation."""
        asked = read_request(ChatCompletion, await body_of(request))
        fields = asked.model_dump(include={*CHAT_FIELDS, *PASSED_ON}, exclude_none=True)
        if asked.reasoning_effort:
            wants = {"enable_thinking": asked.reasoning_effort not in {"none", "minimal"}}
            said = {**wants, "reasoning_effort": asked.reasoning_effort}
            fields["chat_template_kwargs"] = said | (asked.chat_template_kwargs or {})
        limit = asked.max_completion_tokens or asked.max_tokens
        work = Work(
            model=await self._find(asked.model),
            messages=[_message(raw) for raw in asked.messages],
            options=_options(asked, limit),
            fields=fields,
            top_log_probabilities=(asked.top_logprobs or 0) if asked.logprobs else None,
        )
        form = _Chat(asked.model, "chat.completion", "chatcmpl")
        return await self._reply(request, asked, work, form)

    async def completions(self, request: Request) -> Response:
        """Go on with a text."""
        asked = read_request(Completion, await body_of(request))
        prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
        if len(prompts) != 1:
            raise DataError(f"the request holds {len(prompts)} prompts, expected one")
        work = Work(
            model=await self._find(asked.model),
            prompt=prompts[0],
            options=_options(asked, 16 if asked.max_tokens is None else asked.max_tokens),
            fields=asked.model_dump(include=set(PASSED_ON), exclude_none=True),
            top_log_probabilities=asked.logprobs,
        )
        form = _Text(asked.model, "text_completion", "cmpl")
        return await self._reply(request, asked, work, form)

    async def embeddings(self, request: Request) -> Response:
        """Embed one text or several."""
        asked = read_request(Embeddings, await body_of(request))
        texts = _texts(asked.input)
        if not any(texts):
            raise DataError("the text to embed is empty, expected at least one character")
        model = await self._find(asked.model)
        vectors, count, _ = await while_connected(request, embed(self._pool, model, texts))
        rows = [
            {"object": "embedding", "index": index, "embedding": _encoded(asked, vector)}
            for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": count, "total_tokens": count}
        return answer({"object": "list", "data": rows, "model": asked.model, "usage": usage})

    async def _find(self, name: str) -> LoadableModel:
        return await asyncio.to_thread(self._catalog.find, name)

    async def _reply(
        self, request: Request, asked: OpenAiAsking, work: Work, form: _Chat
    ) -> Response:
        outcome = ReplyOutcome()
        pieces = reply(self._pool, work, outcome)
        if not asked.stream:
            whole = await while_connected(request, gathered(pieces))
            return answer(form.whole(whole, outcome))
        with_usage = bool(asked.stream_options and asked.stream_options.include_usage)

        async def chunks() -> AsyncIterator[OpenAiChunk]:
            is_first = True
            async for piece in pieces:
                yield form.chunk(piece, is_first=is_first)
                is_first = False
            yield form.last(outcome)
            if with_usage:
                yield form.usage_chunk(outcome)

        return await streamed(request, chunks(), sse, SSE, DONE)


class _Chat:
    """The form of answers to conversations.

    Args:
        model: The model as it was asked for.
        kind: OpenAI's name of the answer.
        prefix: What its id begins with.
    """

    def __init__(self, model: str, kind: str, prefix: str) -> None:
        self._kind = kind
        self._head: Head = {
            "id": f"{prefix}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": OWNER,
        }

    def whole(self, piece: ReplyPiece, outcome: ReplyOutcome) -> OpenAiAnswer:
        """Return a reply at once."""
        return {
            **self._head,
            "object": self._kind,
            "choices": [self._choice(self._said(piece), piece, outcome.reason)],
            "usage": _usage(outcome),
        }

    def chunk(self, piece: ReplyPiece, *, is_first: bool) -> OpenAiChunk:
        """Return a piece of a reply."""
        delta = self._delta(piece)
        if is_first:
            delta = self._first(delta)
        return self._chunk([self._choice(delta, piece, None)])

    def last(self, outcome: ReplyOutcome) -> OpenAiChunk:
        """Return the piece that ends a reply."""
        return self._chunk([self._choice(self._delta(ReplyPiece()), ReplyPiece(), outcome.reason)])

    def usage_chunk(self, outcome: ReplyOutcome) -> OpenAiAnswer:
        """Return the piece after the last, which tells the figures."""
        return {**self._chunk([]), "usage": _usage(outcome)}

    def _chunk(self, choices: list[AnswerChoice]) -> OpenAiChunk:
        return {**self._head, "object": f"{self._kind}.chunk", "choices": choices}

    def _first(self, delta: Said) -> Said:
        first: MessageDelta = {"role": "assistant", "content": "", **delta["delta"]}
        return {"delta": first}

    def _said(self, piece: ReplyPiece) -> Said:
        said: AssistantMessage = {
            "role": "assistant",
            "content": piece.text or None,
            "refusal": None,
        }
        if piece.thinking:
            said["reasoning_content"] = piece.thinking
        if piece.tool_calls:
            said["tool_calls"] = whole_calls(piece.tool_calls)
        else:
            said["content"] = piece.text
        return {"message": said}

    def _delta(self, piece: ReplyPiece) -> Said:
        delta: MessageDelta = {}
        if piece.text:
            delta["content"] = piece.text
        if piece.thinking:
            delta["reasoning_content"] = piece.thinking
        if piece.tool_calls:
            delta["tool_calls"] = list(piece.tool_calls)
        return {"delta": delta}

    def _choice(self, said: Said, piece: ReplyPiece, reason: str | None) -> AnswerChoice:
        told: ChatProbabilities = {"content": list(piece.log_probabilities), "refusal": None}
        return {
            "index": 0,
            **said,
            "logprobs": told if piece.log_probabilities else None,
            "finish_reason": reason,
        }


class _Text(_Chat):
    """The form of answers to texts."""

    def _chunk(self, choices: list[AnswerChoice]) -> OpenAiChunk:
        return {**self._head, "object": self._kind, "choices": choices}

    def _first(self, delta: Said) -> Said:
        return delta

    def _said(self, piece: ReplyPiece) -> Said:
        return {"text": piece.text}

    def _delta(self, piece: ReplyPiece) -> Said:
        return {"text": piece.text}

    def _choice(self, said: Said, piece: ReplyPiece, reason: str | None) -> AnswerChoice:
        told = list(piece.log_probabilities)
        tops = [one.get("top_logprobs") or () for one in told]
        logprobs: TextProbabilities = {
            "tokens": [one["token"] for one in told],
            "token_logprobs": [one["logprob"] for one in told],
            "top_logprobs": [{o["token"]: o["logprob"] for o in top} for top in tops],
            "text_offset": [],
        }
        return {
            "index": 0, **said, "logprobs": logprobs if told else None, "finish_reason": reason,
        }  # fmt: skip


def _usage(outcome: ReplyOutcome) -> TokenUsage:
    return {
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.reply_tokens,
        "total_tokens": outcome.prompt_tokens + outcome.reply_tokens,
        "prompt_tokens_details": {"cached_tokens": outcome.cached_tokens},
    }


def _texts(given: EmbeddingInput | None) -> list[str | list[int]]:
    """Return the texts to embed, each as text or as tokens."""
    if given is None:
        return []
    if isinstance(given, str):
        return [given]
    tokens = [item for item in given if isinstance(item, int)]
    return [tokens] if tokens else [item for item in given if not isinstance(item, int)]


def _options(asked: OpenAiAsking, limit: int | None) -> dict[str, JsonValue]:
    """Return OpenAI's settings by Ollama's names."""
    names = (
        "temperature", "top_p", "top_k", "min_p", "repeat_penalty", "seed", "stop",
        "presence_penalty", "frequency_penalty",
    )  # fmt: skip
    options = {name: value for name in names if (value := getattr(asked, name)) is not None}
    return options | ({"num_predict": limit} if limit is not None else {})


def _message(raw: OpenAiMessage) -> dict[str, JsonValue]:
    """Return a message as llama-server reads it.

    Raises:
        DataError: if it holds a part that is not text.
    """
    if isinstance(raw.content, list):
        for part in raw.content:
            if part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise DataError(
                    f"a message holds a part of type {part.get('type')!r}, "
                    "and the embedded runtime reads only text"
                )
    names = ("role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content")
    return raw.model_dump(include=set(names), exclude_none=True) | {"content": raw.content or ""}


def _listed(model: LoadableModel) -> ListedModel:
    created = int(model.modified_at.timestamp()) if model.modified_at else 0
    return {"id": model.name, "object": "model", "created": created, "owned_by": OWNER}


def _encoded(asked: Embeddings, vector: Sequence[float]) -> object:
    values = np.asarray(vector, dtype="<f4")
    if asked.dimensions is not None and asked.dimensions < len(values):
        values = values[: asked.dimensions]
        values = values / max(float(np.linalg.norm(values)), 1e-12)
    if asked.encoding_format == "base64":
        return base64.b64encode(values.astype("<f4").tobytes()).decode()
    return values.tolist()
