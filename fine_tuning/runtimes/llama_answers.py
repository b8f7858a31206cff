"""llama-server's events and errors, for whoever asks it with or without threads.

Source: llama.cpp, tools/server/README.md and server-common.cpp (format_error_response).
"""

from __future__ import annotations

import json

import httpx

from fine_tuning.core.errors import RuntimeFailedError
from fine_tuning.core.ports import ServedToken
from fine_tuning.runtimes.llama_api import ErrorObject, StreamEvent, TokenPiece, TokenProbability

TOO_LONG = "exceed_context_size_error"
REFUSED = 400


class RequestRefusedError(RuntimeFailedError):
    """llama-server refused a request for what is in it."""


def event_of(line: str) -> StreamEvent | None:
    """Return the server-sent event of a line, None when there is none in it.

    Raises:
        RuntimeFailedError: if the event is an error.
    """
    field, _, value = line.partition(":")
    if field == "error":
        raise _failure_of(json.loads(value))
    if field != "data" or value.strip() == "[DONE]":
        return None
    event: StreamEvent = json.loads(value)
    if "error" in event:
        raise _failure_of(event["error"])
    return event


def served_token(entry: TokenProbability) -> ServedToken:
    """Return an entry of the probabilities of a reply as the ports say it.

    A server that tells a token's own bytes is believed; Ollama tells those of U+FFFD for bytes.
    """
    return ServedToken(
        text=_exact(entry),
        log_probability=float(entry["logprob"]),
        likeliest=tuple(
            (_exact(item), float(item["logprob"])) for item in entry.get("top_logprobs") or ()
        ),
    )


def text_of(token: TokenPiece) -> str:
    """Return a token's text; a byte that is no character by itself is a surrogate."""
    piece = token["piece"]
    return piece if isinstance(piece, str) else bytes(piece).decode("utf-8", "surrogateescape")


def _exact(item: TokenProbability) -> str:
    told = item.get("bytes")
    if not told:
        return str(item["token"])
    return bytes(told).decode("utf-8", "surrogateescape")


def failure_of(response: httpx.Response) -> RuntimeFailedError:
    """Return the error a response that was read tells."""
    try:
        return _failure_of(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return RuntimeFailedError(f"the model server answered with HTTP {response.status_code}")


def _failure_of(error: ErrorObject) -> RuntimeFailedError:
    if error.get("type") == TOO_LONG:
        return RequestRefusedError(
            f"the prompt has {error.get('n_prompt_tokens')} tokens, "
            f"and the model was loaded with room for {error.get('n_ctx')}",
            next_command="shorten the conversation, or load the model with more context tokens",
        )
    kind = RequestRefusedError if error.get("code") == REFUSED else RuntimeFailedError
    return kind(f"the model server reports: {error.get('message', error)}")
