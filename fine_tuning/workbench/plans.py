"""Settings, in which null means "none" or "decide for me", to the plain numbers of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psutil

from fine_tuning.config.schema import Adapter, LearningRate, Settings, Training
from fine_tuning.training.plan import AdapterForm, TrainingPlan

UNKNOWN_RUNTIME = "which runtime will serve it is not known"
ASKED_FOR = "asked for by training.adapter"
SETTING_OF = {
    "rank": "lora_r",
    "alpha": "lora_alpha",
    "targets": "target_modules",
    "eight_bit": "eight_bit_modules",
    "patience": "early_stopping_patience",
    "checkpoint_every": "checkpoint_every_steps",
}
"""What a field of a plan is called among the settings, where the names differ."""
NONE_IF_ZERO = {
    "checkpoint_every", "checkpoint_every_s", "evaluate_every", "max_grad_norm", "max_steps",
    "memory_budget", "patience",
}  # fmt: skip
"""Fields of a plan whose 0 is a setting of null."""
DECIDED = {"adapter", "adapter_reason", "rate_reason", "finds_rate", "threads"}
"""Fields of a plan that say what was decided and why, not what was asked."""


def choose_adapter(
    wanted: Adapter, takes_adapters: bool | None = None, why: str = UNKNOWN_RUNTIME
) -> tuple[AdapterForm, str]:
    """Return the kind of adapter to train, and the reason.

    Args:
        wanted: The setting.
        takes_adapters: Whether the runtime that will serve the model takes an adapter beside it;
            None when that is not known.
        why: The reason that is believed.
    """
    if wanted != "auto":
        return wanted, ASKED_FOR
    if takes_adapters:
        return "lora", f"learns most, and adapters are served: {why}"
    if takes_adapters is None:
        return "mergeable", f"{why}; a mergeable adapter is served as an adapter or merged"
    return "mergeable", f"folds into the base model, as adapters are not served: {why}"


def _rate(wanted: LearningRate) -> dict[str, Any]:
    """Return the plan's fields; the rate of one that will be looked for is that of the defaults."""
    return {"finds_rate": True} if wanted == "auto" else {"learning_rate": wanted}


def training_plan(
    training: Training, takes_adapters: bool | None = None, why: str = UNKNOWN_RUNTIME
) -> TrainingPlan:
    """Return what the settings ask of a run; where they leave it open, physical cores are used.

    Args:
        training: The settings.
        takes_adapters: See :func:`choose_adapter`.
        why: See :func:`choose_adapter`.
    """
    targets = training.target_modules
    adapter, adapter_reason = choose_adapter(training.adapter, takes_adapters, why)
    return TrainingPlan(
        adapter=adapter,
        adapter_reason=adapter_reason,
        rank=training.lora_r,
        alpha=training.lora_alpha,
        use_rslora=training.use_rslora,
        targets=() if isinstance(targets, str) else targets,
        eight_bit=training.eight_bit_modules,
        **_rate(training.learning_rate),
        num_epochs=training.num_epochs,
        batch_size=training.batch_size,
        gradient_accumulation=training.gradient_accumulation,
        warmup_ratio=training.warmup_ratio,
        schedule=training.schedule,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm or 0.0,
        patience=training.early_stopping_patience or 0,
        evaluate_every=training.evaluate_every or 0,
        checkpoint_every=training.checkpoint_every_steps or 0,
        checkpoint_every_s=training.checkpoint_every_s or 0.0,
        max_steps=training.max_steps or 0,
        seed=training.seed,
        threads=training.threads or psutil.cpu_count(logical=False) or 1,
        compute_dtype=training.compute_dtype,
        mode=training.mode,
        memory_budget=training.memory_budget or 0.0,
    )


def chosen_settings(recorded: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the settings of a version that are not the defaults: value and default by key.

    Args:
        recorded: What the registry keeps of its settings: ``method``, ``plan``, ``data``.
    """
    usual = Settings()
    training = training_plan(usual.training).to_dict()
    method = ("training.method", recorded.get("method"), usual.training.method)
    found: list[tuple[str, Any, Any]] = [method]
    plan: Mapping[str, Any] = recorded.get("plan") or {}
    for key, value in plan.items():
        if key in training and key not in DECIDED:
            name = f"training.{SETTING_OF.get(key, key)}"
            found.append((name, _asked(key, value), _asked(key, training[key])))
    if plan.get("adapter_reason") == ASKED_FOR:
        found.append(("training.adapter", plan.get("adapter"), usual.training.adapter))
    data = dict(recorded.get("data") or {})
    data |= {f"{split}_ratio": share for split, share in (data.pop("ratios", None) or {}).items()}
    preparation = usual.data_preparation.model_dump()
    found += [
        (f"data_preparation.{key}", value, preparation[key])
        for key, value in data.items()
        if key in preparation
    ]
    return {key: (value, default) for key, value, default in found if value not in (None, default)}


def _asked(key: str, value: object) -> object:
    """Return a plan's value as the settings say it."""
    return "null" if key in NONE_IF_ZERO and not value else value
