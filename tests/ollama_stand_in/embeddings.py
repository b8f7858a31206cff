"""/api/embed, /api/embeddings: texts as vectors, where the server makes them of a chat model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fine_tuning.core.errors import FineTuningError
from tests.ollama_stand_in.generations import Generation
from tests.ollama_stand_in.requests import RefusedError, check_options, keep_alive_s
from tests.ollama_stand_in.runner import DEFAULT_CONTEXT_TOKENS, Loaded, Runner
from tests.ollama_stand_in.store import Stored

NO_EMBEDDINGS = "This server does not support embeddings. Start it with `--embeddings`"
TOO_LONG = "the input length exceeds the context length"
SECOND_NS = 10**9


class Embeddings:
    """Answers requests for embeddings."""

    def __init__(self, generation: Generation, runner: Runner) -> None:
        self.generation, self.runner = generation, runner

    def embed(self, stored: Stored, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer of /api/embed: vectors of length 1."""
        texts = _texts(request.get("input"))
        options, begun_s = self._options(stored, request), time.monotonic()
        answer = {"model": request.get("model") or stored.name}
        if not texts:
            return {**answer, "embeddings": []}
        room = int(options.get("num_ctx", DEFAULT_CONTEXT_TOKENS))
        counter = self.runner.load(stored, options)
        tokens = [counter.tokens(text) for text in texts]
        if request.get("truncate") is False and max(map(len, tokens)) > room:
            raise RefusedError(400, TOO_LONG)
        if not self.generation.embeds:
            raise RefusedError(501, NO_EMBEDDINGS)
        loaded = self.runner.load(stored, options, embeds=True)
        load_s = time.monotonic() - begun_s
        rows = [_vector(loaded, ids[:room]) for ids in tokens]
        if dimensions := request.get("dimensions"):
            rows = [row[:dimensions] for row in rows]
        return {
            **answer,
            "embeddings": [(row / np.linalg.norm(row)).tolist() for row in rows],
            "total_duration": int((time.monotonic() - begun_s) * SECOND_NS),
            "load_duration": int(load_s * SECOND_NS) or 1,
            "prompt_eval_count": sum(map(len, tokens)),
        }

    def embeddings(self, stored: Stored, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer of /api/embeddings, the older way: one vector as it comes."""
        options = self._options(stored, request)
        text = str(request.get("prompt") or "")
        if not text:
            return {"embedding": []}
        if not self.generation.embeds:
            raise RefusedError(500, NO_EMBEDDINGS)
        loaded = self.runner.load(stored, options, embeds=True)
        return {"embedding": _vector(loaded, loaded.tokens(text)).tolist()}

    def _options(self, stored: Stored, request: Mapping[str, Any]) -> dict[str, Any]:
        keep_alive_s(request.get("keep_alive"))
        params = stored.json("params") or {}
        return check_options({**params, **(request.get("options") or {})})


def _texts(given: Any) -> Sequence[str]:
    if given is None or given == "":
        return []
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise RefusedError(400, "invalid input type")
    return texts


def _vector(loaded: Loaded, ids: Sequence[int]) -> Any:
    try:
        answer = loaded.server._client.post("/v1/embeddings", {"input": list(ids)})
    except FineTuningError as error:
        raise RefusedError(500, error.message) from error
    return np.asarray(answer["data"][0]["embedding"], dtype=np.float64)
