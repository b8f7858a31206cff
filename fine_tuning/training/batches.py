"""Which sequences an optimizer step sees: a function of the seed and the step, and of nothing else.

No generator state exists, so a resumed run needs none. Which sequences share a step depends on
batch_size x gradient_accumulation only, so that 8x1 and 1x8 compute the same step.
"""

from __future__ import annotations

from collections.abc import Sequence

from fine_tuning.core.example import TokenizedExample
from fine_tuning.core.naming import unit_interval
from fine_tuning.engine.layout import families
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


class BatchOrder:
    """The batches of every step of a run."""

    def __init__(self, sequences: Sequence[TokenizedExample], plan: TrainingPlan) -> None:
        self._sequences = sequences
        self._lengths = [len(sequence.ids) for sequence in sequences]
        self._plan = plan
        self._epoch = -1
        self._steps: list[list[int]] = []
        self.steps_per_epoch = -(-len(sequences) // plan.sequences_per_step)
        num_steps = self.steps_per_epoch * plan.num_epochs
        self.num_steps = min(num_steps, plan.max_steps) if plan.max_steps else num_steps

    def epoch(self, step: int) -> int:
        """Return the epoch, from 0, in which a step (from 0) lies."""
        return step // self.steps_per_epoch

    def batches(self, step: int) -> list[list[TokenizedExample]]:
        """Return the batches of a step, counted from 0 over the whole run."""
        epoch = self.epoch(step)
        if epoch != self._epoch:
            size, seed = self._plan.sequences_per_step, self._plan.seed
            self._steps = epoch_steps(self._lengths, size=size, seed=seed, epoch=epoch)
            self._epoch = epoch
        indices = self._steps[step % self.steps_per_epoch]
        return cut(together([self._sequences[i] for i in indices]), self._plan.batch_size)


def evaluation_batches(
    sequences: Sequence[TokenizedExample], batch_size: int = EVALUATED_TOGETHER
) -> list[list[TokenizedExample]]:
    """Return the batches of an evaluation: by length, common beginnings together, always equal."""
    return cut(together(sorted(sequences, key=lambda each: len(each.ids))), batch_size)


def together(sequences: Sequence[TokenizedExample]) -> list[TokenizedExample]:
    """Return sequences with those of a common beginning side by side; the engine shares it."""
    related = families([sequence.ids for sequence in sequences])
    return [sequences[index] for family in related for index in family]


def cut(sequences: Sequence[TokenizedExample], size: int) -> list[list[TokenizedExample]]:
    """Cut sequences into lists of ``size``; the last takes the remainder."""
    return [list(sequences[start : start + size]) for start in range(0, len(sequences), size)]
