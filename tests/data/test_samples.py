"""The sample data keeps its promises: consistent facts, fair questions, named flaws."""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib.resources import files
from itertools import pairwise
from typing import Any

import ftfy
import pytest

from fine_tuning.core.conversation import Conversation

SAMPLES = files("fine_tuning").joinpath("data", "samples")
WORDS_MAX = 14_500
# The specification's `max_conversation_length`: no handbook conversation may be dropped for length.
CONVERSATION_CHARS_MAX = 1000
EMAIL = re.compile(r"[\w.+-]+@([\w-]+(?:\.[\w-]+)+)")
WEB = re.compile(r"https?://([^/\s]+)")
FICTION_PHONE = re.compile(r"(?:\+44 |0)20 7946 0\d{3}")


def load(name: str) -> list[dict[str, Any]]:
    lines = SAMPLES.joinpath(name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


FACTS = {fact["id"]: fact for fact in load("handbook_facts.jsonl")}
HANDBOOK = load("handbook_conversations.jsonl")
QUESTIONS = load("handbook_questions.jsonl")
MESSY = load("messy_conversations.jsonl")


def texts(raw: dict[str, Any], role: str) -> list[str]:
    return [message["content"] for message in raw["messages"] if message["role"] == role]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower().replace("\u2019", "'"))


def grams(text: str, n: int) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[i : i + n]) for i in range(len(found) - n + 1)}


def jaccard(a: set[Any], b: set[Any]) -> float:
    return len(a & b) / len(a | b) if a | b else 0.0


def holds(text: str, key: str) -> bool:
    """Whether the key stands in the text as itself, not inside a longer word or number."""
    return re.search(rf"(?<![\w:.,-]){re.escape(key)}(?![\w:-])", text, re.IGNORECASE) is not None


def content(raw: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((m["role"], " ".join(m["content"].split())) for m in raw["messages"])


def sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!?]) ", text)


def split_reply(reply: str) -> tuple[list[str], list[str]]:
    """The facts that a reply states word for word, and the sentences that no passage holds."""
    said = sentences(reply)
    told = [fact["id"] for text in said for fact in FACTS.values() if text == fact["statement"]]
    quoted = {sentence for fact in told for sentence in FACTS[fact]["passage"]}
    return told, [sentence for sentence in said if sentence not in quoted]


USER_TURNS = [text for raw in HANDBOOK for text in texts(raw, "user")]


def test_counts() -> None:
    user_turns = [len(texts(raw, "user")) for raw in HANDBOOK]
    assert 45 <= len(FACTS) <= 50
    assert 150 <= len(HANDBOOK) <= 260
    assert sum(turns >= 2 for turns in user_turns) >= 40
    assert max(user_turns) <= 3
    assert 80 <= len(QUESTIONS) <= 100
    assert 12 <= len(MESSY) <= 20


@pytest.mark.parametrize("name", ["handbook_conversations.jsonl", "messy_conversations.jsonl"])
def test_conversations_follow_the_schema(name: str) -> None:
    rows = load(name)
    assert len({raw["id"] for raw in rows}) == len(rows)
    for raw in rows:
        conversation = Conversation.from_dict(raw)
        assert raw["schema"] == "ft/1"
        assert conversation.to_dict()["metadata"] == raw["metadata"]
        roles = [message.role for message in conversation.path()]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert len(roles) == len(raw["messages"]) >= 2


def test_fact_table_has_one_value_for_each_fact() -> None:
    assert len(FACTS) == len(load("handbook_facts.jsonl"))
    keys = [key for fact in FACTS.values() for key in fact["key_facts"]]
    assert len(set(keys)) == len(keys)
    for fact in FACTS.values():
        assert fact["topic"]
        assert fact["key_facts"]
        assert all(holds(fact["statement"], key) for key in fact["key_facts"]), fact["id"]
        assert 2 <= len(fact["passage"]) <= 3
        assert fact["passage"][0] == fact["statement"]
        for sentence in fact["passage"]:
            assert sentences(sentence) == [sentence], fact["id"]
        for other in FACTS.values():
            said = [key for key in other["key_facts"] if holds(" ".join(fact["passage"]), key)]
            assert other is fact or not said, (fact["id"], other["id"])
    for key in keys:
        assert not [other for other in keys if other != key and key in other]


def test_every_fact_is_stated_often_enough() -> None:
    stated = Counter(fact for raw in HANDBOOK for fact in set(raw["metadata"]["facts"]))
    assert set(stated) == set(FACTS)
    assert min(stated.values()) >= 8
    alone = Counter(raw["metadata"]["facts"][0] for raw in HANDBOOK if len(raw["messages"]) == 2)
    assert set(alone) == set(FACTS)
    assert min(alone.values()) >= 3


@pytest.mark.parametrize("raw", HANDBOOK, ids=lambda raw: raw["id"])
def test_replies_state_exactly_the_facts_they_claim(raw: dict[str, Any]) -> None:
    replies = texts(raw, "assistant")
    stated = {
        fact["id"]
        for fact in FACTS.values()
        if any(all(holds(reply, key) for key in fact["key_facts"]) for reply in replies)
    }
    assert stated == set(raw["metadata"]["facts"])
    for fact in stated:
        for key in FACTS[fact]["key_facts"]:
            assert not any(holds(text, key) for text in texts(raw, "user"))


@pytest.mark.parametrize("raw", HANDBOOK, ids=lambda raw: raw["id"])
def test_replies_hold_no_number_beside_their_facts(raw: dict[str, Any]) -> None:
    keys = " ".join(key for fact in raw["metadata"]["facts"] for key in FACTS[fact]["key_facts"])
    for reply in texts(raw, "assistant"):
        for number in re.findall(r"\d+(?:[:,.]\d+)*", reply):
            assert holds(keys, number) or number in keys


@pytest.mark.parametrize("raw", HANDBOOK, ids=lambda raw: raw["id"])
def test_replies_quote_the_handbook_with_at_most_one_sentence_of_their_own(
    raw: dict[str, Any],
) -> None:
    for reply in texts(raw, "assistant"):
        told, own = split_reply(reply)
        assert told, reply
        assert len(own) <= 1, reply
        statements = [FACTS[fact]["statement"] for fact in told]
        advice = FACTS[told[0]]["passage"][1:] if len(told) == 1 else []
        quoted = [statements + advice] + ([statements] if own else [])
        allowed = [own + quote for quote in quoted] + [quote + own for quote in quoted]
        assert sentences(reply) in allowed, reply


def test_half_of_the_replies_are_the_passage_and_the_rest_differ() -> None:
    replies = [reply for raw in HANDBOOK for reply in texts(raw, "assistant")]
    own = [split_reply(reply)[1] for reply in replies]
    assert 0.4 <= sum(not sentence for sentence in own) / len(replies) <= 0.6
    situational = [sentence[0] for sentence in own if sentence]
    assert len(set(situational)) == len(situational)
    for reply in replies:
        assert 14 <= len(reply.split()) <= 45, reply
        assert len(sentences(reply)) >= 2, reply


def test_handbook_has_no_duplicates() -> None:
    assert len({Conversation.from_dict(raw).content_id for raw in HANDBOOK}) == len(HANDBOOK)
    assert len({" ".join(words(text)) for text in USER_TURNS}) == len(USER_TURNS)
    # Replies quote the same passages, so only what was asked tells two conversations apart.
    asked = [set(words(" ".join(texts(raw, "user")))) for raw in HANDBOOK]
    for index, one in enumerate(asked):
        assert all(jaccard(one, other) < 0.6 for other in asked[:index])


def test_text_stays_within_the_budget() -> None:
    lengths = [sum(len(m["content"].split()) for m in raw["messages"]) for raw in HANDBOOK]
    assert 8_000 <= sum(lengths) <= WORDS_MAX
    for raw in HANDBOOK:
        assert sum(len(m["content"]) for m in raw["messages"]) <= CONVERSATION_CHARS_MAX


def test_questions_ask_for_every_fact_and_carry_its_value() -> None:
    asked = Counter(question["fact"] for question in QUESTIONS)
    assert set(asked) == set(FACTS)
    assert max(asked.values()) <= 3
    assert len({question["id"] for question in QUESTIONS}) == len(QUESTIONS)
    assert len({question["question"] for question in QUESTIONS}) == len(QUESTIONS)
    for question in QUESTIONS:
        fact = FACTS[question["fact"]]
        for key in ("key_facts", "accept", "topic"):
            assert question[key] == fact[key], question["id"]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question["id"])
def test_questions_neither_hold_their_answer_nor_copy_training(question: dict[str, Any]) -> None:
    text = question["question"]
    for key in (*question["key_facts"], *question["accept"]):
        assert key.lower() not in text.lower()
    assert len(words(text)) >= 5
    for turn in USER_TURNS:
        assert not grams(text, 5) & grams(turn, 5), turn
        assert jaccard(grams(text, 3), grams(turn, 3)) < 0.3, turn
        assert jaccard(set(words(text)), set(words(turn))) < 0.5, turn


def test_accepted_spellings_belong_to_one_fact() -> None:
    """A reply that is right for one fact must not be right for another."""
    spellings = {
        fact["id"]: [text.lower() for text in (*fact["key_facts"], *fact["accept"])]
        for fact in FACTS.values()
    }
    for one, own in spellings.items():
        for other, theirs in spellings.items():
            if one != other:
                assert not [a for a in own for b in theirs if a in b], (one, other)


def test_addresses_and_numbers_are_fictional() -> None:
    everything = [m["content"] for raw in HANDBOOK + MESSY for m in raw["messages"]]
    everything += [question["question"] for question in QUESTIONS]
    for text in everything:
        for host in EMAIL.findall(text) + WEB.findall(text):
            assert host.endswith(".example") or host.split(".")[-2:] == ["example", "com"]
        for number in re.findall(r"\+?\d[\d ()-]{7,}\d", text):
            assert FICTION_PHONE.fullmatch(number)
    handbook = "\n".join(m["content"] for raw in HANDBOOK for m in raw["messages"])
    assert "@" not in handbook
    assert "://" not in handbook
    assert handbook == ftfy.fix_text(handbook)


def _has_flaw(flaw: str, raw: dict[str, Any]) -> bool:
    replies = texts(raw, "assistant")
    text = "\n".join(replies)
    sentence = words(text)
    checks = {
        "duplicate": content(raw) in {content(other) for other in HANDBOOK},
        "empty reply": any(not reply.strip() for reply in replies),
        "too short": 0 < len(text.strip()) < 10,
        "too long": len(text) > CONVERSATION_CHARS_MAX,
        "loop": len(sentence) > 20 and len(set(pairwise(sentence))) / len(sentence) < 0.4,
        "e-mail address": EMAIL.search(text) is not None,
        "phone number": FICTION_PHONE.search(text) is not None,
        "web address": WEB.search(text) is not None,
        "broken unicode": ftfy.fix_text(text, uncurl_quotes=False) != text,
    }
    return checks[flaw]


FLAWS = (
    "duplicate",
    "empty reply",
    "too short",
    "too long",
    "loop",
    "e-mail address",
    "phone number",
    "web address",
    "broken unicode",
)


@pytest.mark.parametrize("raw", MESSY, ids=lambda raw: raw["id"])
def test_messy_records_have_the_flaw_they_name_and_no_other(raw: dict[str, Any]) -> None:
    named = set(raw["metadata"]["flaw"].split(" and "))
    assert named == {flaw for flaw in FLAWS if _has_flaw(flaw, raw)}


def test_every_flaw_occurs() -> None:
    assert {flaw for raw in MESSY for flaw in raw["metadata"]["flaw"].split(" and ")} == set(FLAWS)
