"""A plan is read back as written, and refused with all its mistakes at once."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.config.schema import (
    TARGET_MODULES,
    ComputeDtype,
    Mode,
    Schedule,
    TrainingSettings,
)
from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.core.example import TokenizedExample
from fine_tuning.training.plan import AdapterForm, TrainingData, TrainingPlan, links
from tests.training.tiny import sequences


def test_survives_json() -> None:
    plan = TrainingPlan(targets=("attn_q",), adam_betas=(0.8, 0.95), schedule="cosine")
    assert TrainingPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


LAYERS = st.lists(st.sampled_from(TARGET_MODULES), unique=True).map(tuple)
COUNT, SHARE = st.integers(0, 10**6), st.floats(0, 1)
PLANS = st.builds(
    TrainingPlan,
    rank=st.integers(1, 1024),
    alpha=st.floats(1e-3, 1e4),
    use_rslora=st.booleans(),
    targets=LAYERS,
    adapter=st.sampled_from(get_args(AdapterForm)),
    eight_bit=LAYERS,
    adapter_reason=st.text(),
    learning_rate=st.floats(1e-8, 1),
    finds_rate=st.booleans(),
    warmup_ratio=SHARE,
    schedule=st.sampled_from(get_args(Schedule)),
    adam_betas=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
    max_grad_norm=SHARE,
    patience=COUNT,
    checkpoint_every_s=SHARE,
    max_steps=COUNT,
    memory_budget=SHARE,
    mode=st.sampled_from(get_args(Mode)),
    compute_dtype=st.sampled_from(get_args(ComputeDtype)),
)


@given(PLANS)
def test_every_plan_survives_json(plan: TrainingPlan) -> None:
    raw = plan.to_dict()
    read = json.loads(json.dumps(raw))
    assert read == raw, "what is compared with a file is equal to it"
    assert TrainingPlan.from_dict(read) == plan


def test_a_plan_of_the_default_settings_is_the_default_plan() -> None:
    assert TrainingPlan.from_settings(TrainingSettings()) == TrainingPlan()


def test_each_field_that_holds_a_setting_names_one_of_its_own() -> None:
    named = [link.name for link in links().values()]
    assert len(set(named)) == len(named)
    decided = {"method", "base_model", "output_dir", "adapter", "threads"}
    assert set(named) | decided == set(TrainingSettings.model_fields)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"rank": "16"}, "rank is a string, expected a number"),
        ({"targets": "attn_q"}, "targets is a string, expected an array"),
        ({"adam_betas": [0.9]}, "adam_betas has 1 values, expected 2"),
        ({"mode": "slow"}, "mode is 'slow', expected quality or fast"),
    ],
)
def test_a_plan_of_another_shape_is_refused(raw: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingPlan.from_dict(raw)


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
