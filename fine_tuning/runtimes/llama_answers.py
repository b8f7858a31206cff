"""llama-server's events and errors, for whoever asks it with or without threads.

Source: llama.cpp, tools/server/README.md and server-common.cpp (format_error_response).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

import httpx

from fine_tuning.core.errors import RuntimeFailedError
from fine_tuning.runtimes.llama_api import ErrorObject, StreamEvent, TokenProbability

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


def by_text(likeliest: Iterable[TokenProbability]) -> dict[str, float]:
    """Return natural log-probabilities by a token's text; tokens of the same text count together.

    Special tokens, those that end a turn among them, have the text "".
    """
    found: dict[str, float] = {}
    for item in likeliest:
        text, more = str(item["token"]), float(item["logprob"])
        found[text] = math.log(math.exp(found[text]) + math.exp(more)) if text in found else more
    return found


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
