"""What is forecast by counting is counted; what cannot fit is refused before it is written."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fine_tuning.core.errors import OutOfMemoryError, StorageError
from fine_tuning.engine.batch_cost import batch_cost
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.memory import GIB
from fine_tuning.engine.step import cut_ids
from fine_tuning.training import forecast as module
from fine_tuning.training.events_file import read_events
from fine_tuning.training.forecast import (
    ForecastInput,
    disk_bytes,
    forecast,
    memory_plan,
    num_evaluations,
)
from fine_tuning.training.fresh_adapter import fresh_adapter
from fine_tuning.training.plan import TrainingPlan
from fine_tuning.training.run_lifecycle import Listening
from fine_tuning.training.throughput import Throughput, duration, fit
from tests.engine.test_layout import START, after
from tests.training.tiny_llama import DATA, PLAN, TRAINERS, base_model, run_llama


@pytest.fixture
def job(tmp_path: Path) -> Iterator[ForecastInput]:
    with Decoder.open(base_model(tmp_path).path) as decoder:
        yield ForecastInput(
            decoder=decoder,
            adapter=fresh_adapter(decoder, PLAN),
            plan=PLAN,
            data=DATA,
            threads=1,
            wants_unpacked=False,
        )


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_disk_a_run_takes_is_at_most_what_was_forecast(
    tmp_path: Path, job: ForecastInput
) -> None:
    sizes = []

    class Looks:
        def on_event(self, _: object) -> None:
            sizes.append(size_of(tmp_path / "run"))

    plan = replace(PLAN, mode="fast", patience=3)
    run_llama(tmp_path / "run", "qlora", plan, Listening(listener=Looks()))
    fast = replace(job, plan=plan, adapter=fresh_adapter(job.decoder, plan))
    assert 0.5 < max(sizes) / disk_bytes(fast) < 1.1


def test_what_does_not_fit_is_refused_with_the_nearest_that_does(
    tmp_path: Path, job: ForecastInput
) -> None:
    needed = memory_plan(job).needed_bytes
    tight = replace(job, plan=replace(PLAN, memory_budget=0.001))
    with pytest.raises(OutOfMemoryError, match="expected at most") as told:
        forecast(tight, tmp_path / "run")
    assert "training.memory_budget=" in told.value.next_command
    enough = float(told.value.next_command.split("=")[1].split(",")[0])
    fits = replace(job, plan=replace(PLAN, memory_budget=enough))
    assert forecast(fits, tmp_path / "run").memory.fits
    assert enough * GIB > 0.5 * needed
    assert not (tmp_path / "run").exists()


def test_a_machine_too_small_is_offered_smaller_batches(
    tmp_path: Path, job: ForecastInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = [after((), 240, [239], seed=i) for i in range(8)]
    large = replace(job, data=replace(DATA, train=long, validation=()))
    one = replace(large, plan=replace(PLAN, batch_size=1, gradient_accumulation=8))
    resident = module.psutil.Process().memory_info().rss
    between = (_leanest(large) + _leanest(one)) // 2
    monkeypatch.setattr(module, "available_bytes", lambda: (between - resident) / 0.8)
    with pytest.raises(OutOfMemoryError) as told:
        forecast(large, tmp_path)
    assert "gradient_accumulation" in told.value.next_command


def _leanest(job: ForecastInput) -> int:
    return memory_plan(replace(job, plan=replace(job.plan, memory_budget=1e-6))).needed_bytes


def test_a_full_disk_is_refused(
    tmp_path: Path, job: ForecastInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 1000))
    with pytest.raises(StorageError, match="are free"):
        forecast(job, tmp_path / "run")


def test_a_dry_run_tells_all_and_writes_nothing(tmp_path: Path) -> None:
    base = base_model(tmp_path)
    for method, plan in (("qlora", PLAN), ("lora", replace(PLAN, mode="fast"))):
        known = TRAINERS[method](plan).forecast(DATA, base, tmp_path / "run")
        assert known.num_steps == 12
        assert known.time_s is not None
        assert 0 < known.time_s < 60
        assert "GiB" in known.sentence
    assert not (tmp_path / "run").exists()


def test_every_start_is_told_its_forecast(tmp_path: Path) -> None:
    run_llama(tmp_path / "run", "lora", replace(PLAN, memory_budget=4.0))
    events = list(read_events(tmp_path / "run" / "events.jsonl"))
    told = [e for e in events if e.kind == "remark" and "forecast" in str(e.values["message"])]
    assert [e.step for e in told] == [0, 4]
    assert "unpacked" in told[0].values["message"]
    assert "budget 4.0 GiB" in told[0].values["message"]
    assert told[1].values["forecast_time_s"] > 0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["plan"]["memory_budget"] == 4.0


def test_pace_knows_what_a_step_and_a_token_cost() -> None:
    pace = Throughput()
    pace.step(100, 9.0)  # compiles
    for tokens in (100, 300, 200):
        pace.step(tokens, 0.5 + tokens / 100)
    pace.evaluation(2.0)
    assert pace.remaining_s(10, 2500, 3) == pytest.approx(10 * 0.5 + 25 + 6)
    assert fit([100, 100], [2.0, 2.0]) == pytest.approx((0.0, 0.02))
    assert fit([100, 200], [2.0, 1.0]) == pytest.approx((1.5, 0.0))  # noise
    assert fit([100, 200], [1.0, 4.0]) == pytest.approx((0.0, 5 / 300))
    assert [duration(s) for s in (7, 750, 3723)] == ["0:07", "12:30", "1:02:03"]


def test_a_batch_costs_its_distinct_tokens() -> None:
    batch = [after(START, 10, [50], seed=i) for i in range(4)]
    together = batch_cost(batch, 1, may_share=True)
    assert together.at_work_tokens == together.waited_tokens == 45 + 40
    assert together.longest_tokens == 55
    two = batch_cost(batch, 2, may_share=True)
    assert two.num_shares in {1, 2}
    assert two.waited_tokens < together.waited_tokens
    assert sum(len(cut_ids(each)) for each in batch) == 4 * 50


def test_evaluations_are_counted() -> None:
    plan = TrainingPlan(batch_size=4, num_epochs=2, evaluate_every=4)
    assert num_evaluations(plan, DATA, 12) == len({0, 4, 6, 8, 12})
    assert num_evaluations(plan, replace(DATA, validation=()), 12) == 0
