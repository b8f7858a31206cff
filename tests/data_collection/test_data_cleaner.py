from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fine_tuning
from fine_tuning.core.conversation import Conversation, Message, Part
from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.data_collection.cleaning_steps import (
    ALWAYS,
    BOILERPLATE,
    DUPLICATE,
    NEAR_DUPLICATE,
    REASONS,
    STEP_NAMES,
    CleaningLimits,
    steps,
)
from fine_tuning.data_collection.data_cleaner import DataCleaner
from fine_tuning.data_collection.importing import read_conversations
from fine_tuning.data_collection.text_filters import loop, swear_word
from fine_tuning.data_collection.text_repair import normalize_whitespace, repair_unicode
from tests.strategies import conversations as any_conversations

SAMPLES = Path(fine_tuning.__file__).parent / "data" / "samples"


def chat(*texts: str, name: str = "") -> Conversation:
    roles = ("user", "assistant") * len(texts)
    turns = list(zip(roles, texts, strict=False))
    return Conversation.from_turns(turns, id=name)  # type: ignore[arg-type]


def why(conversation: Conversation, **options: object) -> str | None:
    report = DataCleaner(**options).clean([conversation])  # type: ignore[arg-type]
    return report.dropped[0].reason if report.dropped else None


def test_the_snippet() -> None:
    conversations = [
        {"user_message": "What  is AI?", "bot_response": "Write to a@b.example."},
        {"user_message": "hi", "bot_response": "yo"},
        chat("What is AI?", "write to c@d.example."),
        chat("What is AI?", "It is a field of study.").to_dict(),
    ]
    cleaner = DataCleaner(min_length=10, max_length=1000)
    cleaned_data = cleaner.filter_conversations(conversations)
    assert [[m.text for m in c.path()] for c in cleaned_data] == [
        ["What is AI?", "Write to <EMAIL_1>."],
        ["What is AI?", "It is a field of study."],
    ]


GOOD = "It is the part of a kite that faces the wind."


@pytest.mark.parametrize(
    ("conversation", "reason"),
    [
        (chat("Tell me about sails.", GOOD), None),
        (Conversation(id="none"), "empty"),
        (chat("", ""), "empty"),
        (chat("Tell me about sails."), "no_reply"),
        (chat("Tell me about sails.", " \n "), "no_reply"),
        (chat("hi", "yo"), "too_short"),
        (chat("hi", "yo", "What is a sail?", GOOD), None),
        (chat("q" * 500, " ".join(f"word{n}" for n in range(300))), None),
        (chat("What is a sail?", "no " * 9), "repetitive"),
        (chat("What is a sail?", "This fucking thing."), "inappropriate"),
        (chat("What the f**k is a sail?", GOOD), None),
        (Conversation.from_turns([("assistant", GOOD), ("user", "x")]), "no_reply"),
        (Conversation.from_turns([("assistant", GOOD)]), "no_reply"),
        (Conversation.from_turns([("assistant", GOOD), ("user", "x"), ("assistant", GOOD)]), None),
        (Conversation.from_turns([("user", "a"), ("user", "b"), ("assistant", GOOD)]), None),
        (Conversation.from_turns([("user", "a"), ("system", "b"), ("assistant", GOOD)]), None),
        (Conversation.from_turns([("user", "a"), ("assistant", GOOD), ("tool", "1")]), None),
        (Conversation.from_turns([("tool", "1"), ("tool", "2")]), "role_order"),
    ],
)
def test_each_reason(conversation: Conversation, reason: str | None) -> None:
    assert why(conversation) == reason
    assert DataCleaner().is_valid(conversation) == (reason is None)


def test_lengths_are_of_an_exchange_and_bounds_belong_to_them() -> None:
    four = [chat("q" * n, "b" * n, name=str(n)) for n in (4, 5, 10, 11)]
    report = DataCleaner(min_length=10, max_length=20).clean(four)
    assert [c.id for c in report.kept] == ["5", "10"]
    assert [(d.conversation.id, d.reason) for d in report.dropped] == [
        ("4", "too_short"),
        ("11", "too_long"),
    ]
    assert report.dropped[1].detail == "the exchange has 22 characters, expected 20 or fewer"


def test_the_first_of_equals_is_kept() -> None:
    chats = [
        chat("What is a sail?", GOOD, name="first"),
        chat("what IS a  sail?", GOOD.upper(), name="shouted"),
        chat("What is a mast?", "It is the tall pole that carries the sails.", name="other"),
        chat("What is a sail?", GOOD, name="first"),
    ]
    cleaner = DataCleaner()
    for _ in range(2):
        report = cleaner.clean(chats)
        assert [c.id for c in report.kept] == ["first", "other"]
        assert [d.detail for d in report.dropped] == ["it says the same as conversation first"] * 2


def test_speakers_and_borders_make_a_difference() -> None:
    chats = [
        chat("abcdef ghij", "klmnop"),
        chat("abcdef", "ghij klmnop"),
        chat("klmnop", "abcdef ghij"),
    ]
    assert len(DataCleaner().filter_conversations(chats)) == 3


def test_a_question_without_reply_at_the_end_stays_but_is_not_learnt() -> None:
    given_one = chat("What is a sail?", GOOD, "And a mast?")
    (found,) = DataCleaner().filter_conversations([given_one])
    assert [m.text for m in found.path()] == ["What is a sail?", GOOD]
    assert found.messages == given_one.messages


def test_a_stopped_reply_is_not_learnt() -> None:
    given_one = chat("What is a sail?", GOOD, "And a mast?", "It is a tall")
    stopped = replace(given_one.messages[3], status="aborted")
    (found,) = DataCleaner().filter_conversations(
        [replace(given_one, messages=(*given_one.messages[:3], stopped))]
    )
    assert [m.weight for m in found.messages] == [1, 1, 1, 0]
    only = replace(
        given_one, messages=(given_one.messages[0], replace(given_one.messages[1], status="error"))
    )
    assert why(only) == "no_reply"


def test_placeholders_are_one_per_conversation() -> None:
    talk = chat(
        "I am a@b.example, call 555-123-4567", "Hello a@b.example", "or c@d.example?", "Yes"
    )
    both = DataCleaner().filter_conversations(
        [talk, chat("Write to c@d.example", "I will do that")]
    )
    assert [m.text for m in both[0].path()] == [
        "I am <EMAIL_1>, call <PHONE_1>",
        "Hello <EMAIL_1>",
        "or <EMAIL_2>?",
        "Yes",
    ]
    assert both[1].path()[0].text == "Write to <EMAIL_1>"


def test_every_text_of_the_tree_is_redacted() -> None:
    talk = chat("Write to c@d.example", "I will do that")
    branch = Message(
        id="b",
        role="assistant",
        content=(Part(text="a@b.example"),),
        parent_id=talk.messages[0].id,
        reasoning="e@f.example",
    )
    talk = replace(
        talk, messages=(*talk.messages, branch), leaf_id=talk.messages[1].id, title="c@d.example"
    )
    (found,) = DataCleaner().filter_conversations([talk])
    assert found.messages[2].text == "<EMAIL_2>"
    assert found.messages[2].reasoning == "<EMAIL_3>"
    assert found.title == "<EMAIL_1>"


@pytest.mark.parametrize("name", STEP_NAMES)
def test_every_step_has_a_switch(name: str) -> None:
    assert name not in [step.name for step in DataCleaner(skip=[name]).clean([]).steps]
    assert len(DataCleaner(skip=[name]).clean([]).steps) == len((*ALWAYS, *STEP_NAMES)) - 1


def test_skipped_steps_do_nothing() -> None:
    rude = chat("This   shit is at https://a.example", "Indeed, so it is.")
    (found,) = DataCleaner(skip={"inappropriate", "redaction", "whitespace"}).filter_conversations(
        [rude]
    )
    assert found == rude


def test_the_table_and_its_names_agree() -> None:
    table = steps(CleaningLimits(min_length=1, max_length=2, phone_regions=()))
    across = (DUPLICATE, BOILERPLATE, NEAR_DUPLICATE)
    assert {*(step.name for step in table), *across} == {*ALWAYS, *STEP_NAMES}
    assert (*(step.name for step in table if step.drop or step.rule), *across) == REASONS
    assert all(step.edit or step.drop or step.rule for step in table)
    names = [*(step.name for step in table if step.name not in ALWAYS), *across]
    assert tuple(names) == STEP_NAMES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_length": 5, "max_length": 4}, "min_length is 5 and max_length 4"),
        ({"min_length": -1}, "min_length is -1"),
        ({"skip": ["duplicates"]}, "did you mean 'duplicate'"),
        ({"phone_regions": ["UK"]}, "no region 'UK'"),
    ],
)
def test_wrong_settings_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DataCleaner(**options)


def test_what_is_no_conversation_is_named() -> None:
    with pytest.raises(DataError, match="conversation 1: "):
        DataCleaner().clean([chat("a", "b"), {"text": "?"}])  # type: ignore[list-item]


@settings(max_examples=40)
@given(st.lists(any_conversations(), max_size=6), st.integers(0, 30), st.integers(0, 60))
def test_nothing_disappears(chats: list[Conversation], shortest: int, more: int) -> None:
    cleaner = DataCleaner(min_length=shortest, max_length=shortest + more)
    report = cleaner.clean(chats)
    counts = report.counts
    assert counts["in"] == len(chats)
    assert counts["in"] == counts["kept"] + sum(counts["dropped"].values())
    assert counts["dropped"] == Counter(d.reason for d in report.dropped)
    assert sum(step.dropped for step in report.steps) == len(report.dropped)
    seen = [step.seen for step in report.steps]
    assert seen[0] == len(chats)
    for step, following in zip(report.steps, [*seen[1:], len(report.kept)], strict=True):
        assert step.seen == step.dropped + following
    names = [c.id for c in report.kept] + [d.conversation.id for d in report.dropped]
    assert Counter(names) == Counter(c.id for c in chats)
    assert all(any(d.conversation is c for c in chats) for d in report.dropped), "as it came in"
    again = cleaner.clean(report.kept)
    assert again.kept == report.kept, "cleaning what is clean changes nothing"


def test_the_samples() -> None:
    messy_ones = list(read_conversations(SAMPLES / "messy_conversations.jsonl"))
    good = list(read_conversations(SAMPLES / "handbook_conversations.jsonl"))
    report = DataCleaner().clean([*good, *messy_ones])
    flaws = Counter((d.conversation.metadata["flaw"], d.reason) for d in report.dropped)
    assert flaws == {
        ("duplicate", "duplicate"): 4,
        ("empty reply", "no_reply"): 2,
        ("loop", "repetitive"): 2,
        ("too short", "too_short"): 1,
    }
    touched = [c.id for c, was in zip(report.kept, good, strict=False) if c != was]
    assert touched == ["handbook-140"], "sound conversations are not touched"
    twins = [(one.twin_id, one.reason) for one in report.left_out if one.conversation_id in touched]
    assert twins == [("handbook-112", "near_duplicate")], "its last question was asked before"
    long = DataCleaner(max_length=1000).clean(messy_ones)
    assert [one.reason for one in long.left_out].count("too_long") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  a  b\t c \n", "a b c"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("a\n\n\n\n\nb", "a\n\nb"),
        ("list:\n  - one\n    - two  \n", "list:\n  - one\n    - two"),
        ("x\n```python\ndef f():\n    return  1   \n\n\n\n# end\n```\ny  z", None),
        ("```\n  open   fence", "```\n  open   fence"),
        ("a\u00a0b", "a b"),
    ],
)
def test_whitespace(text: str, expected: str | None) -> None:
    found = normalize_whitespace(text)
    if expected is None:
        expected = text.replace("y  z", "y z")
    assert found == expected
    assert normalize_whitespace(found) == found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("schÃ¶n", "schön"),
        ("itâ€™s", "it\u2019s"),
        ("e\u0301", "é"),
        ("a\u200bb\ufeff\x00", "ab"),
        ("“quoted” &amp; 👩\u200d🚀", "“quoted” &amp; 👩\u200d🚀"),
    ],
)
def test_unicode(text: str, expected: str) -> None:
    assert repair_unicode(text) == expected


def test_normalize_text() -> None:
    assert DataCleaner().normalize_text(" schÃ¶n  a@b.example ") == "schön <EMAIL_1>"
    assert DataCleaner(skip=["redaction"]).normalize_text("a@b.example") == "a@b.example"


@pytest.mark.parametrize(
    "text",
    [
        "Well, shit!", "SHIT", "sh1t", "$hit", "s h i t", "f.u.c.k", "fuuuuck", "f**k", "fück",
        "**bitch**", "b!tch", "motherfucker", "what a f*cking mess", "\uff46\uff55\uff43\uff4b",
    ],
)  # fmt: skip
def test_swear_words_behind_disguises(text: str) -> None:
    assert swear_word(text)


@pytest.mark.parametrize(
    "text",
    [
        "Scunthorpe and Penistone", "shiitake mushrooms", "the assassin passed the class",
        "kill the child process", "a proud gay man", "Dickens wrote it", "cockpit, cocktail",
        "document, circumstances, Essex, Sussex", "a * b * c ** 2", "int **argv; char *p",
        "**bold** and *thin*", "455 a55 80085", "analysis of titanium", "basement and bass",
        "Matsushita", "the hell of it", "s.t. x < y, i.e. U.S.A.", "swallow the push it button",
        "country hunter shirt shift witch batch duck fork", "$100 @home !important",
    ],
)  # fmt: skip
def test_harmless_words_are_no_hits(text: str) -> None:
    assert swear_word(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "no " * 8, "I can help you. " * 4, "a b c " * 5, "The end.\nsame line here\n" * 5,
        "a" * 40, "Sure! " + "and then we go on and on, " * 4,
    ],
)  # fmt: skip
def test_loops_are_found(text: str) -> None:
    assert loop(text)


@pytest.mark.parametrize(
    "text",
    [
        "no no no, never", "ha ha ha ha ha", "1 0 0 0 0 0 0 0 0 0 0 0 0",
        "```\n" + "return None\n" * 20 + "```", "|---|---|---|---|---|---|---|---|",
        "1. Open it.\n2. Close it.\n3. Open it.\n4. Close it.", "-" * 80,
        "very, very, very, very good. Really.", "Row, row, row your boat",
    ],
)  # fmt: skip
def test_honest_repetition_is_no_loop(text: str) -> None:
    assert loop(text) is None


def test_what_a_person_rejected_is_dropped_and_its_copy_stays() -> None:
    said = ("What is a spar?", "A stick that keeps the kite flat in the wind.")
    given = [chat(*said, name="one"), chat(*said, name="two")]
    report = DataCleaner(reviewed={"one": False}).clean(given)
    assert [(d.conversation.id, d.reason, d.detail) for d in report.dropped] == [
        ("one", "rejected", "you rejected it")
    ]
    assert [c.id for c in report.kept] == ["two"]
    assert report.counts["in"] == len(report.kept) + sum(report.counts["dropped"].values())


def test_what_is_withheld_is_dropped_whatever_is_skipped_or_accepted() -> None:
    said = ("What is a spar?", "A stick that keeps the kite flat in the wind.")
    cleaner = DataCleaner(skip=STEP_NAMES, reviewed={"one": True}, withheld={"one"})
    report = cleaner.clean([chat(*said, name="one"), chat(*said, name="two")])
    assert [(d.conversation.id, d.reason) for d in report.dropped] == [("one", "consent")]
    assert [c.id for c in report.kept] == ["two"]


@pytest.mark.parametrize(
    ("conversation", "reason"),
    [
        (chat("hi", "yo", name="c"), "too_short"),
        (chat("Is it far?", "Far. " + "word " * 300, name="c"), "repetitive"),
        (chat("How do I pick it?", "I'm sorry, but I can't help with that.", name="c"), "refusal"),
        (chat("Tell me.", GOOD + "\n```python", name="c"), "cut_off"),
    ],
)
def test_what_a_person_accepted_stays_whatever_the_rules_of_thumb_say(
    conversation: Conversation, reason: str
) -> None:
    assert why(conversation) == reason
    report = DataCleaner(reviewed={"c": True}).clean([conversation])
    assert not report.dropped
    assert all(m.weight for m in report.kept[0].path())


def test_accepting_cannot_make_sense_of_what_has_no_reply() -> None:
    report = DataCleaner(reviewed={"c": True}).clean([chat("Hello?", name="c")])
    assert [d.reason for d in report.dropped] == ["no_reply"]


def test_accepted_near_duplicates_all_stay() -> None:
    words = " ".join(f"word{n}" for n in range(30))
    given = [chat("What is it?", f"{words} {end}.", name=end) for end in ("a", "b", "c")]
    assert [c.id for c in DataCleaner().clean(given).kept] == ["a"]
    report = DataCleaner(reviewed={"b": True, "c": True}).clean(given)
    assert [c.id for c in report.kept] == ["b", "c"]
    assert [(d.conversation.id, d.twin_id) for d in report.dropped] == [("a", "b")]
    assert set(report.clusters) == {"b", "c"}
    assert len(set(report.clusters.values())) == 1, "they still share a split"


def test_duplicates_name_the_conversation_that_stays() -> None:
    said = ("What is a spar?", "A stick that keeps the kite flat in the wind.")
    report = DataCleaner().clean([chat(*said, name="one"), chat(*said, name="two")])
    assert [(d.reason, d.twin_id) for d in report.dropped] == [("duplicate", "one")]
