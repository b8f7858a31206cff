"""The laws of the port ``ChatModel``, run against every implementation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fine_tuning.core.errors import FineTuningError
from fine_tuning.core.ports import ChatModel, Sampling
from fine_tuning.runtimes.embedded import EmbeddedServer
from tests.contracts.over_http import REAL, ollama, served_here
from tests.runtimes.models import ask, messages, model_path
from tests.runtimes.served_here import local_models

SHORT = Sampling(max_tokens=24)
SAMPLED = Sampling(max_tokens=24, temperature=1.0, seed=7)
LONG = Sampling(max_tokens=160)
STORY = ask("Write a long story about a fox.")


def embedded() -> Iterator[ChatModel]:
    with EmbeddedServer(model_path(), context_tokens=512, threads=1) as server:
        yield server.chat_model


def local() -> Iterator[ChatModel]:
    with TemporaryDirectory() as folder, local_models(Path(folder)) as models:
        yield models.model("base")


@pytest.fixture(scope="module", params=[embedded, ollama, served_here, local, REAL])
def model(request: pytest.FixtureRequest) -> Iterator[ChatModel]:
    opener: Callable[[], Iterator[ChatModel]] = request.param
    yield from opener()


def reply(model: ChatModel, text: str, sampling: Sampling = SHORT) -> str:
    return "".join(model.reply(ask(text), sampling))


def test_it_has_a_name(model: ChatModel) -> None:
    assert model.name


def test_pieces_join_to_a_reply_without_end_of_turn_tokens(model: ChatModel) -> None:
    pieces = list(model.reply(ask("Say hello."), Sampling(max_tokens=200)))
    assert len(pieces) > 3
    assert all(pieces)
    assert "<|" not in "".join(pieces)
    assert "</s>" not in "".join(pieces)


def test_pieces_come_while_the_reply_is_made(model: ChatModel) -> None:
    begin = time.monotonic()
    times = [time.monotonic() - begin for _ in model.reply(STORY, LONG)]
    assert times[0] < 0.6 * times[-1]


def test_greedy_replies_repeat_whatever_was_asked_between(model: ChatModel) -> None:
    first = reply(model, "What is the capital of France?")
    reply(model, "What is the capital of Italy? Tell me more about it.")
    assert reply(model, "What is the capital of France?") == first
    # temperature 0 takes the likeliest token whatever the seed and the other settings
    assert reply(model, "What is the capital of France?", Sampling(
        max_tokens=24, seed=99, top_p=0.5, top_k=3)) == first  # fmt: skip


def test_sampled_replies_follow_their_seed(model: ChatModel) -> None:
    question = "Tell me something surprising."
    first = reply(model, question, SAMPLED)
    assert reply(model, question, SAMPLED) == first
    others = {reply(model, question, Sampling(max_tokens=24, temperature=1.0, seed=seed))
              for seed in range(4)}  # fmt: skip
    assert len(others) > 1
    top_one = Sampling(max_tokens=24, temperature=1.0, top_k=1, seed=3)
    assert reply(model, question, top_one) == reply(model, question)


def test_replies_keep_to_their_limits(model: ChatModel) -> None:
    assert len(list(model.reply(STORY, Sampling(max_tokens=5)))) <= 5
    whole = reply(model, "Write a long story about a fox.")
    word = whole.split()[3]
    stopped = reply(model, "Write a long story about a fox.", Sampling(max_tokens=24, stop=(word,)))
    assert word not in stopped
    assert whole.startswith(stopped)


def test_a_penalty_on_repetition_changes_a_reply_that_repeats(model: ChatModel) -> None:
    question = "Repeat the word apple twenty times."
    plain = reply(model, question, Sampling(max_tokens=60))
    spread = reply(model, question, Sampling(max_tokens=60, repeat_penalty=1.5))
    assert plain != spread


def test_closing_the_iterator_stops_the_work(model: ChatModel) -> None:
    begin = time.monotonic()
    list(model.reply(STORY, LONG))
    whole_s = time.monotonic() - begin
    stream = iter(model.reply(STORY, LONG))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    begin = time.monotonic()
    reply(model, "Hi", Sampling(max_tokens=1))
    assert time.monotonic() - begin < 0.6 * whole_s


def test_it_remembers_what_was_said(model: ChatModel) -> None:
    turns = messages(
        ("system", "Answer with one word."),
        ("user", "My cat is called Mimi."),
        ("assistant", "Nice."),
        ("user", "What is my cat called? Answer with its name."),
    )
    assert "Mimi" in "".join(model.reply(turns, SHORT))


def test_what_cannot_be_answered_is_an_error_for_the_users_eyes(model: ChatModel) -> None:
    with pytest.raises(FineTuningError, match="tokens"):
        reply(model, "word " * 4000)
    assert reply(model, "Say hello.")
