"""The runtimes that create and name models, each with a base it can build on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from fine_tuning.core.ports import AliasingRuntime
from fine_tuning.runtimes.embedded_runtime import EmbeddedRuntime
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_runtime import OllamaRuntime
from tests.network.rented import own_runtime
from tests.ollama_stand_in.server import StandIn
from tests.runtimes.models import model_path
from tests.runtimes.served_here import serving_models

NO_ADAPTERS = ("0.40.0",)


@dataclass(frozen=True)
class Case:
    """A runtime, a base it can build on, and a fresh look at the same models."""

    runtime: AliasingRuntime
    base: str
    again: Callable[[], AliasingRuntime]
    takes_adapters: bool = True


def embedded(folder: Path, _stack: ExitStack) -> Case:
    look = partial(EmbeddedRuntime, folder / "models", ollama_models=folder / "ollama")
    return Case(look(), "embedded", look)


def ollama(generation: str) -> Callable[[Path, ExitStack], Case]:
    def make(folder: Path, stack: ExitStack) -> Case:
        server = stack.enter_context(StandIn(folder, generation=generation))
        server.add_model("small:latest", model_path(), system="Be brief.")
        look = _looking_at(server.url, stack)
        return Case(look(), "small", look, generation not in NO_ADAPTERS)

    return make


def served_here(folder: Path, stack: ExitStack) -> Case:
    look = _looking_at(stack.enter_context(serving_models(folder)), stack)
    return Case(look(), "base", look)


def at_address(_folder: Path, stack: ExitStack) -> Case:
    look, base, takes_adapters = own_runtime(stack)
    return Case(look(), base, look, takes_adapters)


REAL = pytest.param(at_address, id="real", marks=pytest.mark.network)


def _looking_at(url: str, stack: ExitStack) -> Callable[[], AliasingRuntime]:
    def look() -> AliasingRuntime:
        client = OllamaClient(url)
        stack.callback(client.close)
        return OllamaRuntime(client)

    return look
