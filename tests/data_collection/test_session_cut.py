"""Recorded sessions that nobody named, cut where hours passed."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import uuid_utils

from fine_tuning.core.clock import iso
from fine_tuning.core.conversation import Conversation, Message, Part
from fine_tuning.data_collection.session_cut import cut_sessions

START = datetime(2026, 11, 22, 10, tzinfo=UTC)


def logged(*hours: float, session_id: str = "", delay_s: float = 0) -> Conversation:
    """A conversation as a logger records it: each turn at one moment, so many hours after START."""
    messages: list[Message] = []
    for number, hour in enumerate(hours):
        for role, text, late in (("user", "q", 0.0), ("assistant", "a", delay_s)):
            raw = {"id": f"{text}{number}", "role": role, "content": f"{text}{number}"}
            time = iso(START + timedelta(hours=hour, seconds=late))
            parent = messages[-1].id if messages else None
            message = Message.from_dict({**raw, "created_at": time})
            messages.append(replace(message, parent_id=parent))
    return Conversation(
        id=session_id or str(uuid_utils.uuid7()),
        messages=tuple(messages),
        created_at=messages[0].created_at,
    )


def asked(parts: list[Conversation]) -> list[list[str]]:
    return [[m.text for m in part.path() if m.role == "user"] for part in parts]


def test_hours_without_a_turn_part_a_session() -> None:
    one = logged(0, 0.1, 1.9, 3.9, 4, 40)
    parts = cut_sessions(one)
    assert asked(parts) == [["q0", "q1", "q2"], ["q3", "q4"], ["q5"]]
    assert {part.id for part in parts} == {one.id}
    assert [m.id for part in parts for m in part.path()] == [m.id for m in one.path()]
    assert [part.created_at for part in parts] == [
        one.messages[place].created_at for place in (0, 6, 10)
    ]
    for part in parts:
        assert Conversation.from_dict(part.to_dict()) == part
        assert cut_sessions(part) == [part]


def test_a_system_message_begins_every_part() -> None:
    one = logged(0, 5)
    system = Message(id="s", role="system", content=(Part(text="Be brief."),))
    first = replace(one.messages[0], parent_id="s")
    parts = cut_sessions(replace(one, messages=(system, first, *one.messages[1:])))
    assert [[m.role for m in part.path()] for part in parts] == [
        ["system", "user", "assistant"]
    ] * 2


@pytest.mark.parametrize(
    "kept",
    [
        logged(0, 1, 2, 3),
        logged(0, 5, session_id="support-desk"),
        logged(0, 5, session_id=str(uuid.uuid4())),
        logged(0, 5, delay_s=2.5),
        replace(logged(0, 5), source="import:chatgpt"),
        Conversation(id=str(uuid_utils.uuid7())),
        Conversation.from_turns(
            [("user", "q"), ("assistant", "a")] * 2, id=str(uuid_utils.uuid7())
        ),
    ],
    ids=[
        "no pause",
        "named",
        "named by a page",
        "recorded as it goes",
        "imported",
        "empty",
        "no time",
    ],
)
def test_other_conversations_stay_whole(kept: Conversation) -> None:
    assert cut_sessions(kept) == [kept]


def test_a_reply_asked_for_again_and_an_empty_one_hinder_nothing() -> None:
    one = logged(0, 0.1, 5)
    late = iso(START + timedelta(hours=1))
    again = replace(one.messages[3], id="again", created_at=late)
    messages = (
        *one.messages[:4],
        again,
        replace(one.messages[4], parent_id="again"),
        one.messages[5],
    )
    assert asked(cut_sessions(replace(one, messages=messages))) == [["q0", "q1"], ["q2"]]
