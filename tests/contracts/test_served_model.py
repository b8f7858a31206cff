"""The laws of the port ``ServedModel``, run against every implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fine_tuning.core.errors import RuntimeUnavailableError
from fine_tuning.core.ports import Sampling, ServedModel
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.runtimes.embedded_served import EmbeddedServedModel
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_model import OllamaServedModel
from tests.contracts.over_http import REAL, ollama, served_here
from tests.ollama_stand_in.server import StandIn
from tests.runtimes.models import ask, messages, model_path

SHORT = Sampling(max_tokens=8)
QUESTION = ask("What is the capital of France?")
TURNS = messages(
    ("system", "Be brief."), ("user", "Hello."), ("assistant", "Hi."), ("user", "Who are you?")
)


def embedded() -> Iterator[ServedModel]:
    with EmbeddedServer(model_path(), context_tokens=512, threads=1) as server:
        yield EmbeddedServedModel(server)


@pytest.fixture(scope="module", params=[embedded, ollama, served_here, REAL])
def model(request: pytest.FixtureRequest) -> Iterator[ServedModel]:
    opener: Callable[[], Iterator[ServedModel]] = request.param
    yield from opener()


def test_it_has_a_name(model: ServedModel) -> None:
    assert model.name


def test_the_prompt_is_the_text_before_the_model_or_untold(model: ServedModel) -> None:
    prompt = model.rendered_prompt(TURNS)
    if prompt is None:
        return
    places = [prompt.index(message.text) for message in TURNS]
    assert places == sorted(places), "in the order in which they were said"
    assert prompt.rindex("assistant") > places[-1], "the generation prompt is included"
    assert model.rendered_prompt(TURNS) == prompt


def test_greedy_replies_are_the_same(model: ServedModel) -> None:
    first = model.complete(QUESTION, SHORT)
    model.complete(ask("Name a river."), SHORT)
    assert model.complete(QUESTION, SHORT).text == first.text != ""


def test_a_reply_says_whether_the_model_ended_it(model: ServedModel) -> None:
    assert not model.complete(ask("Write a long story about a fox."), SHORT).ended
    assert model.complete(ask("Say hello."), Sampling(max_tokens=200)).ended


def test_what_is_told_of_a_reply_fits_it(model: ServedModel) -> None:
    reply = model.complete(QUESTION, SHORT, top_log_probabilities=3)
    assert reply.text == model.complete(QUESTION, SHORT).text, "being asked changes nothing"
    assert (reply.reply_tokens or 1) <= 8
    assert (reply.prompt_tokens or 1) > 0
    assert (reply.tokens_per_s or 1) > 0
    assert (reply.load_s or 0) >= 0
    first = reply.first_token_log_probabilities
    assert first is not None
    assert len(first) == 3
    assert all(value <= 0 for value in first.values())
    assert reply.tokens is not None
    assert reply.text.startswith(reply.tokens[0])
    assert max(first, key=lambda text: first[text]) == reply.tokens[0]


def test_its_memory_is_told_or_unknown(model: ServedModel) -> None:
    model.complete(QUESTION, Sampling(max_tokens=1))
    size = model.memory_bytes()
    assert size is None or size > 1_000_000


def test_its_settings_are_told_or_unknown(model: ServedModel) -> None:
    model.complete(QUESTION, Sampling(max_tokens=1))
    settings = model.settings()
    if settings is not None:
        assert (settings.context_tokens or 1) > 0
        assert settings.parameters is None or isinstance(settings.parameters, Mapping)
        assert all(role and text for role, text in settings.messages or ())


def gone_embedded() -> ServedModel:
    with EmbeddedServer(model_path(), context_tokens=256, threads=1) as server:
        return EmbeddedServedModel(server)


def gone_ollama() -> ServedModel:
    with TemporaryDirectory() as folder, StandIn(Path(folder), generation="0.33.0") as server:
        url = server.url
    return OllamaServedModel(OllamaClient(url), "small")


@pytest.mark.parametrize("opener", [gone_embedded, gone_ollama])
def test_a_server_that_is_gone_is_unavailable(opener: Callable[[], ServedModel]) -> None:
    model = opener()
    with pytest.raises(RuntimeUnavailableError):
        model.complete(QUESTION, SHORT)
    with pytest.raises(RuntimeUnavailableError):
        model.rendered_prompt(QUESTION)
