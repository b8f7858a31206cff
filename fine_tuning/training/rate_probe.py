"""Looks for a learning rate: a few steps at each of several rates, judged on what was not learnt.

Every try starts from the same fresh adapter and sees the same batches, so that the same data, plan
and number of threads give the same rate. It knows no model; whoever asks makes what is trained.
Similar in aim to Smith's range test (arXiv 1506.01186, section 3.3), but with a run per rate: on
a few dozen chats the loss of a single batch says more about the batch than about the rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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
MAX_JUDGED = 16
"""Sequences on which a rate is judged."""


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
        data: What will be trained on; a part of the validation split judges, without one a part
            of the training split that the tries do not see.
        plan: The numbers of the run; its learning rate is not looked at.

    Raises:
        TrainingError: if no rate gives a finite loss.
    """
    order = BatchOrder(data.train, plan)
    num_steps = steps_per_rate(order.num_steps)
    steps = [order.batches(step) for step in range(num_steps)]
    judged = _judged(data, steps)
    losses: dict[float, float] = {}

    def loss_at(place: int) -> float:
        rate = RATES[place]
        if rate not in losses:
            losses[rate] = _loss_after(fresh(), steps, judged, plan, rate)
        return losses[rate]

    best = FIRST
    for direction in (1, -1):
        while 0 <= best + direction < len(RATES) and loss_at(best + direction) < loss_at(best):
            best += direction
        if best != FIRST:
            break
    if not math.isfinite(loss_at(best)):
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
        f"each (loss on {len(judged)} held-out sequences after them: {told})",
    )


def _judged(data: TrainingData, steps: Sequence[Sequence[Sequence[Item]]]) -> list[Item]:
    """Return what judges a rate: of many sequences, some spread evenly over the whole."""
    seen = {each.example_id for batches in steps for batch in batches for each in batch}
    unseen = [each for each in data.train if each.example_id not in seen]
    pool = list(data.validation) or unseen or list(data.train)
    stride = max(1, -(-len(pool) // MAX_JUDGED))
    return pool[::stride]


def _loss_after(
    trainable: Trainable,
    steps: Sequence[Sequence[Sequence[Item]]],
    judged: Sequence[Item],
    plan: TrainingPlan,
    rate: float,
) -> float:
    """Return the loss per target after training at a rate; infinite if it left the finite."""
    parameters = trainable.parameters()
    optimizer = AdamW(parameters, betas=plan.adam_betas, weight_decay=plan.weight_decay)
    for batches in steps:
        size = sum(map(trainable.size, batches))
        optimizer.zero_grad()
        for batch in batches:
            trainable.accumulate(batch, scale=1 / size)
        norm = torch.nn.utils.clip_grad_norm_(parameters, plan.max_grad_norm or math.inf)
        if not math.isfinite(norm):
            return math.inf
        optimizer.step(rate)
    held_out = evaluation_batches(judged)
    loss_sum = sum(trainable.evaluate(batch).loss_sum for batch in held_out)
    loss = loss_sum / sum(map(trainable.size, held_out))
    return loss if math.isfinite(loss) else math.inf
