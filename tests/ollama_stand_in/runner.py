"""Generation through llama.cpp: which model a name loads, which prompt it sees, when it stops."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tuning.core.errors import FineTuningError
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.runtimes.ollama_modelfile import NO_TEMPLATE
from tests.ollama_stand_in.adapters import rescaled
from tests.ollama_stand_in.capabilities import capabilities, prefers_jinja
from tests.ollama_stand_in.generations import Faults, Generation
from tests.ollama_stand_in.go_template import render_chat
from tests.ollama_stand_in.requests import RefusedError
from tests.ollama_stand_in.store import Store, Stored

DEFAULT_CONTEXT_TOKENS = 4096
MAX_LOADED = 4


@dataclass(frozen=True)
class Loaded:
    """A model in memory."""

    server: EmbeddedServer
    name: str
    size_bytes: int


class Runner:
    """Loads models when they are asked for, and keeps the last four."""

    def __init__(self, store: Store, generation: Generation, faults: Faults, scratch: Path) -> None:
        self.store, self.generation, self.faults = store, generation, faults
        self._scratch = scratch
        self._loaded: dict[tuple[Any, ...], Loaded] = {}
        self._lock = threading.RLock()
        self._is_closed = False
        self._templates: dict[str, str] = {}

    def load(self, stored: Stored, options: Mapping[str, Any]) -> Loaded:  # noqa: C901
        model, adapter = stored.path("model"), stored.path("adapter")
        if model is None:
            raise RefusedError(500, f"model {stored.name!r} has no weights")
        if adapter is not None and self.generation.adapters == "not by this engine":
            raise RefusedError(500, "failed to initialize model: loras are not yet implemented")
        if self.faults.load_error:
            raise RefusedError(
                500, f"llama-server process has terminated: {self.faults.load_error}"
            )
        if self.faults.ignore_adapter:
            adapter = None
        model = self.faults.wrong_base or model
        context = int(options.get("num_ctx", DEFAULT_CONTEXT_TOKENS))
        scale = self.faults.adapter_scale
        key = (model, adapter, context, scale)
        with self._lock:
            if self._is_closed:
                raise RefusedError(503, "the server is going away")
            if key in self._loaded:
                return self._loaded[key]
            while len(self._loaded) >= MAX_LOADED:
                self._loaded.pop(next(iter(self._loaded))).server.close()
            try:
                applied = rescaled(adapter, scale, self._scratch) if adapter else None
                server = EmbeddedServer(model, adapter=applied, context_tokens=context, threads=1)
            except FineTuningError as error:
                raise RefusedError(
                    500, f"llama-server process has terminated: {error.message}"
                ) from error
            size = model.stat().st_size + (adapter.stat().st_size if adapter else 0)
            loaded = Loaded(server, stored.name, size)
            self._loaded[key] = loaded
            return loaded

    def loaded(self) -> list[Loaded]:
        with self._lock:
            return list(self._loaded.values())

    def unload(self, stored: Stored) -> None:
        with self._lock:
            for key in [key for key, item in self._loaded.items() if item.name == stored.name]:
                self._loaded.pop(key).server.close()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            for item in self._loaded.values():
                item.server.close()
            self._loaded.clear()

    # Prompts

    def template_of(self, stored: Stored) -> str:
        """Return the Go template in force; "" when the GGUF's own is used."""
        if self.faults.wrong_template is not None:
            return self.faults.wrong_template
        own = stored.manifest.text("template")
        if not self.generation.native:
            return own or NO_TEMPLATE
        return "" if prefers_jinja(self._jinja(stored), own) else own

    def capabilities(self, stored: Stored) -> set[str]:
        """Return what a model can do: completion, tools, thinking."""
        go = self.template_of(stored)
        return capabilities(stored.manifest.config, go, "" if go else self._jinja(stored))

    def check(self, stored: Stored, capability: str) -> None:
        """Refuse what a model cannot do, before it is loaded (server/images.go)."""
        if capability not in self.capabilities(stored):
            name = f"registry.ollama.ai/library/{stored.name}"
            raise RefusedError(400, f"{name} does not support {capability}")

    def _jinja(self, stored: Stored) -> str:
        """Return the GGUF's own template, read once a file."""
        path = stored.path("model")
        if path is None or not path.exists():
            return ""
        key = str(path.resolve())
        if key not in self._templates:
            with GgufFile.open(path) as file:
                self._templates[key] = file.get("tokenizer.chat_template", str, "")
        return self._templates[key]

    def prompt(
        self,
        stored: Stored,
        loaded: Loaded,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Any] = (),
    ) -> str:
        turns = list(messages)
        turns = [*(stored.json("messages") or ()), *turns]
        system = stored.manifest.text("system")
        if system and (not turns or turns[0]["role"] != "system"):
            turns.insert(0, {"role": "system", "content": system})
        template = self.template_of(stored)
        if template:
            return render_chat(template, turns, tools)
        body: dict[str, Any] = {"messages": turns, "add_generation_prompt": True}
        if tools:
            body["tools"] = list(tools)
        try:
            return str(loaded.server._client.post("/apply-template", body)["prompt"])
        except FineTuningError as error:
            raise RefusedError(400, error.message) from error

    def fit(
        self,
        stored: Stored,
        loaded: Loaded,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Any],
        limit_tokens: int,
    ) -> str:
        """Return the prompt of what fits: the oldest messages but the system's are left out."""
        turns = list(messages)
        while True:
            prompt = self.prompt(stored, loaded, turns, tools)
            tokens = loaded.server.tokenizer.encode(prompt, add_special=True, parse_special=True)
            oldest = 1 if turns and turns[0]["role"] == "system" else 0
            if len(tokens) < limit_tokens or len(turns) - oldest <= 1:
                return prompt
            turns.pop(oldest)

    # Replies

    def generate(
        self, stored: Stored, loaded: Loaded, prompt: str, options: Mapping[str, Any], top: int
    ) -> Iterator[dict[str, Any]]:
        """Yield llama-server's events of one reply.

        Raises:
            RefusedError: if llama.cpp refuses the prompt or fails half-way.
        """
        tokens = loaded.server.tokenizer.encode(prompt, add_special=True, parse_special=True)
        if self.faults.truncate_prompt_tokens is not None:
            tokens = tokens[-self.faults.truncate_prompt_tokens :]
        parameters = {**(stored.json("params") or {}), **options}
        context = int(parameters.get("num_ctx", DEFAULT_CONTEXT_TOKENS))
        if len(tokens) >= context:
            tokens = tokens[-context + 1 :]
        limit = int(parameters.get("num_predict", -1))
        stop = parameters.get("stop") or []
        body = {
            "prompt": tokens,
            "n_predict": limit if limit >= 0 else context - len(tokens),
            "temperature": parameters.get("temperature", 0.8),
            "top_k": parameters.get("top_k", 40),
            "top_p": parameters.get("top_p", 0.9),
            "min_p": parameters.get("min_p", 0.0),
            "seed": parameters.get("seed", -1),
            "repeat_penalty": parameters.get("repeat_penalty", 1.0),
            "stop": [] if self.faults.drop_stop else [stop] if isinstance(stop, str) else stop,
            "ignore_eos": self.faults.drop_stop,
            "n_probs": top,
            "cache_prompt": False,
        }
        try:
            yield from loaded.server._client.events("/completion", body)  # type: ignore[misc]
        except FineTuningError as error:
            raise RefusedError(500, error.message) from error


def logprobs_of(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return an event's probabilities in Ollama's words."""

    def entry(raw: Mapping[str, Any]) -> dict[str, Any]:
        return {"token": raw["token"], "logprob": raw["logprob"], "bytes": raw.get("bytes", [])}

    return [
        entry(raw) | {"top_logprobs": [entry(other) for other in raw.get("top_logprobs", ())]}
        for raw in event.get("completion_probabilities") or ()
    ]


def dumps(value: object) -> bytes:
    """Return JSON as Go writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
