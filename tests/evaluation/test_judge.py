"""Judges: fair ones are believed, those that look at the place are exposed; people vote blind."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.core.conversation import Message
from fine_tuning.core.errors import DataError
from fine_tuning.evaluation.answering import GivenReply
from fine_tuning.evaluation.blind_trial import BlindTrial
from fine_tuning.evaluation.comparison import compare
from fine_tuning.evaluation.judge import (
    MIN_CHOICES,
    JudgeResult,
    Slot,
    cohens_kappa,
    judge_pairs,
    read_slot,
)
from fine_tuning.evaluation.preference_suites import ReplyPair, Winner

MODELS = ("base", "tuned")
SLOTS = re.compile(r"Reply A:\n(.*)\n\nReply B:\n(.*)\n\nWhich", re.DOTALL)


def pairs(count: int = 40, good: float = 0.8) -> list[ReplyPair]:
    """Make pairs in which the candidate's reply is the good one in about this share."""
    random = Random(7)
    made = []
    for i in range(count):
        replies = ["a poor reply", "a good reply"]
        if random.random() >= good:
            replies.reverse()
        made.append(
            ReplyPair(id=f"p{i}", prompt="Hello?", reference=replies[0], candidate=replies[1])
        )
    return made


Rule = Callable[[str, str], str]


def judge_by(rule: Rule) -> Callable[[Sequence[Sequence[Message]]], list[GivenReply]]:
    """Make a judge that reads the two slots and answers by a rule."""

    def reply_many(conversations: Sequence[Sequence[Message]]) -> list[GivenReply]:
        answers = []
        for messages in conversations:
            found = SLOTS.search(messages[-1].text)
            assert found
            answers.append(GivenReply(text=rule(found[1], found[2]), ended=True))
        return answers

    return reply_many


def fair(a: str, b: str) -> str:
    if a == b:
        return "tie"
    return "A" if "good" in a else "B"


def judged(rule: Rule, chosen: Sequence[tuple[ReplyPair, Winner]] = ()) -> JudgeResult:
    return judge_pairs(pairs(), judge_by(rule), judge="j", models=MODELS, choices=chosen)


def choices(count: int = MIN_CHOICES) -> list[tuple[ReplyPair, Winner]]:
    return [
        (pair, "candidate" if "good" in pair.candidate else "reference")
        for pair in pairs(count, good=0.5)
    ]


def test_a_fair_judge_finds_the_better_model_and_shows_no_bias() -> None:
    result = judged(fair, choices())
    share = sum("good" in pair.candidate for pair in pairs()) / 40
    assert result.suites[1].metric("judge").value == share
    assert result.suites[0].metric("judge").value == 1 - share
    assert result.position_consistency == 1.0
    assert result.first_slot_rate == 0.5
    assert not result.is_biased
    assert result.trust.is_trusted
    assert result.trust.kappa == 1.0
    row = compare(*result.suites).row("judge")
    assert row.low is not None
    assert row.low > 0
    assert (row.wins, row.losses) == (round(40 * share), 40 - round(40 * share))


def test_a_judge_that_always_takes_the_first_reply_is_exposed_and_decides_nothing() -> None:
    result = judged(lambda _, __: "A", choices())
    assert result.is_biased
    assert result.first_slot_rate == 1.0
    assert result.position_consistency == 0.0
    assert {found.winner for found in result.judgements} == {"tie"}
    assert compare(*result.suites).row("judge").difference == 0.0
    assert not result.trust.is_trusted
    assert any("position bias: j chose the first reply in 100%" in text for text in result.remarks)


def test_a_judge_that_leans_to_the_first_reply_is_exposed_too() -> None:
    random = Random(3)
    leaning = judged(lambda a, b: "A" if random.random() < 0.6 else fair(a, b))
    assert leaning.is_biased
    assert 0 < leaning.position_consistency < 1
    assert any("position bias" in text for text in leaning.remarks)


def test_an_honest_judge_is_rarely_called_biased() -> None:
    """Random but unbiased answers: at most a few in a hundred are called biased at p < 0.01."""
    random = Random(11)
    called = [judged(lambda _, __: random.choice("AB")).is_biased for _ in range(200)]
    assert sum(called) <= 6


def test_a_judge_against_the_users_choices_is_not_trusted() -> None:
    contrary = judged(lambda a, b: "B" if fair(a, b) == "A" else "A", choices())
    assert contrary.trust.kappa is not None
    assert contrary.trust.kappa < 0
    assert not contrary.trust.is_trusted


def test_few_choices_leave_a_judge_untrusted_and_say_how_many_are_needed() -> None:
    result = judged(fair, choices(5))
    assert not result.trust.is_trusted
    assert f"expected {MIN_CHOICES}" in result.trust.sentence


def test_equal_replies_are_a_tie_and_are_not_asked_about() -> None:
    same = [ReplyPair(id="1", prompt="?", reference="yes ", candidate="yes")]

    def refuse(_: Sequence[Sequence[Message]]) -> list[GivenReply]:
        raise AssertionError

    result = judge_pairs(same, refuse, judge="j", models=MODELS)
    assert [found.winner for found in result.judgements] == ["tie"]
    assert result.first_slot_rate is None
    assert not result.is_biased


def test_answers_without_a_slot_are_counted() -> None:
    result = judged(lambda _, __: "I like both styles of writing." if _ else "A")
    assert result.num_unreadable == 0  # "both" is a tie
    silent = judged(lambda _, __: "Hmm.")
    assert silent.num_unreadable == 80
    assert any("80 of 80 answers named no reply" in text for text in silent.remarks)


ANSWERS: dict[str, Slot] = {
    "A": "A",
    "B.": "B",
    " tie": "tie",
    "**B**": "B",
    "Reply A is better": "A",
    "The better reply is B": "B",
    "a": "A",
    "It is a tie": "tie",
    "Both are a mess": "tie",
    "Equal": "tie",
    "nonsense": "",
    "": "",
}


@pytest.mark.parametrize(("answer", "slot"), ANSWERS.items())
def test_answers_are_read_as_people_write_them(answer: str, slot: Slot) -> None:
    assert read_slot(answer) == slot


@given(st.lists(st.sampled_from(["reference", "candidate", "tie"]), min_size=1, max_size=40))
def test_kappa_is_one_with_oneself_and_symmetric(said: list[Winner]) -> None:
    own = cohens_kappa(said, said)
    assert own is None if len(set(said)) == 1 else own == pytest.approx(1.0)
    other = list(reversed(said))
    assert cohens_kappa(said, other) == cohens_kappa(other, said)


def test_kappa_of_a_published_table() -> None:
    """Cohen's kappa of 20, 5, 10, 15 (yes/yes, yes/no, no/yes, no/no) is 0.4."""
    table = [("candidate", "candidate", 20), ("candidate", "tie", 5)]
    table += [("tie", "candidate", 10), ("tie", "tie", 15)]
    first: list[Winner] = []
    second: list[Winner] = []
    for a, b, count in table:
        first += [a] * count  # type: ignore[list-item]
        second += [b] * count  # type: ignore[list-item]
    assert cohens_kappa(first, second) == pytest.approx(0.4)


# A person's blind trial


def test_votes_are_credited_to_the_right_model_whichever_side_it_stood(tmp_path: Path) -> None:
    trial = BlindTrial(pairs(), tmp_path / "votes.jsonl")
    sides = set()
    while shown := trial.next_pair():
        left_is_good = "good" in shown.left
        sides.add(left_is_good)
        trial.vote(shown.id, "left" if left_is_good else "right")
    assert sides == {True, False}
    share = sum("good" in pair.candidate for pair in pairs()) / 40
    assert trial.result(MODELS)[1].metric("people").value == share
    assert len(trial.choices()) == 40


def test_a_trial_is_taken_up_where_it_was_left_even_after_a_torn_line(tmp_path: Path) -> None:
    file = tmp_path / "votes.jsonl"
    first = BlindTrial(pairs(), file)
    shown = first.next_pair()
    assert shown
    first.vote(shown.id, "left")
    first.vote(shown.id, "right")
    with file.open("ab") as out:
        out.write(b'{"pair": "p1", "wi')
    again = BlindTrial(pairs(), file)
    assert again.num_open == 39
    assert again.choices() == first.choices()
    again.vote("p1", "tie")
    assert BlindTrial(pairs(), file).num_open == 38


def test_what_cannot_be_voted_on_is_said(tmp_path: Path) -> None:
    trial = BlindTrial(pairs(3), tmp_path / "votes.jsonl")
    with pytest.raises(DataError, match="vote 'left' on pair 'nothing'"):
        trial.vote("nothing", "left")
    with pytest.raises(DataError, match="vote 'up'"):
        trial.vote("p0", "up")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="0 pairs and 0 judgements"):
        trial.result(MODELS)
    with pytest.raises(DataError, match="at least one"):
        BlindTrial([], tmp_path / "votes.jsonl")
