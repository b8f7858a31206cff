"""What a person sees: few lines in a log, a bar on a terminal."""

from __future__ import annotations

import io

import pytest

from fine_tuning.core.events import RunEvent
from fine_tuning.training.progress import ProgressBar, ProgressLines, duration, progress_listener
from tests.training.tiny import SteppingClock


def events(num_steps: int) -> list[RunEvent]:
    def told(kind: str, step: int, **values: object) -> RunEvent:
        return RunEvent(kind=kind, time="", step=step, values=values)

    watched = {"tokens_per_s": 512.4, "memory_bytes": 3 * 1024**3, "eta_s": 65.0}
    steps = [told("step", s, loss=2 / s, **watched) for s in range(1, num_steps + 1)]
    return [
        told("started", 0, num_steps=num_steps, num_epochs=1),
        told("validation", 0, validation_loss=2.5, is_best=True),
        *steps,
        told("remark", num_steps, message="stopped early"),
        told("checkpoint", num_steps),
        told("finished", num_steps),
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (7.4, "0:07"), (750, "12:30"), (3723, "1:02:03"), (-1, "0:00")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_lines_come_now_and_then_and_at_the_end() -> None:
    stream = io.StringIO()
    with progress_listener(stream, SteppingClock()) as listener:
        assert isinstance(listener, ProgressLines)
        for event in events(25):
            listener.on_event(event)
    lines = stream.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "step 0", "step 1", "step 11", "step 21", "step 25", "stopped early",
    ]  # fmt: skip
    assert lines[1] == "step 1  loss 2.000  512 tokens/s  3.0 GiB  left 1:05"


def test_a_terminal_shows_a_bar_with_loss_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with progress_listener(stream) as listener:
        assert isinstance(listener, ProgressBar)
        for event in events(25):
            listener.on_event(event)
    shown = stream.getvalue()
    assert "25/25" in shown
    assert "loss 0.080 val 2.500  512 tok/s  3.0 GiB  1:05 left" in shown
    assert "stopped early" in shown
