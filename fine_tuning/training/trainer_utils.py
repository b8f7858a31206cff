"""The training loop: one for every method and model, with all that differs passed in.

It knows sequences, an optimizer, a schedule and when to look up; it does not know what a LoRA is,
where files lie, or who listens. Between two optimizer steps its whole state is a ``Checkpoint``;
a loop restored from one computes, bit for bit, what the loop that wrote it would have computed.
"""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import psutil
import torch

from fine_tuning.core.clock import iso
from fine_tuning.core.errors import TrainingError
from fine_tuning.core.events import EventKind, RunEvent, Value
from fine_tuning.core.item import Item
from fine_tuning.core.ports import Clock, RunListener
from fine_tuning.training.batches import BatchOrder, evaluation_batches
from fine_tuning.training.checkpoints import Checkpoint, LoopProgress
from fine_tuning.training.optimizer import AdamW
from fine_tuning.training.plan import TrainingData, TrainingPlan
from fine_tuning.training.schedule import LearningRateSchedule
from fine_tuning.training.throughput import STEPS_FOR_A_FORECAST, Throughput, duration


class BatchLoss(Protocol):
    """The loss of a batch: summed as :meth:`Trainable.size` counts, and what the batch held."""

    @property
    def loss_sum(self) -> float:
        """The summed loss; of supervised training the sum of -ln p over all targets."""
        ...

    @property
    def num_targets(self) -> int:
        """Target tokens."""
        ...

    @property
    def num_tokens(self) -> int:
        """All tokens the model read."""
        ...


class Trainable(Protocol):
    """What is trained.

    * ``size`` MUST add up: that of a step is the sum over its batches.
    * ``accumulate`` MUST add ``scale`` times the gradient of the batch's ``loss_sum`` to ``.grad``
      of ``parameters()``, and change nothing else.
    * ``load_state_dict(state_dict())`` MUST change nothing, and MUST keep the parameters' identity.
    * Equal parameters and batches MUST give equal results to the last bit, in every process that
      uses the same number of threads.
    """

    def parameters(self) -> list[torch.Tensor]:
        """Return the leaves to learn, always in the same order."""
        ...

    def size(self, batch: Sequence[Item]) -> float:
        """Return what the mean loss of a batch is a mean over; its targets, for instance."""
        ...

    def accumulate(self, batch: Sequence[Item], *, scale: float) -> BatchLoss:
        """Add the gradient of a batch."""
        ...

    def evaluate(self, batch: Sequence[Item]) -> BatchLoss:
        """Return the loss of a batch; no gradient."""
        ...

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return what was learnt, by name."""
        ...

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take what ``state_dict`` gave."""
        ...


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the loop asks of the world: who hears, the time, where state goes, whether to stop."""

    listener: RunListener
    clock: Clock
    save: Callable[[Checkpoint], object]
    stop_requested: Callable[[], bool]


class StopRequestedError(Exception):
    """The loop stopped because it was asked to; its state is saved."""


class TrainingLoop:
    """Trains until the plan's end, or until validation no longer improves.

    With validation data and patience, the best adapter seen is the result, otherwise the last one.
    The first evaluation, at step 0, is that of the untrained adapter: the base's own loss.

    Args:
        trainable: What is trained; holds the result after :meth:`run`.
        data: Sequences, each with something to learn.
        plan: The numbers.
        around: The world.
    """

    def __init__(
        self, trainable: Trainable, data: TrainingData, plan: TrainingPlan, around: Surroundings
    ) -> None:
        self._trainable = trainable
        self._plan = plan
        self._around = around
        self._order = BatchOrder(data.train, plan)
        self._validation = evaluation_batches(data.validation)
        self._schedule = LearningRateSchedule.of(plan, self._order.num_steps)
        self._parameters = trainable.parameters()
        self._optimizer = AdamW(
            self._parameters, betas=plan.adam_betas, weight_decay=plan.weight_decay
        )
        self._best: dict[str, torch.Tensor] | None = None
        self.progress = LoopProgress()
        self._saved = (-1, -1)
        self._timed_until_s = self._saved_at_s = 0.0
        self._start_of_process()

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole plan."""
        return self._order.num_steps

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one pass over the training split."""
        return self._order.steps_per_epoch

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to train."""
        return self.progress.stopped_early or self.progress.step >= self.num_steps

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint.

        Raises:
            TrainingError: if the checkpoint's tensors do not fit what is trained.
        """
        try:
            self._trainable.load_state_dict(checkpoint.adapter)
            self._optimizer.load_state_dict(checkpoint.optimizer)
        except (KeyError, RuntimeError, ValueError) as error:
            raise TrainingError(
                f"the checkpoint of step {checkpoint.progress.step} does not fit the model: {error}"
            ) from error
        self._best = None if checkpoint.best is None else _copied(checkpoint.best)
        self.progress = replace(checkpoint.progress)
        self._start_of_process()

    def run(self) -> None:
        """Train to the end.

        Raises:
            TrainingError: if a loss or gradient is not finite.
            StopRequestedError: if asked to stop; the state was saved.
        """
        try:
            self._evaluate_when_due()
            while not self.is_over:
                self._train_step()
                self._evaluate_when_due()
                self._save_when_due()
        except StopRequestedError:
            self._save()
            raise
        self._save()
        if self._best is not None:
            self._trainable.load_state_dict(self._best)

    def _train_step(self) -> None:
        began_s = self._around.clock.monotonic_s()
        state, step = self.progress, self.progress.step
        batches = self._order.batches(step)
        num_targets = sum(sequence.num_targets for batch in batches for sequence in batch)
        size = sum(self._trainable.size(batch) for batch in batches)
        learning_rate = self._schedule.learning_rate(step)
        self._optimizer.zero_grad()
        loss_sum, num_tokens = 0.0, 0
        for batch in batches:
            self._stop_if_asked()
            result = self._trainable.accumulate(batch, scale=1 / size)
            loss_sum += result.loss_sum
            num_tokens += result.num_tokens
        loss = loss_sum / size
        self._require_finite("loss", loss, learning_rate)
        grad_norm = self._clipped_norm()
        self._require_finite("gradient norm", grad_norm, learning_rate)
        self._optimizer.step(learning_rate)

        if step % self.steps_per_epoch == 0:
            state.epoch_loss_sum, state.epoch_targets = 0.0, 0.0
        state.step += 1
        state.epoch_loss_sum += loss_sum
        state.epoch_targets += size
        state.num_tokens += num_tokens
        state.num_targets += num_targets
        state.first_loss = loss if state.first_loss is None else state.first_loss
        state.last_loss = loss
        took_s = max(1e-9, self._around.clock.monotonic_s() - began_s)
        self._throughput.step(num_tokens, took_s)
        self._tell(
            "step",
            loss=loss,
            epoch_loss=state.epoch_loss_sum / state.epoch_targets,
            learning_rate=learning_rate,
            grad_norm=grad_norm,
            tokens_per_s=num_tokens / took_s,
            supervised_tokens_per_s=num_targets / took_s,
            eta_s=self._eta_s(),
        )
        self._forecast_when_due()

    def _clipped_norm(self) -> float:
        """Scale the gradients down to the plan's norm; returns the norm they had."""
        norm = torch.nn.utils.clip_grad_norm_(
            self._parameters, self._plan.max_grad_norm or math.inf, error_if_nonfinite=False
        )
        return float(norm)

    def _evaluate_when_due(self) -> None:
        state, every = self.progress, self._plan.evaluate_every
        due = (
            state.step % self.steps_per_epoch == 0
            or state.step >= self.num_steps
            or (every > 0 and state.step % every == 0)
        )
        if not self._validation or not due or state.evaluated_step == state.step:
            return
        loss_sum, size = 0.0, 0.0
        began_s = self._around.clock.monotonic_s()
        for batch in self._validation:
            self._stop_if_asked()
            result = self._trainable.evaluate(batch)
            loss_sum += result.loss_sum
            size += self._trainable.size(batch)
        self._throughput.evaluation(self._around.clock.monotonic_s() - began_s)
        loss = loss_sum / size
        self._require_finite("validation loss", loss, self._schedule.learning_rate(state.step))
        self._update_early_stopping(loss)

    def _update_early_stopping(self, loss: float) -> None:
        """Take note of a validation loss: the best so far, or one more without gain."""
        state, patience = self.progress, self._plan.patience
        state.evaluated_step = state.step
        state.last_validation_loss = loss
        if state.base_validation_loss is None:
            state.base_validation_loss = loss
        is_best = state.best_validation_loss is None or loss < state.best_validation_loss
        if is_best:
            state.best_validation_loss, state.best_step = loss, state.step
            state.evaluations_without_gain = 0
            self._best = _copied(self._trainable.state_dict()) if patience else None
        else:
            state.evaluations_without_gain += 1
        state.stopped_early = 0 < patience <= state.evaluations_without_gain
        self._tell("validation", validation_loss=loss, is_best=is_best)
        if state.stopped_early and state.step < self.num_steps:
            self._tell(
                "remark",
                message=f"stopped early: {patience} evaluations in a row without a lower "
                f"validation loss than that of step {state.best_step}",
            )
        if patience and self.is_over and state.best_step == 0:
            message = (
                "nothing learnt lowered the validation loss: the adapter leaves the base as is"
            )
            self._tell("remark", message=message)

    def _save_when_due(self) -> None:
        every, every_s = self._plan.checkpoint_every, self._plan.checkpoint_every_s
        by_step = every > 0 and self.progress.step % every == 0
        since_s = self._around.clock.monotonic_s() - self._saved_at_s
        if by_step or (every_s > 0 and since_s >= every_s):
            self._save()

    def _save(self) -> None:
        """Save the state, unless it is what was saved last."""
        state = self.progress
        if self._saved == (state.step, state.evaluated_step):
            return
        now_s = self._around.clock.monotonic_s()
        state.elapsed_s += now_s - self._timed_until_s
        self._timed_until_s = now_s
        state.peak_memory_bytes = max(state.peak_memory_bytes, peak_memory_bytes())
        checkpoint = Checkpoint(
            progress=replace(state),
            adapter=self._trainable.state_dict(),
            optimizer=self._optimizer.state_dict(),
            best=self._best,
        )
        self._around.save(checkpoint)
        self._saved = (state.step, state.evaluated_step)
        self._saved_at_s = self._around.clock.monotonic_s()
        self._tell("checkpoint", position=state.step % self.steps_per_epoch)

    def _start_of_process(self) -> None:
        now_s = self._around.clock.monotonic_s()
        self._timed_until_s = self._saved_at_s = now_s
        self._throughput = Throughput()
        self._saved = (self.progress.step, self.progress.evaluated_step)

    def _eta_s(self) -> float:
        """Seconds to the plan's end at this process's pace, evaluations included."""
        step = self.progress.step
        left = self.num_steps - step
        tokens = left * self.progress.num_tokens / max(1, step)
        return self._throughput.remaining_s(left, tokens, self._evaluations_left())

    def _evaluations_left(self) -> int:
        if not self._validation:
            return 0
        every, after = self._plan.evaluate_every, self.progress.step + 1
        due = set(range(0, self.num_steps, self.steps_per_epoch)) | {self.num_steps}
        due |= set(range(0, self.num_steps, every)) if every else set()
        return sum(step >= after for step in due)

    def _forecast_when_due(self) -> None:
        """Say once, when the pace is known, how long the whole run takes."""
        if self._throughput.num_steps != STEPS_FOR_A_FORECAST:
            return
        now_s = self._around.clock.monotonic_s()
        time_s = self.progress.elapsed_s + now_s - self._timed_until_s + self._eta_s()
        message = f"forecast: {duration(time_s)} in all, unless validation stops it earlier"
        self._tell("remark", message=message, forecast_time_s=time_s)

    def _stop_if_asked(self) -> None:
        if self._around.stop_requested():
            raise StopRequestedError

    def _require_finite(self, what: str, value: float, learning_rate: float) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"the {what} is {value} at step {self.progress.step + 1} with learning rate "
                f"{learning_rate:.3g}, expected a finite number",
                next_command=f"start again with a lower rate: --set training.learning_rate="
                f"{self._plan.learning_rate / 4:.2g}",
            )

    def _tell(self, kind: EventKind, **values: Value) -> None:
        now, step = self._around.clock.now(), self.progress.step
        about: dict[str, Value] = {
            "epoch": step / self.steps_per_epoch,
            "memory_bytes": memory_bytes(),
            "peak_memory_bytes": max(self.progress.peak_memory_bytes, peak_memory_bytes()),
        }
        self._around.listener.on_event(
            RunEvent(kind=kind, time=iso(now), step=step, values={**values, **about})
        )


def memory_bytes() -> int:
    """Return the memory this process occupies now (resident set)."""
    return int(psutil.Process().memory_info().rss)


def peak_memory_bytes() -> int:
    """Return the most memory this process ever occupied."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB elsewhere


def _copied(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
