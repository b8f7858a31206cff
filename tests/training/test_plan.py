"""A plan is read back as written, and refused with all its mistakes at once."""

from __future__ import annotations

import json

import pytest

from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.core.example import TokenizedExample
from fine_tuning.training.plan import TrainingData, TrainingPlan
from tests.training.tiny import sequences


def test_survives_json() -> None:
    plan = TrainingPlan(targets=("attn_q",), adam_betas=(0.8, 0.95), schedule="cosine")
    assert TrainingPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_names_every_field_out_of_range() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainingPlan(rank=0, learning_rate=-1.0, warmup_ratio=1.5, schedule="step", patience=-1)
    for name in ("rank", "learning_rate", "warmup_ratio", "schedule", "patience"):
        assert f"{name} is" in str(caught.value)
    assert "batch_size" not in str(caught.value)


def test_nan_is_no_learning_rate() -> None:
    with pytest.raises(ConfigError, match="learning_rate is nan"):
        TrainingPlan(learning_rate=float("nan"))


def test_sequences_with_nothing_to_learn_are_left_out() -> None:
    idle = TokenizedExample(example_id="i", conversation_id="i", ids=(1, 2), mask=(0, 0))
    data = TrainingData(train=[idle, *sequences(3)], validation=[idle])
    assert [each.example_id for each in data.learnable().train] == ["e0.0", "e0.1", "e0.2"]
    assert not data.learnable().validation
    with pytest.raises(DataError, match="1 sequences and none with a token to learn"):
        TrainingData(train=[idle]).learnable()
