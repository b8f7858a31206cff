"""What the loop trains on real weights: an adapter, an objective, and the engine that computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from fine_tuning.core.item import Item
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.frozen_prefix_cache import FrozenPrefixCache
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.engine.step import (
    ExampleScore,
    StepResult,
    Teacher,
    accumulate_gradients,
    score_targets,
)
from fine_tuning.training.objective import Credit, Objective, SupervisedObjective


class AdapterTraining:
    """An adapter over a frozen decoder, as the loop wants it (``trainer_utils.Trainable``).

    An objective that is not the likelihood itself costs a second forward pass, and a third one for
    its reference, the base without the adapter.

    Args:
        decoder: The frozen base.
        adapter: What is trained.
        frozen_prefix: Knows the states that enter the first adapted block.
        objective: What is minimised.
        teacher: Gives distributions to come near to, in place of the targets.
        reference: What an objective compares with; None is the bare base.
    """

    def __init__(
        self,
        decoder: Decoder,
        adapter: LoraAdapter,
        frozen_prefix: FrozenPrefixCache | None = None,
        *,
        objective: Objective | None = None,
        teacher: Teacher | None = None,
        reference: LoraAdapter | None = None,
    ) -> None:
        self.decoder = decoder
        self.adapter = adapter
        self._frozen_prefix = frozen_prefix
        self._objective = objective or SupervisedObjective()
        self._teacher = teacher
        self._reference = reference

    def parameters(self) -> list[torch.Tensor]:
        """Return the factors."""
        return self.adapter.parameters()

    def size(self, batch: Sequence[Item]) -> float:
        """Return what the objective's mean is over."""
        return self._objective.size(batch)

    def accumulate(self, batch: Sequence[Item], *, scale: float) -> StepResult:
        """Add the gradient of a batch."""
        coefficients: float | list[float] = scale
        credit = None
        if not self._objective.is_likelihood:
            scores = score_targets(self.decoder, self.adapter, batch, self._frozen_prefix)
            credit = self._credit(batch, scores)
            coefficients = [scale * slope for slope in credit.coefficients]
        result = accumulate_gradients(
            self.decoder,
            self.adapter,
            batch,
            coefficients=coefficients,
            teacher=self._teacher,
            frozen_prefix=self._frozen_prefix,
        )
        return result if credit is None else replace(result, loss_sum=credit.loss_sum)

    def evaluate(self, batch: Sequence[Item]) -> StepResult:
        """Return the loss of a batch; with a teacher, that of its targets."""
        scores = score_targets(self.decoder, self.adapter, batch, self._frozen_prefix)
        return StepResult(
            self._credit(batch, scores).loss_sum,
            sum(len(score.log_probabilities) for score in scores),
            sum(score.num_tokens for score in scores),
        )

    def _credit(self, batch: Sequence[Item], scores: Sequence[ExampleScore]) -> Credit:
        own = [score.weighted(item) for score, item in zip(scores, batch, strict=True)]
        if not self._objective.needs_reference:
            return self._objective.credit(batch, own, None)
        known = score_targets(self.decoder, self._reference, batch, self._frozen_prefix)
        reference = [score.weighted(item) for score, item in zip(known, batch, strict=True)]
        return self._objective.credit(batch, own, reference)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the factors by name."""
        return self.adapter.state_dict()

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Copy factors in."""
        self.adapter.load_state_dict(state)
