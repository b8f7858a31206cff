"""How long a run still takes, from the steps it has done.

A step costs a part of its own and its tokens. The first step is left out, in which libraries
compile and memory is touched.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STEPS_FOR_A_FORECAST = 4


class Throughput:
    """Collects what steps and evaluations took."""

    def __init__(self) -> None:
        self._tokens: list[float] = []
        self._seconds: list[float] = []
        self._evaluation_s = 0.0

    @property
    def num_steps(self) -> int:
        """Steps seen."""
        return len(self._seconds)

    def step(self, tokens: float, seconds: float) -> None:
        """Take note of a step."""
        self._tokens.append(tokens)
        self._seconds.append(seconds)

    def evaluation(self, seconds: float) -> None:
        """Take note of an evaluation; the last one counts, the first compiles."""
        self._evaluation_s = seconds

    def remaining_s(self, num_steps: int, tokens: float, num_evaluations: int) -> float:
        """Return the seconds that steps with so many tokens in all, and evaluations, will take."""
        warm = slice(1, None) if self.num_steps > 1 else slice(None)
        per_step_s, per_token_s = fit(self._tokens[warm], self._seconds[warm])
        steps_s = num_steps * per_step_s + tokens * per_token_s
        return steps_s + num_evaluations * self._evaluation_s


def fit(tokens: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Return (seconds per step, seconds per token), neither negative, by least squares."""
    if not tokens:
        return 0.0, 0.0
    x, y = np.asarray(tokens, np.float64), np.asarray(seconds, np.float64)
    spread = x - x.mean()
    slope = float(spread @ (y - y.mean()) / (spread @ spread)) if spread.any() else -1.0
    intercept = float(y.mean() - slope * x.mean())
    if slope < 0 and spread.any():
        return float(y.mean()), 0.0
    if slope < 0 or intercept < 0:
        return 0.0, float(y.sum() / max(1.0, x.sum()))
    return intercept, slope


def duration(seconds: float) -> str:
    """Return seconds as 0:07, 12:30 or 1:02:03."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
