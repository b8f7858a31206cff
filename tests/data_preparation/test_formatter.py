from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.core.conversation import Conversation, Message, Part
from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.core.formats import FORMATS
from fine_tuning.data_preparation.formatter import TrainingDataFormatter, examples_from
from tests.strategies import conversations as any_conversations

TURN = {"user_message": "What is AI?", "bot_response": "AI is artificial intelligence..."}
TALK = Conversation.from_turns(
    [
        ("system", "Be brief."),
        ("user", "One?"),
        ("assistant", "1"),
        ("user", "Two?"),
        ("assistant", "2"),
    ]
)


def message(key: str, role: str, text: str, parent: str | None, **fields: object) -> Message:
    content = (Part(text=text),) if text else ()
    return Message(id=key, role=role, content=content, parent_id=parent, **fields)  # type: ignore[arg-type]


def test_the_specs_snippet() -> None:
    formatter = TrainingDataFormatter("chatml")
    training_pairs = formatter.create_training_pairs([TURN])
    assert training_pairs == [
        {
            "messages": [
                {"role": "user", "content": "What is AI?"},
                {"role": "assistant", "content": "AI is artificial intelligence..."},
            ]
        }
    ]
    assert formatter.validate(training_pairs) == []


@pytest.mark.parametrize("item", [TALK, TALK.to_dict()])
def test_alpaca_and_instruction_keep_earlier_turns_as_history(item: object) -> None:
    (alpaca,) = TrainingDataFormatter("alpaca").create_training_pairs([item])  # type: ignore[list-item]
    assert (alpaca["instruction"], alpaca["output"]) == ("Two?", "2")
    assert (alpaca["system"], alpaca["history"]) == ("Be brief.", [["One?", "1"]])
    first, second = TrainingDataFormatter("instruction").create_training_pairs([item])  # type: ignore[list-item]
    assert (first["instruction"], first["response"], first["history"]) == ("One?", "1", [])
    assert second["history"] == [["One?", "1"]]


@pytest.mark.parametrize(("wrong", "near"), [("chatlm", "chatml"), ("Alpacca", "alpaca")])
def test_an_unknown_format_is_refused_with_the_nearest_name(wrong: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"{wrong}.*did you mean '{near}'"):
        TrainingDataFormatter(wrong)
    with pytest.raises(ConfigError, match=near):
        TrainingDataFormatter("chatml").convert([], to=wrong)


def test_batches_hold_the_records_of_so_many_conversations_and_read_lazily() -> None:
    taken = 0

    def source() -> object:
        nonlocal taken
        for number in range(5):
            taken += 1
            yield {"user_message": str(number), "bot_response": "reply"}

    batches = TrainingDataFormatter("instruction", batch_size=2).batches(source())  # type: ignore[arg-type]
    assert [record["instruction"] for record in next(batches)] == ["0", "1"]
    assert taken == 2
    assert [len(batch) for batch in batches] == [2, 1]
    with pytest.raises(ConfigError, match="batch_size is 0"):
        TrainingDataFormatter(batch_size=0)


def test_what_a_format_cannot_express_is_reported_and_the_rest_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    question = Conversation.from_turns([("user", "Anyone?")])
    formatter = TrainingDataFormatter("alpaca")
    with caplog.at_level(logging.WARNING):
        records = formatter.create_training_pairs([question, TALK])
    assert len(records) == 1
    assert [(drop.conversation_id, drop.reason) for drop in formatter.drops] == [
        (question.id, "not expressible as alpaca")
    ]
    assert "1 conversations were left out" in caplog.text
    formatter.create_training_pairs([TALK])
    assert formatter.drops == ()


def test_an_item_that_is_no_conversation_is_named_by_its_index() -> None:
    with pytest.raises(DataError, match=r"conversation 1: .*prompt"):
        TrainingDataFormatter("chatml").create_training_pairs([TURN, {"prompt": "x"}])


def test_problems_name_record_and_reason() -> None:
    formatter = TrainingDataFormatter("alpaca")
    good = {"instruction": "a", "output": "b"}
    problems = formatter.validate([good, {"instruction": "a", "output": " "}, {"output": 3}])
    assert [problem.index for problem in problems] == [1, 2, 2]
    assert str(problems[0]) == "record 1: 'output' is empty, so there is nothing to learn"
    with pytest.raises(DataError, match="record 0 is no alpaca record"):
        formatter.convert([{"output": 3}], to="chatml")


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(str.strip)
straight = st.builds(
    lambda system, pairs: Conversation.from_turns(
        ([("system", system)] if system else [])
        + [
            (role, text)
            for pair in pairs
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
    ),
    st.one_of(st.just(""), texts),
    st.lists(st.tuples(texts, texts), min_size=1, max_size=3),
)


@given(conversation=straight, source=st.sampled_from(FORMATS), target=st.sampled_from(FORMATS))
def test_converting_there_and_back_gives_the_same_records(
    conversation: Conversation, source: str, target: str
) -> None:
    formatter = TrainingDataFormatter(source)
    records = formatter.create_training_pairs([conversation])
    there = formatter.convert(records, to=target)
    assert TrainingDataFormatter(target).validate(there) == []
    assert TrainingDataFormatter(target).convert(there, to=source) == records


def test_every_finished_reply_of_weight_one_is_a_target() -> None:
    tree = Conversation(
        id="tree",
        messages=(
            message("q1", "user", "One?", None),
            message("a1", "assistant", "1", "q1"),
            message("q2", "user", "Two?", "a1"),
            message("a2", "assistant", "never mind", "q2", weight=0),
            message("q3", "user", "Three?", "a2"),
            message("a3", "assistant", "thr", "q3", status="aborted"),
            message("q4", "user", "Four?", "a3"),
            message("a4", "assistant", " ", "q4"),
            message("a4b", "assistant", "4", "q4"),
            message("q5", "user", "Five?", "a4b"),
        ),
    )
    (example,) = examples_from([tree])
    assert [example.messages[index].id for index in example.targets] == ["a1", "a4b"]
    assert example.messages[-1].id == "a4b"  # the open question teaches nothing
    assert "a4" not in {m.id for m in example.messages}  # a branch not taken


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([], "no reply"),
        ([{"role": "user", "content": "Hi"}], "no reply"),
        (
            [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Ho", "weight": 0},
            ],
            "all replies have weight 0",
        ),
        ([{"role": "assistant", "content": "Ho", "status": "error"}], "no finished reply"),
        (
            [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": " "}],
            "only empty or excluded replies",
        ),
    ],
)
def test_a_conversation_with_nothing_to_learn_is_reported(turns: list[object], reason: str) -> None:
    found = examples_from([{"messages": turns}, TURN])
    assert len(found) == 1
    assert found.drops_by_reason == {reason: 1}


def test_a_damaged_tree_is_a_drop_and_no_crash() -> None:
    orphan = Conversation(id="orphan", messages=(message("a", "assistant", "x", "gone"),))
    assert examples_from([orphan]).drops_by_reason == {"damaged tree": 1}


@given(st.lists(any_conversations(), max_size=4))
def test_nothing_disappears(items: list[Conversation]) -> None:
    found = examples_from(items)
    assert len(found) + len(found.drops) == len(items)
    formatter = TrainingDataFormatter("chatml")
    assert len(formatter.create_training_pairs(items)) + len(formatter.drops) == len(items)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("weighted", (3,)), ("all", (1, 3)), ("last", (3,)), ("rated_up", ())],
)
def test_which_replies_are_learnt(policy: str, expected: tuple[int, ...]) -> None:
    raw = {
        "id": "c",
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b", "weight": 0},
            {"role": "user", "content": "c"},
            {"role": "assistant", "content": "d"},
        ],
    }
    found = examples_from([raw], train_on=policy)
    assert [example.targets for example in found] == ([expected] if expected else [])
    if policy == "rated_up":
        assert found.drops_by_reason == {"no reply is rated up": 1}
        (liked,) = examples_from([raw], train_on=policy, rated_up={("c", "c/3")})
        assert liked.targets == (3,)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected one of weighted, all, last, rated_up"):
        examples_from([], train_on="best")


def test_what_cleaning_left_out_is_no_target_whatever_is_trained_on() -> None:
    turns = [("user", "A?"), ("assistant", "B."), ("user", "C?"), ("assistant", "D.")]
    raw = Conversation.from_turns(turns).to_dict()  # type: ignore[arg-type]
    raw["messages"][1] |= {"weight": 0, "metadata": {"left_out": "too_long"}}  # type: ignore[index,call-overload,operator]
    for policy in ("weighted", "all", "last"):
        (example,) = examples_from([raw], train_on=policy)
        assert example.targets == (3,)
