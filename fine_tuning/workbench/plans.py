"""Settings, in which null means "none" or "decide for me", to the plain numbers of a run."""

from __future__ import annotations

import psutil

from fine_tuning.config.schema import Adapter, Settings, TrainingSettings
from fine_tuning.core.json_value import JsonObject, JsonValue, object_at
from fine_tuning.training.plan import AdapterForm, TrainingPlan, links

UNKNOWN_RUNTIME = "which runtime will serve it is not known"
ASKED_FOR = "asked for by training.adapter"


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


def training_plan(
    training: TrainingSettings, takes_adapters: bool | None = None, why: str = UNKNOWN_RUNTIME
) -> TrainingPlan:
    """Return what the settings ask of a run; where they leave it open, physical cores are used.

    Args:
        training: The settings.
        takes_adapters: See :func:`choose_adapter`.
        why: See :func:`choose_adapter`.
    """
    adapter, adapter_reason = choose_adapter(training.adapter, takes_adapters, why)
    decided: dict[str, object] = {
        "adapter": adapter,
        "adapter_reason": adapter_reason,
        "threads": training.threads or psutil.cpu_count(logical=False) or 1,
    }
    if training.learning_rate == "auto":  # the rate of one that is looked for is the default's
        decided |= {"finds_rate": True, "learning_rate": TrainingPlan().learning_rate}
    return TrainingPlan.from_settings(training, **decided)


def chosen_settings(recorded: JsonObject) -> dict[str, tuple[JsonValue, JsonValue]]:
    """Return the settings of a version that are not the defaults: value and default by key.

    Values are those of JSON, as the registry keeps them.

    Args:
        recorded: What the registry keeps of its settings: ``method``, ``plan``, ``data``.
    """
    usual, plan = Settings(), object_at(recorded, "plan")
    default = TrainingPlan().to_dict()
    triples: list[tuple[str, JsonValue, JsonValue]] = [
        ("training.method", recorded.get("method"), usual.training.method)
    ]
    for field, link in links().items():
        if field in plan:
            value_asked, else_asked = link.to_setting(plan[field]), link.to_setting(default[field])
            triples.append((f"training.{link.name}", value_asked, else_asked))
    if plan.get("adapter_reason") == ASKED_FOR:
        triples.append(("training.adapter", plan.get("adapter"), usual.training.adapter))
    data = dict(object_at(recorded, "data"))
    ratios = object_at(data, "ratios")
    data |= {f"{split}_ratio": share for split, share in ratios.items()}
    preparation = usual.data_preparation.model_dump(mode="json")
    triples += [
        (f"data_preparation.{key}", value, preparation[key])
        for key, value in data.items()
        if key in preparation and value is not None
    ]
    return {
        key: (_said(value), _said(default))
        for key, value, default in triples
        if value != default and (value is not None or key != "training.method")
    }


def _said(value: JsonValue) -> JsonValue:
    """Return a value as the settings write it."""
    return "null" if value is None else value
