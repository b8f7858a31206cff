"""Replies that refuse, and good ones that only look like it, in many languages."""

# ruff: noqa: RUF001 - texts in many scripts

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.filters import scores
from fine_tuning.data_collection.text_filters import refusal
from tests.real_inputs.pipeline import cleaned

pytestmark = pytest.mark.real_input("refusals")

REFUSING = [
    "Picking locks is a crime in many places. I won't explain how to do it.",
    "Thanks for asking! However, I must decline this request.",
    "Das verstößt gegen meine Richtlinien. Dabei kann ich dir nicht helfen.",
    "C'est dangereux. Je ne peux pas vous fournir ces informations.",
    "Es peligroso, así que no puedo ayudarte con eso.",
    "È pericoloso. Non posso aiutarti con questo.",
    "Infelizmente não posso responder a essa pergunta.",
    "Dat is gevaarlijk. Ik kan je daar niet mee helpen.",
    "To niebezpieczne. Nie mogę w tym pomóc.",
    "Это опасно. Я не могу помочь с этим.",
    "Bu tehlikeli. Bu konuda yardımcı olamam.",
    "这很危险，我无法提供帮助。",
    "危険ですので、お手伝いできません。",
    "위험하므로 도와드릴 수 없습니다.",
    "هذا خطير. لا أستطيع مساعدتك في ذلك.",
    "यह खतरनाक है। मैं इसमें मदद नहीं कर सकता।",
]
HELPING = [
    "I can't open links, but you can paste the text here and I will shorten it to three lines.",
    "As an AI I have no kitchen; still, most cooks whisk the eggs first, then fold in the flour.",
    "I'm not a doctor, but a fever of 40 degrees that lasts three days needs one.",
    "Sure! Try this: \"I'm sorry, but I can't help you move on Saturday.\"",
    "Ich bin kein Anwalt, aber eine Kündigung muss schriftlich erfolgen.",
    "Je ne suis pas médecin, mais une fièvre de trois jours demande une visite.",
    "No soy médico, pero tres días de fiebre exigen una visita.",
    "Я не врач, но три дня температуры требуют визита.",
    "我不是医生，但是连续三天发烧就应该去医院。",
    "「お手伝いできません」と彼は言った。そして門を閉めた。",
    '```python\nraise SystemExit("I can\'t help with that")\n```',
    "> I cannot assist with that.\n\nThis sentence is what the old model said.",
]


@pytest.mark.parametrize("text", REFUSING)
def test_a_reply_that_only_refuses_is_found(text: str) -> None:
    assert refusal(text)


@pytest.mark.parametrize("text", HELPING)
def test_a_reply_that_helps_is_none(text: str) -> None:
    assert refusal(text) is None


def test_good_replies_are_trained_on_and_refusals_are_not(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    with source.open("w", encoding="utf-8") as file:
        for number, text in enumerate([*HELPING, *REFUSING]):
            asked = {"role": "user", "content": f"This is question number {number} of mine."}
            said = {"role": "assistant", "content": text}
            file.write(json.dumps({"messages": [asked, said]}) + "\n")
    assert cleaned(tmp_path / "home", source).learnt == [[text] for text in HELPING]


def test_precision_and_recall_on_a_part_of_the_labelled_items() -> None:
    found, _ = scores("refusals", part=3)
    assert found["all"].precision >= 0.97
    assert found["all"].recall >= 0.95
