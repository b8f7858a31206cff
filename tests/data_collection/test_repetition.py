"""Forks, grown exports, stock replies: nothing is trained on twice, nothing unique is lost."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tuning.core.conversation import Conversation
from fine_tuning.data_collection.data_cleaner import CleaningReport, DataCleaner
from fine_tuning.data_collection.exchanges import exchanges_of
from fine_tuning.data_collection.repeated_exchanges import is_phrase

TOPICS = [
    "tide",
    "harbour",
    "lamp",
    "stone",
    "ferry",
    "bread",
    "gull",
    "rope",
    "anchor",
    "deck",
    "sail",
    "keel",
    "crew",
    "storm",
]


def exchange(number: int) -> tuple[str, str]:
    rng = random.Random(number)
    asked, said = rng.sample(TOPICS, 3), rng.sample(TOPICS, 3)
    return f"What of {' and '.join(asked)} {number}?", f"Number {number}: {' or '.join(said)}."


def talk(name: str, *numbers: int, when: str = "") -> Conversation:
    turns = [
        turn
        for number in numbers
        for turn in zip(("user", "assistant"), exchange(number), strict=True)
    ]
    return Conversation.from_turns(turns, id=name, created_at=when)  # type: ignore[arg-type]


def trained(report: CleaningReport) -> dict[str, list[int]]:
    """Return the places of the exchanges that are trained on."""
    return {c.id: [one.place for one in exchanges_of(c.path()) if one.trained] for c in report.kept}


def test_the_beginning_of_a_longer_chat_is_dropped_for_it() -> None:
    given_chats = [talk("old", 1, 2), talk("new", 1, 2, 3), talk("newest", 1, 2, 3, 4)]
    for chats in (given_chats, given_chats[::-1]):
        report = DataCleaner().clean(chats)
        assert trained(report) == {"newest": [0, 1, 2, 3]}
        assert {(d.conversation.id, d.reason, d.detail, d.twin_id) for d in report.dropped} == {
            (name, "duplicate", "it is the beginning of conversation newest", "newest")
            for name in ("old", "new")
        }


def test_forks_share_a_beginning_that_is_trained_on_once() -> None:
    report = DataCleaner().clean([talk("a", 1, 2, 3), talk("b", 1, 2, 4), talk("c", 1, 5)])
    assert trained(report) == {"a": [0, 1, 2], "b": [2], "c": [1]}
    assert {(one.reason, one.twin_id) for one in report.left_out} == {("duplicate", "a")}
    assert len(set(report.clusters.values())) == 1, "they share a split"
    assert set(report.clusters) == {"a", "b", "c"}


def test_a_cluster_has_the_name_of_the_oldest() -> None:
    chats = [talk("young", 1, 3, when="2026-02-01"), talk("old", 1, 2, when="2026-01-01")]
    assert DataCleaner().clean(chats).clusters == {"young": "old", "old": "old"}


def test_the_same_words_in_another_place_are_trained_on_once() -> None:
    said = (
        "How do I reset the blue printer on the second floor?",
        "Hold the round button for ten seconds, then wait until the lamp turns green.",
    )
    chats = [
        Conversation.from_turns(
            [("user", f"I am {name}."), ("assistant", f"Hello {name}, what may I do?"),
             ("user", said[0]), ("assistant", said[1])], id=name,
        )
        for name in ("Ann", "Ben")
    ]  # fmt: skip
    report = DataCleaner().clean(chats)
    assert trained(report) == {"Ann": [0, 1], "Ben": [0]}
    assert [(one.reason, one.twin_id) for one in report.left_out] == [("near_duplicate", "Ann")]
    assert len(set(report.clusters.values())) == 1


def test_what_very_many_share_joins_none() -> None:
    greeting = [("user", "hi"), ("assistant", "Hello! How may I help you with it today?")]
    chats = [
        Conversation.from_turns(
            [*greeting, ("user", exchange(n)[0]), ("assistant", exchange(n)[1])],  # type: ignore[list-item]
            id=str(n),
        )
        for n in range(20)
    ]
    report = DataCleaner().clean(chats)
    assert report.clusters == {}
    assert len(report.kept) == 20
    assert report.counts["exchanges"]["left_out"] == {"duplicate": 19}


def test_what_is_not_trained_in_the_longer_chat_stays_in_the_shorter() -> None:
    raw = talk("long", 1, 2, 3).to_dict()
    raw["messages"][1]["weight"] = 0  # type: ignore[index,call-overload]
    report = DataCleaner().clean([talk("short", 1, 2), Conversation.from_dict(raw)])
    assert trained(report) == {"short": [0], "long": [1, 2]}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), max_size=7),
    st.randoms(use_true_random=False),
)
def test_every_branch_is_trained_on_exactly_once(
    numbers: list[list[int]], rng: random.Random
) -> None:
    chats = [talk(f"c{n}", *some) for n, some in enumerate(numbers)]
    rng.shuffle(chats)
    report = DataCleaner(skip=["near_duplicate"]).clean(chats)
    wanted = {tuple(some[: end + 1]) for some in numbers for end in range(len(some))}
    by_id = {f"c{n}": tuple(some) for n, some in enumerate(numbers)}
    found = Counter(
        by_id[name][: place + 1] for name, places in trained(report).items() for place in places
    )
    assert found == dict.fromkeys(wanted, 1)


LABELS = [
    ["positive", "negative"], ["spam", "ham"], ["Yes.", "No."], ["A", "B", "C", "D"],
    ['{"label": "positive", "sure": true}', '{"label": "negative", "sure": true}'],
    ["肯定", "否定"], ["1 star", "2 stars", "5 stars"], ["Politik", "Sport", "Wirtschaft"],
    ["entailment", "neutral", "contradiction"], ["I don't know."], ["LABEL_0", "LABEL_1"],
]  # fmt: skip


@pytest.mark.parametrize("labels", LABELS, ids=lambda labels: labels[0])
def test_a_short_reply_to_many_questions_is_a_label(labels: list[str]) -> None:
    chats = [
        Conversation.from_turns(
            [("user", f"Which is it? {exchange(n)[1]}"), ("assistant", labels[n % len(labels)])],
            id=str(n),
        )
        for n in range(200)
    ]
    assert len(DataCleaner().clean(chats).kept) == 200


@pytest.mark.parametrize(
    "said",
    [
        "Is there anything else I can help you with today?",
        "Vielen Dank für Ihre Nachricht, wir melden uns bald.",
        "ご連絡ありがとうございます。担当者より折り返しご連絡いたします。",
        "I am not sure about that.",
    ],
)
def test_a_phrase_is_not(said: str) -> None:
    assert is_phrase(said)
    chats = [
        Conversation.from_turns([("user", exchange(n)[0]), ("assistant", said)], id=str(n))
        for n in range(50)
    ]
    report = DataCleaner().clean(chats)
    assert report.counts["exchanges"]["left_out"] == {"boilerplate": 30}


def test_a_short_reply_to_one_question_is_stock() -> None:
    chats = [
        Conversation.from_turns(
            [("user", exchange(n)[0]), ("assistant", exchange(n)[1]),
             ("user", "Thanks" + "!" * (n % 3)), ("assistant", "You're welcome!")], id=str(n),
        )
        for n in range(50)
    ]  # fmt: skip
    report = DataCleaner().clean(chats)
    assert report.counts["exchanges"]["left_out"] == {"boilerplate": 30}
    assert len(report.kept) == 50


def test_indents_of_code_make_a_difference() -> None:
    asked = "Is this right?\nif x:\n{}y = 1\n{}z = 2"
    chats = [
        Conversation.from_turns(
            [("user", asked.format(*indents)), ("assistant", "Look at the indents.")], id=str(n)
        )
        for n, indents in enumerate([("    ", "    "), ("    ", "  "), ("  ", "  ")])
    ]
    assert len(DataCleaner(skip=["near_duplicate"]).clean(chats).kept) == 3
