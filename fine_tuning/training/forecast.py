"""What a run will take: memory and disk by counting, time by a few timed batches.

Memory decides how the run is carried out (``engine.memory``); what cannot fit is refused here,
with the nearest setting that does, before anything is written.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil

from fine_tuning.core.errors import OutOfMemoryError, StorageError
from fine_tuning.core.events import Value
from fine_tuning.core.item import Item
from fine_tuning.engine.batch_cost import BatchCost, batch_cost
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.frozen_prefix_cache import FrozenPrefixCache
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.engine.memory import (
    GIB,
    MemoryNeeds,
    MemoryPlan,
    StepSize,
    available_bytes,
    plan_memory,
)
from fine_tuning.training.batches import BatchOrder, evaluation_batches
from fine_tuning.training.checkpoints import KEEP
from fine_tuning.training.fast_mode import first_adapted, states_bytes
from fine_tuning.training.lr_finder import USUAL_TRIES, steps_per_rate
from fine_tuning.training.plan import TrainingData, TrainingPlan
from fine_tuning.training.throughput import duration, fit
from fine_tuning.training.trainer_utils import Trainable

BUDGET_SHARE = 0.8
"""Share of the free memory a run may take when no budget is set."""
DISK_RESERVE_BYTES = 64 << 20
PROBED_SHARES = (0.1, 0.5, 0.9)
"""Which batches are timed, in the order of their cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a run will take; ``time_s`` is None when nothing was timed."""

    num_steps: int
    peak_memory_bytes: int
    disk_bytes: int
    memory: MemoryPlan
    time_s: float | None = None

    @property
    def sentence(self) -> str:
        """All of it in words."""
        took = f"{duration(self.time_s)} for " if self.time_s is not None else ""
        return (
            f"forecast: {took}{self.num_steps} steps, {self.peak_memory_bytes / GIB:.1f} GiB of "
            f"memory, {self.disk_bytes / 1e6:.0f} MB on disk; {self.memory.reason}"
        )

    def values(self) -> dict[str, Value]:
        """Return it as an event's values."""
        return {
            "message": self.sentence,
            "forecast_memory_bytes": self.peak_memory_bytes,
            "forecast_disk_bytes": self.disk_bytes,
            "forecast_time_s": self.time_s,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastInput:
    """What is to be forecast: a plan on data with a decoder. ``data`` holds what is learnable."""

    decoder: Decoder
    adapter: LoraAdapter
    plan: TrainingPlan
    data: TrainingData
    threads: int
    wants_unpacked: bool

    def costs(self, batches: Sequence[Sequence[Item]]) -> list[BatchCost]:
        """Return the cost of each batch."""
        return [
            batch_cost(batch, self.threads, may_share=self.decoder.shares_steps)
            for batch in batches
        ]

    def first_epoch(self) -> list[list[Item]]:
        """Return the batches of the first epoch."""
        order = BatchOrder(self.data.train, self.plan)
        steps = range(min(order.steps_per_epoch, order.num_steps))
        return [batch for step in steps for batch in order.batches(step)]


def memory_plan(job: ForecastInput) -> MemoryPlan:
    """Return how a job fits into its budget, or that it does not."""
    costs = job.costs(job.first_epoch())  # evaluations keep nothing
    resident = int(psutil.Process().memory_info().rss)
    budget = resident + int(BUDGET_SHARE * available_bytes())
    if job.plan.memory_budget:
        budget = int(job.plan.memory_budget * GIB)
    size = StepSize(
        num_tokens=max(cost.at_work_tokens for cost in costs),
        num_shares=max(cost.num_shares for cost in costs),
        longest_tokens=max(cost.longest_tokens for cost in costs),
        evaluates=bool(job.data.validation),
        keeps_best=bool(job.data.validation and job.plan.patience),
    )
    needs = MemoryNeeds(job.decoder, job.adapter, size, resident)
    return plan_memory(needs, budget, wants_unpacked=job.wants_unpacked)


def disk_bytes(job: ForecastInput) -> int:
    """Return what a run's folder holds at most while it lasts."""
    plan, sequences = job.plan, [*job.data.train, *job.data.validation]
    tensors = 4 * job.adapter.num_parameters
    copies = 4 if job.data.validation and plan.patience else 3  # adapter, two moments, best
    checkpoints = (KEEP + 1) * copies * tensors  # a new one is written before the oldest goes
    exported = 2 * tensors
    written = sum(8 * len(each.ids) + 200 for each in sequences)
    hidden = 0
    if first_adapted(plan, len(job.decoder.blocks)):
        hidden = states_bytes(sequences, job.decoder.shape.width)
    return checkpoints + exported + written + hidden


def forecast(job: ForecastInput, folder: Path) -> Forecast:
    """Forecast memory and disk.

    Args:
        job: What is to be done.
        folder: Where the run would lie; it need not exist.

    Raises:
        OutOfMemoryError: if it cannot fit into its memory budget.
        StorageError: if it cannot fit onto the disk.
    """
    memory = memory_plan(job)
    if not memory.fits:
        budget = memory.budget_bytes / GIB
        raise OutOfMemoryError(
            f"the run needs {memory.needed_bytes / GIB:.1f} GiB of memory with every layer "
            f"computed again, expected at most {budget:.1f} GiB",
            next_command=_nearest(job, memory),
        )
    needed = disk_bytes(job)
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if needed + DISK_RESERVE_BYTES > free:
        is_fast = bool(first_adapted(job.plan, len(job.decoder.blocks)))
        raise StorageError(
            f"the run needs {needed / 1e6:.0f} MB in {folder}, and {free / 1e6:.0f} MB are free",
            next_command="--set training.mode=quality keeps no hidden states on disk"
            if is_fast
            else "free some space, or start with another --home",
        )
    num_steps = BatchOrder(job.data.train, job.plan).num_steps
    return Forecast(
        num_steps=num_steps,
        peak_memory_bytes=memory.needed_bytes,
        disk_bytes=needed,
        memory=memory,
    )


def _nearest(job: ForecastInput, memory: MemoryPlan) -> str:
    """Return the nearest settings with which a job fits."""
    if job.plan.memory_budget and memory.needed_bytes < BUDGET_SHARE * available_bytes():
        needed = -(-memory.needed_bytes * 10 // GIB) / 10
        return f"--set training.memory_budget={needed:.1f}, which this machine has"
    for settings, candidate in _leaner(job):
        if memory_plan(candidate).fits:
            return f"{settings}, which fits"
    return "choose a smaller base model"


def _leaner(job: ForecastInput) -> Iterator[tuple[str, ForecastInput]]:
    """Yield leaner jobs, those that change the result least first."""
    plan, size = job.plan, job.plan.batch_size
    while size > 1:
        size //= 2
        steps = plan.sequences_per_step // size
        settings = f"--set training.batch_size={size} training.gradient_accumulation={steps}"
        leaner = replace(plan, batch_size=size, gradient_accumulation=steps)
        yield settings, replace(job, plan=leaner)
    longest = max(len(each.ids) for each in job.data.train)
    alone = replace(plan, batch_size=1, gradient_accumulation=plan.sequences_per_step)
    while longest > 64:  # noqa: PLR2004 - shorter chats teach nothing
        longest //= 2
        kept = [each for each in job.data.train if len(each.ids) <= longest]
        short = [each for each in job.data.validation if len(each.ids) <= longest]
        if kept:
            data = replace(job.data, train=kept, validation=short)
            settings = f"--set training.batch_size=1 data_preparation.max_length={longest}"
            yield settings, replace(job, plan=alone, data=data)


def timed(
    job: ForecastInput,
    trainable_over: Callable[[FrozenPrefixCache | None], Trainable],
    known: Forecast,
) -> Forecast:
    """Add the time, from a few batches that are computed and forgotten.

    Args:
        job: What is forecast.
        trainable_over: Makes what computes batches; its gradients are cleared.
        known: The forecast so far; its memory plan is in force.
    """
    batches, evaluations = job.first_epoch(), _evaluations(job)
    costs = job.costs(batches)
    by_cost = sorted(range(len(batches)), key=lambda i: costs[i].waited_tokens)
    chosen = [by_cost[int(share * (len(by_cost) - 1))] for share in PROBED_SHARES]
    probed = [*(batches[i] for i in chosen), *evaluations[len(evaluations) // 2 :][:1]]
    states, lower_s = _frozen_prefix(job, [each for batch in probed for each in batch])
    trainable = trainable_over(states)
    _seconds(trainable, batches[chosen[-1]])  # libraries compile, memory is touched
    seconds = [_seconds(trainable, batches[i]) for i in chosen]
    per_batch_s, per_token_s = fit([costs[i].waited_tokens for i in chosen], seconds)
    waited = sum(cost.waited_tokens for cost in costs)
    epoch_s = len(batches) * per_batch_s + waited * per_token_s
    steps_per_epoch = BatchOrder(job.data.train, job.plan).steps_per_epoch
    epochs = known.num_steps / min(steps_per_epoch, known.num_steps)
    if job.plan.finds_rate:
        epochs += USUAL_TRIES * steps_per_rate(known.num_steps) / len(batches)
    evaluations_s = _evaluations_s(job, trainable, known, evaluations)
    return replace(known, time_s=lower_s + epochs * epoch_s + evaluations_s)


def _frozen_prefix(
    job: ForecastInput, probed: Sequence[Item]
) -> tuple[FrozenPrefixCache | None, float]:
    """Return the states of probed sequences in fast mode, and how long those of all will take."""
    first = first_adapted(job.plan, len(job.decoder.blocks))
    if not first:
        return None, 0.0
    rows, everything = FrozenPrefixCache.num_rows(probed), [*job.data.train, *job.data.validation]
    states = FrozenPrefixCache(first, probed, np.empty((rows, job.decoder.shape.width), np.int16))
    for _ in range(2):  # the first compiles
        began_s = time.monotonic()
        states.fill(job.decoder)
        took_s = time.monotonic() - began_s
    return states, took_s * FrozenPrefixCache.num_rows(everything) / rows


def _seconds(trainable: Trainable, batch: Sequence[Item]) -> float:
    began_s = time.monotonic()
    trainable.accumulate(batch, scale=1.0)
    took_s = time.monotonic() - began_s
    for parameter in trainable.parameters():
        parameter.grad = None
    return took_s


def _evaluations(job: ForecastInput) -> list[list[Item]]:
    return evaluation_batches(job.data.validation)


def _evaluations_s(
    job: ForecastInput, trainable: Trainable, known: Forecast, batches: list[list[Item]]
) -> float:
    if not batches:
        return 0.0
    costs, middle = job.costs(batches), len(batches) // 2
    for _ in range(2):  # the first compiles
        began_s = time.monotonic()
        trainable.evaluate(batches[middle])
        took_s = time.monotonic() - began_s
    each_s = took_s * sum(c.waited_tokens for c in costs) / max(1.0, costs[middle].waited_tokens)
    return each_s * num_evaluations(job.plan, job.data, known.num_steps)


def num_evaluations(plan: TrainingPlan, data: TrainingData, num_steps: int) -> int:
    """Return how often a run measures its validation loss, unless it stops early."""
    if not data.validation:
        return 0
    per_epoch = BatchOrder(data.train, plan).steps_per_epoch
    due = {0, num_steps, *range(0, num_steps + 1, per_epoch)}
    if plan.evaluate_every:
        due |= set(range(0, num_steps + 1, plan.evaluate_every))
    return len(due)


def apply(memory: MemoryPlan, decoder: Decoder) -> None:
    """Bring a decoder into the state a memory plan asks for."""
    decoder.unpack(sorted(memory.unpacked))
    decoder.recomputed = memory.recomputed
