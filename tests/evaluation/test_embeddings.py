"""Likeness in meaning, beside the likeness of any two texts; and languages."""

from __future__ import annotations

import importlib.util
import re
import socket

import pytest

from fine_tuning.core.errors import DataError, MissingDependencyError
from fine_tuning.evaluation import embeddings
from fine_tuning.evaluation.embeddings import embedding_similarity
from fine_tuning.evaluation.languages import language_of
from fine_tuning.evaluation.metrics import language_match, length_gap

HAS_WORDS = importlib.util.find_spec("wordllama") is not None
PAIRS = [
    (
        "The doctor treats sick people in the hospital.",
        "A physician cares for patients at a clinic.",
    ),
    ("The car needs new tyres before winter.", "Put fresh wheels on the automobile for the snow."),
    ("She cooked soup for dinner.", "In the evening she prepared a warm meal."),
    ("The stock market fell on Monday.", "Share prices dropped at the start of the week."),
]


@pytest.mark.skipif(not HAS_WORDS, reason="needs the extra embed")
def test_like_meanings_lie_above_the_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a metric tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    replies, references = zip(*PAIRS, strict=True)
    found = embedding_similarity(replies, references)
    match = re.search(r"baseline:(-?[\d.]+)", found.signature)
    assert match is not None
    assert found.value > float(match.group(1)) + 0.2
    same = embedding_similarity(["one text"], ["one text"])
    assert same.value == pytest.approx(1.0)
    assert embedding_similarity([""], ["text"]).value == 0.0


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings._model.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingDependencyError, match="wordllama") as missing:
        embedding_similarity(["a"], ["b"])
    assert "embed" in missing.value.next_command
    with pytest.raises(DataError, match="found 1 replies and 2 references"):
        embedding_similarity(["a"], ["b", "c"])


def test_languages_are_told_from_a_sentence_on() -> None:
    assert language_of("Der Hund läuft durch den grünen Garten.") == "de"
    assert language_of("The dog runs through the green garden.") == "en"
    assert language_of("OK!") == ""


def test_a_reply_in_another_language_is_no_match() -> None:
    replies = ["Der Hund läuft durch den Garten.", "The dog runs through it.", "Ja."]
    found = language_match(replies, ["Where does the dog run to today?"] * 3, language_of)
    assert found.items == (0.0, 1.0, 1.0)


def test_length_is_counted_in_doublings() -> None:
    found = length_gap(["a b c", "a", ""], ["a", "a b c", ""])
    assert found.items == pytest.approx((1.0, 1.0, 0.0))
    with pytest.raises(DataError, match="references"):
        length_gap(["a"], [])
