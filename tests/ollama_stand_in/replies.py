"""/api/chat and /api/generate: lines of a reply as Ollama sends them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.ollama_stand_in.capabilities import INSERT, THINKING, TOOLS
from tests.ollama_stand_in.generations import Faults, Generation
from tests.ollama_stand_in.go_template import Thinking, execute, fill
from tests.ollama_stand_in.requests import (
    RefusedError,
    check_options,
    keep_alive_s,
    roles_lowered,
)
from tests.ollama_stand_in.runner import Loaded, Runner
from tests.ollama_stand_in.store import Store, Stored

MAX_TOP_LOGPROBS = 20
MS_NS = 10**6
SECOND_NS = 10**9
NO_VISION = {
    "error": {
        "code": 400,
        "message": "Multimodal data provided, but model does not support multimodal requests.",
        "type": "invalid_request_error",
    }
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A checked request for a reply."""

    stored: Stored
    request: Mapping[str, Any]
    chat: bool
    options: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]]
    top: int | None
    keep_s: float
    schema: Mapping[str, Any] | None

    @property
    def is_nothing(self) -> bool:
        return not self.messages if self.chat else not self.request.get("prompt")

    @property
    def thinking(self) -> Thinking | None:
        think = self.request.get("think")
        if think is None:
            return None
        return Thinking(is_wanted=bool(think), level=think if isinstance(think, str) else "")


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
        asked = self._checked(stored, request, chat=chat)
        if asked.is_nothing and asked.keep_s == 0:
            self.runner.unload(stored)
            yield self._line(asked, text="", done=True, done_reason="unload")
            return
        self._check_abilities(asked)
        asked_s = time.monotonic()
        loaded = self.runner.load(stored, asked.options)
        load_s = time.monotonic() - asked_s
        if asked.is_nothing:
            yield self._line(asked, text="", done=True, done_reason="load")
            return
        prompt = self._prompt(asked, loaded)
        if request.get("_debug_render_only") and self.generation.renders:
            said = {"message": {"role": "", "content": ""}} if chat else {"response": ""}
            yield {
                **self._line(asked, text="", done=False),
                **said,
                "_debug_info": {"rendered_template": prompt},
            }
            return
        yield from self._reply(asked, loaded, prompt, load_s)
        if asked.keep_s == 0:
            self.runner.unload(stored)

    def _checked(self, stored: Stored, request: Mapping[str, Any], *, chat: bool) -> Asked:
        keep_s = keep_alive_s(request.get("keep_alive"))
        top = int(request.get("top_logprobs", 0))
        if not 0 <= top <= MAX_TOP_LOGPROBS:
            raise RefusedError(400, "top_logprobs must be between 0 and 20")
        form = request.get("format")
        return Asked(
            stored=stored,
            request=request,
            chat=chat,
            options=check_options(
                {**(stored.json("params") or {}), **(request.get("options") or {})}
            ),
            messages=roles_lowered(request.get("messages")),
            top=top if request.get("logprobs") and self.generation.logprobs else None,
            keep_s=keep_s,
            schema=form if isinstance(form, dict) else {"type": "object"} if form else None,
        )

    def _check_abilities(self, asked: Asked) -> None:
        if asked.chat and asked.request.get("tools"):
            self.runner.check(asked.stored, TOOLS)
        if not asked.chat and asked.request.get("suffix"):
            self.runner.check(asked.stored, INSERT)
        if asked.request.get("think") and self.generation.since("0.9.0"):
            self.runner.check(asked.stored, THINKING)
        shows = asked.request.get("images") or any(one.get("images") for one in asked.messages)
        if shows and self.generation.native:
            raise RefusedError(400, json.dumps(NO_VISION, separators=(",", ":")))

    def _prompt(self, asked: Asked, loaded: Loaded) -> str:
        request = asked.request
        if asked.chat:
            return self._fitting(asked, loaded, asked.messages, request.get("tools") or ())
        prompt, system = str(request["prompt"]), str(request.get("system") or "")
        if request.get("raw"):
            if any(request.get(key) for key in ("template", "system", "context")):
                raise RefusedError(400, "raw mode does not support template, system, or context")
            return prompt
        if request.get("suffix"):
            template = request.get("template") or self.runner.template_of(asked.stored)
            return fill(template, prompt, str(request["suffix"]))
        if request.get("template"):
            return execute(request["template"], {"System": system, "Prompt": prompt})
        turns = [{"role": "user", "content": prompt}]
        if system:
            turns.insert(0, {"role": "system", "content": system})
        said = loaded.server.tokenizer.decode(list(request.get("context") or ()))
        return said + self._fitting(asked, loaded, turns)

    def _fitting(
        self,
        asked: Asked,
        loaded: Loaded,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Any] = (),
    ) -> str:
        args = (asked.stored, loaded, messages, tools, asked.thinking)
        if asked.request.get("truncate") is False and self.generation.renders:
            whole = self.runner.prompt(*args)
            self.runner.check_length(loaded, whole)
            return whole
        return self.runner.fit(*args)

    def _reply(
        self, asked: Asked, loaded: Loaded, prompt: str, load_s: float
    ) -> Iterator[dict[str, Any]]:
        begun_s, first_s, reply = time.monotonic(), 0.0, ""
        last: Mapping[str, Any] | None = None
        for piece in self.runner.generate(
            loaded, prompt, asked.options, top=asked.top, schema=asked.schema
        ):
            first_s = first_s or time.monotonic()
            last = piece.last
            if last is None and piece.text:
                reply += piece.text
                extra = {"logprobs": list(piece.logprobs)} if piece.logprobs else {}
                yield self._line(asked, text=piece.text, done=False, **extra)
        if last is None:
            return  # A piece was repeated too often: there is no line with "done": true.
        took = self._took(last, begun_s, first_s, time.monotonic(), load_s)
        context = {"context": [*loaded.tokens(prompt + reply)]}
        tells_context = not asked.chat and not asked.request.get("raw")
        yield self._line(
            asked,
            text="",
            done=True,
            done_reason="length" if last.get("stop_type") == "limit" else "stop",
            **(context if tells_context else {}),
            **took,
        )

    def _took(
        self, last: Mapping[str, Any], begun_s: float, first_s: float, ended_s: float, load_s: float
    ) -> dict[str, int]:
        """Return counts and times; what is 0 is left out, as Go does."""
        written = int(last.get("tokens_predicted", 0))
        eval_ns = int((ended_s - first_s) * SECOND_NS) if written > 1 else 0
        times = {
            "total_duration": int((ended_s - begun_s + load_s) * SECOND_NS),
            "load_duration": max(MS_NS, int(load_s * SECOND_NS)),
            "prompt_eval_count": int(last.get("tokens_evaluated", 0)),
            "prompt_eval_duration": int((first_s - begun_s) * SECOND_NS),
            "eval_count": written,
            # llama-server tells a thousandth of a millisecond at least.
            "eval_duration": max(eval_ns, 1000 if self.generation.native and written else 0),
        }
        return {key: value for key, value in times.items() if value}

    def _line(self, asked: Asked, *, text: str, **more: Any) -> dict[str, Any]:
        said: dict[str, Any] = (
            {"message": {"role": "assistant", "content": text}}
            if asked.chat
            else {"response": text}
        )
        return {
            "model": str(asked.request.get("model") or asked.stored.name),
            "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            **said,
            **more,
        }

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
