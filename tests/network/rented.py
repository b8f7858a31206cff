"""Names of a real server that are the tests' own, and that are removed whatever happens.

The server's address comes from TEST_OLLAMA: make test-ollama OLLAMA=http://127.0.0.1:11434
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace

import httpx
import pytest

from fine_tuning.core.ports import ModelInfo, ModelRecipe, Progress
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_model import OllamaServedModel
from fine_tuning.runtimes.ollama_runtime import OllamaRuntime
from tests.runtimes.models import model_path

VARIABLE = "TEST_OLLAMA"
ADDRESS = os.environ.get(VARIABLE, "")
PREFIX = "ft-test-"
TIMEOUT_S = 600.0


class Rented:
    """Names on a server that begin with a prefix of ours."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.prefix = f"{PREFIX}{secrets.token_hex(4)}-"

    def digests(self) -> dict[str, str]:
        """Return all models' digests by name, other people's included."""
        answer = httpx.get(f"{self.url}/api/tags", timeout=TIMEOUT_S, trust_env=False)
        return {row["name"]: row["digest"] for row in answer.raise_for_status().json()["models"]}

    def names(self) -> set[str]:
        """Return the names that are ours."""
        return {name for name in self.digests() if name.startswith(self.prefix)}

    def others(self) -> dict[str, str]:
        """Return the digests of names that are not the tests'."""
        return {k: v for k, v in self.digests().items() if not k.startswith(PREFIX)}

    def remove(self) -> None:
        """Take away every name of ours."""
        for name in self.names():
            body = {"model": name, "name": name}
            httpx.request("DELETE", f"{self.url}/api/delete", json=body, timeout=TIMEOUT_S,
                          trust_env=False)  # fmt: skip


@contextmanager
def rented() -> Iterator[Rented]:
    """Yield names on the server under test; they are removed, and nobody else's has changed."""
    if not ADDRESS:
        pytest.skip(f"{VARIABLE} names no server. Next: make test-ollama OLLAMA=http://…")
    names = Rented(ADDRESS)
    before = names.others()
    try:
        yield names
    finally:
        names.remove()
    assert names.names() == set()
    assert names.others() == before, "the names of others have changed"


class OwnNames:
    """A runtime whose every name has the prefix, and that sees no other (AliasingRuntime)."""

    def __init__(self, runtime: OllamaRuntime, prefix: str) -> None:
        self._runtime, self._prefix = runtime, prefix

    @property
    def name(self) -> str:
        return self._runtime.name

    def _theirs(self, name: str) -> str:
        # A name that cannot be one stays wrong.
        return name if name.startswith(("..", "/")) else self._prefix + name

    def _ours(self, info: ModelInfo) -> ModelInfo:
        return replace(info, name=info.name.removeprefix(self._prefix))

    def list(self) -> Sequence[ModelInfo]:
        return [
            self._ours(info) for info in self._runtime.list() if info.name.startswith(self._prefix)
        ]

    def show(self, name: str) -> ModelInfo:
        return self._ours(self._runtime.show(self._theirs(name)))

    def create(self, name: str, recipe: ModelRecipe, progress: Progress | None = None) -> ModelInfo:
        return self._ours(self._runtime.create(self._theirs(name), recipe, progress))

    def delete(self, name: str) -> None:
        self._runtime.delete(self._theirs(name))

    def point_alias(self, alias: str, target: str) -> ModelInfo:
        return self._ours(self._runtime.point_alias(self._theirs(alias), self._theirs(target)))

    def warm_up(self, name: str) -> None:
        self._runtime.warm_up(self._theirs(name))


def own_runtime(stack: ExitStack) -> tuple[Callable[[], OwnNames], str, bool]:
    """Return a look at names of ours, the base among them, and whether adapters are taken."""
    names = stack.enter_context(rented())

    def runtime() -> OllamaRuntime:
        return OllamaRuntime(stack.enter_context(closing(OllamaClient(names.url))))

    base = f"{names.prefix}base"
    runtime().create(base, ModelRecipe(base=str(model_path()), system="Be brief."))
    takes = runtime().facts().takes_adapters
    return lambda: OwnNames(runtime(), names.prefix), base, bool(takes)


def own_model() -> Iterator[OllamaServedModel]:
    """Yield the small model under a name of ours."""
    with ExitStack() as stack:
        _, base, _ = own_runtime(stack)
        with closing(OllamaClient(ADDRESS)) as client:
            yield OllamaServedModel(client, base, context_tokens=512)
