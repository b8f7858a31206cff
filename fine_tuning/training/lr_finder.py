"""Looks for a learning rate: a few steps at each of several rates, compared on held-out sequences.

Every try starts from the same fresh adapter and sees the same batches, so that the same data, plan
and number of threads give the same rate. It knows no model; whoever asks makes what is trained.
Similar in aim to Smith's range test (arXiv 1506.01186, section 3.3), but with a run per rate: on
a few dozen chats the loss of a single batch says more about the batch than about the rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from fine_tuning.core.errors import TrainingError
from fine_tuning.core.item import Item
from fine_tuning.training.batches import BatchOrder, evaluation_batches
from fine_tuning.training.optimizer import AdamW
from fine_tuning.training.plan import TrainingData, TrainingPlan
from fine_tuning.training.trainer_utils import Trainable

RATES = (5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
FIRST = RATES.index(1e-3)
FEWEST_STEPS, MOST_STEPS = 4, 12
SHARE_OF_RUN = 0.05
USUAL_TRIES = 4
MAX_HELD_OUT = 16
"""Sequences on which rates are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRate:
    """The rate to train with, the loss after a few steps at each rate tried, and why."""

    learning_rate: float
    losses: Mapping[float, float]
    reason: str


def steps_per_rate(num_steps: int) -> int:
    """Return the steps a rate is tried for, before a run of ``num_steps``."""
    return min(num_steps, MOST_STEPS, max(FEWEST_STEPS, round(SHARE_OF_RUN * num_steps)))


def find_rate(fresh: Callable[[], Trainable], data: TrainingData, plan: TrainingPlan) -> FoundRate:
    """Try rates, upwards from 1e-3 while they get better, else downwards.

    Args:
        fresh: Makes what is trained, as it is before its first step; equal each time.
        data: What will be trained on; they are compared on a part of the validation split, without
            one on a part of the training split that the tries do not see.
        plan: The numbers of the run; its learning rate is not looked at.

    Raises:
        TrainingError: if no rate gives a finite loss.
    """
    order = BatchOrder(data.train, plan)
    num_steps = steps_per_rate(order.num_steps)
    steps = [order.batches(step) for step in range(num_steps)]
    held_out = _held_out(data, steps)
    losses: dict[float, float] = {}

    loss_at = partial(_loss_at, fresh, steps, held_out, plan, losses)
    best = FIRST
    for direction in (1, -1):
        while 0 <= (place := best + direction) < len(RATES):
            if loss_at(RATES[place]) >= loss_at(RATES[best]):
                break
            best = place
        if best != FIRST:
            break
    if not math.isfinite(losses[RATES[best]]):
        tried = ", ".join(f"{rate:g}" for rate in sorted(losses))
        raise TrainingError(
            f"no learning rate of {tried} gave a finite loss after {num_steps} steps",
            next_command="start with a rate of your own: --set training.learning_rate=1e-5",
        )
    told = ", ".join(f"{rate:g}: {losses[rate]:.3f}" for rate in sorted(losses))
    return FoundRate(
        learning_rate=RATES[best],
        losses=losses,
        reason=f"learning rate {RATES[best]:g}, the best of those tried for {num_steps} steps "
        f"each (loss on {len(held_out)} held-out sequences after them: {told})",
    )


def _held_out(data: TrainingData, steps: Sequence[Sequence[Sequence[Item]]]) -> list[Item]:
    """Return what rates are compared on: of many sequences, some spread evenly over the whole."""
    seen = {each.example_id for batches in steps for batch in batches for each in batch}
    unseen = [each for each in data.train if each.example_id not in seen]
    pool = list(data.validation) or unseen or list(data.train)
    stride = max(1, -(-len(pool) // MAX_HELD_OUT))
    return pool[::stride]


def _loss_at(
    fresh: Callable[[], Trainable],
    steps: Sequence[Sequence[Sequence[Item]]],
    held_out: Sequence[Item],
    plan: TrainingPlan,
    losses: dict[float, float],
    rate: float,
) -> float:
    """Return the mean loss after training at a rate, infinite if it left the finite; keep it."""
    if rate in losses:
        return losses[rate]
    losses[rate], trainable = math.inf, fresh()
    parameters = trainable.parameters()
    optimizer = AdamW(parameters, betas=plan.adam_betas, weight_decay=plan.weight_decay)
    for batches in steps:
        size = sum(map(trainable.size, batches))
        optimizer.zero_grad()
        for batch in batches:
            trainable.accumulate(batch, scale=1 / size)
        norm = torch.nn.utils.clip_grad_norm_(parameters, plan.max_grad_norm or math.inf)
        if not math.isfinite(norm):
            return losses[rate]
        optimizer.step(rate)
    batches = evaluation_batches(held_out)
    loss_sum = sum(trainable.evaluate(batch).loss_sum for batch in batches)
    loss = loss_sum / sum(map(trainable.size, batches))
    losses[rate] = loss if math.isfinite(loss) else math.inf
    return losses[rate]
