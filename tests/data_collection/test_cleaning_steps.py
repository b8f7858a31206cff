from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import ConfigError
from fine_tuning.data_collection.data_cleaner import DataCleaner
from fine_tuning.data_collection.language import conversation_language, language
from fine_tuning.data_collection.moderation import CLASSIFIERS, WordClassifier, toxicity_classifiers
from fine_tuning.data_collection.quality import quality
from fine_tuning.data_collection.text_filters import cut_off, refusal

GOOD = "It is the part of a kite that faces the wind."


def chat(*texts: str, name: str = "") -> Conversation:
    roles = ("user", "assistant") * len(texts)
    return Conversation.from_turns(list(zip(roles, texts, strict=False)), id=name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.", "As an AI language model, I have no feelings.",
        "I cannot assist with that request.", "I\u2019m sorry, but I can\u2019t do this.",
        "I am unable to provide legal advice.", "Es tut mir leid, aber ich kann dir dabei nicht",
    ],
)  # fmt: skip
def test_refusals(text: str) -> None:
    assert refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "I can't believe it!", "Sorry I was late.", "I cannot recommend this book enough.",
        "I am an accountant.", "AI is the study of agents.", "You can't help it.",
    ],
)  # fmt: skip
def test_what_is_no_refusal(text: str) -> None:
    assert refusal(text) is None


LONG = "This is a sentence of prose. " * 12


@pytest.mark.parametrize(
    ("text", "reason", "is_cut"),
    [
        (LONG + "And then the wind", "", True),
        (LONG + "Then:\n```python\nprint(1", "", True),
        ("Short", "length", True),
        (LONG, "", False),
        (LONG + "- a list\n- without stops", "", False),
        ("Short and no stop", "stop", False),
        ("no stops here at all " * 20, "", False),
        ("One. Two. first line without\n" + LONG + "and so on", "", False),
    ],
)
def test_cut_off(text: str, reason: str, is_cut: bool) -> None:
    assert bool(cut_off(text, reason)) is is_cut


def test_a_refusing_reply_is_not_learnt_and_only_such_chats_leave() -> None:
    mixed = chat("Tell me of sails.", GOOD, "And guns?", "I'm sorry, but I can't help with that.")
    only = chat("And guns?", "I'm sorry, but I can't help with that.", name="only")
    report = DataCleaner().clean([mixed, only])
    (kept,) = report.kept
    assert [m.weight for m in kept.messages] == [1, 1, 1, 0]
    assert [(d.reason, d.conversation.id) for d in report.dropped] == [("refusal", "only")]


def test_a_reply_the_server_cut_is_not_learnt() -> None:
    talk = chat("Tell me of sails.", GOOD, "More?", "A sail is")
    cut = replace(talk.messages[3], metadata={"done_reason": "length"})
    (kept,) = DataCleaner().filter_conversations(
        [replace(talk, messages=(*talk.messages[:3], cut))]
    )
    assert [m.weight for m in kept.messages] == [1, 1, 1, 0]


def test_stock_replies_are_capped() -> None:
    chats = [chat(f"Question number {n} about {'abcdefgh'[n]}?", GOOD) for n in range(8)]
    cleaner = DataCleaner(max_same_reply=3)
    report = cleaner.clean(chats)
    assert len(report.kept) == 3
    assert report.counts["dropped"] == {"boilerplate": 5}
    assert len(DataCleaner(max_same_reply=None).filter_conversations(chats)) == 8


def test_tokens_and_quality_have_limits() -> None:
    talk = chat("Tell me of sails.", GOOD)
    assert DataCleaner(max_tokens=5).clean([talk]).dropped[0].reason == "too_many_tokens"
    assert DataCleaner(max_tokens=50).clean([talk]).kept
    report = DataCleaner(min_quality=0.99).clean([talk])
    assert report.dropped[0].reason == "low_quality"
    assert "length is" in report.dropped[0].detail


def test_quality_orders_replies() -> None:
    rich = chat(
        "Why is the sky blue?",
        "Air scatters short waves of sunlight far more than long ones, so blue reaches your eyes "
        "from every direction, while red mostly passes straight through. At dusk the path through "
        "the air is longer, and hardly any blue is left.",
    )
    poor = chat("Why?", "no no no no no no")
    echo = chat("Why is the sky blue today?", "Why is the sky blue today?")
    assert quality(rich).score > quality(poor).score
    assert quality(echo).answer == 0
    assert all(0 <= part <= 1 for c in (rich, poor, echo) for part in quality(c).parts().values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Could you tell me how many days of holiday I have this year?", "en"),
        ("Wie viele Urlaubstage habe ich in diesem Jahr noch übrig?", "de"),
        ("¿Cuántos días de vacaciones tengo este año en la empresa?", "es"),
        ("ok", "und"),
        ("```\nfor i in range(10): print(i)\n```", "und"),
    ],
)
def test_languages(text: str, expected: str) -> None:
    assert language(text) == expected


def test_language_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    german = chat("Wie viele Urlaubstage habe ich?", "Du hast noch elf Tage in diesem Jahr übrig.")
    assert conversation_language(german) == "de"
    english = chat("How many days of holiday do I have?", "You have eleven days left this year.")
    report = DataCleaner(languages=["en"]).clean(
        [german, english, chat("hi there you", "yes, ok?")]
    )
    assert [d.detail for d in report.dropped] == ["it is in de, expected en"]
    assert len(report.kept) == 2


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_judges_answer_for_each_text(name: str) -> None:
    if name != "words":
        pytest.importorskip({"profanex": "profanex", "toxicity": "profanity_check"}[name])
    (classifier,) = toxicity_classifiers([name])
    found = classifier.classify(["You are a fucking idiot, shut up.", "Kites fly in the wind.", ""])
    assert found[0] is not None
    assert found[1:] == [None, None]
    assert classifier.classify([]) == []


def test_word_judge_finds_each_of_many() -> None:
    texts = ["Kites fly."] * 50
    texts[17] = texts[33] = "what the f**k"
    assert [i for i, found in enumerate(WordClassifier().classify(texts)) if found] == [17, 33]


def test_an_unknown_classifier_is_refused() -> None:
    with pytest.raises(ConfigError, match="no classifier 'grandma'"):
        DataCleaner(moderation=["grandma"])


def test_similarity_has_bounds() -> None:
    with pytest.raises(ConfigError, match="similarity is 0"):
        DataCleaner(similarity=0)
