"""/api/chat and /api/generate: lines of a reply as Ollama sends them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tests.ollama_stand_in.capabilities import TOOLS
from tests.ollama_stand_in.generations import Faults, Generation
from tests.ollama_stand_in.go_template import execute
from tests.ollama_stand_in.requests import RefusedError, check_options
from tests.ollama_stand_in.runner import DEFAULT_CONTEXT_TOKENS, Loaded, Runner, logprobs_of
from tests.ollama_stand_in.store import Store, Stored

MAX_TOP_LOGPROBS = 20
ROLES = ("system", "user", "assistant", "tool")
SECOND_NS = 10**9


class Replies:
    """Answers requests for replies."""

    def __init__(
        self, store: Store, generation: Generation, faults: Faults, runner: Runner
    ) -> None:
        self.store, self.generation, self.faults, self.runner = store, generation, faults, runner

    def lines(
        self, stored: Stored, request: Mapping[str, Any], *, chat: bool
    ) -> Iterator[dict[str, Any]]:
        """Yield a reply's lines; the first error comes with the first line."""
        options = check_options(request.get("options") or {})
        top = int(request.get("top_logprobs", 0))
        if not 0 <= top <= MAX_TOP_LOGPROBS:
            raise RefusedError(400, "top_logprobs must be between 0 and 20")
        messages = request.get("messages") or []
        nothing = not messages if chat else not request.get("prompt")
        if nothing and request.get("keep_alive") in (0, "0", "0s"):
            self.runner.unload(stored)
            yield self._line(stored, chat=chat, text="", done=True, done_reason="unload")
            return
        if chat and request.get("tools"):
            self.runner.check(stored, TOOLS)
        merged = {**(stored.json("params") or {}), **options}
        asked_s = time.monotonic()
        loaded = self.runner.load(stored, merged)
        load_s = time.monotonic() - asked_s
        if nothing:
            yield self._line(stored, chat=chat, text="", done=True, done_reason="load")
            return
        prompt = self._prompt(stored, loaded, request, merged, chat=chat)
        if request.get("_debug_render_only") and self.generation.renders:
            yield {
                "model": stored.name,
                "created_at": datetime.now(UTC).isoformat(),
                "_debug_info": {"rendered_template": prompt},
            }
            return
        probabilities = bool(request.get("logprobs")) and self.generation.logprobs
        yield from self._reply(
            stored,
            loaded,
            prompt,
            options,
            top=max(1, top) if probabilities else 0,
            chat=chat,
            load_s=load_s,
        )

    def _prompt(
        self,
        stored: Stored,
        loaded: Loaded,
        request: Mapping[str, Any],
        options: Mapping[str, Any],
        *,
        chat: bool,
    ) -> str:
        limit = int(options.get("num_ctx", DEFAULT_CONTEXT_TOKENS))
        if chat:
            messages = _checked(request["messages"])
            if request.get("truncate") is False and self.generation.renders:
                whole = self.runner.prompt(stored, loaded, messages, request.get("tools") or ())
                self._check_length(loaded, whole, limit)
                return whole
            return self.runner.fit(stored, loaded, messages, request.get("tools") or (), limit)
        if request.get("raw"):
            if any(request.get(key) for key in ("template", "system", "context")):
                raise RefusedError(400, "raw mode does not support template, system, or context")
            return str(request["prompt"])
        turns = [{"role": "user", "content": request["prompt"]}]
        if request.get("system"):
            turns.insert(0, {"role": "system", "content": request["system"]})
        if request.get("template"):
            values = {"System": request.get("system", ""), "Prompt": request["prompt"]}
            return execute(request["template"], values)
        return self.runner.prompt(stored, loaded, turns)

    def _check_length(self, loaded: Loaded, prompt: str, limit: int) -> None:
        tokens = loaded.server.tokenizer.encode(prompt, add_special=True, parse_special=True)
        if len(tokens) >= limit:
            raise RefusedError(400, "the input length exceeds the context length")

    def _reply(
        self,
        stored: Stored,
        loaded: Loaded,
        prompt: str,
        options: Mapping[str, Any],
        *,
        top: int,
        chat: bool,
        load_s: float,
    ) -> Iterator[dict[str, Any]]:
        begun_s, first_s = time.monotonic(), 0.0
        last: Mapping[str, Any] = {}
        waiting: list[Any] = []  # of tokens that are parts of a character
        for event in self.runner.generate(stored, loaded, prompt, options, top):
            last = event
            first_s = first_s or time.monotonic()
            waiting += logprobs_of(event) if top else ()
            if event["content"]:
                extra = {"logprobs": waiting} if waiting else {}
                waiting = []
                yield self._line(stored, chat=chat, text=event["content"], done=False, **extra)
        ended_s = time.monotonic()
        yield self._line(
            stored,
            chat=chat,
            text="",
            done=True,
            done_reason="length" if last.get("stop_type") == "limit" else "stop",
            total_duration=int((ended_s - begun_s + load_s) * SECOND_NS),
            load_duration=int(load_s * SECOND_NS),
            prompt_eval_count=last.get("tokens_evaluated", 0),
            prompt_eval_duration=int((first_s - begun_s) * SECOND_NS),
            eval_count=last.get("tokens_predicted", 0),
            eval_duration=int((ended_s - first_s) * SECOND_NS),
            **({"logprobs": waiting} if waiting else {}),
        )

    def _line(self, stored: Stored, *, chat: bool, text: str, **more: Any) -> dict[str, Any]:
        said: dict[str, Any] = (
            {"message": {"role": "assistant", "content": text}} if chat else {"response": text}
        )
        return {
            "model": stored.name, "created_at": datetime.now(UTC).isoformat(), **said, **more
        }  # fmt: skip

    def joined(self, lines: Iterator[dict[str, Any]], *, chat: bool) -> dict[str, Any]:
        """Return one answer for ``stream: false``."""
        texts: list[str] = []
        logprobs: list[Any] = []
        last: dict[str, Any] = {}
        for last in lines:
            if "_debug_info" in last:
                return last
            texts.append(last["message"]["content"] if chat else last["response"])
            logprobs += last.get("logprobs", ())
        whole = "".join(texts)
        last |= {"message": {"role": "assistant", "content": whole}} if chat else {
            "response": whole
        }  # fmt: skip
        return last | ({"logprobs": logprobs} if logprobs else {})


def _checked(messages: list[Any]) -> list[Any]:
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise RefusedError(400, "invalid role in messages")
    return messages
