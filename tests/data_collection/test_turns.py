from __future__ import annotations

from dataclasses import replace

import pytest

from fine_tuning.core.conversation import Conversation, Message, Part, ToolCall
from fine_tuning.data_collection.turns import join_turns

Turn = tuple[str, str]


def talk(*turns: Turn) -> Conversation:
    return Conversation.from_turns(list(turns), id="c")  # type: ignore[arg-type]


def joined(conversation: Conversation) -> list[Turn]:
    found = join_turns(conversation, conversation.path())
    again = join_turns(found, found.path())
    assert again is found, "what is joined stays as it is"
    return [(m.role, m.text) for m in found.path()]


def test_turns_in_order_are_the_very_same_conversation() -> None:
    given = talk(("system", "Be kind."), ("user", "Hi?"), ("assistant", "Yes."), ("user", "And?"))
    assert join_turns(given, given.path()) is given


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        (
            [("user", "Two questions."), ("user", "What is a monad?"), ("assistant", "A type.")],
            [("user", "Two questions.\n\nWhat is a monad?"), ("assistant", "A type.")],
        ),
        (
            [("user", "When?"), ("assistant", "From ten."), ("assistant", "Closed on Mondays.")],
            [("user", "When?"), ("assistant", "From ten.\n\nClosed on Mondays.")],
        ),
        (
            [("user", "Go on."), ("assistant", "and the lamp"), ("assistant", " threw its beam.")],
            [("user", "Go on."), ("assistant", "and the lamp threw its beam.")],
        ),
        (
            [("user", "Go on."), ("assistant", "and the lamp"), ("assistant", "threw its beam.")],
            [("user", "Go on."), ("assistant", "and the lamp threw its beam.")],
        ),
        (
            [("user", "続けて"), ("assistant", "灯台の明かりが"), ("assistant", "湾を照らした。")],
            [("user", "続けて"), ("assistant", "灯台の明かりが湾を照らした。")],
        ),
        (
            [("user", "Code?"), ("assistant", "```py\nfor x in"), ("assistant", " y:\n```")],
            [("user", "Code?"), ("assistant", "```py\nfor x in y:\n```")],
        ),
        (
            [("user", "Bees?"), ("assistant", ""), ("user", "Hello?"), ("assistant", "They fly.")],
            [("user", "Bees?\n\nHello?"), ("assistant", "They fly.")],
        ),
        (
            [("user", "Bees?"), ("assistant", " \n"), ("user", "Bees?"), ("assistant", "They.")],
            [("user", "Bees?"), ("assistant", "They.")],
        ),
        (
            [("user", "Tell."), ("assistant", "Once"), ("user", ""), ("assistant", " there was.")],
            [("user", "Tell."), ("assistant", "Once there was.")],
        ),
        (
            [("user", "A?"), ("assistant", "B."), ("system", "In French."), ("user", "C?")],
            [("user", "A?"), ("assistant", "B."), ("system", "In French."), ("user", "C?")],
        ),
        ([("user", "\u200b"), ("assistant", "Hello!")], [("assistant", "Hello!")]),
    ],
)
def test_turns_of_one_side_are_joined(turns: list[Turn], expected: list[Turn]) -> None:
    assert joined(talk(*turns)) == expected


def test_a_reply_that_was_cut_goes_on_in_the_middle_of_a_word() -> None:
    given = talk(("user", "Tell."), ("assistant", "The light"), ("assistant", "house shone."))
    cut = replace(given.messages[1], metadata={"finish_reason": "length", "model": "m"})
    given = replace(given, messages=(given.messages[0], cut, given.messages[2]))
    found = join_turns(given, given.path())
    assert found.path()[-1].text == "The lighthouse shone."
    assert found.path()[-1].metadata == {"model": "m"}, "the end of the first is not the end"


def test_a_greeting_is_context() -> None:
    given = talk(
        ("assistant", "Welcome!"), ("assistant", "Sit."), ("user", "A?"), ("assistant", "B.")
    )
    found = join_turns(given, given.path())
    assert [(m.text, m.weight) for m in found.path()] == [
        ("Welcome!\n\nSit.", 0), ("A?", 1), ("B.", 1),
    ]  # fmt: skip


def test_calls_and_results_of_tools_stay() -> None:
    calls = [ToolCall(id=name, name="w", arguments={"city": name}) for name in ("Rome", "Bern")]
    messages = [
        Message(id="u", role="user", content=(Part(text="Weather?"),)),
        Message(id="a", role="assistant", content=(Part(text="Let me look."),)),
        Message(id="b", role="assistant", tool_calls=(calls[0],)),
        Message(id="c", role="assistant", tool_calls=(calls[1],)),
        Message(id="d", role="tool", tool_call_id="Rome", content=(Part(text="sun"),)),
        Message(id="e", role="tool", tool_call_id="Bern", content=()),
        Message(id="f", role="assistant", content=(Part(text="Sun in Rome."),)),
    ]
    chained = tuple(
        replace(m, parent_id=messages[n - 1].id if n else None) for n, m in enumerate(messages)
    )
    found = join_turns(given := Conversation(id="c", messages=chained), given.path()).path()
    assert [(m.id, m.role, len(m.tool_calls)) for m in found] == [
        ("u", "user", 0), ("c", "assistant", 2), ("d", "tool", 0), ("e", "tool", 0),
        ("f", "assistant", 0),
    ]  # fmt: skip
    assert found[1].text == "Let me look."


def test_a_thought_without_reply_goes_with_the_reply() -> None:
    given = talk(("user", "A?"), ("assistant", ""), ("assistant", "B."))
    thought = replace(given.messages[1], reasoning="hm")
    given = replace(given, messages=(given.messages[0], thought, given.messages[2]))
    (_, reply) = join_turns(given, given.path()).path()
    assert (reply.text, reply.reasoning) == ("B.", "hm")


def test_pictures_are_words_too() -> None:
    given = talk(("user", "Look:"), ("user", ""), ("assistant", "A fox."))
    picture = Part(type="image_url", data={"url": "file:fox.png"})
    shown = replace(given.messages[1], content=(picture,))
    given = replace(given, messages=(given.messages[0], shown, given.messages[2]))
    asked = join_turns(given, given.path()).path()[0]
    assert asked.content == (Part(text="Look:"), picture)


def test_side_branches_lead_where_they_led() -> None:
    given = talk(("user", "A?"), ("user", "B?"), ("assistant", "C."))
    other = Message(id="side", role="assistant", content=(Part(text="D."),), parent_id="c/0")
    given = replace(given, messages=(*given.messages, other), leaf_id="c/2")
    found = join_turns(given, given.path())
    assert [m.text for m in found.path()] == ["A?\n\nB?", "C."]
    assert [m.text for m in found.path("side")] == ["A?", "D."]
    known: set[str] = set()
    for message in found.messages:
        assert message.parent_id is None or message.parent_id in known
        known.add(message.id)


def test_nothing_but_empty_messages_stays_as_it_is() -> None:
    given = talk(("user", ""), ("assistant", " "))
    assert join_turns(given, given.path()) is given
