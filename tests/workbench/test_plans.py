"""Which adapter is trained follows from what will serve it, and the run records why."""

from __future__ import annotations

import pytest

from fine_tuning.config.schema import Training
from fine_tuning.workbench.plans import choose_adapter, training_plan


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
    plan = training_plan(Training(adapter=wanted), takes_adapters, "because it said so")
    assert (plan.adapter, plan.adapter_reason) == (form, reason)


def test_an_unknown_runtime_is_named() -> None:
    assert "is not known" in training_plan(Training()).adapter_reason
