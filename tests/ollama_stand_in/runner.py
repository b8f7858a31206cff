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
from tests.ollama_stand_in.capabilities import THINKING, capabilities, prefers_jinja
from tests.ollama_stand_in.generations import Faults, Generation
from tests.ollama_stand_in.go_template import Thinking, render_chat
from tests.ollama_stand_in.pieces import Piece, Repeats, by_token, joined
from tests.ollama_stand_in.requests import RefusedError
from tests.ollama_stand_in.store import Store, Stored

DEFAULT_CONTEXT_TOKENS = 4096
DEFAULT_KEEP_TOKENS = 4
MAX_LOADED = 4
SPARE_TOKENS = 128
"""Older servers fill the room with the prompt, and shift it for the reply; here it is larger."""


@dataclass(frozen=True)
class Loaded:
    """A model in memory."""

    server: EmbeddedServer
    stored: Stored
    size_bytes: int
    context_tokens: int

    @property
    def name(self) -> str:
        return self.stored.name

    def tokens(self, text: str) -> list[int]:
        """Return a prompt's tokens."""
        return self.server.tokenizer.encode(text, add_special=True, parse_special=True)


class Runner:
    """Loads models when they are asked for, and keeps the last four."""

    def __init__(self, store: Store, generation: Generation, faults: Faults, scratch: Path) -> None:
        self.store, self.generation, self.faults = store, generation, faults
        self._scratch = scratch
        self._loaded: dict[tuple[Any, ...], Loaded] = {}
        self._lock = threading.RLock()
        self._is_closed = False
        self._templates: dict[str, str] = {}

    def load(  # noqa: C901
        self, stored: Stored, options: Mapping[str, Any], *, embeds: bool = False
    ) -> Loaded:
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
        spare = 0 if self.generation.native else SPARE_TOKENS
        scale = self.faults.adapter_scale
        key = (model, adapter, context, scale, embeds)
        with self._lock:
            if self._is_closed:
                raise RefusedError(503, "the server is going away")
            if key in self._loaded:
                return self._loaded[key]
            while len(self._loaded) >= MAX_LOADED:
                self._loaded.pop(next(iter(self._loaded))).server.close()
            try:
                applied = rescaled(adapter, scale, self._scratch) if adapter else None
                server = EmbeddedServer(
                    model,
                    adapter=applied,
                    context_tokens=context + spare,
                    threads=1,
                    embeds=embeds,
                )
            except FineTuningError as error:
                raise RefusedError(
                    500, f"llama-server process has terminated: {error.message}"
                ) from error
            size = model.stat().st_size + (adapter.stat().st_size if adapter else 0)
            loaded = Loaded(server, stored, size, context)
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
        if capability == THINKING and THINKING not in self.capabilities(stored):
            raise RefusedError(400, f"{json.dumps(stored.name)} does not support thinking")
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
        thinking: Thinking | None = None,
    ) -> str:
        turns = list(messages)
        turns = [*(stored.json("messages") or ()), *turns]
        system = stored.manifest.text("system")
        if system and (not turns or turns[0]["role"] != "system"):
            turns.insert(0, {"role": "system", "content": system})
        template = self.template_of(stored)
        if template:
            return render_chat(template, turns, tools, thinking)
        body: dict[str, Any] = {"messages": turns, "add_generation_prompt": True}
        if thinking is not None:
            body["chat_template_kwargs"] = {"enable_thinking": thinking.is_wanted}
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
        tools: Sequence[Any] = (),
        thinking: Thinking | None = None,
    ) -> str:
        """Return the prompt of what fits: the oldest messages but the system's are left out."""
        turns = list(messages)
        while True:
            prompt = self.prompt(stored, loaded, turns, tools, thinking)
            oldest = 1 if turns and turns[0]["role"] == "system" else 0
            if len(loaded.tokens(prompt)) < loaded.context_tokens or len(turns) - oldest <= 1:
                return prompt
            turns.pop(oldest)

    def check_length(self, loaded: Loaded, prompt: str) -> None:
        """Refuse a prompt that does not fit, for who asked for no shortening."""
        count, room = len(loaded.tokens(prompt)), loaded.context_tokens
        if count < room:
            return
        if not self.generation.native:
            raise RefusedError(400, "the input length exceeds the context length")
        raise RefusedError(400, json.dumps({"error": {
            "code": 400,
            "message": f"request ({count} tokens) exceeds the available context size "
            f"({room} tokens), try increasing it",
            "type": "exceed_context_size_error", "n_prompt_tokens": count, "n_ctx": room,
        }}))  # fmt: skip

    def _shortened(self, tokens: list[int], room: int, keep: int) -> list[int]:
        """Return what is read of a prompt too long: its beginning, and its end.

        llm/llama_server.go, contextShiftPromptLimit; runner/llamarunner/runner.go, inputs.
        """
        if len(tokens) < room:
            return tokens
        keep = min(max(0, keep), room - 2)
        limit = room - max((room - keep) // 2, 1) if self.generation.native else room
        return [*tokens[:keep], *tokens[len(tokens) - limit + keep :]]

    # Replies

    def generate(
        self,
        loaded: Loaded,
        prompt: str,
        options: Mapping[str, Any],
        *,
        top: int | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> Iterator[Piece]:
        """Yield the pieces of one reply, the last with llama-server's final event.

        There is no last one when a piece is repeated too often: Ollama ends such a reply so.

        Args:
            loaded: Who answers.
            prompt: What is read.
            options: Those of the model and of the request.
            top: How many likely tokens are told at each position; None for no probabilities.
            schema: What the reply has to follow.

        Raises:
            RefusedError: if llama.cpp refuses the prompt or fails half-way.
        """
        tokens = loaded.tokens(prompt)
        if self.faults.truncate_prompt_tokens is not None:
            tokens = tokens[-self.faults.truncate_prompt_tokens :]
        room = loaded.context_tokens
        tokens = self._shortened(tokens, room, int(options.get("num_keep", DEFAULT_KEEP_TOKENS)))
        body = _body(tokens, options, loaded.server.context_tokens, drop_stop=self.faults.drop_stop)
        body["n_probs"] = 0 if top is None else max(1, top)
        if schema is not None:
            body["json_schema"] = schema
        told_by_token = top is not None and not self.generation.native
        repeats = Repeats()
        try:
            for piece in (by_token if told_by_token else joined)(loaded.server, body, top or 0):
                if piece.last is None and repeats.too_many(piece.text):
                    return
                yield piece
        except FineTuningError as error:
            raise RefusedError(500, error.message) from error


def _body(
    tokens: list[int], options: Mapping[str, Any], room: int, *, drop_stop: bool
) -> dict[str, Any]:
    """Return what llama-server is asked."""
    limit = int(options.get("num_predict", -1))
    return {
        "prompt": tokens,
        "n_predict": limit if limit >= 0 else room - len(tokens),
        "temperature": options.get("temperature", 0.8),
        "top_k": options.get("top_k", 40),
        "top_p": options.get("top_p", 0.9),
        "min_p": options.get("min_p", 0.0),
        "seed": options.get("seed", -1),
        "repeat_penalty": options.get("repeat_penalty", 1.0),
        "stop": [] if drop_stop else options.get("stop") or [],
        "ignore_eos": drop_stop,
        "cache_prompt": False,
    }


def dumps(value: object) -> bytes:
    """Return JSON as Go writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
