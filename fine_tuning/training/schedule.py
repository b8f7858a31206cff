"""The learning rate as a function of the step alone, so that nothing of it needs to be saved.

The rate climbs linearly to its peak, then falls linearly or along half a cosine (arXiv 1608.03983,
one cycle) to a floor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fine_tuning.config.schema import Schedule
from fine_tuning.training.plan import TrainingPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRateSchedule:
    """Warm-up and decay over ``num_steps`` optimizer steps.

    ``floor`` is the rate the decay would reach at step ``num_steps``, one after the last.
    """

    peak: float
    floor: float
    num_steps: int
    num_warmup_steps: int
    shape: Schedule

    @classmethod
    def of(cls, plan: TrainingPlan, num_steps: int) -> LearningRateSchedule:
        """Return the schedule a plan asks for; warm-up steps are rounded up."""
        return cls(
            peak=plan.learning_rate,
            floor=plan.learning_rate * plan.min_learning_rate_ratio,
            num_steps=num_steps,
            num_warmup_steps=min(num_steps, math.ceil(plan.warmup_ratio * num_steps)),
            shape=plan.schedule,
        )

    def learning_rate(self, step: int) -> float:
        """Return the rate of a step, counted from 0; the first is already above zero."""
        if step < self.num_warmup_steps:
            return self.peak * (step + 1) / self.num_warmup_steps
        if self.shape == "constant":
            return self.peak
        progress = (step - self.num_warmup_steps) / max(1, self.num_steps - self.num_warmup_steps)
        share = 1 - progress if self.shape == "linear" else (1 + math.cos(math.pi * progress)) / 2
        return self.floor + (self.peak - self.floor) * share
