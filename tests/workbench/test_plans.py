"""Which adapter is trained follows from what will serve it, and the run records why."""

from __future__ import annotations

import json

import pytest

from fine_tuning.config.schema import Settings, TrainingSettings
from fine_tuning.workbench.plans import choose_adapter, chosen_settings, training_plan


@pytest.mark.parametrize(
    ("wanted", "takes_adapters", "expected"),
    [
        ("auto", True, "lora"),
        ("auto", False, "mergeable"),
        ("auto", None, "mergeable"),
        ("lora", False, "lora"),
        ("mergeable", True, "mergeable"),
    ],
)
def test_auto_follows_the_runtime(wanted: str, takes_adapters: bool | None, expected: str) -> None:
    form, reason = choose_adapter(wanted, takes_adapters, "because it said so")
    assert form == expected
    assert ("because it said so" in reason) == (wanted == "auto")
    plan = training_plan(TrainingSettings(adapter=wanted), takes_adapters, "because it said so")
    assert (plan.adapter, plan.adapter_reason) == (form, reason)


def test_an_unknown_runtime_is_named() -> None:
    assert "is not known" in training_plan(TrainingSettings()).adapter_reason


def test_only_what_differs_from_the_defaults_is_told() -> None:
    data = Settings().data_preparation
    ratios = {split: getattr(data, f"{split}_ratio") for split in ("train", "validation", "test")}
    recorded = {
        "method": "qlora",
        "plan": training_plan(TrainingSettings(threads=7), True).to_dict(),
        "data": {"max_length": data.max_length, "ratios": ratios, "seed": 42},
    }
    assert chosen_settings(recorded) == {}
    asked = TrainingSettings(
        method="lora", adapter="mergeable", lora_r=8, max_steps=16, early_stopping_patience=None
    )
    changed = {
        "method": asked.method,
        "plan": training_plan(asked).to_dict() | {"of a later release": 1},
        "data": {"max_length": 512, "ratios": ratios | {"train": 0.7}},
    }
    assert chosen_settings(changed) == {
        "training.method": ("lora", "qlora"),
        "training.lora_r": (8, 16),
        "training.max_steps": (16, "null"),
        "training.early_stopping_patience": ("null", 3),
        "training.adapter": ("mergeable", "auto"),
        "data_preparation.max_length": (512, data.max_length),
        "data_preparation.train_ratio": (0.7, 0.8),
    }
    assert chosen_settings({}) == {}, "an old version may lack them"


def test_the_defaults_are_told_as_such_after_the_file() -> None:
    plan = json.loads(json.dumps(training_plan(TrainingSettings(), True).to_dict()))
    assert chosen_settings({"method": "qlora", "plan": plan}) == {}
    for training in (
        TrainingSettings(eight_bit_modules=("attn_v",)),
        TrainingSettings(target_modules=("attn_q",)),
    ):
        plan = json.loads(json.dumps(training_plan(training, True).to_dict()))
        told = chosen_settings({"method": "qlora", "plan": plan})
        assert told in (
            {"training.eight_bit_modules": (["attn_v"], [])},
            {"training.target_modules": (["attn_q"], "all-linear")},
        )
