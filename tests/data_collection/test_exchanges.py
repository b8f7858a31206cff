"""The unit of leaving out: what is bad in a chat costs an exchange, and everything is counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tuning.core.conversation import Conversation
from fine_tuning.data_collection.data_cleaner import CleaningReport, DataCleaner, Dropped
from fine_tuning.data_collection.exchanges import exchange_lengths, exchanges_of

GOOD = "It is the part of a kite that faces the wind."
OTHER = "A mast is the tall pole that carries the sails."
LONG = " ".join(f"word{n}" for n in range(300))
ROLES = ("user", "assistant", "system", "tool")
SAID = (
    "", " ", "ok", "no " * 9, GOOD, OTHER, "This shit again!", "word " * 60, "What is a sail?",
    "I'm sorry, but I can't help with that.", "And then?", "positive", "a@b.example", "x" * 300,
)  # fmt: skip


@st.composite
def chats(draw: st.DrawFn) -> Conversation:
    turns = draw(st.lists(st.tuples(st.sampled_from(ROLES), st.sampled_from(SAID)), max_size=9))
    made = Conversation.from_turns(turns, id=f"c{draw(st.integers(0, 30))}")  # type: ignore[arg-type]
    weights = draw(st.lists(st.sampled_from([0, 1, 1, 1]), min_size=9, max_size=9))
    states = st.sampled_from(["complete", "complete", "complete", "aborted"])
    raw = made.to_dict()
    raw["messages"] = [
        {**message, "weight": weight, "status": draw(states)}
        for message, weight in zip(raw["messages"], weights, strict=False)  # type: ignore[arg-type]
    ]
    return Conversation.from_dict(raw)


limits = st.fixed_dictionaries(
    {},
    optional={
        "min_length": st.integers(0, 20),
        "max_length": st.integers(20, 120),
        "max_tokens": st.integers(1, 60),
        "max_same_reply": st.integers(1, 3),
        "min_quality": st.sampled_from([0.0, 0.5]),
        "skip": st.sets(
            st.sampled_from(["turns", "unfinished", "duplicate", "boilerplate", "near_duplicate",
                             "no_reply", "empty", "role_order", "repetitive"])
        ),
    },
)  # fmt: skip


def trained(conversation: Conversation) -> int:
    return sum(bool(one.trained) for one in exchanges_of(conversation.path()))


@settings(max_examples=80, deadline=None)
@given(st.lists(chats(), max_size=8), limits, st.booleans())
def test_what_came_in_was_kept_or_left_out(
    given_chats: list[Conversation], options: dict[str, Any], is_accepted: bool
) -> None:
    reviewed = {given_chats[0].id: True} if given_chats and is_accepted else {}
    cleaner = DataCleaner(**options, reviewed=reviewed)
    report = cleaner.clean(given_chats)
    counts, exchanges = report.counts, report.counts["exchanges"]
    assert counts["in"] == counts["kept"] + sum(counts["dropped"].values()) == len(given_chats)
    assert exchanges["in"] == exchanges["kept"] + sum(exchanges["left_out"].values())
    assert exchanges["left_out"] == Counter(one.reason for one in report.left_out)
    assert exchanges["kept"] == sum(map(trained, report.kept))
    assert all(map(trained, report.kept)), "a conversation without anything to train on is dropped"
    for step in report.steps:
        assert step.left_out <= exchanges["in"]
    kept = {c.id: c for c in report.kept}
    for one in report.left_out:
        assert one.detail
        for message in kept[one.conversation_id].path() if one.conversation_id in kept else ():
            is_once = sum(c.id == one.conversation_id for c in given_chats) == 1
            if message.id == one.message_id and message.role == "assistant" and is_once:
                assert message.weight == 0
    again = cleaner.clean(report.kept)
    assert again.kept == report.kept, "cleaning what is clean changes nothing"


@settings(max_examples=30, deadline=None)
@given(st.lists(chats(), max_size=8), limits)
def test_a_stream_counts_the_same(given_chats: list[Conversation], options: dict[str, Any]) -> None:
    report = DataCleaner(**options).clean(given_chats)
    heard: list[object] = []
    run = DataCleaner(**options).stream(iter(given_chats), on_left_out=heard.append)
    kept = [one for one in run if not isinstance(one, Dropped)]
    assert kept == report.kept
    assert heard == report.left_out
    assert run.counts["exchanges"] == report.counts["exchanges"]
    assert run.counts["advice"] == report.counts["advice"]


def talk(*texts: str, name: str = "c") -> Conversation:
    roles = ("user", "assistant") * len(texts)
    return Conversation.from_turns(list(zip(roles, texts, strict=False)), id=name)  # type: ignore[arg-type]


def left(report: CleaningReport) -> list[tuple[str, str]]:
    return [(one.reason, one.message_id) for one in report.left_out]


@pytest.mark.parametrize(
    ("odd", "reason", "options"),
    [
        (("Explain it.", LONG), "too_long", {"max_length": 1000}),
        (("hm", "ok"), "too_short", {}),
        (("What does a duck say?", " ".join(["I can help you with that."] * 9)), "repetitive", {}),
        (("And?", "What the fuck do I know."), "inappropriate", {}),
        (("Guns?", "I'm sorry, but I can't help with that."), "refusal", {}),
        (("Code?", "Here it is:\n```python\nprint(1"), "cut_off", {}),
        (("Und auf Deutsch?", "Das ist der Teil des Drachens im Wind."), "language",
         {"languages": ["en"]}),
    ],
)  # fmt: skip
def test_one_odd_exchange_costs_that_exchange(
    odd: tuple[str, str], reason: str, options: dict[str, Any]
) -> None:
    chat = talk("What is a sail?", GOOD, *odd, "What is a mast?", OTHER)
    report = DataCleaner(**options).clean([chat])
    (kept,) = report.kept
    assert [m.weight for m in kept.path() if m.role == "assistant"] == [1, 0, 1]
    assert [m.text for m in kept.path()] == [m.text for m in chat.path()], "it stays as context"
    assert left(report) == [(reason, "c/3")]
    assert report.counts["exchanges"] == {"in": 3, "kept": 2, "left_out": {reason: 1}}
    assert kept.path()[3].metadata["left_out"] == reason


@pytest.mark.parametrize(
    "rude", ["What the fuck is a sail?", "you stupid bitch", "no no no no no no no no no no", "x"]
)
def test_nothing_a_user_says_loses_the_reply(rude: str) -> None:
    report = DataCleaner().clean([talk(rude, GOOD)])
    assert report.counts["exchanges"] == {"in": 1, "kept": 1, "left_out": {}}


def test_short_answers_to_questions_are_trained_on() -> None:
    chat = talk("What is six times seven?", "42", "Is it far?", "No.", "Sure?", "Yes.")
    report = DataCleaner().clean([chat])
    assert left(report) == [("too_short", "c/5")], "question and reply together are counted"


def test_a_chat_is_dropped_for_what_took_most_of_it() -> None:
    chat = talk("hm", "ok", "Duck?", "It says quack. " * 9, "Goose?", "no " * 40)
    (dropped,) = DataCleaner().clean([chat]).dropped
    assert dropped.reason == "repetitive"


def test_what_is_beyond_the_tokens_is_not_trained_on() -> None:
    chat = talk("What is a sail?", GOOD, "What is a mast?", OTHER)
    report = DataCleaner(max_tokens=20).clean([chat])
    assert left(report) == [("too_many_tokens", "c/3")]


def test_feedback_and_weights_have_a_reason_of_their_own() -> None:
    raw = talk("What is a sail?", GOOD, "What is a mast?", OTHER, "And?").to_dict()
    raw["messages"][1]["weight"] = 0  # type: ignore[index,call-overload]
    report = DataCleaner().clean([Conversation.from_dict(raw)])
    assert Counter(one.reason for one in report.left_out) == {"not_trained": 1, "no_reply": 1}


def test_lengths_are_of_question_and_reply() -> None:
    path = talk("abc", "de", "fgh").path()
    assert exchange_lengths(path) == [5, 3]


def test_bounds_that_cost_much_come_with_advice() -> None:
    names = [f"{a}{b}" for a in "abcdefghij" for b in "klmnopqrst"]
    chats_ = [
        talk(f"What about {name}?", f"It is {name} " + " ".join(names[:n]) + ".", name=name)
        for n, name in enumerate(names)
    ]
    (advice,) = DataCleaner(max_length=200).clean(chats_).counts["advice"]
    assert advice["reason"] == "too_long"
    assert (advice["setting"], advice["current"]) == (
        "data_collection.max_conversation_length",
        200,
    )
    report = DataCleaner(max_length=int(advice["needed"])).clean(chats_)
    assert report.counts["exchanges"]["left_out"]["too_long"] == 5
    assert report.counts["advice"] == []
    (shortest,) = DataCleaner(min_length=200).clean(chats_).counts["advice"]
    left_out = DataCleaner(min_length=int(shortest["needed"])).clean(chats_).counts["exchanges"]
    assert left_out["left_out"]["too_short"] <= 5


def test_advice_on_stock_replies_and_languages() -> None:
    said = "Please turn it off and on again, then wait."
    chats_ = [talk(f"My device {a}{b} hums?", said, name=a + b) for a in "abcde" for b in "fghij"]
    (advice,) = DataCleaner(max_same_reply=10).clean(chats_).counts["advice"]
    assert (advice["reason"], advice["left_out"], advice["needed"]) == ("boilerplate", 15, 24)
    german = [
        talk("Was ist das?", f"Das ist der Teil des Drachens im Wind {a}.", name=a) for a in "ab"
    ]
    (told,) = DataCleaner(languages=["en"]).clean(german).counts["advice"]
    assert (told["reason"], told["current"], told["needed"]) == ("language", 1, 1)
