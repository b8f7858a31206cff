"""How long models stay loaded, as requests ask for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fine_tuning.core.errors import DataError
from fine_tuning.runtimes.serving.pool import PoolLimits
from fine_tuning.runtimes.serving.requests import keep_alive_s
from tests.runtimes.serving.conftest import Served, open_served


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (None, None), ("", None), (0, 0), ("0", 0), (300, 300), ("5m", 300), ("1h30m", 5400),
        (-1, -1), ("-1", -1), ("-1m", -60), ("1.5s", 1.5), ("500ms", 0.5), (2.5, 2.5),
    ],
)  # fmt: skip
def test_durations_are_read_in_all_forms(given: str | float | None, seconds: float | None) -> None:
    assert keep_alive_s(given) == seconds


@pytest.mark.parametrize("given", ["soon", "5 m", "m", "5x", "1h30"])
def test_what_is_no_duration_is_refused(given: str) -> None:
    with pytest.raises(DataError, match="invalid duration"):
        keep_alive_s(given)


@pytest.fixture
def single(models: Path) -> Iterator[Served]:
    yield from open_served(models, PoolLimits(parallel=1, context_tokens=512, threads=1))


def loaded(served: Served) -> dict[str, float]:
    """Return the loaded models and how many seconds they stay."""
    rows = served.http.get("/api/ps").json()["models"]
    ends = {row["name"]: datetime.fromisoformat(row["expires_at"]) for row in rows}
    return {name: (end - datetime.now(UTC)).total_seconds() for name, end in ends.items()}


def test_models_leave_when_their_time_is_up(single: Served) -> None:
    single.chat("one", "Hi", keep_alive="10m")
    assert 500 < loaded(single)["one:latest"] < 600
    single.chat("one", "Hi", keep_alive=-1)
    assert loaded(single)["one:latest"] > 1e9
    single.chat("one", "Hi", keep_alive="200ms")
    until_s = time.monotonic() + 10
    while loaded(single) and time.monotonic() < until_s:
        time.sleep(0.05)
    assert not loaded(single)
    answer = single.chat("one", "Hi", keep_alive=0)
    assert answer["load_duration"] > 0
    assert not loaded(single)
