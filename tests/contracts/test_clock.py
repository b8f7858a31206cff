"""The laws of the port ``Clock``, run against the machine's clock and those tests own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from fine_tuning.core.clock import SystemClock
from fine_tuning.core.ports import Clock
from tests.data_collection.test_conversation_logger import TickingClock
from tests.training.tiny import SteppingClock


@pytest.fixture(params=[SystemClock, TickingClock, SteppingClock])
def clock(request: pytest.FixtureRequest) -> Clock:
    opener: Callable[[], Clock] = request.param
    return opener()


def test_the_time_of_day_is_utc_and_says_so(clock: Clock) -> None:
    moment = clock.now()
    assert moment.utcoffset() == timedelta(0)
    assert clock.now() >= moment


def test_seconds_never_go_backwards(clock: Clock) -> None:
    seen = []
    for _ in range(100):
        seen.append(clock.monotonic_s())
        clock.now()
    assert seen == sorted(seen)
