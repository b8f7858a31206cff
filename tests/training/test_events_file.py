"""The events file: what was told, once each, whatever was torn or done again."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.core.events import RunEvent
from fine_tuning.training.checkpoints import LoopProgress
from fine_tuning.training.events_file import EventsFile, Listeners, read_events
from tests.training.tiny import Heard


def event(kind: str, step: int) -> RunEvent:
    return RunEvent(kind=kind, time="2026-01-01T00:00:00+00:00", step=step, values={"loss": 0.1})


def write(path: Path, *events: RunEvent) -> EventsFile:
    file = EventsFile(path)
    for each in events:
        file.on_event(each)
    return file


def test_reads_what_was_told(tmp_path: Path) -> None:
    told = [event("started", 0), event("step", 1), event("checkpoint", 1), event("finished", 1)]
    write(tmp_path / "e.jsonl", *told)
    assert list(read_events(tmp_path / "e.jsonl")) == told
    assert list(read_events(tmp_path / "none.jsonl")) == []


def test_work_that_is_done_again_is_taken_out(tmp_path: Path) -> None:
    past = [event("started", 0), event("validation", 0), event("step", 1), event("step", 2)]
    future = [
        event("validation", 2),
        event("step", 3),
        event("checkpoint", 3),
        event("finished", 3),
    ]
    file = write(tmp_path / "e.jsonl", *past, *future, event("failed", 3), event("resumed", 2))
    file.rewind(LoopProgress(step=2, evaluated_step=0))
    kept = list(read_events(file.path))
    assert kept == [*past, event("failed", 3), event("resumed", 2)]


def test_an_evaluation_before_the_checkpoint_stands(tmp_path: Path) -> None:
    told = [event("step", 2), event("validation", 2)]
    file = write(tmp_path / "e.jsonl", *told)
    file.rewind(LoopProgress(step=2, evaluated_step=2))
    assert list(read_events(file.path)) == told


@given(cut=st.integers(1, 200))
def test_a_torn_last_line_is_skipped_and_goes_on_rewind(tmp_path_factory: object, cut: int) -> None:
    path = tmp_path_factory.mktemp("events") / "e.jsonl"
    file = write(path, event("started", 0), event("step", 1), event("step", 2))
    content = path.read_bytes()
    path.write_bytes(content[: max(1, len(content) - cut)])
    whole = path.read_bytes().count(b"\n")
    file.rewind(LoopProgress(step=9))
    file.on_event(event("step", 3))
    steps = [each.step for each in read_events(path)]
    complete = [0, 1, 2][:whole]
    assert steps in ([*complete, 3], [*complete, whole, 3])  # the cut may take the newline only
    assert path.read_bytes().count(b"\n") == len(steps)


def test_listeners_hear_in_order() -> None:
    one, two = Heard(), Heard()
    Listeners((one, two)).on_event(event("step", 1))
    assert one.events == two.events == [event("step", 1)]
