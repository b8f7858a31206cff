"""Exchanges that share nearly all of their words: what differs decides."""

# ruff: noqa: E501, RUF001, SIM905 - texts in many scripts

from __future__ import annotations

import pytest

from benchmarks.filters import scores
from fine_tuning.data_collection.same_substance import is_same_in_substance

pytestmark = pytest.mark.real_input("near duplicates that differ")

TEMPLATE = "I would like to know more about {} because my class talks about it next week.\nGladly: it has a long history, many facets, and there are good books about it."
LONG = "The old mill stands by the river. " + " ".join(
    f"In the {n} room there is a {thing} that the miller bought in spring."
    for n, thing in zip(
        "first second third fourth fifth sixth".split(),
        "table chair lamp clock mirror chest".split(),
        strict=True,
    )
)
DIFFERENT = [
    (TEMPLATE.format("Chile"), TEMPLATE.format("China")),
    (TEMPLATE.format("sulfate"), TEMPLATE.format("sulfite")),
    (TEMPLATE.format("1914"), TEMPLATE.format("1941")),
    (TEMPLATE.format("the C language"), TEMPLATE.format("the C++ language")),
    (TEMPLATE.format("`map`"), TEMPLATE.format("`zip`")),
    ("Tell me about it.\n" + LONG, "Tell me about it.\n" + LONG.replace("in spring", "in autumn")),
    ("Is 7 > 5?\nThat depends on the order.", "Is 7 < 5?\nThat depends on the order."),
    ("狗能吃巧克力吗？\n请先问兽医。", "狗不能吃巧克力吗？\n请先问兽医。"),
    ("何時に東京を出ますか？\n八時です。", "何時に大阪を出ますか？\n八時です。"),
    (
        "Add a comma: we eat grandma\nwe eat, grandma",
        "Add a comma: we eat, grandma\nwe eat, grandma",
    ),
    ("Translate: I am very happy\nIch bin froh", "Translate: I am happy\nIch bin froh"),
    ("Who won, Ann or Bob?\nAnn won against Bob.", "Who won, Ann or Bob?\nBob won against Ann."),
    ("", "Something"),
    ("?", "!"),
]
SAME = [
    (TEMPLATE.format("whales"), TEMPLATE.format("whales").upper()),
    (
        TEMPLATE.format("whales"),
        "Hello! " + TEMPLATE.format("whales") + " Let me know if it helps!",
    ),
    (TEMPLATE.format("whales"), TEMPLATE.format("whales").replace("because", "becuase")),
    (
        "Tell me about it.\n" + LONG,
        "Please tell me about it!\n" + LONG.replace("bought", "purchased"),
    ),
    ("x\n```\na = b + 1\n```", "x\n```\na  =  b+1\n```"),
    ("今天天气怎么样？\n今天是晴天。", "请问今天天气怎么样\n今天是晴天！"),
    ("", ""),
]


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_what_differs_in_substance_differs(first: str, second: str) -> None:
    assert not is_same_in_substance(first, second)
    assert not is_same_in_substance(second, first)


@pytest.mark.parametrize(("first", "second"), SAME)
def test_what_differs_in_form_is_the_same(first: str, second: str) -> None:
    assert is_same_in_substance(first, second)
    assert is_same_in_substance(second, first)


def test_precision_and_recall_on_a_part_of_the_labelled_items() -> None:
    found, _ = scores("near_duplicates", part=3)
    assert found["all"].precision >= 0.98
    assert found["all"].recall >= 0.85
