"""BLEU, chrF and ROUGE equal their reference programs, to the digit and without a network."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from fine_tuning.core.errors import DataError
from fine_tuning.evaluation import similarity

REPLIES = [
    "You get 17 days of paid leave in your first year.",
    "Please write to the help desk; they answer within two hours.",
    "",
    "The meeting room is on the third floor, next to the kitchen .",
    "I do not know.",
    "Expenses below €50 need no receipt, others do.",
]
REFERENCES = [
    "In the first year everyone has 17 days of paid leave.",
    "Write to the help desk, it answers within two hours.",
    "Badges are printed on Mondays.",
    "The meeting room is on the third floor, beside the kitchen.",
    "The night shift starts at 22:00 and ends at 6:30.",
    "Expenses under €50 need no receipt.",
]


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a metric tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def command_line(tmp_path: Path, metric: str, width: int) -> dict[str, object]:
    """Score the fixtures with sacrebleu's own command."""
    reference, reply = tmp_path / "ref.txt", tmp_path / "sys.txt"
    reference.write_text("\n".join(REFERENCES) + "\n", encoding="utf-8")
    reply.write_text("\n".join(REPLIES) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", str(reference), "-i", str(reply)]
    done = subprocess.run(
        [*command, "-m", metric, "-w", str(width), "-f", "json"],
        capture_output=True,
        check=True,
        text=True,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_equal_to_the_command_line_of_sacrebleu(tmp_path: Path, metric: str) -> None:
    printed = command_line(tmp_path, metric, 12)
    result = getattr(similarity, metric)(REPLIES, REFERENCES)
    assert round(result.value, 12) == printed["score"]
    assert result.signature == printed["signature"]
    assert len(result.items) == len(REPLIES)
    assert 0 < result.value < 100


def test_equal_to_rouge_score_on_ascii_text() -> None:
    replies, references = REPLIES[:5], REFERENCES[:5]
    oracle = RougeScorer(similarity.ROUGE_TYPES, use_stemmer=True)
    for result in similarity.rouge(replies, references):
        expected = [
            oracle.score(reference, reply)[result.name].fmeasure
            for reply, reference in zip(replies, references, strict=True)
        ]
        assert list(result.items) == expected
        assert result.value == pytest.approx(sum(expected) / 5, abs=1e-12)


ASCII = st.text(st.characters(codec="ascii", exclude_characters="_"), max_size=60)


@given(ASCII, ASCII)
def test_words_are_those_of_rouge_score_on_any_ascii_text(reply: str, reference: str) -> None:
    oracle = RougeScorer(similarity.ROUGE_TYPES, use_stemmer=True).score(reference, reply)
    for result in similarity.rouge([reply], [reference]):
        assert result.value == oracle[result.name].fmeasure


def test_rouge_reads_every_script() -> None:
    for text in ("Отпуск длится семнадцать дней", "Die Kündigungsfrist beträgt drei Monate"):
        assert [result.value for result in similarity.rouge([text], [text])] == [1.0, 1.0, 1.0]
    (rouge1, _, _) = similarity.rouge(["Kündigung"], ["Ankündigung"])
    assert rouge1.value == 0.0


@pytest.mark.usefixtures("_no_network")
def test_equal_texts_score_full_marks_without_a_network() -> None:
    texts = REFERENCES
    assert similarity.bleu(texts, texts).value == pytest.approx(100)
    assert similarity.chrf(texts, texts).value == pytest.approx(100)
    assert all(result.value == 1.0 for result in similarity.rouge(texts, texts))


@pytest.mark.parametrize("metric", [similarity.bleu, similarity.chrf, similarity.rouge])
def test_each_reply_needs_its_reference(metric: object) -> None:
    with pytest.raises(DataError, match="found 1 replies and 2 references"):
        metric(["x"], ["x", "y"])  # type: ignore[operator]
    with pytest.raises(DataError, match="found 0 replies"):
        metric([], [])  # type: ignore[operator]
