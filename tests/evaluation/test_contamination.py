"""Test items that stand in the training text are found, and nothing is lost on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fine_tuning
from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError
from fine_tuning.evaluation.contamination import find_contamination
from fine_tuning.evaluation.questions import read_questions

TRAINING = [
    ("t1", "Every employee has 27 days of paid annual leave a year, and may keep five of them."),
    ("t2", "The workshop's door code is 7316; please do not write it down anywhere."),
]


def test_a_copy_is_found_whatever_its_typing() -> None:
    report = find_contamination(
        {
            "copy": "EVERY employee has 27 days -- of paid annual leave a year!",
            "reworded": "How many vacation days does each person working here get every year?",
            "short": "door code is 7316",
            "tiny": "27 days",
        },
        TRAINING,
    )
    assert [(o.item_id, o.training_id, o.share) for o in report.contaminated] == [
        ("copy", "t1", 1.0),
        ("short", "t2", 1.0),
    ]
    assert report.contaminated[1].words == "door code is 7316"
    assert report.clean == ("reworded",)
    assert report.unjudged == ("tiny",)
    assert report.kept == {"reworded", "tiny"}
    json.dumps(report.to_dict())


def test_the_share_decides() -> None:
    # 10 words hold three 8-grams, of which the training text holds the first only.
    item = {"x": "Every employee has 27 days of paid annual holiday somewhere"}
    report = find_contamination(item, TRAINING, threshold=0.34)
    assert report.contaminated == ()
    report = find_contamination(item, TRAINING, threshold=0.33)
    assert report.contaminated[0].share == pytest.approx(1 / 3)


def test_parts_from_different_texts_do_not_add_up() -> None:
    item = {"x": "a b c d e f g h"}
    halves = [("1", "a b c d e"), ("2", "e f g h")]
    assert find_contamination(item, halves, order=2).contaminated[0].share == pytest.approx(4 / 7)


def test_the_text_with_most_of_it_is_named_and_repeats_count_once() -> None:
    item = {"x": "a b c d e f"}
    training = [("part", "a b c a b c a b c a b c"), ("all", "z a b c d e f z")]
    report = find_contamination(item, training, order=2, threshold=0.2)
    assert (report.contaminated[0].training_id, report.contaminated[0].share) == ("all", 1.0)


def test_nonsense_is_refused() -> None:
    for order, words, threshold in [(0, 4, 0.5), (8, 0, 0.5), (8, 4, 0.0), (8, 4, 1.5)]:
        with pytest.raises(DataError, match="contamination is asked for with"):
            find_contamination({}, [], order=order, min_words=words, threshold=threshold)


def test_the_sample_questions_do_not_stand_in_the_sample_conversations() -> None:
    samples = Path(fine_tuning.__file__).parent / "data" / "samples"
    lines = (samples / "handbook_conversations.jsonl").read_text(encoding="utf-8").splitlines()
    told = [Conversation.from_dict(json.loads(line)) for line in lines]
    training = [(c.id, " ".join(m.text for m in c.messages)) for c in told]
    questions = {
        question.id: question.question
        for question in read_questions(samples / "handbook_questions.jsonl")
    }
    report = find_contamination(questions, training)
    assert report.contaminated == ()
    assert len(report.clean) + len(report.unjudged) == len(questions)
    leaked = {**questions, "leak": told[0].messages[1].text}
    assert [o.item_id for o in find_contamination(leaked, training).contaminated] == ["leak"]


WORDS = st.lists(st.sampled_from("abcde"), max_size=12).map(" ".join)


@given(st.lists(WORDS, max_size=6), st.lists(WORDS, max_size=4))
def test_every_item_is_reported_once_and_a_planted_copy_always(
    items: list[str], training: list[str]
) -> None:
    named = {f"i{n}": text for n, text in enumerate(items)}
    texts = [(f"t{n}", text) for n, text in enumerate(training)]
    report = find_contamination(named, texts)
    told = [*report.clean, *report.unjudged, *(o.item_id for o in report.contaminated)]
    assert sorted(told) == sorted(named)
    copies = [(key, f"x {text} x") for key, text in named.items()]
    planted = find_contamination(named, [*texts, *copies])
    assert planted.clean == ()
    assert planted.unjudged == report.unjudged
