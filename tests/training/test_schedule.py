"""The learning rate against its closed forms."""

from __future__ import annotations

import math

import pytest

from fine_tuning.training.plan import TrainingPlan
from fine_tuning.training.schedule import LearningRateSchedule


def schedule(**changes: object) -> LearningRateSchedule:
    settings = {"learning_rate": 1.0, "warmup_ratio": 0.1, "min_learning_rate_ratio": 0.2}
    return LearningRateSchedule.of(TrainingPlan(**{**settings, **changes}), 100)


@pytest.mark.parametrize("shape", ["linear", "cosine", "constant"])
def test_warms_up_in_equal_steps_and_reaches_its_peak(shape: str) -> None:
    rates = [schedule(schedule=shape).learning_rate(step) for step in range(10)]
    assert rates == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert schedule(schedule=shape).learning_rate(10) == 1.0


def test_linear_decay_is_a_line_to_the_floor() -> None:
    it = schedule(schedule="linear")
    assert it.learning_rate(55) == pytest.approx(0.6)
    assert it.learning_rate(100) == pytest.approx(0.2)
    falls = [it.learning_rate(step) - it.learning_rate(step + 1) for step in range(10, 99)]
    assert falls == pytest.approx([0.8 / 90] * 89)


def test_cosine_decay_is_half_a_cosine_to_the_floor() -> None:
    it = schedule(schedule="cosine")
    for step in range(10, 101):
        expected = 0.2 + 0.8 * (1 + math.cos(math.pi * (step - 10) / 90)) / 2
        assert it.learning_rate(step) == pytest.approx(expected)


def test_constant_stays() -> None:
    assert {schedule(schedule="constant").learning_rate(step) for step in range(10, 100)} == {1.0}


def test_without_warm_up_the_first_step_is_at_the_peak() -> None:
    assert schedule(warmup_ratio=0.0).learning_rate(0) == 1.0


def test_one_step_is_trained_at_a_rate_above_zero() -> None:
    it = LearningRateSchedule.of(TrainingPlan(learning_rate=1.0), 1)
    assert it.learning_rate(0) == 1.0


def test_all_of_warm_up_never_decays() -> None:
    it = schedule(warmup_ratio=1.0)
    assert it.learning_rate(99) == 1.0
