"""What a running llama-server can do, as the ports say it: tokenize, render, reply.

Speaks llama.cpp's own HTTP endpoints (tools/server/README.md), whoever started the server.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import httpx

from fine_tuning.core.conversation import Message, Messages
from fine_tuning.core.errors import DataError, RuntimeFailedError, RuntimeUnavailableError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.naming import content_name
from fine_tuning.core.ports import GREEDY, PromptRenderer, Sampling
from fine_tuning.core.template_message import template_message
from fine_tuning.runtimes.llama_answers import event_of, failure_of, text_of
from fine_tuning.runtimes.llama_api import (
    CompletionAnswer,
    PieceList,
    RenderedPrompt,
    StreamEvent,
    TokenList,
)
from fine_tuning.runtimes.sampling_options import sampling_options

CONNECT_TIMEOUT_S = 10.0
SYSTEM_ROLES = ("system", "developer")
KEEP_ALIVE_S = 2.0
_SEPARATOR = -1
STALE = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A finished reply.

    ``stop_type`` is llama.cpp's: "eos" (the model's end-of-turn token), "word" (a stop string) or
    "limit" (``max_tokens`` or the context is used up).
    """

    text: str
    stop_type: str
    prompt_tokens: int
    reply_tokens: int


class LlamaClient:
    """One HTTP client of a llama-server; safe to share between threads.

    Args:
        address: Where the server listens, such as "http://127.0.0.1:8080".
        api_key: The key it expects; "" for none.
        connections: Requests at a time.
    """

    def __init__(self, address: str, *, api_key: str = "", connections: int = 1) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        limits = httpx.Limits(
            max_connections=None,
            max_keepalive_connections=connections + 1,
            keepalive_expiry=KEEP_ALIVE_S,
        )
        # A reply may take minutes, and other requests queue for a connection meanwhile.
        timeout = httpx.Timeout(CONNECT_TIMEOUT_S, read=None, pool=None)
        self._http = httpx.Client(
            base_url=address, headers=headers, limits=limits, timeout=timeout, trust_env=False
        )
        self._connections = connections

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON answer of a GET.

        Raises:
            RuntimeUnavailableError: if no server answers.
            RuntimeFailedError: if it answers with an error.
        """
        return self._answer(self._http.build_request("GET", path))

    def post(self, path: str, body: Mapping[str, object]) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON answer of a POST.

        Raises:
            RuntimeUnavailableError: if no server answers.
            RuntimeFailedError: if it answers with an error.
            DataError: if a text in the body is not valid Unicode.
        """
        return self._answer(self._request(path, body))

    def events(self, path: str, body: Mapping[str, object]) -> Generator[StreamEvent, None, None]:
        """Yield the server-sent events of a POST; closing the generator drops the connection.

        Raises:
            RuntimeUnavailableError: if no server answers.
            RuntimeFailedError: if it answers with an error, at once or half-way.
        """
        request = self._request(path, {**body, "stream": True})
        response = self._send(request, stream=True)
        try:
            if response.status_code != httpx.codes.OK:
                response.read()
                raise failure_of(response)
            for line in response.iter_lines():
                if (event := event_of(line)) is not None:
                    yield event
        except httpx.TransportError as error:
            raise RuntimeFailedError(f"the model server stopped half-way: {error}") from error
        finally:
            response.close()

    def close(self) -> None:
        """Close all connections; calling it again does nothing."""
        self._http.close()

    def _send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        """Send a request; the server may have closed idle connections, so try each once."""
        try:
            for _ in range(self._connections + 1):
                with suppress(*STALE):
                    return self._http.send(request, stream=stream)
            return self._http.send(request, stream=stream)
        except httpx.TransportError as error:
            reason = f"the embedded model server does not answer: {error}"
            raise RuntimeUnavailableError(reason) from error
        except RuntimeError as error:  # httpx: the client was closed
            raise RuntimeUnavailableError("the embedded model server was closed") from error

    def _request(self, path: str, body: Mapping[str, object]) -> httpx.Request:
        try:
            content = json.dumps(body, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"a text holds {error.object[error.start]!a}, half of a surrogate pair, "
                "expected valid Unicode"
            ) from error
        headers = {"Content-Type": "application/json"}
        return self._http.build_request("POST", path, content=content, headers=headers)

    def _answer(self, request: httpx.Request) -> Any:  # noqa: ANN401 - JSON
        response = self._send(request)
        if response.status_code != httpx.codes.OK:
            raise failure_of(response)
        return response.json()


class LlamaTokenizer:
    """llama.cpp's tokenizer of one model: the ids serving sees (core.ports.Tokenizer).

    Args:
        client: The server that holds the model.
        fingerprint: The content name of the model's vocabulary and rules.
    """

    def __init__(self, client: LlamaClient, fingerprint: str) -> None:
        self._client = client
        self._fingerprint = fingerprint

    @property
    def fingerprint(self) -> str:
        """The content name of vocabulary and rules."""
        return self._fingerprint

    def encode(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Return token ids.

        A byte for which the vocabulary has no token is dropped, as in serving; small vocabularies
        lack a few control characters.

        Args:
            text: Any text.
            add_special: Add what the model expects at a sequence's start (BOS), if anything.
            parse_special: Read special tokens' text as those tokens.

        Raises:
            DataError: if the text is not valid Unicode.
            RuntimeUnavailableError: if the server was closed.
        """
        body = {"content": text, "add_special": add_special, "parse_special": parse_special}
        answer: TokenList = self._client.post("/tokenize", body)
        return [int(token) for token in answer["tokens"]]

    def encode_many(self, texts: Sequence[str], *, parse_special: bool) -> list[list[int]]:
        """Return the ids of each text by itself, in one request.

        llama-server takes a list of texts and token ids (tools/server/server-common.cpp,
        ``tokenize_mixed``): each text is tokenised alone, ids pass through unchecked, and so an
        id no vocabulary has tells the texts apart.

        Raises:
            DataError: if a text is not valid Unicode.
            RuntimeUnavailableError: if the server was closed.
        """
        if not texts:
            return []
        content = [item for text in texts for item in (_SEPARATOR, text)]
        body = {"content": content, "add_special": False, "parse_special": parse_special}
        found: list[list[int]] = []
        answer: TokenList = self._client.post("/tokenize", body)
        for token in answer["tokens"]:
            if token == _SEPARATOR:
                found.append([])
            else:
                found[-1].append(int(token))
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens included.

        Raises:
            RuntimeUnavailableError: if the server was closed.
        """
        return str(self._client.post("/detokenize", {"tokens": list(ids)})["content"])

    def texts(self, ids: Sequence[int]) -> list[str]:
        """Return each token's text; a byte that is no character by itself is a surrogate."""
        body = {"content": list(ids), "add_special": False, "with_pieces": True}
        answer: PieceList = self._client.post("/tokenize", body)
        return [text_of(token) for token in answer["tokens"]]


class LlamaRenderer:
    """The server's own rendering of messages (core.ports.PromptRenderer).

    Args:
        client: The server, started without prefilling of a last assistant message.
        fingerprint: The content name of template and rules.
        system: Set before conversations that bring no system message of their own; "" for none.
        messages: (role, text) pairs before every conversation.
    """

    def __init__(
        self,
        client: LlamaClient,
        fingerprint: str,
        *,
        system: str = "",
        messages: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._client = client
        before = [*([system] if system or messages else []), *map(list, messages)]
        self._fingerprint = content_name([fingerprint, *before]) if before else fingerprint
        self._system = {"role": "system", "content": system} if system else None
        self._before = [{"role": role, "content": text} for role, text in messages]

    @property
    def fingerprint(self) -> str:
        """The content name of template and rules."""
        return self._fingerprint

    def render(
        self,
        messages: Messages,
        *,
        add_generation_prompt: bool,
        tools: Sequence[JsonObject] = (),
    ) -> str:
        """Return the prompt text; a leading BOS is left to the tokenizer, as in serving.

        Args:
            messages: The conversation.
            add_generation_prompt: Begin the assistant's turn at the end.
            tools: What the model may call, in OpenAI's form.

        Raises:
            DataError: if there is no message, the template refuses the order of roles, or a
                message holds something other than text.
            RuntimeUnavailableError: if the server was closed.
        """
        if not messages:
            raise DataError("there is no message to render, expected at least one")
        turns: list[JsonObject] = [*self._before]
        turns += [openai_message(message) for message in messages]
        if self._system and turns[0]["role"] not in SYSTEM_ROLES:
            turns.insert(0, self._system)
        body: dict[str, JsonValue] = {
            "messages": turns,
            "add_generation_prompt": add_generation_prompt,
        }
        if tools:
            body["tools"] = list(tools)
        try:
            answer: RenderedPrompt = self._client.post("/apply-template", body)
        except RuntimeFailedError as error:
            roles = ", ".join(message.role for message in messages)
            raise DataError(
                f"the model's chat template refuses messages with the roles {roles}: "
                f"{error.message.removeprefix('the model server reports: ')}"
            ) from error
        return str(answer["prompt"])


def openai_message(message: Message) -> dict[str, JsonValue]:
    """Return a message as llama-server reads it; text parts stay parts.

    Raises:
        DataError: if a part is not text: the embedded runtime has no eyes and no ears.
    """
    for part in message.content:
        if part.type != "text":
            raise DataError(
                f"a {message.role} message holds a part of type {part.type!r}, "
                "and the embedded runtime reads only text"
            )
    single = len(message.content) <= 1
    content = message.text if single else [part.to_dict() for part in message.content]
    return template_message(message, content)


class LlamaChatModel:
    """A model one can talk to (core.ports.ChatModel).

    Args:
        client: The server that holds the model.
        renderer: Turns messages into its prompt.
        name: The model's name, as its runtime lists it.
        reuse_prompt: Keep what two prompts share. Faster in a long chat; then greedy replies are
            no longer the same to the last bit, because batches are cut differently.
        stop: Texts that end a turn and are not tokens of the model.
    """

    def __init__(
        self,
        client: LlamaClient,
        renderer: PromptRenderer,
        name: str,
        *,
        reuse_prompt: bool = False,
        stop: Iterable[str] = (),
    ) -> None:
        self._client = client
        self._renderer = renderer
        self.name: Final = name
        self._reuse_prompt = reuse_prompt
        self.stop = tuple(stop)

    def reply(self, messages: Messages, sampling: Sampling = GREEDY) -> Generator[str, None, Reply]:
        """Stream the assistant's reply; the generator's return value is the whole of it.

        Raises:
            DataError: if the template refuses the messages.
            RuntimeUnavailableError: if the server was closed.
            RuntimeFailedError: if the prompt is too long, or the server stops half-way.
        """
        pieces: list[str] = []
        last: StreamEvent = {}
        for event in self._client.events("/completion", self._request(messages, sampling)):
            last = event
            if event["content"]:
                pieces.append(event["content"])
                yield event["content"]
        if not last.get("stop"):
            raise RuntimeFailedError("the model server stopped half-way through a reply")
        return _reply("".join(pieces), last)

    def complete(self, messages: Messages, sampling: Sampling = GREEDY) -> Reply:
        """Return the whole reply at once; raises what :meth:`reply` raises."""
        answer = self.answer(messages, sampling)
        return _reply(answer["content"], answer)

    def answer(
        self,
        messages: Messages,
        sampling: Sampling = GREEDY,
        more: JsonObject | None = None,
    ) -> CompletionAnswer:
        """Return llama-server's own answer, with further fields asked for, such as ``n_probs``."""
        request = {**self._request(messages, sampling), **(more or {})}
        answer: CompletionAnswer = self._client.post("/completion", request)
        return answer

    def _request(self, messages: Messages, sampling: Sampling) -> dict[str, JsonValue]:
        return {
            "prompt": self._renderer.render(messages, add_generation_prompt=True),
            "n_predict": sampling.max_tokens,
            **sampling_options(sampling),
            "stop": [*self.stop, *sampling.stop],
            "cache_prompt": self._reuse_prompt,
        }


def _reply(text: str, answer: StreamEvent | CompletionAnswer) -> Reply:
    return Reply(
        text=text,
        stop_type=answer["stop_type"],
        prompt_tokens=answer["tokens_evaluated"],
        reply_tokens=answer["tokens_predicted"],
    )


def template_fingerprint(texts: Sequence[str]) -> str:
    """Name a chat template and the token texts it may use (BOS, EOS)."""
    return content_name(["llama.cpp jinja", *texts])
