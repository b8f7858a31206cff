"""Models behind Ollama's protocol, for the suites of more than one port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_model import OllamaServedModel
from tests.network.rented import own_model
from tests.ollama_stand_in.server import StandIn
from tests.runtimes.models import model_path
from tests.runtimes.served_here import serving_models


def ollama() -> Iterator[OllamaServedModel]:
    """Yield a model of Ollama's."""
    with TemporaryDirectory() as folder, StandIn(Path(folder), generation="0.33.0") as server:
        server.add_model("small:latest", model_path())
        yield from _asked(server.url, "small")


def served_here() -> Iterator[OllamaServedModel]:
    """Yield a model of this project's own server."""
    with TemporaryDirectory() as folder, serving_models(Path(folder)) as url:
        yield from _asked(url, "base")


REAL = pytest.param(own_model, id="real", marks=pytest.mark.network)


def _asked(url: str, name: str) -> Iterator[OllamaServedModel]:
    with closing(OllamaClient(url)) as client:
        yield OllamaServedModel(client, name, context_tokens=512)
