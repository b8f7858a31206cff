"""One run from its folder's first file to its last: start or resume, train, export, manifest.

Knows folders, events and failures; what is trained and how an adapter is written is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from fine_tuning.core.clock import SystemClock, iso
from fine_tuning.core.errors import (
    FineTuningError,
    InterruptedRunError,
    OutOfMemoryError,
    StorageError,
)
from fine_tuning.core.events import EventKind, RunEvent, Value
from fine_tuning.core.ports import Clock, RunListener
from fine_tuning.core.run import Run, TrainingMetrics
from fine_tuning.engine.adapter_files import adapter_name
from fine_tuning.storage.atomic import whole_folder
from fine_tuning.training.checkpoints import LoopProgress
from fine_tuning.training.events_file import EventsFile, Listeners, read_events
from fine_tuning.training.interrupts import StopRequest
from fine_tuning.training.plan import TrainingData
from fine_tuning.training.run_folder import (
    RunFolder,
    RunSettings,
    current_versions,
    resume_command,
)
from fine_tuning.training.trainer_utils import (
    StopRequestedError,
    Surroundings,
    Trainable,
    TrainingLoop,
    peak_memory_bytes,
)

Export = Callable[[Path], None]
"""Writes the adapter's files into an empty folder."""

_ADVICE = {
    "lora": "use training.method=qlora instead of lora, or reduce training.batch_size",
    "qlora": "reduce training.batch_size and raise training.gradient_accumulation (same result)",
}


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Who hears a run and what time it is; ``stop`` ends the run as Ctrl-C does."""

    listener: RunListener = field(default_factory=lambda: Listeners(()))
    clock: Clock = field(default_factory=SystemClock)
    stop: StopRequest = field(default_factory=StopRequest)


def carry_out(
    folder: RunFolder,
    settings: RunSettings,
    trainable: Trainable,
    export: Export,
    listening: Listening,
    remarks: Sequence[Mapping[str, Value]] = (),
) -> Run:
    """Train a run from its last checkpoint, or its start, to its manifest.

    Args:
        folder: The run's folder, begun and locked by the caller.
        settings: The run's settings.
        trainable: What is trained, as it was before the first step.
        export: Writes the adapter's files.
        listening: Who hears it.
        remarks: Told after the opening, each with a ``message``.

    Raises:
        InterruptedRunError: if the user pressed Ctrl-C; a checkpoint was written.
        OutOfMemoryError: if a step does not fit into memory.
        StorageError: if something cannot be written; the last checkpoint stands.
        TrainingError: if a loss or gradient is not finite, or a checkpoint does not fit.
    """
    torch.set_num_threads(settings.threads)
    events = EventsFile(folder.events_path)
    listener = Listeners((events, listening.listener))
    teller = _Teller(listener, listening.clock, settings)
    data = folder.data(settings)
    with listening.stop as stop:
        around = Surroundings(
            listener=listener,
            clock=listening.clock,
            save=folder.checkpoints.save,
            stop_requested=lambda: stop.requested,
        )
        loop = TrainingLoop(trainable, data.learnable(), settings.plan, around)
        is_new = next(read_events(folder.events_path), None) is None
        with _failures_told(folder, loop, teller):
            _open(folder, loop, events)
            _tell_opening(data, loop, teller, is_new=is_new)
            for remark in remarks:
                teller.tell("remark", loop.progress.step, **remark)
            loop.run()
            with whole_folder(folder.adapter_dir) as place:
                export(place)
            name, metrics = _name(trainable.state_dict(), settings), _metrics(loop.progress)
            spent_s = metrics.training_time_s
            teller.tell("finished", loop.progress.step, adapter=name, training_time_s=spent_s)
            return folder.finish(settings, metrics, name)


def _name(state: Mapping[str, torch.Tensor], settings: RunSettings) -> str:
    plan = settings.plan
    scale: list[object] = [plan.rank, plan.alpha, plan.use_rslora]
    if plan.ranks or plan.alphas:
        scale += [dict(plan.ranks), dict(plan.alphas)]
    return adapter_name(state, base_digest=settings.base_digest, scale=scale)


def _open(folder: RunFolder, loop: TrainingLoop, events: EventsFile) -> None:
    """Bring the loop and the events to where the run stands."""
    folder.checkpoints.clear_torn()
    checkpoint = folder.checkpoints.latest()
    if checkpoint is not None:
        loop.restore(checkpoint)
    events.rewind(loop.progress)


def _tell_opening(data: TrainingData, loop: TrainingLoop, teller: _Teller, *, is_new: bool) -> None:
    """Say that the run starts or goes on, with what it has before it."""
    plan, used = teller.settings.plan, data.learnable()
    teller.tell(
        "started" if is_new else "resumed",
        loop.progress.step,
        num_steps=loop.num_steps,
        num_epochs=plan.num_epochs,
        num_train=len(used.train),
        num_validation=len(used.validation),
        num_left_out=data.num_sequences - used.num_sequences,
    )
    if changed := _changed_versions(teller.settings.versions):
        message = f"{changed} changed since the run was started: results may differ in last digits"
        teller.tell("remark", loop.progress.step, message=message)


def _changed_versions(before: Mapping[str, str]) -> str:
    now = current_versions()
    return ", ".join(
        f"{name} ({before.get(name)} to {now[name]})"
        for name in now
        if before.get(name) != now[name]
    )


@dataclass(frozen=True)
class _Teller:
    """Tells the events of a run that are not the loop's."""

    listener: RunListener
    clock: Clock
    settings: RunSettings

    def tell(self, kind: EventKind, step: int, **values: Value) -> None:
        about: dict[str, Value] = {"run_id": self.settings.run_id, "method": self.settings.method}
        event = RunEvent(
            kind=kind, time=iso(self.clock.now()), step=step, values={**about, **values}
        )
        self.listener.on_event(event)


@contextmanager
def _failures_told(folder: RunFolder, loop: TrainingLoop, teller: _Teller) -> Iterator[None]:
    """Turn interruptions and lack of memory into the user's errors, and tell every failure."""
    try:
        with memory_errors(teller.settings, lambda: f"step {loop.progress.step + 1}"):
            yield
    except (StopRequestedError, KeyboardInterrupt) as error:
        step = loop.progress.step
        message = f"run {folder.path.name} was interrupted at step {step} of {loop.num_steps}"
        teller.tell("remark", step, message=message, interrupted=True)
        raise InterruptedRunError(message, next_command=resume_command(folder.path)) from error
    except Exception as error:
        message = error.message if isinstance(error, FineTuningError) else str(error)
        # A full disk may refuse this line too; the error itself must still reach the user.
        with suppress(StorageError):
            kind = type(error).__name__
            teller.tell("failed", loop.progress.step, message=message, error=kind)
        raise


@contextmanager
def memory_errors(settings: RunSettings, doing: Callable[[], str]) -> Iterator[None]:
    """Turn every way in which an allocation fails into one sentence.

    Args:
        settings: Of the run that asks for memory.
        doing: What needed the memory, asked only when it is lacking.

    Raises:
        OutOfMemoryError: if Python, torch's CPU allocator or an accelerator has no memory left.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        plan, gib = settings.plan, peak_memory_bytes() / 1024**3
        raise OutOfMemoryError(
            f"memory ran out in {doing()} of a {settings.method} run with batch_size "
            f"{plan.batch_size}, at {gib:.1f} GiB, expected a run that fits",
            next_command=_advice(settings),
        ) from error


def _advice(settings: RunSettings) -> str:
    """Return what helps against a lack of memory; nothing that is in force already."""
    if settings.plan.batch_size > 1:
        return _ADVICE.get(settings.method, "reduce training.batch_size")
    qlora = "use training.method=qlora instead of lora, " if settings.method == "lora" else ""
    return f"{qlora}reduce data_preparation.max_length, or choose a smaller base model"


def _is_lack_of_memory(error: MemoryError | RuntimeError) -> bool:
    # The CPU allocator has no exception class of its own, only this sentence.
    told = "can't allocate memory" in str(error) or "not enough memory" in str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or told


def _metrics(progress: LoopProgress) -> TrainingMetrics:
    return TrainingMetrics(
        first_loss=progress.first_loss,
        last_loss=progress.last_loss,
        base_validation_loss=progress.base_validation_loss,
        last_validation_loss=progress.last_validation_loss,
        best_validation_loss=progress.best_validation_loss,
        best_step=progress.best_step,
        num_steps=progress.step,
        num_tokens=progress.num_tokens,
        num_targets=progress.num_targets,
        stopped_early=progress.stopped_early,
        training_time_s=progress.elapsed_s,
        peak_memory_bytes=max(progress.peak_memory_bytes, peak_memory_bytes()),
    )
