"""Items keep their laws, and come back from their stored form as they were."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from fine_tuning.core.errors import DataError
from fine_tuning.core.example import TokenizedExample
from fine_tuning.core.item import TrainingItem, grouped, item_from_dict

EXAMPLE = TokenizedExample(example_id="e", conversation_id="c", ids=(4, 5, 6), mask=(0, 1, 1))


def test_an_example_is_an_item_whose_targets_count_once() -> None:
    item = TrainingItem.of(EXAMPLE)
    for name in ("ids", "mask", "weights", "group", "label", "sampling_weight", "num_targets"):
        assert getattr(EXAMPLE, name) == getattr(item, name)


def test_both_forms_are_read_back() -> None:
    item = TrainingItem.of(EXAMPLE, weight=0.1, group="g", label=-1.0, sampling_weight=0.25)
    for each in (EXAMPLE, item):
        assert item_from_dict(json.loads(json.dumps(each.to_dict()))) == each
    with pytest.raises(DataError, match="cannot be read"):
        item_from_dict({**item.to_dict(), "weights": "ab"})


def test_broken_laws_are_refused() -> None:
    item = TrainingItem.of(EXAMPLE)
    for weights in ((1.0,), (1.0, math.nan)):
        with pytest.raises(DataError, match="for 2 targets, expected a finite number for each"):
            replace(item, weights=weights)
    with pytest.raises(DataError, match="sampling weight -1"):
        replace(item, sampling_weight=-1)
    with pytest.raises(DataError, match="asks to predict its first token"):
        replace(item, mask=(1, 1, 0))


def test_groups_come_in_the_order_of_their_first_member() -> None:
    names = ["", "a", "b", "", "a", "b"]
    assert grouped([replace(TrainingItem.of(EXAMPLE), group=name) for name in names]) == [
        [0], [1, 4], [2, 5], [3],
    ]  # fmt: skip
