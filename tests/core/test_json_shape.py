"""JSON is believed after a look: kinds, missing keys, nested shapes, keys of later releases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypedDict

import pytest

from fine_tuning.core.json_shape import ShapeError, build, typed
from fine_tuning.core.json_value import JsonValue


class Part(TypedDict):
    name: str


class Whole(TypedDict, total=False):
    count: int
    share: float | None
    parts: list[Part]
    extra: Mapping[str, JsonValue]


@dataclass(frozen=True)
class Inner:
    layer: str


@dataclass(frozen=True)
class Outer:
    rank: int
    mode: Literal["quality", "fast"] = "quality"
    betas: tuple[float, float] = (0.9, 0.999)
    layers: tuple[Inner, ...] = ()


def test_a_sound_object_is_itself_with_its_unknown_keys() -> None:
    raw = {
        "count": 1,
        "share": None,
        "parts": [{"name": "a"}],
        "extra": {"x": [1, {"y": None}]},
        "z": 1,
    }
    assert typed(raw, Whole) == raw


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"count": "1"}, "count is a string, expected a number"),
        ({"count": True}, "count is a boolean, expected a number"),
        ({"share": []}, "share is an array, expected a number"),
        ({"parts": {}}, "parts is an object, expected an array"),
        ({"parts": [{"name": None}]}, "parts.name is null, expected a string"),
        ({"parts": [{}]}, "it lacks parts.name"),
        ({"extra": "x"}, "extra is a string, expected an object"),
    ],
)
def test_another_shape_is_refused_by_its_key(raw: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        typed(raw, Whole)


def test_a_dataclass_survives_json() -> None:
    outer = Outer(rank=8, mode="fast", betas=(0.8, 1), layers=(Inner("attn_q"),))
    assert build(json.loads(json.dumps(asdict(outer))), Outer) == outer


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "it lacks rank"),
        ({"rank": 1, "mode": "slow"}, "mode is 'slow', expected quality or fast"),
        ({"rank": 1, "betas": [1.0]}, "betas has 1 values, expected 2"),
        ({"rank": 1, "layers": [3]}, "layers is a number, expected an object"),
    ],
)
def test_a_dataclass_of_another_shape_is_refused(raw: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        build(raw, Outer)


def test_fields_of_a_later_release_are_passed_over() -> None:
    assert build({"rank": 1, "later": 2}, Outer) == Outer(rank=1)
