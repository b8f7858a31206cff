"""A run and its folder: files, order, refusals, interruptions, full disks, lack of memory."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
import torch

from fine_tuning.core.errors import (
    InterruptedRunError,
    OutOfMemoryError,
    StorageError,
    TrainingError,
)
from fine_tuning.core.events import RunEvent
from fine_tuning.core.example import TokenizedExample
from fine_tuning.training.events_file import read_events
from fine_tuning.training.mixture import MixtureSource, mixed
from fine_tuning.training.plan import TrainingData, TrainingPlan
from fine_tuning.training.run_folder import RunFolder, RunSettings
from fine_tuning.training.run_lifecycle import Listening
from tests.training.tiny import DATA, BigramModel, Heard, Loss, run_tiny, sequences, settings_for

PLAN = TrainingPlan(learning_rate=1e-2, num_epochs=3, batch_size=4, checkpoint_every=5, threads=1)


class Interrupting:
    """Sends this process a signal when a step is told, as a person at the keyboard would."""

    def __init__(self, step: int, number: int = signal.SIGINT) -> None:
        self._step, self._number = step, number

    def on_event(self, event: RunEvent) -> None:
        if event.kind == "step" and event.step == self._step:
            os.kill(os.getpid(), self._number)


def adapter_bytes(folder: Path) -> bytes:
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


def test_a_finished_run_holds_what_it_must_and_no_ones_words(tmp_path: Path) -> None:
    heard = Heard()
    run = run_tiny(tmp_path / "r1", PLAN, Listening(listener=heard))
    assert sorted(p.name for p in run.folder.iterdir()) == [
        ".lock", "adapter", "events.jsonl", "manifest.json", "settings.json",
    ]  # fmt: skip
    assert run.adapter_dir == run.folder / "adapter"
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert manifest["base_digest"] == "sha256:none"
    assert manifest["snapshot"] == "b2:test"
    assert manifest["plan"]["learning_rate"] == 1e-2
    assert manifest["seed"] == PLAN.seed
    assert {"python", "torch", "fine-tuning"} <= manifest["versions"].keys()
    assert manifest["adapter"]["name"] == run.adapter_name
    assert run.adapter_name.startswith("b2:")
    metrics = run.metrics
    assert metrics.num_steps == 24
    assert metrics.best_validation_loss < metrics.base_validation_loss
    assert metrics.last_loss < metrics.first_loss
    assert metrics.peak_memory_bytes > 10**7
    assert metrics.training_time_s > 0
    assert list(read_events(run.folder / "events.jsonl")) == heard.events
    kinds = [event.kind for event in heard.events]
    assert kinds[:2] == ["started", "validation"]
    assert kinds[-1] == "finished"
    assert [e.step for e in heard.events if e.kind == "step"] == list(range(1, 25))


def test_sequences_with_nothing_to_learn_are_counted(tmp_path: Path) -> None:
    idle = TokenizedExample(example_id="i", conversation_id="i", ids=(1, 2), mask=(0, 0))
    data = TrainingData(train=[*DATA.train, idle, idle], validation=[*DATA.validation, idle])
    heard = Heard()
    run_tiny(tmp_path / "r1", PLAN, Listening(listener=heard), data=data)
    started = heard.events[0].values
    counts = [started[name] for name in ("num_train", "num_validation", "num_left_out")]
    assert counts == [30, 8, 3]


def test_a_finished_run_is_resumed_by_reading_it(tmp_path: Path) -> None:
    run = run_tiny(tmp_path / "r1", PLAN)
    before = (tmp_path / "r1" / "events.jsonl").read_bytes()
    assert run_tiny(tmp_path / "r1", PLAN) == run
    assert (tmp_path / "r1" / "events.jsonl").read_bytes() == before


def test_equal_adapters_have_equal_names_and_unequal_ones_do_not(tmp_path: Path) -> None:
    one, two = run_tiny(tmp_path / "r1", PLAN), run_tiny(tmp_path / "r2", PLAN)
    assert one.adapter_name == two.adapter_name
    other = run_tiny(tmp_path / "r3", TrainingPlan(learning_rate=2e-2, num_epochs=1))
    assert other.adapter_name != one.adapter_name


def test_settings_survive_the_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "r1")
    settings = folder.begin(settings_for(folder.path, PLAN), DATA)
    assert folder.settings() == settings
    assert folder.data(settings) == DATA
    with pytest.raises(TrainingError, match="holds a run already"):
        folder.begin(settings, DATA)


def test_settings_that_lack_something_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no settings"):
        RunFolder(tmp_path).settings()
    raw = settings_for(tmp_path, PLAN).to_dict()
    del raw["threads"]
    with pytest.raises(TrainingError, match="lacks threads"):
        RunSettings.from_dict(raw)
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(TrainingError, match="is not JSON"):
        RunFolder(tmp_path).settings()


def test_changed_data_is_not_trained_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "r1")
    settings = folder.begin(settings_for(folder.path, PLAN), DATA)
    with (folder.data_path / "train.jsonl").open("ab") as file:
        file.write(b"\n")
    with pytest.raises(TrainingError, match="is not what the run was started with"):
        folder.data(settings)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path, number: int) -> None:
    whole = run_tiny(tmp_path / "whole", PLAN)
    folder = tmp_path / "r1"
    with pytest.raises(InterruptedRunError, match="interrupted at step 7 of 24") as caught:
        run_tiny(folder, PLAN, Listening(listener=Interrupting(7, number)))
    assert caught.value.next_command == "fine-tuning train --resume r1"
    assert caught.value.exit_code == 130
    assert (folder / "checkpoints" / "step-00000007" / "state.json").exists()
    assert not (folder / "manifest.json").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    heard = Heard()
    run = run_tiny(folder, PLAN, Listening(listener=heard))
    assert heard.events[0].kind == "resumed"
    assert heard.events[0].step == 7
    assert adapter_bytes(folder) == adapter_bytes(tmp_path / "whole")
    assert run.adapter_name == whole.adapter_name
    assert run.metrics.num_tokens == whole.metrics.num_tokens


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    class Twice(Interrupting):
        def on_event(self, event: RunEvent) -> None:
            super().on_event(event)
            super().on_event(event)

    with pytest.raises(InterruptedRunError):
        run_tiny(tmp_path / "r1", PLAN, Listening(listener=Twice(7)))
    assert [p.name for p in (tmp_path / "r1" / "checkpoints").iterdir()] == ["step-00000005"]


def hold(folder: Path, held: Event) -> None:
    with RunFolder(folder).locked():
        held.set()
        time.sleep(60)


def test_a_second_process_is_refused(processes: ForkServerContext, tmp_path: Path) -> None:
    held = processes.Event()
    other = processes.Process(target=hold, args=(tmp_path / "r1", held))
    other.start()
    assert held.wait(60)
    with pytest.raises(TrainingError, match=rf"another process \({other.pid}\)"):
        run_tiny(tmp_path / "r1", PLAN)
    other.kill()
    other.join()
    assert run_tiny(tmp_path / "r1", PLAN).metrics.num_steps == 24


def test_a_full_disk_stops_the_run_and_the_last_checkpoint_stands(tmp_path: Path) -> None:
    """The kernel refuses to write beyond a file size, as it does when no space is left."""
    whole = run_tiny(tmp_path / "whole", PLAN)
    folder = tmp_path / "r1"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    class DiskFills:
        def on_event(self, event: RunEvent) -> None:
            if event.kind == "step" and event.step == 7:
                resource.setrlimit(resource.RLIMIT_FSIZE, (9000, before[1]))

    try:
        with pytest.raises(StorageError, match=r"step-00000010.* could not be written"):
            run_tiny(folder, PLAN, Listening(listener=DiskFills()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in (folder / "checkpoints").iterdir()] == ["step-00000005"]
    run_tiny(folder, PLAN)
    assert adapter_bytes(folder) == adapter_bytes(whole.folder)
    steps = [e.step for e in read_events(folder / "events.jsonl") if e.kind == "step"]
    assert steps == list(range(1, 25))


class Hungry(BigramModel):
    """Asks for more memory than any machine has, or says what Python says then."""

    def accumulate(self, batch: Sequence[TokenizedExample], *, scale: float) -> Loss:
        torch.empty(1 << 56, dtype=torch.uint8)
        return super().accumulate(batch, scale=scale)


class HungryInPython(BigramModel):
    def accumulate(self, batch: Sequence[TokenizedExample], *, scale: float) -> Loss:
        bytearray(1 << 62)
        return super().accumulate(batch, scale=scale)


@pytest.mark.parametrize("model", [Hungry, HungryInPython])
def test_lack_of_memory_says_what_helps(tmp_path: Path, model: type[BigramModel]) -> None:
    with pytest.raises(
        OutOfMemoryError, match="in step 1 of a lora run with batch_size 4"
    ) as caught:
        run_tiny(tmp_path / "r1", PLAN, model=model())
    assert "qlora" in caught.value.next_command
    assert "batch_size" in caught.value.next_command
    assert list(read_events(tmp_path / "r1" / "events.jsonl"))[-1].kind == "failed"


def test_other_errors_of_the_model_are_not_taken_for_lack_of_memory(tmp_path: Path) -> None:
    class Broken(BigramModel):
        def accumulate(self, batch: Sequence[TokenizedExample], *, scale: float) -> Loss:
            raise RuntimeError(f"shapes differ: {len(batch)} and {scale}")

    with pytest.raises(RuntimeError, match="shapes differ"):
        run_tiny(tmp_path / "r1", PLAN, model=Broken())
    last = list(read_events(tmp_path / "r1" / "events.jsonl"))[-1]
    assert (last.kind, last.values["error"]) == ("failed", "RuntimeError")


def test_a_failure_is_told_in_the_events(tmp_path: Path) -> None:
    class Diverging(BigramModel):
        def accumulate(self, batch: Sequence[TokenizedExample], *, scale: float) -> Loss:
            super().accumulate(batch, scale=scale)
            return Loss(float("inf"), 1, 1)

    with pytest.raises(TrainingError, match="the loss is inf at step 1"):
        run_tiny(tmp_path / "r1", PLAN, model=Diverging())
    last = list(read_events(tmp_path / "r1" / "events.jsonl"))[-1]
    assert last.kind == "failed"
    assert last.values["error"] == "TrainingError"


def test_other_versions_are_remarked_upon(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "r1")
    settings = settings_for(folder.path, PLAN).to_dict()
    settings["versions"] = {**settings["versions"], "torch": "1.0"}
    folder.begin(RunSettings.from_dict(settings), DATA)
    heard = Heard()
    run_tiny(folder.path, PLAN, Listening(listener=heard))
    assert "torch (1.0 to" in heard.values("remark", "message")[0]


def mixture() -> TrainingData:
    old = sequences(20, seed=7)
    train = mixed(
        [MixtureSource(examples=sequences(12)), MixtureSource(examples=old, share=0.4, weight=0.5)]
    )
    return TrainingData(train=train, validation=sequences(8, seed=1), snapshot="b2:mix")


def test_a_mixture_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    """What is replayed, and how much it counts, comes out of the run's own folder."""
    whole = run_tiny(tmp_path / "whole", PLAN, data=mixture())
    listening = Listening(listener=Interrupting(7))
    with pytest.raises(InterruptedRunError):
        run_tiny(tmp_path / "part", PLAN, listening, data=mixture())
    folder = RunFolder(tmp_path / "part")
    assert folder.data(folder.settings()).train == mixture().train
    part = run_tiny(tmp_path / "part", PLAN, data=TrainingData(train=[]))
    assert adapter_bytes(part.folder) == adapter_bytes(whole.folder)
    assert adapter_bytes(part.folder) != adapter_bytes(run_tiny(tmp_path / "other", PLAN).folder)


def test_a_run_begun_in_format_1_goes_on(tmp_path: Path) -> None:
    """Its settings say format 1 and its sequences have neither weights nor groups."""
    whole = run_tiny(tmp_path / "whole", PLAN)
    with pytest.raises(InterruptedRunError):
        run_tiny(tmp_path / "part", PLAN, Listening(listener=Interrupting(7)))
    path = tmp_path / "part" / "settings.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    lines = (tmp_path / "part" / "data" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0]).keys() == {"example_id", "conversation_id", "ids", "mask"}
    path.write_text(json.dumps({**raw, "format": 1}), encoding="utf-8")
    part = run_tiny(tmp_path / "part", PLAN)
    assert adapter_bytes(part.folder) == adapter_bytes(whole.folder)
