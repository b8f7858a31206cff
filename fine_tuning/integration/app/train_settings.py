"""A widget for every training setting, made from the schema, each with its sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from fine_tuning.config.schema import Settings
from fine_tuning.config.settings_reference import Setting, settings_reference, yaml_value
from fine_tuning.config.yaml_text import parse_value

SECTIONS = {"training": "Training", "data_preparation": "Data set"}
PICKED_ELSEWHERE = ("training.base_model", "training.output_dir", "data_preparation.format_type")
ALL_LAYERS = "all-linear"


def edited_settings(start: Settings, preset: str) -> dict[str, Any]:
    """Show all settings and return those that differ from where they started, by dotted key.

    Args:
        start: Where they start.
        preset: What made them, so that choosing another starts anew.
    """
    chosen: dict[str, Any] = {}
    tabs = st.tabs(list(SECTIONS.values()))
    for tab, section in zip(tabs, SECTIONS, strict=True):
        values = getattr(start, section)
        shapes = type(values).model_json_schema()["properties"]
        with tab:
            columns = st.columns(2)
            shown = [s for s in settings_reference()[section] if s.dotted not in PICKED_ELSEWHERE]
            for place, setting in enumerate(shown):
                before = getattr(values, setting.key)
                with columns[place % 2]:
                    key = f"set-{preset}-{setting.dotted}"
                    after = _widget(setting, shapes[setting.key], before, key)
                if after != before:
                    chosen[setting.dotted] = after
    return chosen


def _widget(setting: Setting, shape: Mapping[str, Any], value: Any, key: str) -> Any:  # noqa: ANN401 - any setting's value
    label = setting.key.replace("_", " ")
    label = label[:1].upper() + label[1:]
    about = f"{setting.meaning} Accepts {setting.accepts}."
    options = shape.get("anyOf", [shape])
    kinds = {option.get("type") for option in options}
    if "array" in kinds:
        return _layers(label, options, value, about, key)
    if kinds <= {"integer", "null"}:
        lowest = next((int(one["minimum"]) for one in options if "minimum" in one), None)
        return st.number_input(
            label, lowest, value=value, step=1, help=about, key=key, placeholder="none"
        )
    if kinds <= {"number", "null"}:
        return _number(label, value, about, key)
    return _word(label, shape, value, about, key)


def _word(label: str, shape: Mapping[str, Any], value: Any, about: str, key: str) -> Any:  # noqa: ANN401 - any setting's value
    if "enum" in shape:
        words = list(shape["enum"])
        return st.selectbox(label, words, index=words.index(value), help=about, key=key)
    if shape.get("type") == "boolean":
        return st.toggle(label, value, help=about, key=key)
    text = st.text_input(label, yaml_value(value).strip('"'), help=about, key=key)
    return parse_value(text) if text else value


def _number(label: str, value: Any, about: str, key: str) -> float | None:  # noqa: ANN401 - number or none
    step = abs(float(value)) / 10 if value else 0.01
    return st.number_input(
        label,
        value=None if value is None else float(value),
        step=step,
        format="%g",
        help=about,
        key=key,
        placeholder="none",
    )


def _layers(
    label: str,
    options: Sequence[Mapping[str, Any]],
    value: str | Sequence[str],
    about: str,
    key: str,
) -> str | tuple[str, ...]:
    names = next(option["items"]["enum"] for option in options if option.get("type") == "array")
    has_all = any(option.get("const") == ALL_LAYERS for option in options)
    before = [] if value == ALL_LAYERS else list(value)
    nothing = "all of them" if has_all else "none"
    chosen = st.multiselect(label, names, before, help=about, key=key, placeholder=nothing)
    return tuple(chosen) or (ALL_LAYERS if has_all else ())
