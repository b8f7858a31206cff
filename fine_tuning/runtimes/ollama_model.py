"""A model on an Ollama server, to talk to and to prove (core.ports.ChatModel and ServedModel).

Speaks /api/chat as a chatbot does, so that template, system prompt and stop tokens are the
server's. Source: ollama, api/types.go, server/routes.go.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from fine_tuning.core.conversation import Message, Messages
from fine_tuning.core.errors import DataError, FineTuningError, RuntimeFailedError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.ports import GREEDY, Sampling, ServedReply, ServedSettings
from fine_tuning.runtimes.llama_answers import served_token
from fine_tuning.runtimes.llama_api import TokenProbability
from fine_tuning.runtimes.ollama_answers import (
    MessagePart,
    ModelList,
    ModelRow,
    ShownModel,
    StreamLine,
)
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_modelfile import parse_modelfile
from fine_tuning.runtimes.ollama_store import OllamaName
from fine_tuning.runtimes.sampling_options import sampling_options

NS_PER_S = 1e9
_NO_TOOLS = "does not support tools"
# Ollama gives a reply up when more pieces in a row are equal without their blanks, and sends no
# line that says so (llm/llama_server.go and llm/server.go, tokenRepeat).
MAX_EQUAL_PIECES = 30
REPEATED = f"a reply of more than {MAX_EQUAL_PIECES} equal pieces, ended by Ollama"
UNEXPLAINED = "a reply that Ollama, which still runs, ended without saying why"
_TOO_LONG = ("context length", "context size", "too long", "exceeds the context")


class OllamaServedModel:
    """One model of a server.

    Args:
        client: The server.
        name: The model's name there.
        context_tokens: Room for prompt and reply; None leaves it to the model and the server.
    """

    def __init__(
        self, client: OllamaClient, name: str, *, context_tokens: int | None = None
    ) -> None:
        self._client = client
        self.name: Final = name
        self._context_tokens = context_tokens
        self._own_stop: tuple[str, ...] | None = None
        self._renders = True

    def reply(
        self, messages: Messages, sampling: Sampling = GREEDY
    ) -> Generator[str, None, ServedReply]:
        """Stream the assistant's reply; the generator's return value is the whole of it.

        Raises:
            DataError: if a message holds something other than text.
            ModelNotFoundError: if the server has no such model.
            RuntimeUnavailableError: if no server answers.
            RuntimeFailedError: if the prompt is too long, or the server stops half-way. A reply the
                living server broke off is returned, and says so.
        """
        return (yield from self._stream(messages, sampling, 0))

    def complete(
        self, messages: Messages, sampling: Sampling = GREEDY, *, top_log_probabilities: int = 0
    ) -> ServedReply:
        """Return the whole reply; raises what :meth:`reply` raises.

        Servers before 0.12.11 tell no log-probabilities, and then no tokens either.
        """
        stream = self._stream(messages, sampling, top_log_probabilities)
        while True:
            try:
                next(stream)
            except StopIteration as end:
                whole: ServedReply = end.value
                return whole

    def rendered_prompt(self, messages: Messages, tools: Sequence[JsonObject] = ()) -> str | None:
        """Return the prompt of these messages as the server renders it, None before 0.11.5.

        Raises:
            DataError: if the server refuses tools for this model.
            FineTuningError: as :meth:`reply` raises.
        """
        if not self._renders:
            return None
        body: dict[str, JsonValue] = {
            "model": self.name,
            "messages": [ollama_message(message) for message in messages],
            "stream": False,
            "_debug_render_only": True,
            # Servers that do not know the flag answer: let them be quick.
            "options": {"num_predict": 1, **self._room()},
        }
        if tools:
            body["tools"] = list(tools)
        try:
            answer: JsonValue = self._client.post("/api/chat", body, is_work=True)
        except RuntimeFailedError as error:
            if tools and _NO_TOOLS in error.message:
                raise DataError(error.message) from error
            raise
        info = answer.get("_debug_info") if isinstance(answer, Mapping) else None
        self._renders = isinstance(info, Mapping)
        return str(info.get("rendered_template", "")) if isinstance(info, Mapping) else None

    def memory_bytes(self) -> int | None:
        """Return the memory of the loaded model as the server tells it, None when not loaded."""
        return int(self._loaded().get("size") or 0) or None

    def _loaded(self) -> ModelRow:
        """Return what the server tells of the loaded model; nothing when it is not loaded."""
        answer: ModelList = self._client.get("/api/ps")
        wanted = OllamaName.parse(self.name).key
        for row in answer.get("models") or ():
            if OllamaName.parse(str(row.get("name"))).key == wanted:
                return row
        return {}

    def settings(self) -> ServedSettings | None:
        """Return what the server shows of the model, and the room it is loaded with.

        Raises:
            FineTuningError: as :meth:`reply` raises.
        """
        answer: ShownModel = self._client.post("/api/show", {"model": self.name, "name": self.name})
        shown = parse_modelfile(str(answer.get("modelfile") or ""))
        row = self._loaded()
        return ServedSettings(
            parameters=shown.parameters,
            system=str(answer.get("system") or shown.system),
            messages=shown.messages,
            context_tokens=int(row.get("context_length") or 0) or None,
        )

    def _room(self) -> dict[str, int]:
        return {"num_ctx": self._context_tokens} if self._context_tokens else {}

    def _stream(
        self, messages: Messages, sampling: Sampling, top: int
    ) -> Generator[str, None, ServedReply]:
        body = self._request(messages, sampling, top)
        asked_s = time.monotonic()
        first_s: float | None = None
        pieces: list[str] = []
        logprobs: list[TokenProbability] = []
        repeats = _Repeats()
        last: StreamLine = {}
        try:
            with closing(self._client.lines("/api/chat", body)) as lines:
                for last in lines:
                    logprobs += last.get("logprobs") or ()
                    message: MessagePart = last.get("message") or {}
                    piece = str(message.get("content") or "")
                    if not last.get("done"):
                        repeats.note(piece or str(message.get("thinking") or ""))
                    if piece:
                        first_s = first_s or time.monotonic() - asked_s
                        pieces.append(piece)
                        yield piece
        except RuntimeFailedError as error:
            if any(words in error.message for words in _TOO_LONG):
                raise self._too_long(error.message) from error
            raise
        broken_off = "" if last.get("done") else self._why_without_end(repeats)
        whole = _served("".join(pieces), logprobs, last, first_s, broken_off)
        self._check_room(whole)
        return whole

    def _why_without_end(self, repeats: _Repeats) -> str:
        """Say why a stream closed rightly has no line that ends it.

        Raises:
            RuntimeFailedError: if the server is gone.
        """
        try:
            self._client.version()
        except FineTuningError as error:
            raise RuntimeFailedError(
                f"Ollama at {self._client.url} stopped half-way through a reply",
                next_command="ollama serve",
            ) from error
        return REPEATED if repeats.count >= MAX_EQUAL_PIECES else UNEXPLAINED

    def _request(self, messages: Messages, sampling: Sampling, top: int) -> dict[str, JsonValue]:
        options: dict[str, JsonValue] = {
            **sampling_options(sampling),
            "num_predict": sampling.max_tokens,
            **self._room(),
        }
        if sampling.stop:
            # A request's stop texts replace the model's, which must go on ending replies.
            options["stop"] = [*self._model_stop(), *sampling.stop]
        body: dict[str, JsonValue] = {
            "model": self.name,
            "messages": [ollama_message(message) for message in messages],
            "stream": True,
            "options": options,
            # Refuse a prompt that is too long instead of leaving parts of it out (0.12 and later).
            "truncate": False,
        }
        if top:
            body |= {"logprobs": True, "top_logprobs": top}
        return body

    def _model_stop(self) -> tuple[str, ...]:
        if self._own_stop is None:
            answer: ShownModel = self._client.post(
                "/api/show", {"model": self.name, "name": self.name}
            )
            found = parse_modelfile(str(answer.get("modelfile") or "")).parameters.get("stop", ())
            self._own_stop = found if isinstance(found, tuple) else (str(found),)
        return self._own_stop

    def _check_room(self, reply: ServedReply) -> None:
        """Servers that cut a prompt without a word fill the whole context with it."""
        room = self._context_tokens
        if room and reply.prompt_tokens and reply.prompt_tokens >= room - 1:
            raise self._too_long(f"the server read {reply.prompt_tokens} tokens of it")

    def _too_long(self, said: str) -> RuntimeFailedError:
        room = f" of {self._context_tokens}" if self._context_tokens else ""
        return RuntimeFailedError(
            f"the prompt has more tokens than the model's context{room} holds: {said}",
            next_command="shorten the conversation, or: OLLAMA_CONTEXT_LENGTH=8192 ollama serve",
        )


def ollama_message(message: Message) -> dict[str, JsonValue]:
    """Return a message as Ollama reads it.

    Raises:
        DataError: if a part is not text.
    """
    for part in message.content:
        if part.type != "text":
            raise DataError(f"a {message.role} message holds a part of type {part.type!r}")
    role = "system" if message.role == "developer" else message.role
    raw: dict[str, JsonValue] = {"role": role, "content": message.text}
    if message.tool_calls:
        raw["tool_calls"] = [call.to_dict() for call in message.tool_calls]
    if message.reasoning:
        raw["thinking"] = message.reasoning
    if message.role == "tool" and message.name:
        raw["tool_name"] = message.name
    return raw


@dataclass(slots=True)
class _Repeats:
    """Counts how many pieces at the end of a stream equal the one before, as Ollama does."""

    piece: str = ""
    count: int = 0

    def note(self, piece: str) -> None:
        """Count a piece."""
        bare = piece.strip()
        self.count = self.count + 1 if bare == self.piece else 0
        self.piece = bare


def _served(
    text: str,
    logprobs: Sequence[TokenProbability],
    last: StreamLine,
    first_s: float | None,
    broken_off: str,
) -> ServedReply:
    count, seconds = last.get("eval_count"), (last.get("eval_duration") or 0) / NS_PER_S
    load_ns = last.get("load_duration")
    return ServedReply(
        text=text,
        ended=last.get("done_reason") == "stop",
        broken_off=broken_off,
        entries=tuple(map(served_token, logprobs)) or None,
        prompt_tokens=last.get("prompt_eval_count"),
        reply_tokens=count,
        load_s=load_ns / NS_PER_S if load_ns is not None else None,
        first_token_s=first_s,
        tokens_per_s=count / seconds if count and seconds else None,
    )
