"""A logger that is given no session: an odd exchange costs itself, and nothing is one long chat."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uuid_utils

from fine_tuning.data_collection.conversation_logger import ConversationLogger
from fine_tuning.data_preparation.snapshot import SPLITS, Snapshot
from fine_tuning.workbench.workbench import Workbench
from tests.real_inputs.pipeline import workbench

pytestmark = pytest.mark.real_input("logger without session")

TEXT = (
    "invoice parcel printer meeting report garden kitchen bicycle harbour museum recipe window "
    "battery contract holiday library mountain concert teacher bridge Rechnung Drucker Garten "
    "Besprechung facture imprimante réunion jardin factura impresora reunión jardín фактура "
    "принтер встреча сад 請求書 会議 庭 発票 打印机 फ़ाइल बैठक"
)
WORDS = TEXT.split()
Exchange = tuple[str, str]


class FakeClock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 2, 8, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic_s(self) -> float:
        return self.time.timestamp()


def ordinary(draw: random.Random, number: int) -> Exchange:
    asked, said = draw.choices(WORDS, k=draw.randint(3, 12)), draw.choices(WORDS, k=18)
    return f"Question {number}: {' '.join(asked)}?", f"{' '.join(said).capitalize()}."


def long_answer(draw: random.Random, number: int) -> Exchange:
    words = " ".join(draw.choices(WORDS, k=900))
    return f"Explain {number} at length, please.", words[:5000]


def user_swears(draw: random.Random, number: int) -> Exchange:
    asked, said = ordinary(draw, number)
    return f"{draw.choice(['Shit, again', 'Damn, scheiße', 'Putain'])}! {asked}", said


def loop(draw: random.Random, number: int) -> Exchange:
    return f"What does animal {number} say?", f"{draw.choice(WORDS)} " * 40


ODD: tuple[Callable[[random.Random, int], Exchange], ...] = (long_answer, user_swears, loop)


def log_ten_days(logger: ConversationLogger, clock: FakeClock, seed: int) -> None:
    """Log 1,000 exchanges, a hundred a day in two or three sittings; every 33rd is odd."""
    draw = random.Random(seed)
    for number in range(1000):
        if number % 100 == 0:
            clock.time = datetime(2026, 3, 2 + number // 100, 8, tzinfo=UTC)
        elif draw.random() < 0.02:
            clock.time += timedelta(hours=draw.uniform(0.6, 3))
        clock.time += timedelta(seconds=draw.randint(20, 180))
        kind = ODD[number // 33 % 3] if number % 33 == 32 else ordinary
        logger.log_conversation(*kind(draw, number))


def bench_at(home: Path) -> Workbench:
    return workbench(home, training={"base_model": "embedded"})


def num_replies(snapshot: Snapshot) -> int:
    return sum(snapshot.manifest["splits"][split]["replies"] for split in SPLITS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_of_1000_exchanges_over_ten_days_960_are_trained_on(tmp_path: Path, seed: int) -> None:
    bench, clock = bench_at(tmp_path), FakeClock()
    store = bench.context.store
    log_ten_days(ConversationLogger(store=store, clock=clock), clock, seed)
    sessions = bench.data.conversations()
    assert 20 <= len(sessions) <= 80
    assert max(len(one.messages) for one in sessions) == 100, "fifty exchanges at most"
    snapshot = bench.data.prepare()
    assert num_replies(snapshot) >= 960
    assert all(snapshot.conversation_ids[split] for split in SPLITS)
    replies = snapshot.manifest["replies"]
    assert replies["given"] == replies["kept"] + sum(snapshot.manifest["lost_replies"].values())


@pytest.mark.slow
def test_a_log_that_was_one_chat_is_trained_on_too(tmp_path: Path) -> None:
    bench, clock = bench_at(tmp_path), FakeClock()
    # As loggers recorded it before they ended sessions themselves.
    log = ConversationLogger(
        store=bench.context.store, clock=clock, session_id=str(uuid_utils.uuid7())
    )
    log_ten_days(log, clock, seed=3)
    (recorded,) = bench.data.conversations()
    snapshot = bench.data.prepare()
    assert num_replies(snapshot) >= 960
    names = {name for split in SPLITS for name in snapshot.conversation_ids[split]}
    assert names == {recorded.id}, "what is forgotten by its id is forgotten"
    bench.data.eraser.forget(recorded.id)
    assert not list(bench.context.workspace.datasets.glob("b2-*"))


def test_three_hundred_exchanges_at_once(tmp_path: Path) -> None:
    bench, draw = bench_at(tmp_path), random.Random(1)
    logger = ConversationLogger(bench.context.workspace.conversations)
    for number in range(300):
        logger.log_conversation(*ordinary(draw, number))
    snapshot = bench.data.prepare()
    assert num_replies(snapshot) == 300
    assert snapshot.manifest["lost_replies"] == {}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_exchange_costs_itself_at_most(
    tmp_path: Path, odd: Callable[[random.Random, int], Exchange]
) -> None:
    bench, draw = bench_at(tmp_path), random.Random(4)
    logger = ConversationLogger(store=bench.context.store, path=tmp_path / "unused.jsonl")
    for number in range(50):
        logger.log_conversation(*ordinary(draw, number))
    logger.log_conversation(*odd(draw, 50))
    exchanges = bench.data.clean().counts["exchanges"]
    assert exchanges["in"] == 51
    assert exchanges["kept"] >= 50
