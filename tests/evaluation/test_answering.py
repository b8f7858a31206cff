"""Answers are kept as they come: what was asked once is never asked again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.errors import RuntimeFailedError
from fine_tuning.core.ports import GREEDY, Sampling, ServedReply
from fine_tuning.evaluation.answering import Answerer
from fine_tuning.evaluation.cache import ResultCache


def asked(number: int) -> tuple[Message, ...]:
    text = f"Say {number}."
    return (Message(id=f"item-{number}", role="user", content=(Part(text=text),)),)


class Echo:
    """A served model that says what it was asked, notes it, and may die at a question for good."""

    def __init__(self, *, dies_at: str = "") -> None:
        self.seen: list[str] = []
        self._dies_at = dies_at
        self._is_dead = False

    @property
    def name(self) -> str:
        return "echo"

    def rendered_prompt(self, messages: Sequence[Message], tools: Any = ()) -> str | None:  # noqa: ARG002 - the port's
        return messages[-1].text

    def complete(
        self,
        messages: Sequence[Message],
        sampling: Sampling = GREEDY,  # noqa: ARG002 - the port's
        *,
        top_log_probabilities: int = 0,  # noqa: ARG002 - the port's
    ) -> ServedReply:
        text = messages[-1].text
        self._is_dead = self._is_dead or bool(self._dies_at and self._dies_at in text)
        if self._is_dead:
            raise RuntimeFailedError("the model server stopped half-way", next_command="try again")
        self.seen.append(text)
        return ServedReply(text=text.upper(), ended=len(text) % 2 == 0, reply_tokens=3)

    def memory_bytes(self) -> int | None:
        return None


def answerer(model: Echo, cache: ResultCache | None = None, **more: Any) -> Answerer:
    return Answerer(lambda: model, **{"name": "b2:echo", "cache": cache, "parallel": 2, **more})


def test_equal_conversations_are_asked_once_and_order_is_kept() -> None:
    model = Echo()
    told: list[tuple[str, int, int]] = []
    replies = answerer(model).answer(
        [asked(1), asked(2), asked(1)], what="asking", progress=lambda *step: told.append(step)
    )
    assert [reply.text for reply in replies] == ["SAY 1.", "SAY 2.", "SAY 1."]
    assert sorted(model.seen) == ["Say 1.", "Say 2."]
    assert told[0] == ("asking", 0, 2)
    assert told[-1] == ("asking", 2, 2)
    assert (replies[0].ended, replies[0].num_tokens) == (True, 3)


def test_what_is_kept_is_not_asked_and_the_model_is_not_even_opened(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "cache.db")
    first = answerer(Echo(), cache).answer([asked(n) for n in range(20)])

    def closed() -> Echo:
        raise AssertionError("the model was opened")

    again = Answerer(closed, name="b2:echo", cache=ResultCache(tmp_path / "cache.db"))
    assert again.answer([asked(n) for n in range(20)]) == first
    assert again.num_asked == 0


@pytest.mark.parametrize(
    "other", [{"name": "b2:other"}, {"sampling": Sampling(max_tokens=7)}], ids=["model", "sampling"]
)
def test_another_model_or_sampling_is_asked_anew(tmp_path: Path, other: dict[str, Any]) -> None:
    cache = ResultCache(tmp_path / "cache.db")
    answerer(Echo(), cache).answer([asked(1)])
    model = Echo()
    answerer(model, cache, **other).answer([asked(1)])
    assert model.seen == ["Say 1."]


def test_a_model_that_dies_is_reported_with_the_item_and_nothing_is_lost(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "cache.db")
    conversations = [asked(n) for n in range(10, 30)]
    dying = answerer(Echo(dies_at="Say 17."), cache, parallel=1)
    with pytest.raises(RuntimeFailedError, match=r"stopped at item 'item-17' .*half-way") as died:
        dying.answer(conversations, what="asking echo")
    assert "7 of 20 replies are kept" in died.value.message
    assert died.value.next_command == "try again"
    well = Echo()
    replies = answerer(well, cache).answer(conversations)
    assert [reply.text for reply in replies] == [f"SAY {n}." for n in range(10, 30)]
    assert sorted(well.seen) == [f"Say {n}." for n in range(17, 30)]


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_answering import Echo, asked
from fine_tuning.evaluation.answering import Answerer
from fine_tuning.evaluation.cache import ResultCache

class Slow(Echo):
    def complete(self, messages, sampling=None, *, top_log_probabilities=0):
        time.sleep(0.02)
        return super().complete(messages)

answerer = Answerer(Slow, name="b2:echo", parallel=2, cache=ResultCache(Path(sys.argv[1])))
answerer.answer([asked(n) for n in range(200)], progress=lambda *step: print(step[1], flush=True))
"""


def test_a_killed_evaluation_goes_on_behind_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    command = [sys.executable, "-c", KILLED, str(path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        done = next(int(line) for line in process.stdout if int(line) >= 25)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    model = Echo()
    again = answerer(model, ResultCache(path))
    replies = again.answer([asked(n) for n in range(200)])
    assert [reply.text for reply in replies] == [f"SAY {n}." for n in range(200)]
    assert len(model.seen) == again.num_asked <= 200 - done
    assert len(set(model.seen)) == len(model.seen)


WRITER = """
import sys
from pathlib import Path
from fine_tuning.evaluation.cache import ResultCache
cache = ResultCache(Path(sys.argv[1]))
for n in range(60):
    cache.keep({f"name-{n}": [sys.argv[2], n]})
"""


def test_two_processes_share_a_cache_and_the_first_result_stands(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cache.db"
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), who]) for who in ("a", "b")
    ]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    found = ResultCache(path).find([f"name-{n}" for n in range(60)] + ["unknown"])
    assert sorted(value[1] for value in found.values()) == list(range(60))
    ResultCache(path).keep({"name-0": ["late", 0]})
    assert ResultCache(path).find(["name-0"])["name-0"][0] in {"a", "b"}


def test_many_names_are_found_at_once(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "cache.db")
    cache.keep({str(n): n for n in range(1200)})
    started = time.monotonic()
    assert len(cache.find([str(n) for n in range(2000)])) == 1200
    assert time.monotonic() - started < 5
