"""Models talked to in this process reply as the server over them does, and share its pool."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fine_tuning.core.errors import ModelNotFoundError, RuntimeFailedError
from fine_tuning.core.ports import Sampling
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_model import OllamaServedModel
from fine_tuning.runtimes.serving.local import LocalModels
from fine_tuning.runtimes.serving.pool import PoolLimits
from tests.runtimes.models import ask
from tests.runtimes.serving.conftest import NAMES, Served, catalog

LIMITS = PoolLimits(parallel=2, context_tokens=512, threads=1)
SHORT = Sampling(max_tokens=8)
SAMPLED = Sampling(max_tokens=8, temperature=1.0, seed=3)
LONG = Sampling(max_tokens=400)


@pytest.fixture(scope="module")
def local(models: Path) -> Iterator[LocalModels]:
    with closing(LocalModels(catalog(models), LIMITS)) as made:
        yield made


@pytest.mark.parametrize("name", [*NAMES, "base", "merged"])
@pytest.mark.parametrize("sampling", [SHORT, SAMPLED])
def test_replies_are_those_of_the_server(
    local: LocalModels, served: Served, name: str, sampling: Sampling
) -> None:
    question = ask("Tell me about owls.")
    with closing(OllamaClient(served.url)) as client:
        over_http = "".join(OllamaServedModel(client, name).reply(question, sampling))
    assert "".join(local.model(name).reply(question, sampling)) == over_http


def test_many_threads_talk_at_the_same_time(local: LocalModels) -> None:
    alone = {name: "".join(local.model(name).reply(ask("Hi"), SHORT)) for name in NAMES}
    together: list[tuple[str, str]] = []

    def talk(name: str) -> None:
        together.append((name, "".join(local.model(name).reply(ask("Hi"), SHORT))))

    threads = [threading.Thread(target=talk, args=(name,)) for name in NAMES * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(together) == len(threads)
    assert all(alone[name] == text for name, text in together)


def test_a_reply_that_is_left_frees_its_slot(models: Path) -> None:
    limits = PoolLimits(parallel=1, context_tokens=512, threads=1)
    with closing(LocalModels(catalog(models), limits)) as made:
        left = made.model("one").reply(ask("Hi"), LONG)
        next(left)
        left.close()
        assert "".join(made.model("one").reply(ask("Hi"), SHORT))


def test_what_cannot_be_replied_says_why(models: Path) -> None:
    made = LocalModels(catalog(models), LIMITS)
    with pytest.raises(ModelNotFoundError, match="'nobody' not found"):
        made.model("nobody")
    with pytest.raises(RuntimeFailedError, match=r"room for 512"):
        list(made.model("one").reply(ask("owl " * 2000), SHORT))
    under_way = made.model("one").reply(ask("Hi"), LONG)
    next(under_way)
    made.close()
    made.close()
    with pytest.raises(RuntimeFailedError, match="were closed"):
        list(under_way)
    with pytest.raises(RuntimeFailedError, match="were closed"):
        list(made.model("one").reply(ask("Hi"), SHORT))
