"""The page Train in every state: nothing yet, ready, at work, paused, failed, full, torn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fine_tuning.integration.app.train_curves import MAX_POINTS, TRAINING, VALIDATION, losses
from fine_tuning.jobs.job_queue import DIED
from fine_tuning.workbench.workbench import Workbench
from tests.integration.app.scenes import (
    labels,
    log_conversations,
    page,
    press,
    settle_in,
    sleeping_job,
    sleeping_queue,
    words,
    write_begun_run,
    write_events,
)
from tests.waiting import wait_for
from tests.workbench.trained import Trained, write_trained

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    made = write_trained(tmp_path)
    settle_in(made, monkeypatch)
    return made


@pytest.fixture
def bench(trained: Trained) -> Iterator[Workbench]:
    made = trained.bench()
    yield made
    for job in made.jobs.all():
        if job.state in {"queued", "running"}:
            made.jobs.stop(job.id)
    wait_for(lambda: all(job.state != "running" for job in made.jobs.all()))


def test_nothing_yet_offers_a_chat_and_the_demo(bench: Workbench) -> None:
    app = page("train")
    assert "There is nothing to train on yet" in words(app)
    assert labels(app) == ["Start a chat", "Load the sample conversations and train the demo"]
    assert bench.jobs.all() == []


def test_the_form_offers_what_is_installed_and_says_what_presets_mean(bench: Workbench) -> None:
    log_conversations(bench)
    app = page("train")
    assert not app.error
    (bases, *_) = app.selectbox
    assert any(
        option.startswith(bench.context.settings.training.base_model) for option in bases.options
    )
    assert all("fits: about" in option for option in bases.options)
    assert app.radio[0].options == ["Quick", "Balanced", "Thorough"]
    assert "Time and memory are not known yet" in words(app)
    assert {"Start training", "Forecast"} <= set(labels(app))


def test_every_training_setting_has_a_widget_and_its_sentence(bench: Workbench) -> None:
    log_conversations(bench)
    app = page("train")
    shown = {
        one.key.rpartition(".")[2]: one
        for kind in (app.selectbox, app.number_input, app.toggle, app.multiselect, app.text_input)
        for one in kind
        if one.key and one.key.startswith("set-balanced-training.")
    }
    fields = type(bench.context.settings.training).model_fields
    assert set(shown) == set(fields) - {"base_model", "output_dir"}
    for name, widget in shown.items():
        assert " ".join((fields[name].description or "").split())[:40] in widget.help
    # Choosing another preset starts from its values.
    app.radio[0].set_value("thorough").run()
    assert app.number_input(key="set-thorough-training.lora_r").value == 32


def test_what_is_left_out_is_said_before_a_training_starts(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINE_TUNING__DATA_COLLECTION__MIN_CONVERSATION_LENGTH", "47")
    log_conversations(bench)
    app = page("train")
    text = words(app).replace("\\", "")
    exchanges = len(list(bench.context.store.conversations()))
    kept = int(text.split(f" of {exchanges} exchanges are kept")[0].rsplit(" ", 1)[1])
    left_out = exchanges - kept
    assert 0 < kept < exchanges
    assert f"Too short: {left_out} of {exchanges} exchanges are left out" in text
    assert "data_collection.min_conversation_length=" in text
    assert not app.error


def test_a_setting_that_is_refused_is_a_sentence_and_nothing_starts(bench: Workbench) -> None:
    log_conversations(bench)
    app = page("train")
    app.number_input(key="set-balanced-data_preparation.train_ratio").set_value(1.5).run()
    assert not app.exception
    (error,) = app.error
    assert "train\\_ratio" in error.value
    assert "Start training" not in labels(app)


def test_started_trainings_wait_in_a_queue_with_what_was_chosen(bench: Workbench) -> None:
    log_conversations(bench)
    sleeping_job(bench)  # holds the runner, so that what is asked for waits
    app = page("train")
    app.number_input(key="set-balanced-training.lora_r").set_value(8).run()
    press(app, "Start training")
    queued = bench.jobs.all()[-1]
    assert queued.state == "queued"
    assert queued.settings["training"]["lora_r"] == 8
    assert queued.settings["training"]["learning_rate"] == 1e-3
    assert queued.params["then_compare"] is True
    assert "waiting" in words(app)


def test_work_is_seen_paused_and_stopped(bench: Workbench) -> None:
    job = sleeping_job(bench)
    wait_for(lambda: bench.jobs.progress(job.id).fraction is not None)
    app = page("train")
    said = words(app)
    assert "Training monday" in said
    assert "running" in said
    assert "Quick, on embedded" in said
    press(app, "Pause")
    wait_for(lambda: bench.jobs.find(job.id).state == "paused")
    app.run()
    assert "interrupted at step 3 of 12" in words(app)
    assert {"Resume", "Stop"} <= set(labels(app))


def test_a_killed_job_says_so_and_can_go_on(bench: Workbench) -> None:
    job = sleeping_job(bench)
    wait_for(lambda: bench.jobs.progress(job.id).fraction is not None)
    os.kill(bench.jobs.find(job.id).pid, signal.SIGKILL)
    wait_for(lambda: bench.jobs.find(job.id).state == "failed")
    app = page("train")
    assert "failed" in words(app)
    assert DIED[:40].capitalize() in words(app)
    press(app, "Remove from the list")
    assert bench.jobs.all() == []


def test_a_job_that_failed_says_why_and_what_helps(bench: Workbench) -> None:
    queue = sleeping_queue(bench)
    job = sleeping_job(bench)
    wait_for(lambda: bench.jobs.progress(job.id).fraction is not None)
    os.kill(bench.jobs.find(job.id).pid, signal.SIGKILL)
    wait_for(lambda: bench.jobs.find(job.id).state == "failed")
    path = queue.folder / f"{job.id}.json"
    text = path.read_text(encoding="utf-8").replace(DIED, "memory ran out in step 3")
    path.write_text(text.replace('"next_command": ""', '"next_command": "choose less"'))
    said = words(page("train"))
    assert "Memory ran out in step 3" in said
    assert "Next: choose less" in said


def test_a_run_of_the_command_line_is_seen_and_an_interrupted_one_can_go_on(
    bench: Workbench,
) -> None:
    write_begun_run(bench, "tuesday", pid=os.getpid())
    write_begun_run(bench, "wednesday")
    app = page("train")
    said = words(app)
    assert "Started from the command line" in said
    assert "Run wednesday" in said
    assert "It left a checkpoint" in said
    states = {run.run_id: run.state for run in bench.jobs.runs()}
    assert states == {"tuesday": "running", "wednesday": "interrupted"}


def test_a_process_with_the_number_of_a_dead_one_works_on_no_run(bench: Workbench) -> None:
    folder = write_begun_run(bench, "tuesday", pid=os.getpid())
    os.utime(folder / ".lock", (0, 0))  # written long before this process began
    assert [run.state for run in bench.jobs.runs()] == ["interrupted"]


def test_finished_runs_are_listed_with_their_curves(trained: Trained, bench: Workbench) -> None:
    for number in range(1, 4):
        write_events(trained.add_run(number), 2 * MAX_POINTS)
    app = page("train")
    (table,) = app.dataframe
    assert list(table.value["Run"]) == ["run3", "run2", "run1"]
    rows = losses(bench.jobs.runs()[0])
    assert [row["what"] for row in rows].count(TRAINING) == MAX_POINTS
    assert [row["loss"] for row in rows if row["what"] == VALIDATION] == [2.0]
    assert "Evaluate" in labels(app)


def test_a_torn_run_hides_no_other(trained: Trained, bench: Workbench) -> None:
    trained.add_run()
    torn = bench.context.workspace.runs / "torn"
    torn.mkdir()
    (torn / "manifest.json").write_text("{", encoding="utf-8")
    (table,) = page("train").dataframe
    assert list(table.value["Run"]) == ["run1"]


def test_a_model_that_is_not_installed_is_not_offered(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_conversations(bench)
    monkeypatch.setenv("FINE_TUNING__TRAINING__BASE_MODEL", "nothing:latest")
    (bases, *_) = page("train").selectbox
    assert bases.options
    assert not any("nothing" in option for option in bases.options)


OPENED = """
import sys
from streamlit.testing.v1 import AppTest
for name in ("train", "evaluate", "models"):
    text = f"from fine_tuning.integration.app.{name} import show; show()"
    app = AppTest.from_string(text, default_timeout=60).run()
    assert not app.exception and not app.error
print("LOADED", *sys.modules)
"""


def test_opening_the_pages_loads_no_torch_and_no_runtime(
    trained: Trained, bench: Workbench
) -> None:
    trained.add_run()
    log_conversations(bench)
    done = subprocess.run(
        [sys.executable, "-c", OPENED], check=True, capture_output=True, text=True, cwd=ROOT
    )
    loaded = set(done.stdout.partition("LOADED")[2].split())
    assert "fine_tuning.integration.app.models" in loaded
    assert not {"torch", "xllamacpp", "transformers", "matplotlib"} & loaded
