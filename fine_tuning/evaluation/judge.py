"""A local model as judge between two replies: blind, in both orders, and checked before trusted.

Each pair is judged twice, with the replies swapped; a winner in both orders wins, anything else is
a tie. A judge that answers by position instead of by content is exposed by its first-slot rate,
and one that disagrees with the user's own choices is not trusted.

Sources: Zheng et al., Judging LLM-as-a-Judge, arXiv 2306.05685, sections 3.3 and 3.4 (position
bias, swapping); Cohen, A Coefficient of Agreement for Nominal Scales, 1960.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.json_value import JsonValue
from fine_tuning.evaluation.evaluator import ReplyMany
from fine_tuning.evaluation.preference_suites import (
    ReplyPair,
    Winner,
    candidate_first,
    preference_suites,
)
from fine_tuning.evaluation.results import SuiteResult

Slot = Literal["A", "B", "tie", ""]
BIAS_P = 0.01
"""A first-slot rate this unlikely for a judge without preference of place is called a bias."""
TRUSTED_KAPPA = 0.4
"""Agreement from which a judge is believed: "moderate" (Landis and Koch, 1977)."""
MIN_CHOICES = 20
"""Fewer of the user's own choices say nothing about a judge."""

_INSTRUCTION = (
    "You compare two replies to the same message. Judge which reply answers the message better: "
    "right, to the point, complete. Length and order do not matter. Say only one word: A, B or tie."
)
_ANSWER = re.compile(
    r"\b(?:reply|answer|response)?\s*[\[(*\"']*\b(A|B|tie|equal|both)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a judge said of one pair: ``said[0]`` with the candidate in slot A, ``said[1]`` in B.

    ``slots`` are those answers as read; "" is an answer that names no slot. ``winner`` is the one
    named in both orders, else a tie. Equal replies are a tie unasked, with nothing said.
    """

    pair: ReplyPair
    said: tuple[str, ...]
    slots: tuple[Slot, ...]
    winner: Winner

    @property
    def is_consistent(self) -> bool:
        """Whether both orders led to the same winner."""
        return not self.slots or _winners(self.slots)[0] == _winners(self.slots)[1]

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """How far a judge agrees with the user's own choices; ``kappa`` None without any."""

    num_choices: int
    kappa: float | None
    is_trusted: bool
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeResult:
    """All judgements, and what they say about the judge.

    ``first_slot_rate`` is the share of slot A among the answers that name A or B (0.5 without
    bias, for each pair is shown in both orders), ``bias_p`` the chance of one as uneven without
    bias. ``position_consistency`` is the share of pairs with the same winner in both orders.
    """

    judge: str
    judgements: tuple[Judgement, ...]
    suites: tuple[SuiteResult, SuiteResult]
    trust: Trust
    position_consistency: float
    first_slot_rate: float | None
    bias_p: float | None
    num_unreadable: int

    @property
    def is_biased(self) -> bool:
        """Whether the judge looks at the place of a reply rather than at its content."""
        return self.bias_p is not None and self.bias_p < BIAS_P

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader must know before believing the judgements."""
        found = [self.trust.sentence]
        if self.is_biased and self.first_slot_rate is not None:
            found.append(
                f"position bias: {self.judge} chose the first reply in "
                f"{self.first_slot_rate:.0%} of its decisions (p {self.bias_p:.2g}); only "
                f"{self.position_consistency:.0%} of its judgements survive swapping the replies"
            )
        if self.num_unreadable:
            found.append(
                f"{self.num_unreadable} of {2 * len(self.judgements)} answers named no reply"
            )
        return tuple(found)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {
            "judge": self.judge,
            "position_consistency": self.position_consistency,
            "first_slot_rate": self.first_slot_rate,
            "bias_p": self.bias_p,
            "is_biased": self.is_biased,
            "num_unreadable": self.num_unreadable,
            "trust": asdict(self.trust),
            "remarks": list(self.remarks),
            "judgements": [judgement.to_dict() for judgement in self.judgements],
        }


def judge_pairs(
    pairs: Sequence[ReplyPair],
    reply_many: ReplyMany,
    *,
    judge: str,
    models: tuple[str, str],
    choices: Sequence[tuple[ReplyPair, Winner]] = (),
    seed: int = 0,
) -> JudgeResult:
    """Let a model judge pairs of replies.

    Args:
        pairs: What to judge.
        reply_many: The judge: answers a batch of conversations, greedily.
        judge: The judge's name.
        models: The reference's and the candidate's name.
        choices: Pairs the user has decided (kept replies, edits), for the agreement.
        seed: Decides which order is asked first; asking is stateless, so it changes nothing else.

    Raises:
        DataError: if there are no pairs.
        RuntimeFailedError: if the judge fails.
    """
    judgements = _judge(pairs, reply_many, seed)
    from scipy.stats import binomtest  # noqa: PLC0415 - slow to import, and seldom needed

    checked = _judge([pair for pair, _ in choices], reply_many, seed)
    decided = [slot for found in judgements for slot in found.slots if slot in {"A", "B"}]
    num_first = decided.count("A")
    return JudgeResult(
        judge=judge,
        judgements=judgements,
        suites=preference_suites(
            pairs, [found.winner for found in judgements], suite="judge", models=models
        ),
        trust=_trust(judge, [winner for _, winner in choices], [c.winner for c in checked]),
        position_consistency=sum(found.is_consistent for found in judgements) / len(judgements),
        first_slot_rate=num_first / len(decided) if decided else None,
        bias_p=float(binomtest(num_first, len(decided)).pvalue) if decided else None,
        num_unreadable=sum(slot == "" for found in judgements for slot in found.slots),
    )


def _judge(pairs: Sequence[ReplyPair], reply_many: ReplyMany, seed: int) -> tuple[Judgement, ...]:
    """Judge each pair in both orders; equal replies are not asked about."""
    asked = [pair for pair in pairs if not pair.is_equal]
    orders = [
        (pair, first)
        for pair in asked
        for first in (candidate_first(pair.id, seed=seed), not candidate_first(pair.id, seed=seed))
    ]
    replies = reply_many([_question(pair, first=first) for pair, first in orders]) if orders else []
    said = {
        (pair.id, first): reply.text for (pair, first), reply in zip(orders, replies, strict=True)
    }
    return tuple(_judgement(pair, said) for pair in pairs)


def _judgement(pair: ReplyPair, said: dict[tuple[str, bool], str]) -> Judgement:
    if pair.is_equal:
        return Judgement(pair=pair, said=(), slots=(), winner="tie")
    answers = said[pair.id, True], said[pair.id, False]
    slots = read_slot(answers[0]), read_slot(answers[1])
    first, second = _winners(slots)
    return Judgement(
        pair=pair, said=answers, slots=slots, winner=first if first == second else "tie"
    )


def _winners(slots: Sequence[Slot]) -> tuple[Winner, Winner]:
    """Return who won in each order; the candidate is in slot A first, then in slot B."""
    in_a: dict[Slot, Winner] = {"A": "candidate", "B": "reference"}
    in_b: dict[Slot, Winner] = {"A": "reference", "B": "candidate"}
    return in_a.get(slots[0], "tie"), in_b.get(slots[1], "tie")


def read_slot(answer: str) -> Slot:
    """Return the slot an answer names first, "tie", or "" when it names none."""
    found = _ANSWER.search(answer)
    if not found:
        return ""
    word = found[1]
    # "a better reply ..." is an article, not a slot.
    if word == "a" and answer.strip().lower() not in {"a", "a."}:
        rest = _ANSWER.search(answer, found.end())
        return _slot(rest[1]) if rest else ""
    return _slot(word)


def _slot(word: str) -> Slot:
    upper = word.upper()
    if upper == "A":
        return "A"
    return "B" if upper == "B" else "tie"


def _question(pair: ReplyPair, *, first: bool) -> tuple[Message, ...]:
    """Return the conversation that asks for a judgement; no name of a model stands in it."""
    one, other = (pair.candidate, pair.reference) if first else (pair.reference, pair.candidate)
    wanted = f"\n\nThe reply that was hoped for:\n{pair.expected}" if pair.expected else ""
    text = (
        f"Message:\n{pair.prompt}{wanted}\n\nReply A:\n{one}\n\nReply B:\n{other}\n\n"
        "Which reply is better: A, B or tie?"
    )
    return (
        Message(id=f"{pair.id}/system", role="system", content=(Part(text=_INSTRUCTION),)),
        Message(id=f"{pair.id}/{'AB' if first else 'BA'}", role="user", content=(Part(text=text),)),
    )


def _trust(judge: str, wanted: Sequence[Winner], given: Sequence[Winner]) -> Trust:
    """Compare a judge with the user's own choices."""
    count = len(wanted)
    kappa = cohens_kappa(wanted, given)
    if kappa is None or count < MIN_CHOICES:
        sentence = (
            f"not trusted yet: the user's own choices on {count} pairs are known, expected "
            f"{MIN_CHOICES} to check {judge} against"
        )
        return Trust(num_choices=count, kappa=kappa, is_trusted=False, sentence=sentence)
    is_trusted = kappa >= TRUSTED_KAPPA
    sentence = (
        f"{'trusted' if is_trusted else 'not trusted'}: {judge} agrees with the user's choices on "
        f"{count} pairs with kappa {kappa:.2f}, expected at least {TRUSTED_KAPPA}"
    )
    return Trust(num_choices=count, kappa=kappa, is_trusted=is_trusted, sentence=sentence)


def cohens_kappa(first: Sequence[Winner], second: Sequence[Winner]) -> float | None:
    """Return the agreement of two judges beyond chance: 1 always, 0 as chance, None unknown.

    None when there is nothing to compare, or both always say the same one thing.
    """
    count = len(first)
    if not count:
        return None
    # Whole numbers until the last division: the same to the bit in whatever order kinds come.
    agreed = sum(a == b for a, b in zip(first, second, strict=True)) * count
    by_chance = sum(first.count(kind) * second.count(kind) for kind in {*first, *second})
    every = count * count
    return None if by_chance == every else (agreed - by_chance) / (every - by_chance)
