from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.core.conversation import Conversation, Message, Part, ToolCall
from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.core.formats import (
    FORMATS,
    as_conversation,
    as_conversations,
    from_records,
    to_records,
    validate_record,
)
from tests.strategies import conversations

words = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)
straight = st.builds(
    lambda system, pairs: Conversation.from_turns(
        [
            *([("system", system)] if system else []),
            *[turn for q, a in pairs for turn in (("user", q), ("assistant", a))],
        ]
    ),
    st.one_of(st.just(""), words),
    st.lists(st.tuples(words, words), min_size=1, max_size=4),
)


@pytest.mark.parametrize("name", FORMATS)
@given(chats=st.lists(straight, max_size=4))
def test_what_is_written_comes_back(name: str, chats: list[Conversation]) -> None:
    records = [record for chat in chats for record in to_records(chat, name)]
    records = json.loads(json.dumps(records))
    assert [validate_record(record, name) for record in records] == [[]] * len(records)
    assert [c.content_id for c in from_records(records, name)] == [c.content_id for c in chats]


@given(conversation=conversations())
def test_chatml_carries_every_branch(conversation: Conversation) -> None:
    (record,) = to_records(conversation, "chatml")
    assert as_conversation(record).content_id == conversation.content_id


@given(conversation=conversations())
def test_other_formats_carry_it_or_refuse(conversation: Conversation) -> None:
    for name in ("alpaca", "instruction"):
        try:
            records = to_records(conversation, name)
        except DataError:
            continue
        roles = {m.role for m in conversation.path()}
        assert roles <= {"system", "developer", "user", "assistant"}
        assert all(m.weight for m in conversation.path()[-1:])
        assert records


def test_the_shapes() -> None:
    chat = Conversation.from_turns(
        [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    )
    history = {"system": "s", "history": [["a", "b"]]}
    assert to_records(chat, "chatml") == [
        {
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b"},
                {"role": "user", "content": "c"},
                {"role": "assistant", "content": "d"},
            ]
        }
    ]
    assert to_records(chat, "alpaca") == [
        {"instruction": "c", "input": "", "output": "d", **history}
    ]
    assert to_records(chat, "instruction") == [
        {"instruction": "a", "response": "b", "system": "s", "history": []},
        {"instruction": "c", "response": "d", **history},
    ]


def test_equal_beginnings_stay_two_conversations() -> None:
    short = Conversation.from_turns([("user", "a"), ("assistant", "b")])
    turns = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    long = Conversation.from_turns(turns)
    for chats in ([short, long], [long, short], [short, short], [long, long]):
        records = [r for chat in chats for r in to_records(chat, "instruction")]
        found = from_records(records, "instruction")
        assert [c.content_id for c in found] == [c.content_id for c in chats]


def tool_chat() -> Conversation:
    call = ToolCall(id="1", name="f", arguments={"x": 1})
    return Conversation(
        id="t",
        messages=(
            Message(id="1", role="user", content=(Part(text="go"),)),
            Message(id="2", role="assistant", tool_calls=(call,), parent_id="1", weight=0),
            Message(
                id="3", role="tool", content=(Part(text="42"),), parent_id="2", tool_call_id="1"
            ),
            Message(
                id="4",
                role="assistant",
                content=(Part(text="It is 42"),),
                parent_id="3",
                reasoning="hm",
            ),
        ),
    )


def test_tools_weights_and_reasoning_survive_chatml_only() -> None:
    (record,) = to_records(tool_chat(), "chatml")
    assert record["messages"][1]["weight"] == 0
    assert record["messages"][3]["reasoning_content"] == "hm"
    (found,) = from_records([record], "chatml")
    assert found.content_id == tool_chat().content_id
    assert [(m.weight, m.reasoning, m.tool_call_id) for m in found.messages] == [
        (1, "", ""),
        (0, "", ""),
        (1, "", "1"),
        (1, "hm", ""),
    ]
    for name in ("alpaca", "instruction"):
        with pytest.raises(DataError, match="only chatml carries that"):
            to_records(tool_chat(), name)


def test_openai_arguments_as_text_become_an_object() -> None:
    (record,) = to_records(tool_chat(), "chatml")
    record["messages"][1]["tool_calls"][0]["function"]["arguments"] = '{"x": 1}'
    assert as_conversation(record).content_id == tool_chat().content_id


@pytest.mark.parametrize(
    ("name", "record", "problem"),
    [
        ("chatml", {}, "'messages' is missing"),
        ("chatml", {"messages": [{"role": "user", "content": "a"}]}, "nothing to learn"),
        ("chatml", {"messages": [{"role": "assistant", "content": " "}]}, "empty reply"),
        ("chatml", {"messages": [{"role": "x"}]}, "expected one of system"),
        ("chatml", {"messages": [{"role": "user", "content": 5}, 7]}, "of type int"),
        ("chatml", {"messages": [{"role": "assistant", "content": [{"type": "text"}]}]}, "string"),
        ("alpaca", {"instruction": "a"}, "'output' is NoneType"),
        ("alpaca", {"instruction": "a", "output": "", "input": ""}, "nothing to learn"),
        ("alpaca", {"instruction": "a", "output": "b", "input": 3}, "'input' is int"),
        ("instruction", {"instruction": "a", "response": "b", "history": ["a"]}, "pair|question"),
        ("instruction", {"instruction": 1, "response": "b"}, "'instruction' is int"),
    ],
)
def test_problems_are_told_in_words(name: str, record: dict[str, Any], problem: str) -> None:
    told = validate_record(record, name)
    assert any(re.search(problem, text) for text in told), told
    with pytest.raises(DataError, match="record 0"):
        from_records([record], name)


def test_an_unknown_format_names_the_nearest() -> None:
    for call in (lambda: to_records(tool_chat(), "ChatLM"), lambda: validate_record({}, "ChatLM")):
        with pytest.raises(ConfigError, match="did you mean 'chatml'"):
            call()


def test_every_shape_is_taken() -> None:
    chat = Conversation.from_turns([("user", "a"), ("assistant", "b")])
    items = [
        chat,
        chat.to_dict(),
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"user_message": "a", "bot_response": "b", "metadata": {"k": 1}, "timestamp": "2026"},
        {"instruction": "a", "output": "b"},
        {"instruction": "a", "response": "b"},
    ]
    found = as_conversations(items)
    assert {c.content_id for c in found} == {chat.content_id}
    assert found[0] is chat
    assert found[3].messages[1].metadata == {"k": 1}
    assert found[3].created_at == "2026"


@pytest.mark.parametrize(
    "item", [{}, {"user_message": "a"}, {"user_message": 1, "bot_response": "b"}, 5, None, "text"]
)
def test_what_is_no_conversation_is_named_by_index(item: Any) -> None:
    good = {"user_message": "a", "bot_response": "b"}
    with pytest.raises(DataError, match="conversation 1: "):
        as_conversations([good, item])


KEYS = re.findall(
    r"\w+",
    "messages role content tool_calls function arguments name id parent_id type text user_message "
    "bot_response metadata instruction output response history system weight status title",
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(item=json_values)
def test_no_input_ends_in_a_traceback(item: Any) -> None:
    try:
        conversation = as_conversation(item)
    except DataError:
        return
    for name in FORMATS:
        try:
            to_records(conversation, name)
        except DataError:
            continue
