"""A learning rate is found on the data, the same one every time, and said with its reason."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fine_tuning.core.errors import TrainingError
from fine_tuning.core.example import TokenizedExample
from fine_tuning.training.lr_finder import RATES, find_rate, steps_per_rate
from fine_tuning.training.plan import TrainingData, TrainingPlan
from fine_tuning.training.run_lifecycle import Listening
from tests.training.tiny import DATA, BigramModel, Heard, Loss
from tests.training.tiny_llama import PLAN as LLAMA_PLAN
from tests.training.tiny_llama import run_llama

PLAN = TrainingPlan(batch_size=4, num_epochs=20, max_grad_norm=0)


class ScaledModel(BigramModel):
    """Learns with numbers ``factor`` times smaller, so that its best rate is that much lower."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self._factor = factor
        for tensor in self._tensors.values():
            tensor.data /= factor

    def _loss(self, batch: Sequence[TokenizedExample]) -> tuple[torch.Tensor, Loss]:
        own = self._tensors
        self._tensors = {name: tensor * self._factor for name, tensor in own.items()}
        try:
            return super()._loss(batch)
        finally:
            self._tensors = own


class NeverFinite(BigramModel):
    def evaluate(self, batch: Sequence[TokenizedExample]) -> Loss:
        return Loss(math.nan, len(batch), 1)


def test_the_rate_is_the_best_of_those_around_it() -> None:
    found = find_rate(BigramModel, DATA, PLAN)
    place = RATES.index(found.learning_rate)
    around = set(RATES[max(0, place - 1) : place + 2])
    assert around <= set(found.losses)
    assert min(found.losses, key=lambda rate: found.losses[rate]) == found.learning_rate


def test_a_model_of_smaller_numbers_gets_a_lower_rate() -> None:
    usual = find_rate(BigramModel, DATA, PLAN).learning_rate
    assert usual > 1e-3
    assert find_rate(lambda: ScaledModel(100), DATA, PLAN).learning_rate < usual / 5


def test_the_same_question_gets_the_same_answer_and_says_why() -> None:
    first, again = (find_rate(BigramModel, DATA, PLAN) for _ in range(2))
    assert first == again
    assert f"{first.learning_rate:g}" in first.reason
    assert all(f"{rate:g}: {loss:.3f}" in first.reason for rate, loss in first.losses.items())


def test_without_validation_unseen_training_sequences_judge() -> None:
    alone = TrainingData(train=DATA.train)
    assert find_rate(BigramModel, alone, PLAN).learning_rate in RATES
    few = TrainingData(train=DATA.train[:2])  # all of them are seen
    assert find_rate(BigramModel, few, PLAN).learning_rate in RATES


def test_a_loss_that_is_never_finite_is_an_error() -> None:
    with pytest.raises(TrainingError, match="no learning rate of") as told:
        find_rate(NeverFinite, DATA, PLAN)
    assert "training.learning_rate" in told.value.next_command


@pytest.mark.parametrize(("run", "tried"), [(1, 1), (3, 3), (60, 4), (160, 8), (10_000, 12)])
def test_a_try_costs_a_small_part_of_the_run(run: int, tried: int) -> None:
    assert steps_per_rate(run) == tried


def test_a_run_that_finds_its_rate_is_the_run_with_that_rate(tmp_path: Path) -> None:
    heard = Heard()
    plan = replace(LLAMA_PLAN, finds_rate=True)
    found = run_llama(tmp_path / "found", "qlora", plan, Listening(listener=heard))
    recorded = json.loads((tmp_path / "found" / "manifest.json").read_text())["plan"]
    assert recorded["rate_reason"].startswith(f"learning rate {recorded['learning_rate']:g}, ")
    told = heard.values("remark", "message")
    assert recorded["rate_reason"] in told
    assert str(told[0]).startswith("trying learning rates")
    given = replace(LLAMA_PLAN, learning_rate=recorded["learning_rate"])
    same = run_llama(tmp_path / "given", "qlora", given)
    assert found.metrics.last_loss == same.metrics.last_loss
    assert found.metrics.best_validation_loss == same.metrics.best_validation_loss
