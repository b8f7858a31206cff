"""The values of core survive their plain form, and refuse what breaks their laws."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.core.conversation import Conversation, Message, Part
from fine_tuning.core.errors import DataError
from fine_tuning.core.events import RunEvent
from fine_tuning.core.example import Example, TokenizedExample
from fine_tuning.core.feedback import Feedback
from tests import strategies


def through_json(raw: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(raw, allow_nan=False))


@given(strategies.messages())
def test_a_message_survives_its_plain_form(message: Message) -> None:
    assert Message.from_dict(through_json(message.to_dict())) == message


@given(strategies.conversations())
def test_a_conversation_survives_its_plain_form(conversation: Conversation) -> None:
    again = Conversation.from_dict(through_json(conversation.to_dict()))
    if any(message.parent_id for message in conversation.messages):
        assert again == conversation
    # Messages of which none names a parent are read as a chain, OpenAI's form.
    assert [m.to_dict() | {"parent_id": None} for m in again.messages] == [
        m.to_dict() | {"parent_id": None} for m in conversation.messages
    ]


@given(strategies.feedbacks)
def test_feedback_survives_its_plain_form(feedback: Feedback) -> None:
    assert Feedback.from_dict(through_json(feedback.to_dict())) == feedback


@given(strategies.tokenized_examples)
def test_a_tokenized_example_survives_its_plain_form(example: TokenizedExample) -> None:
    assert TokenizedExample.from_dict(through_json(example.to_dict())) == example


@given(strategies.run_events)
def test_a_run_event_survives_its_plain_form(event: RunEvent) -> None:
    assert RunEvent.from_dict(through_json(event.to_dict())) == event


@given(strategies.conversations(), st.data())
def test_a_path_leads_from_a_root_to_the_leaf_along_parents(
    conversation: Conversation, data: st.DataObject
) -> None:
    leaf = data.draw(st.sampled_from(conversation.messages))
    path = conversation.path(leaf.id)
    assert path[0].parent_id is None
    assert path[-1] == leaf
    assert [m.parent_id for m in path[1:]] == [m.id for m in path[:-1]]
    assert len({m.id for m in path}) == len(path)


def tree() -> Conversation:
    """A question, a reply, the reply tried again, and a follow-up to the first reply."""
    return Conversation(
        id="c",
        messages=(
            Message(id="q", role="user", content=(Part(text="?"),)),
            Message(id="a1", role="assistant", content=(Part(text="one"),), parent_id="q"),
            Message(id="a2", role="assistant", content=(Part(text="two"),), parent_id="q"),
            Message(id="q2", role="user", content=(Part(text="more"),), parent_id="a1"),
        ),
        leaf_id="a2",
    )


def test_the_current_branch_is_the_one_the_user_last_saw() -> None:
    assert [m.id for m in tree().path()] == ["q", "a2"]
    assert [m.id for m in tree().path("q2")] == ["q", "a1", "q2"]
    assert [m.id for m in tree().siblings("a1")] == ["a2"]


def test_a_path_to_nowhere_is_refused() -> None:
    with pytest.raises(DataError, match="no message 'gone'"):
        tree().path("gone")


def test_a_circle_of_parents_is_refused() -> None:
    circle = Conversation(
        id="c",
        messages=(
            Message(id="a", role="user", parent_id="b"),
            Message(id="b", role="assistant", parent_id="a"),
        ),
    )
    with pytest.raises(DataError, match="on its path"):
        circle.path()


def test_content_id_names_what_was_said_and_nothing_else() -> None:
    turns = [("user", "What is AI?"), ("assistant", "A field.")]
    one = Conversation.from_turns(turns, id="x", title="first")
    two = Conversation.from_turns(turns, id="y", created_at="2026-01-01T00:00:00+00:00")
    other = Conversation.from_turns([*turns[:1], ("assistant", "A field")])
    assert one.content_id == two.content_id != other.content_id


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ({"messages": "hello"}, "messages are str"),
        ({"messages": ["hello"]}, "message 0 is str"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role 'robot'"),
        ({"messages": [{"role": "user", "content": 3}]}, "content is int"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "type None"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "holds None"),
        (
            {"messages": [{"id": "a", "role": "user", "parent_id": "z", "content": "x"}]},
            "unknown parent 'z'",
        ),
        (
            {"messages": [{"id": "a", "role": "user"}, {"id": "a", "role": "assistant"}]},
            "stands twice",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": 3}}]}]},
            "expected an object with a 'name'",
        ),
    ],
)
def test_a_torn_conversation_is_refused_with_what_was_found(
    raw: dict[str, Any], found: str
) -> None:
    with pytest.raises(DataError, match=found):
        Conversation.from_dict(raw)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"kind": "thumb", "value": 2}, "value 2, expected 1, 0 or -1"),
        ({"kind": "rating", "value": 11}, "value 11, expected 1 to 10"),
        ({"kind": "correction", "text": "  "}, "an empty text"),
        ({"kind": "choice"}, "no rejected_id"),
        ({"kind": "smile"}, "kind 'smile'"),
    ],
)
def test_feedback_that_says_nothing_is_refused(fields: dict[str, Any], found: str) -> None:
    with pytest.raises(DataError, match=found):
        Feedback(id="f", conversation_id="c", message_id="m", **fields)


@pytest.mark.parametrize(
    ("ids", "mask", "found"),
    [((1, 2), (0,), "2 ids and 1 mask"), ((1, 2), (1, 1), "its first token")],
)
def test_a_mask_that_breaks_its_laws_is_refused(
    ids: tuple[int, ...], mask: tuple[int, ...], found: str
) -> None:
    with pytest.raises(DataError, match=found):
        TokenizedExample(example_id="e", conversation_id="c", ids=ids, mask=mask)


@pytest.mark.parametrize("target", [-1, 0, 2])
def test_only_the_assistants_words_are_targets(target: int) -> None:
    messages = Conversation.from_turns([("user", "?"), ("assistant", "!")]).path()
    with pytest.raises(DataError, match=f"target {target}"):
        Example(conversation_id="c", messages=messages, targets=(target,))
    assert Example(conversation_id="c", messages=messages, targets=(1,)).id.startswith("b2:")
