"""The dialects of OpenAI and Anthropic, turned into Ollama's own requests and back.

Sources: openai/openai.go, anthropic/anthropic.go and middleware/ of v0.24.0 and v0.33.0-rc2.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tests.ollama_stand_in.generations import Generation
from tests.ollama_stand_in.requests import RefusedError

Fields = dict[str, Any]
FINGERPRINT = "fp_ollama"
_ERRORS = {400: "invalid_request_error", 404: "not_found_error"}
_KEPT = ("seed", "frequency_penalty", "presence_penalty")


def failure(path: str, refusal: RefusedError) -> Fields:
    """Return an error's object in a path's dialect."""
    kind = _ERRORS.get(refusal.status, "api_error")
    if path == "/v1/messages":
        return {"type": "error", "error": {"type": kind, "message": refusal.message}}
    error = {"message": refusal.message, "type": kind, "param": None, "code": None}
    return {"error": error}


def asked_chat(path: str, request: Mapping[str, Any]) -> Fields:
    """Return a request of any of the chat dialects, or of completions, in Ollama's words."""
    if path == "/v1/completions":
        return _asked(request, {"prompt": _text(request.get("prompt")),
                                "suffix": request.get("suffix") or ""})  # fmt: skip
    if path == "/v1/responses":
        given = request.get("input") or []
        turns = [{"role": "user", "content": given}] if isinstance(given, str) else given
        limit = {"max_tokens": request.get("max_output_tokens")}
        turns = _with_system(request.get("instructions"), turns)
        return _asked({**request, **limit}, {"messages": _messages(turns)})
    if path == "/v1/messages":
        turns = _with_system(request.get("system"), request.get("messages") or ())
        return _asked(request, {"messages": _messages(turns)})
    if not request.get("messages"):
        raise RefusedError(400, "[] is too short - 'messages'")
    return _asked(request, {"messages": _messages(request["messages"])})


def _with_system(text: Any, turns: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [{"role": "system", "content": text}, *turns] if text else list(turns)


def _asked(request: Mapping[str, Any], said: Fields) -> Fields:
    options = {key: request[key] for key in _KEPT if request.get(key) is not None}
    # Their servers draw from all tokens when nothing is said; max_completion_tokens is unknown.
    options |= {key: request.get(key) if request.get(key) is not None else 1.0
                for key in ("temperature", "top_p")}  # fmt: skip
    if request.get("max_tokens") is not None:
        options["num_predict"] = request["max_tokens"]
    stop = request.get("stop") or request.get("stop_sequences")
    if stop:
        options["stop"] = [stop] if isinstance(stop, str) else stop
    asked = {**said, "model": request.get("model") or "", "options": options}
    if request.get("tools") and "messages" in said:
        asked["tools"] = request["tools"]
    form = request.get("response_format") or {}
    if form.get("type") == "json_object":
        asked["format"] = "json"
    elif form.get("type") == "json_schema":
        asked["format"] = form["json_schema"]["schema"]
    effort = request.get("reasoning_effort")
    if effort is not None:
        asked["think"] = False if effort == "none" else effort
    if request.get("logprobs"):
        asked |= {"logprobs": True, "top_logprobs": int(request.get("top_logprobs") or 0)}
    return asked


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part if isinstance(part, str) else str(part.get("text", ""))
                       for part in content)  # fmt: skip
    return str(content or "")


def _messages(turns: Sequence[Mapping[str, Any]]) -> list[Fields]:
    """Return messages in Ollama's form: a part of a content is a message of its own."""
    taken: list[Fields] = []
    for turn in turns:
        content = turn.get("content")
        if content is None and not turn.get("tool_calls"):
            raise RefusedError(400, "invalid message content type: <nil>")
        parts = content if isinstance(content, list) else [{"text": content or ""}]
        role = turn.get("role") or "user"
        for part in parts:
            shown = part.get("image_url") or part.get("source")
            images = {"images": [str(shown)]} if shown else {}
            taken.append({"role": role, "content": str(part.get("text") or ""), **images})
    return taken


class Answers:
    """Writes answers; ``path`` is the dialect."""

    def __init__(self, generation: Generation, path: str, request: Mapping[str, Any]) -> None:
        self.generation, self.path, self.request = generation, path, request
        self._number = time.monotonic_ns() % 1000
        self._created = int(time.time())
        self.model = str(request.get("model") or "")

    def whole(self, last: Mapping[str, Any]) -> Fields:
        """Return one object for a whole reply."""
        content = str(last["message"]["content"] if "message" in last else last["response"])
        usage = self._usage(last)
        if self.path == "/v1/responses":
            return self._response(content, usage)
        if self.path == "/v1/messages":
            return {
                "id": f"msg_{self._number:024x}", "type": "message", "role": "assistant",
                "model": self.model, "content": [{"type": "text", "text": content}],
                "stop_reason": self._stop_reason(last),
                "usage": {"input_tokens": usage["prompt_tokens"],
                          "output_tokens": usage["completion_tokens"]},
            }  # fmt: skip
        reason = {"finish_reason": last.get("done_reason")}
        if self.path == "/v1/completions":
            choice = {"text": content, "index": 0, **reason}
            return {**self._head("cmpl", "text_completion"), "choices": [choice], "usage": usage}
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, **reason,
                  **_logprobs(last)}  # fmt: skip
        return {**self._head("chatcmpl", "chat.completion"), "choices": [choice], "usage": usage}

    def events(self, lines: Iterator[Mapping[str, Any]]) -> Iterator[Fields]:
        """Yield the objects of a streamed reply."""
        if self.path not in ("/v1/chat/completions", "/v1/completions"):
            raise RefusedError(501, "no recording shows how this dialect is streamed")
        is_chat = self.path == "/v1/chat/completions"
        wants_usage = (self.request.get("stream_options") or {}).get("include_usage")
        is_first = True
        last: Mapping[str, Any] = {}
        kind = ("chatcmpl", "chat.completion.chunk") if is_chat else ("cmpl", "text_completion")
        for last in lines:
            reason = {"finish_reason": last.get("done_reason")}
            if is_chat:
                # Later servers name the role once.
                role = {"role": "assistant"} if is_first or not self.generation.native else {}
                delta = {**role, "content": last["message"]["content"]}
                choice = {"index": 0, "delta": delta, **reason, **_logprobs(last)}
            else:
                choice = {"text": last["response"], "index": 0, **reason}
            is_first = False
            yield {**self._head(*kind), "choices": [choice]}
        if wants_usage:
            yield {**self._head(*kind), "choices": [], "usage": self._usage(last)}

    def _head(self, mark: str, kind: str) -> Fields:
        return {"id": f"{mark}-{self._number}", "object": kind, "created": self._created,
                "model": self.model, "system_fingerprint": FINGERPRINT}  # fmt: skip

    def _usage(self, last: Mapping[str, Any]) -> dict[str, int]:
        read, written = int(last.get("prompt_eval_count", 0)), int(last.get("eval_count", 0))
        return {
            "prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written
        }  # fmt: skip

    def _stop_reason(self, last: Mapping[str, Any]) -> str:
        return "max_tokens" if last.get("done_reason") == "length" else "end_turn"

    def _response(self, content: str, usage: Mapping[str, int]) -> Fields:
        said = {"type": "output_text", "text": content, "annotations": [], "logprobs": []}
        message = {"id": f"msg_{self._number}", "type": "message", "status": "completed",
                   "role": "assistant", "content": [said]}  # fmt: skip
        return {
            "id": f"resp_{self._number}", "object": "response", "created_at": self._created,
            "completed_at": int(time.time()), "status": "completed", "incomplete_details": None,
            "model": self.model, "previous_response_id": None,
            "instructions": self.request.get("instructions"), "output": [message], "error": None,
            "tools": self.request.get("tools") or [], "tool_choice": "auto",
            "truncation": "disabled", "parallel_tool_calls": True,
            "text": {"format": {"type": "text"}}, "top_p": self.request.get("top_p", 1),
            "presence_penalty": 0, "frequency_penalty": 0, "top_logprobs": 0,
            "temperature": self.request.get("temperature", 1), "reasoning": None,
            "usage": {
                "input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"],
                "total_tokens": usage["total_tokens"],
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
            },
            "max_output_tokens": self.request.get("max_output_tokens"), "max_tool_calls": None,
            "store": False, "background": False, "service_tier": "default", "metadata": {},
            "safety_identifier": None, "prompt_cache_key": None,
        }  # fmt: skip


def _logprobs(line: Mapping[str, Any]) -> Fields:
    return {"logprobs": {"content": line["logprobs"]}} if line.get("logprobs") else {}


def embedding_list(request: Mapping[str, Any], answer: Mapping[str, Any]) -> Fields:
    """Return the vectors of /api/embed in OpenAI's form."""

    def told(row: Sequence[float]) -> object:
        if request.get("encoding_format") != "base64":
            return row
        return base64.b64encode(np.asarray(row, dtype="<f4").tobytes()).decode()

    count = int(answer.get("prompt_eval_count", 0))
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "embedding": told(row), "index": index}
            for index, row in enumerate(answer["embeddings"])
        ],
        "model": request.get("model"),
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }


def model_row(name: str, modified_s: float) -> Fields:
    """Return a row of /v1/models."""
    return {"id": name, "object": "model", "created": int(modified_s), "owned_by": "library"}
