"""What is minimised: from the log-probabilities of sequences to a loss and a coefficient for each.

Every loss of sequences' log-probabilities has the gradient ``sum(c_i * d(-ln p_i))``, so an
objective never sees a tensor: it says c_i, and the engine multiplies. ``ln p_i`` is the sum over
the targets of item i, each times its weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fine_tuning.core.item import Item


@dataclass(frozen=True, slots=True)
class Credit:
    """The loss of a batch, summed, and its slope by each item's ``-ln p``."""

    loss_sum: float
    coefficients: tuple[float, ...]


class Objective(Protocol):
    """A loss of sequences.

    * Items of one group always come together; a loss MUST NOT depend on other groups, so that a
      step's batches can be computed one after the other.
    * ``credit`` MUST give the slope of its own loss: the tests compare it with autograd.
    """

    @property
    def is_likelihood(self) -> bool:
        """Whether the loss is the sum of ``-ln p`` itself: then one pass through the model does."""
        ...

    @property
    def needs_reference(self) -> bool:
        """Whether it asks for the log-probabilities of the model before training."""
        ...

    def size(self, items: Sequence[Item]) -> float:
        """Return what the mean loss is a mean over, more than 0; adds up over batches."""
        ...

    def credit(
        self,
        items: Sequence[Item],
        log_probabilities: Sequence[float],
        reference: Sequence[float] | None,
    ) -> Credit:
        """Return the loss and the coefficients.

        Args:
            items: A batch.
            log_probabilities: Of each item, as the model in training gives it.
            reference: The same of the base model; None unless ``needs_reference``.
        """
        ...


class SupervisedObjective:
    """Cross-entropy: every target is to be likely, by its weight."""

    is_likelihood = True
    needs_reference = False

    def size(self, items: Sequence[Item]) -> float:
        """Return the weight of all targets; their number, unless weights say otherwise."""
        return sum(sum(map(abs, item.weights)) for item in items)

    def credit(
        self,
        items: Sequence[Item],
        log_probabilities: Sequence[float],
        reference: Sequence[float] | None,  # noqa: ARG002 - it compares with nothing
    ) -> Credit:
        """Return the sum of ``-ln p``, and 1 for each item."""
        return Credit(-sum(log_probabilities), (1.0,) * len(items))
