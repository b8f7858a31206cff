from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tuning.core.conversation import Conversation, Message, Part
from fine_tuning.core.errors import DataError
from fine_tuning.core.feedback import Feedback
from fine_tuning.data_collection.conversation_logger import ConversationLogger
from fine_tuning.data_collection.feedback_summary import (
    CORRECTED,
    LOW_RATING,
    NOT_KEPT,
    THUMB_DOWN,
    ConversationsWithFeedback,
    feedback_summaries,
    labelled_replies,
    liked_replies,
    preference_pairs,
    reviewed,
    withheld,
)
from fine_tuning.storage.open_store import open_store


def message(key: str, role: Any, parent: str | None = None, **fields: Any) -> Message:
    return Message(id=key, role=role, content=(Part(text=f"{key}!"),), parent_id=parent, **fields)


CHAT = Conversation(
    id="c",
    messages=(
        message("q", "user"),
        message("a", "assistant", "q"),
        message("b", "assistant", "q"),
        message("q2", "user", "a"),
        message("a2", "assistant", "q2", reasoning="hm", status="aborted"),
        message("q3", "user", "b"),
        message("a3", "assistant", "q3"),
    ),
    leaf_id="a2",
)


def said(kind: Any, key: str, **fields: Any) -> Feedback:
    name = f"{kind} {key} {sorted(fields.items())}"
    return Feedback(id=name, conversation_id="c", message_id=key, kind=kind, **fields)


def judged(*feedback: Feedback) -> tuple[Conversation, dict[str, int]]:
    run = ConversationsWithFeedback([CHAT], feedback)
    (found,) = run
    return found, dict(run.counts)


def weights(conversation: Conversation) -> dict[str, int]:
    return {m.id: m.weight for m in conversation.messages if m.role == "assistant"}


def test_what_nobody_judged_is_the_same_value() -> None:
    (found,) = ConversationsWithFeedback([CHAT], [])
    assert found is CHAT


def test_an_edit_is_learnt_in_place_of_the_reply() -> None:
    found, counts = judged(
        said("correction", "a2", text="worse"), said("correction", "a2", text="better"),
        said("thumb", "a2", value=-1),
    )  # fmt: skip
    edited = found.path()[-1]
    assert (edited.text, edited.weight, edited.status, edited.reasoning) == (
        "better",
        1,
        "complete",
        "",
    )
    assert counts == {CORRECTED: 1}
    assert CHAT.messages[4].text == "a2!", "what was said stays"


@pytest.mark.parametrize(
    ("feedback", "weight", "counts"),
    [
        ([said("thumb", "a", value=-1)], 0, {THUMB_DOWN: 1}),
        ([said("thumb", "a", value=-1), said("thumb", "a", value=1)], 1, {}),
        ([said("thumb", "a", value=-1), said("thumb", "a", value=0)], 1, {}),
        ([said("thumb", "a", value=0), said("thumb", "a", value=-1)], 0, {THUMB_DOWN: 1}),
        ([said("rating", "a", value=3)], 0, {LOW_RATING: 1}),
        ([said("rating", "a", value=4)], 1, {}),
        ([said("thumb", "a", value=-1, annotator_kind="model")], 1, {}),
        ([said("rating", "a", value=1, annotator_kind="code")], 1, {}),
    ],
)
def test_what_people_disliked_is_not_learnt(
    feedback: list[Feedback], weight: int, counts: dict[str, int]
) -> None:
    found, counted = judged(*feedback)
    assert weights(found)["a"] == weight
    assert counted == counts


def test_a_choice_leads_over_to_the_branch_of_the_reply_kept() -> None:
    found, counts = judged(said("choice", "b", rejected_id="a"))
    assert found.leaf_id == "a3"
    assert [m.id for m in found.path()] == ["q", "b", "q3", "a3"]
    assert weights(found) == {"a": 0, "b": 1, "a2": 1, "a3": 1}
    assert counts == {NOT_KEPT: 1}
    back, _ = judged(said("choice", "b", rejected_id="a"), said("choice", "a", rejected_id="b"))
    assert back.leaf_id == "a2", "the later choice counts"


@pytest.mark.parametrize(
    ("values", "decided"), [([1], {"c": True}), ([1, -1], {"c": False}), ([1, 0], {}), ([], {})]
)
def test_the_latest_review_of_a_conversation_counts(
    values: list[int], decided: dict[str, bool]
) -> None:
    given = [said("review", "", value=value) for value in values]
    assert reviewed(feedback_summaries(given)) == decided


def test_accepting_takes_back_what_was_said_against_the_replies_before() -> None:
    against = [said("thumb", "a", value=-1), said("rating", "b", value=2)]
    found, counts = judged(*against, said("review", "", value=1))
    assert (weights(found), counts) == ({"a": 1, "b": 1, "a2": 1, "a3": 1}, {})
    found, counts = judged(said("review", "", value=1), *against)
    assert (weights(found)["a"], weights(found)["b"]) == (0, 0), "a later thumb counts"
    both = [said("thumb", "a", value=1), said("rating", "b", value=9)]
    assert liked_replies([*both, said("review", "", value=1)]) == {("c", "a"), ("c", "b")}


def test_a_rejected_conversation_makes_no_pairs_and_nobody_liked_it(tmp_path: Path) -> None:
    store = open_store(tmp_path / "log.jsonl")
    store.append_many([CHAT], [said("choice", "b", rejected_id="a"), said("thumb", "a2", value=1)])
    assert len(list(preference_pairs(store))) == 1
    assert len(list(labelled_replies(store))) == 1
    store.add_feedback(said("review", "", value=-1))
    assert not list(preference_pairs(store))
    assert not list(labelled_replies(store))
    assert not liked_replies(store.feedback())


def test_a_withheld_conversation_makes_no_pairs_until_that_is_taken_back(tmp_path: Path) -> None:
    store = open_store(tmp_path / "log.jsonl")
    store.append_many([CHAT], [said("choice", "b", rejected_id="a"), said("thumb", "a2", value=1)])
    store.add_feedback(said("consent", "", value=-1))
    assert withheld(feedback_summaries(store.feedback())) == {"c"}
    assert not list(preference_pairs(store))
    assert not list(labelled_replies(store))
    assert not liked_replies(store.feedback())
    store.add_feedback(said("consent", "", value=1))
    assert not withheld(feedback_summaries(store.feedback()))
    assert len(list(preference_pairs(store))) == 1


@pytest.fixture(params=[".jsonl", ".db"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    store = open_store(tmp_path / f"s{request.param}")
    store.append(CHAT)
    store.append(replace(CHAT, id="unjudged"))
    return store


def test_pairs_of_every_origin(store: Any) -> None:
    for one in (
        said("correction", "a2", text="better"),
        said("choice", "b", rejected_id="a"),
        said("thumb", "b", value=1), said("thumb", "a", value=-1),
        said("choice", "a3", rejected_id="a2"),
        said("choice", "b", rejected_id="gone"),
        said("correction", "a3", text=" a3! "),
    ):  # fmt: skip
        store.add_feedback(one)
    found = [
        (p.origin, [m.text for m in p.prompt], p.chosen.text, p.rejected.text)
        for p in preference_pairs(store)
    ]
    assert found == [
        ("correction", ["q!", "a!", "q2!"], "better", "a2!"),
        ("choice", ["q!"], "b!", "a!"),
    ], "thumbs say the same as the choice; the others compare nothing"


def test_thumbs_that_differ_make_a_pair(store: Any) -> None:
    store.add_feedback(said("thumb", "a", value=-1))
    store.add_feedback(said("thumb", "b", value=1))
    (pair,) = preference_pairs(store)
    assert (pair.origin, pair.chosen.id, pair.rejected.id) == ("thumbs", "b", "a")
    labels = [(one.reply.id, one.is_wanted, len(one.prompt)) for one in labelled_replies(store)]
    assert labels == [("a", False, 1), ("b", True, 1)]
    store.add_feedback(said("thumb", "b", value=0))
    assert list(preference_pairs(store)) == [], "it was taken back"
    assert [one.reply.id for one in labelled_replies(store)] == ["a"]
    assert len(list(store.feedback())) == 3, "nothing said is removed"


def test_liked_replies() -> None:
    feedback = [
        said("thumb", "a", value=1), said("rating", "b", value=7), said("rating", "a2", value=6),
        said("correction", "a3", text="x"), said("thumb", "b", value=-1),
    ]  # fmt: skip
    assert liked_replies(feedback) == {("c", "a"), ("c", "a3")}
    feedback += [said("thumb", "a", value=0), said("thumb", "b", value=0)]
    assert liked_replies(feedback) == {("c", "b"), ("c", "a3")}


@pytest.mark.parametrize("suffix", [".jsonl", ".db"])
def test_all_feedback_comes_from_the_loggers_methods(tmp_path: Path, suffix: str) -> None:
    logger = ConversationLogger(tmp_path / f"log{suffix}")
    first = logger.log_conversation("Name a colour.", "Seven.")
    again = logger.log_regeneration(first, "Red.", {"model": "m"})
    logger.log_choice(again, first)
    logger.log_thumb(first, up=False, reason="wrong", comment="no colour")
    logger.log_rating(again, 9)
    second = logger.log_conversation("And a fruit?", "Fork.")
    logger.log_edit(second, "Fig.")
    (chat,) = logger.store.conversations()
    assert [m.text for m in chat.path()] == ["Name a colour.", "Red.", "And a fruit?", "Fork."]
    stats = logger.get_conversation_stats()["feedback"]
    assert stats == {
        "thumbs_up": 0, "thumbs_down": 1, "ratings": 1, "corrections": 1, "choices": 1,
        "reviews": 0, "mean_rating": 9.0,
    }  # fmt: skip
    logger.log_thumb(second, up=True)
    logger.log_thumb(first, up=False)
    logger.log_feedback(second, "thumb", value=0)
    assert logger.get_conversation_stats()["feedback"] == stats
    pairs = [(p.origin, p.chosen.text, p.rejected.text) for p in preference_pairs(logger.store)]
    assert pairs == [("correction", "Fig.", "Fork."), ("choice", "Red.", "Seven.")]
    (learnt,) = ConversationsWithFeedback([chat], logger.store.feedback())
    assert [m.text for m in learnt.path()] == ["Name a colour.", "Red.", "And a fruit?", "Fig."]
    with pytest.raises(DataError, match="has no reply 'nothing'"):
        logger.log_regeneration("nothing", "x")
    with pytest.raises(DataError, match="both kept and rejected"):
        logger.log_choice(first, first)
