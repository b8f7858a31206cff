"""Which sequences an optimizer step sees: a function of the seed and the step, and of nothing else.

No generator state exists, so a resumed run needs none. Which sequences share a step depends on
batch_size x gradient_accumulation only, so that 8x1 and 1x8 compute the same step. What is dealt is
a sequence, or a group of them, which counts as one.
"""

from __future__ import annotations

from collections.abc import Sequence

from fine_tuning.core.errors import DataError
from fine_tuning.core.item import Item, grouped
from fine_tuning.core.naming import unit_interval
from fine_tuning.engine.layout import prefix_groups
from fine_tuning.training.plan import TrainingPlan

BUCKET_STEPS = 8
"""Steps among which sequences are exchanged to bring like lengths together; the whole is shuffled
before and the steps after, so the order still says nothing about the length."""


EVALUATED_TOGETHER = 32
"""Sequences of an evaluation batch. They keep nothing for backward, and the output head, unpacked
in float32 for every batch, is most of what a small one costs."""


def shuffled(count: int, *, seed: int, epoch: int, what: str) -> list[int]:
    """Return the numbers 0 to ``count - 1`` in an order fixed by seed, epoch and ``what``.

    Sorting by a hash gives the same order on every machine and in every version of every library.
    """
    salt = f"{what}:{seed}:{epoch}"
    return sorted(range(count), key=lambda index: unit_interval(str(index), salt=salt))


def epoch_steps(lengths: Sequence[int], *, size: int, seed: int, epoch: int) -> list[list[int]]:
    """Deal the sequences of an epoch to its steps.

    Args:
        lengths: Tokens of each sequence.
        size: Sequences of a step; one step takes the remainder.
        seed: The run's seed.
        epoch: The epoch, from 0.

    Returns:
        Per step the indices of its sequences, short ones first. Each index occurs once.
    """
    order = shuffled(len(lengths), seed=seed, epoch=epoch, what="sequences")
    span = size * BUCKET_STEPS
    steps: list[list[int]] = []
    for start in range(0, len(order), span):
        bucket = sorted(order[start : start + span], key=lambda index: lengths[index])
        steps += [bucket[first : first + size] for first in range(0, len(bucket), size)]
    return [steps[i] for i in shuffled(len(steps), seed=seed, epoch=epoch, what="steps")]


UNITS = 1 << 20
"""Sampling weights are counted in about millionths, so that sums are exact."""


def drawn(weights: Sequence[float], *, seed: int, epoch: int) -> list[int]:
    """Return what an epoch takes of weighted things: indices in rising order, some several times.

    Systematic sampling in an order shuffled anew each epoch: every epoch takes equally many, and
    each thing its weight times, rounded up or down. With weights of 1 that is each thing once.
    """
    taken: list[int] = []
    reached, point = 0, UNITS // 2
    for index in shuffled(len(weights), seed=seed, epoch=epoch, what="draw"):
        reached += round(weights[index] * UNITS)
        while point < reached:
            taken.append(index)
            point += UNITS
    return sorted(taken)


def num_drawn(weights: Sequence[float]) -> int:
    """Return how many an epoch takes: the sum of the weights, rounded."""
    return (sum(round(weight * UNITS) for weight in weights) + UNITS // 2 - 1) // UNITS


class BatchOrder:
    """The batches of every step of a run.

    Raises:
        DataError: if items of one group have different sampling weights, or an epoch takes
            none of them.
    """

    def __init__(self, sequences: Sequence[Item], plan: TrainingPlan) -> None:
        self._units = [[sequences[i] for i in unit] for unit in grouped(sequences)]
        self._lengths = [max(len(item.ids) for item in unit) for unit in self._units]
        self._weights = [_sampling_weight(unit) for unit in self._units]
        if not num_drawn(self._weights):
            raise DataError(
                f"the sampling weights of {len(sequences)} items sum to {sum(self._weights):g}, "
                "expected a sum that rounds to 1 or more"
            )
        self._plan = plan
        self._epoch = -1
        self._steps: list[list[int]] = []
        self.steps_per_epoch = -(-num_drawn(self._weights) // plan.sequences_per_step)
        num_steps = self.steps_per_epoch * plan.num_epochs
        self.num_steps = min(num_steps, plan.max_steps) if plan.max_steps else num_steps

    def epoch(self, step: int) -> int:
        """Return the epoch, from 0, in which a step (from 0) lies."""
        return step // self.steps_per_epoch

    def batches(self, step: int) -> list[list[Item]]:
        """Return the batches of a step, counted from 0 over the whole run."""
        epoch = self.epoch(step)
        if epoch != self._epoch:
            size, seed = self._plan.sequences_per_step, self._plan.seed
            taken = drawn(self._weights, seed=seed, epoch=epoch)
            lengths = [self._lengths[i] for i in taken]
            dealt = epoch_steps(lengths, size=size, seed=seed, epoch=epoch)
            self._steps = [[taken[place] for place in places] for places in dealt]
            self._epoch = epoch
        indices = self._steps[step % self.steps_per_epoch]
        return _batches([self._units[i] for i in indices], self._plan.batch_size)


def _sampling_weight(unit: Sequence[Item]) -> float:
    weights = {item.sampling_weight for item in unit}
    if len(weights) > 1:
        raise DataError(
            f"the items of group {unit[0].group!r} have sampling weights {sorted(weights)}, "
            "expected one for all"
        )
    return weights.pop()


def evaluation_batches(
    sequences: Sequence[Item], batch_size: int = EVALUATED_TOGETHER
) -> list[list[Item]]:
    """Return the batches of an evaluation: by length, common beginnings together, always equal.

    Sampling weights do not count here: each item comes once.
    """
    units = [[sequences[i] for i in unit] for unit in grouped(sequences)]
    return _batches(sorted(units, key=lambda unit: max(len(i.ids) for i in unit)), batch_size)


def _batches(units: Sequence[list[Item]], size: int) -> list[list[Item]]:
    """Cut units into batches of ``size``, common beginnings side by side; the engine shares them.

    The last batch takes the remainder.
    """
    related = prefix_groups([unit[0].ids for unit in units])
    ordered = [units[index] for prefix_group in related for index in prefix_group]
    return [
        [item for unit in ordered[first : first + size] for item in unit]
        for first in range(0, len(ordered), size)
    ]
