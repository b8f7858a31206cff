"""Long work in processes of its own, on a tiny model: killed, resumed, compared, refused."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from fine_tuning.config.presets import PRESETS, find_preset
from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import ConfigError, DataError, ModelNotFoundError, TrainingError
from fine_tuning.jobs.job import Job, JobState
from fine_tuning.jobs.job_queue import DIED
from fine_tuning.workbench.jobs.kinds import queue_of
from fine_tuning.workbench.workbench import Workbench
from tests import waiting
from tests.workbench.trained import TOPICS, write_base

LIMIT_S = 120.0
wait_for = partial(waiting.wait_for, limit_s=LIMIT_S)
STEPS = 90
OVERRIDES = {
    "training.max_steps": STEPS,
    "training.num_epochs": 1000,
    "training.early_stopping_patience": None,
    "training.checkpoint_every_steps": 5,
}


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def open_bench(folder: Path, **sections: dict[str, object]) -> Workbench:
    base = folder / "base.gguf"
    settings = {
        "training": {"base_model": str(base), "threads": 1, "compute_dtype": "float32"},
        "data_preparation": {"train_ratio": 0.6, "validation_ratio": 0.2, "test_ratio": 0.2},
        "evaluation": {"test_prompts": [], "max_replies": 0, "ability_probe": False},
        "deployment": {"runtime": "embedded", "family": "tiny"},
        **sections,
    }
    return Workbench(Settings.model_validate(settings), Workspace(home=folder / "home"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jobs")
    write_base(folder / "base.gguf")
    logger = open_bench(folder).data.logger()
    for number, topic in enumerate(TOPICS * 2):
        asked = f"Please tell me thing number {number} about {topic} in one sentence."
        logger.log_conversation(asked, f"Of {topic} I know fact {number}.", session_id=str(number))
    return folder


@pytest.fixture
def bench(prepared: Path) -> Iterator[Workbench]:
    made = open_bench(prepared)
    yield made
    for job in made.jobs.all():
        if not job.is_over and job.state != "paused":
            made.jobs.stop(job.id)
    wait_for(lambda: all(job.state != "running" for job in made.jobs.all()))


def wait_until(bench: Workbench, job_id: str, *states: JobState) -> Job:
    wait_for(lambda: bench.jobs.find(job_id).state in {*states, "failed"})
    job = bench.jobs.find(job_id)
    assert job.state in states, job.sentence
    return job


def steps(bench: Workbench, run_id: str) -> list[int]:
    try:
        return [event.step for event in bench.jobs.run_events(run_id) if event.kind == "step"]
    except DataError:
        return []  # not begun


def adapter(bench: Workbench, run_id: str) -> str:
    manifest = bench.context.workspace.runs / run_id / "manifest.json"
    return str(json.loads(manifest.read_text(encoding="utf-8"))["adapter"]["name"])


def test_a_killed_training_is_noticed_and_ends_as_an_undisturbed_one(bench: Workbench) -> None:
    job_id = bench.jobs.start_training("balanced", OVERRIDES, then_compare=False)
    wait_for(lambda: len(steps(bench, job_id)) > 8)
    (run,) = (one for one in bench.jobs.runs() if one.run_id == job_id)
    assert (run.state, run.pid) == ("running", bench.jobs.find(job_id).pid)
    with pytest.raises(TrainingError, match="is running, expected one that was interrupted"):
        bench.jobs.start_resuming(job_id)
    os.kill(run.pid, signal.SIGKILL)
    wait_for(lambda: bench.jobs.find(job_id).state == "failed")
    assert bench.jobs.find(job_id).sentence == DIED
    assert [one.state for one in bench.jobs.runs() if one.run_id == job_id] == ["interrupted"]
    assert bench.jobs.start_resuming(job_id) == job_id
    done = wait_until(bench, job_id, "finished")
    assert done.result["version"] == f"tiny:{len(bench.models.register.versions())}"
    assert "is trained; its loss on held-back chats went from" in done.sentence
    assert steps(bench, job_id) == list(range(1, STEPS + 1))
    progress = bench.jobs.progress(job_id)
    assert progress.stage == "training"
    assert progress.memory_bytes > 0
    whole = Workbench(bench.jobs.preset_settings("balanced", OVERRIDES), bench.context.workspace)
    whole.train.train(run_id="whole")
    assert adapter(bench, job_id) == adapter(bench, "whole")


@pytest.mark.slow
def test_a_paused_training_goes_on_and_is_compared_and_deployed(bench: Workbench) -> None:
    job_id = bench.jobs.start_training("balanced", OVERRIDES)
    wait_for(lambda: len(steps(bench, job_id)) > 3)
    bench.jobs.pause(job_id)
    paused = wait_until(bench, job_id, "paused")
    assert "was interrupted at step" in paused.sentence
    assert bench.jobs.resume(job_id).state in {"queued", "running"}
    wait_until(bench, job_id, "finished")
    (compared,) = (j for j in bench.jobs.all() if j.kind == "evaluate" and j.run_id == job_id)
    judged = wait_until(bench, compared.id, "finished")
    assert judged.result["outcome"] in {"promote", "reject", "not enough evidence"}
    assert next(run for run in bench.jobs.runs() if run.run_id == job_id).is_evaluated
    deployed = bench.jobs.start_deployment(job_id)
    served = wait_until(bench, deployed, "finished", "failed")
    assert served.sentence  # a tiny random model may well not be proven: then it says why


@pytest.mark.slow
def test_a_demo_that_was_killed_goes_on_and_ends_deployed(tmp_path: Path) -> None:
    settings = Settings.model_validate({"deployment": {"runtime": "embedded"}})
    bench = Workbench(settings, Workspace(home=tmp_path))
    job_id = bench.jobs.start_demo()
    assert bench.jobs.start_demo() == job_id
    events = bench.context.workspace.demo / "fine_tuned_models" / "handbook" / "events.jsonl"
    wait_for(lambda: events.exists() and events.read_bytes().count(b'"step",') > 5)
    os.kill(bench.jobs.find(job_id).pid, signal.SIGKILL)
    wait_for(lambda: bench.jobs.find(job_id).state == "failed")
    bench.jobs.resume(job_id)
    wait_for(lambda: bench.jobs.find(job_id).is_over, limit_s=1800)
    assert bench.jobs.find(job_id).state == "finished", bench.jobs.find(job_id).sentence
    (version,) = bench.models.register.versions()
    assert version.outcome == "promote"
    assert [one.version for one in bench.models.aliases.all_aliases()] == [version.name]
    judged = bench.evaluate.summary("handbook")
    assert judged is not None
    assert len(judged.of("question")) == 100
    assert not bench.context.workspace.conversations.exists()  # the samples lie apart


def test_what_cannot_work_says_why(tmp_path: Path) -> None:
    write_base(tmp_path / "base.gguf")
    bench = open_bench(tmp_path)
    assert bench.jobs.all() == []
    assert bench.jobs.runs() == []
    job_id = bench.jobs.start_training("quick", then_compare=False)
    wait_for(lambda: bench.jobs.find(job_id).state == "failed")
    job = bench.jobs.find(job_id)
    assert job.sentence.startswith("No conversations to train on")
    assert "fine-tuning chat" in job.next_command
    bench.jobs.remove(job_id)
    assert bench.jobs.all() == []


def test_settings_of_another_version_are_a_sentence(tmp_path: Path) -> None:
    write_base(tmp_path / "base.gguf")
    bench = open_bench(tmp_path)
    queue = queue_of(bench.context.workspace.home)
    raw = bench.context.settings.model_dump(mode="json")
    job = queue.add("train", {}, {**raw, "training": {**raw["training"], "gone": 1}})
    wait_for(lambda: bench.jobs.find(job.id).state == "failed")
    assert "does not take (training.gone)" in bench.jobs.find(job.id).sentence
    assert bench.jobs.find(job.id).next_command == "start it anew"


def test_what_is_asked_wrongly_is_refused_before_a_process_starts(tmp_path: Path) -> None:
    bench = open_bench(tmp_path)
    with pytest.raises(ConfigError, match=r"training.lora_r = 0 \(chosen\): expected a whole"):
        bench.jobs.start_training("quick", {"training.lora_r": 0})
    with pytest.raises(ConfigError, match="unknown setting; the nearest"):
        bench.jobs.start_training("quick", {"training.lora": 8})
    with pytest.raises(ConfigError, match="no preset 'fast', expected one of quick, balanced"):
        bench.jobs.start_training("fast")
    with pytest.raises(ModelNotFoundError):
        bench.jobs.start_evaluation("latest")
    with pytest.raises(ModelNotFoundError):
        bench.jobs.start_deployment("latest")
    with pytest.raises(TrainingError, match="there is no run 'x'"):
        bench.jobs.start_resuming("x")
    with pytest.raises(DataError, match="there is no run 'x'"):
        bench.jobs.run_events("x")
    assert not bench.context.workspace.jobs.exists()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_settings_the_schema_accepts(tmp_path: Path, name: str) -> None:
    bench = open_bench(tmp_path)
    settings = bench.jobs.preset_settings(name, base="embedded")
    for dotted, value in find_preset(name).values.items():
        section, key = dotted.split(".")
        assert getattr(getattr(settings, section), key) == value
    assert settings.training.base_model == "embedded"
    assert settings.training.threads == 1  # what a preset does not name stands
    assert settings.deployment == bench.context.settings.deployment


def test_a_forecast_is_found_by_what_it_depends_on(bench: Workbench) -> None:
    assert bench.jobs.forecast_job() is None
    job_id = bench.jobs.start_forecast({"training.num_epochs": 2})
    assert bench.jobs.start_forecast({"training.num_epochs": 2}) == job_id
    done = wait_until(bench, job_id, "finished")
    assert set(done.result["presets"]) == set(PRESETS)
    for known in done.result["presets"].values():
        assert known["forecast_time_s"] > 0
        assert known["forecast_memory_bytes"] > 0
    assert done.result["num_examples"] > 0
    found = bench.jobs.forecast_job({"training.num_epochs": 2})
    assert found is not None
    assert found.id == job_id
    assert bench.jobs.forecast_job({"training.num_epochs": 3}) is None
    bench.data.logger().log_conversation("One more question about tea?", "Of tea I know one more.")
    assert bench.jobs.forecast_job({"training.num_epochs": 2}) is None
