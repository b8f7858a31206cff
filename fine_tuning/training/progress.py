"""What a person sees of a run: a bar with loss, speed and remaining time, or plain lines.

Listens to events and writes to one stream, standard error by default. A bar needs a terminal;
elsewhere a line is written now and then, so that logs stay short.
"""

from __future__ import annotations

import sys
from typing import Self, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
)

from fine_tuning.core.clock import SystemClock
from fine_tuning.core.closing import Closing
from fine_tuning.core.events import RunEvent
from fine_tuning.core.ports import Clock
from fine_tuning.training.throughput import duration

LINE_EVERY_S = 10.0
GIB = 1024**3


def describe(event: RunEvent) -> str:
    """Return an event as one short line; "" when there is nothing to say."""
    values = _numbers(event)
    if event.kind == "step":
        return (
            f"step {event.step}  loss {values['loss']:.3f}  {values['tokens_per_s']:.0f} tokens/s  "
            f"{values['memory_bytes'] / GIB:.1f} GiB  left {duration(values['eta_s'])}"
        )
    if event.kind == "validation":
        best = "  (best so far)" if event.values.get("is_best") else ""
        return f"step {event.step}  validation loss {values['validation_loss']:.3f}{best}"
    if event.kind == "resumed":
        return f"resumed at step {event.step}"
    if event.kind in {"remark", "failed"}:
        return str(event.values.get("message", ""))
    return ""


class ProgressLines(Closing):
    """Plain lines: of steps one every ten seconds and the last, of everything else all."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._num_steps = 0
        self._last_s = -LINE_EVERY_S

    def on_event(self, event: RunEvent) -> None:
        """Write a line when it is time."""
        self._num_steps = _num_steps(event) or self._num_steps
        if event.kind == "step":
            now_s = self._clock.monotonic_s()
            if now_s - self._last_s < LINE_EVERY_S and event.step != self._num_steps:
                return
            self._last_s = now_s
        if line := describe(event):
            self._stream.write(line + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Leave the lines."""


class ProgressBar(Closing):
    """A bar over all optimizer steps; a context manager, so that the terminal is left clean."""

    def __init__(self, stream: TextIO) -> None:
        # Narrow enough for 80 columns with four digits of steps.
        columns = (BarColumn(12), MofNCompleteColumn(), TextColumn("{task.fields[said]}"))
        self._bar = Progress(*columns, console=Console(file=stream))
        self._task = self._bar.add_task("training", total=None, said="")
        self._loss = self._validation = self._throughput = ""

    def on_event(self, event: RunEvent) -> None:
        """Move the bar; remarks and failures are written above it."""
        num_steps = _num_steps(event)
        if num_steps:
            self._bar.update(self._task, total=num_steps, completed=event.step)
        if event.kind == "step":
            values = _numbers(event)
            self._loss = f"loss {values['loss']:.3f} "
            self._throughput = (
                f" {values['tokens_per_s']:.0f} tok/s  {values['memory_bytes'] / GIB:.1f} GiB  "
                f"{duration(values['eta_s'])} left"
            )
            self._bar.update(self._task, completed=event.step)
        elif event.kind == "validation":
            self._validation = f"val {event.values['validation_loss']:.3f} "
        elif line := describe(event):
            self._bar.console.print(line, markup=False)
        self._bar.update(self._task, said=self._loss + self._validation + self._throughput)

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()


def progress_listener(
    stream: TextIO | None = None, clock: Clock | None = None
) -> ProgressBar | ProgressLines:
    """Return a bar when the stream (standard error by default) is a terminal, lines otherwise."""
    stream = stream or sys.stderr
    if stream.isatty():
        return ProgressBar(stream)
    return ProgressLines(stream, clock or SystemClock())


def _numbers(event: RunEvent) -> dict[str, float]:
    return {key: value for key, value in event.values.items() if isinstance(value, int | float)}


def _num_steps(event: RunEvent) -> int:
    value = event.values.get("num_steps")
    return value if isinstance(value, int) else 0
