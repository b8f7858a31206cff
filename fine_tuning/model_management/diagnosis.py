"""Which model is it that answers? Served replies against the reference at several strengths.

llama.cpp computes with activations rounded to 8 bits, the engine does not, so the same model moves
by some hundredths of a nat; another strength of the adapter, or another base, by far more. Served
entries and computed tokens meet by their bytes (``alignment``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from fine_tuning.core.conversation import Message
from fine_tuning.core.ports import ServedReply, ServedToken
from fine_tuning.model_management.alignment import UNKNOWN, align, counterparts
from fine_tuning.model_management.reference import Followed, Reference

# From the served distributions to the trained model's, in nats: mean over the prompts of that of
# the first entry, and mean over all tokens; the larger of both counts.
MAX_MEAN_KL = 0.05
# Rounding alone: no other strength is tried.
CLOSE = 0.01
# With fewer nothing can be told: 16 replies of a token and its end have as many.
MIN_COMPARED_TOKENS = 32
# How far the tokens of a greedy reply stand behind the reference's favourites, mean, nats.
MAX_MEAN_GAP = 0.05
# A token this near the favourite is a tie that rounding may break either way, nats.
NEAR_TIE = 0.5
MIN_TOKEN_AGREEMENT = 0.95
# Another strength explains the replies when it is this many times nearer than the trained one.
CLEARLY_NEARER = 3.0
# A strong adapter makes activations larger and their rounding coarser: 0.09 nats at 4 times.
MAX_LENIENCE = 4.0
# An end of turn the reference expects with at least this probability was to be taken.
SURE_STOP = math.log(0.5)

TRAINED, BASE = 1.0, 0.0
STRENGTHS = (TRAINED, BASE, 4.0, 0.25, 2.0, 0.5, 16.0, 1 / 16)
LEAST_REST = 1e-6
LEAST = 1e-30


@dataclass(frozen=True, slots=True)
class Answered:
    """A prompt and the served model's greedy reply to it."""

    messages: tuple[Message, ...]
    reply: ServedReply

    @property
    def text(self) -> str:
        """What can be read of the reply: up to a byte that its server does not tell."""
        return self.reply.text.partition(UNKNOWN)[0]

    @property
    def has_ended(self) -> bool:
        """Whether the model ended the reply itself, and all of it can be read."""
        return self.reply.ended and UNKNOWN not in self.reply.text


@dataclass(frozen=True, slots=True)
class ReferenceReading:
    """All replies as the reference reads them at one strength of the adapter."""

    scale: float
    followed: tuple[Followed, ...]
    distance: float
    limit: float

    @property
    def fits(self) -> bool:
        """Whether the distance is one of rounding, which grows with the adapter's strength."""
        return self.distance <= self.limit * min(max(1.0, self.scale), MAX_LENIENCE)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The readings made, and the strength that explains the replies; None when none does."""

    readings: Mapping[float, ReferenceReading]
    scale: float | None
    by: str

    @property
    def best(self) -> ReferenceReading | None:
        """The reading at that strength."""
        return None if self.scale is None else self.readings[self.scale]


def divergence(entry: ServedToken, computed: Mapping[str, float]) -> float:
    """Return the KL divergence from served to computed, in nats.

    Args:
        entry: The likeliest tokens as they are served.
        computed: The reference's log-probabilities at the same place, of many more tokens. All that
            was not served is compared as one outcome.
    """
    return min(_divergence(pairs) for pairs in counterparts(entry, computed))


def _divergence(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> float:
    sums = [(_sum(p), _sum(q)) for p, q in pairs]
    rest_p, rest_q = (
        max(LEAST_REST, 1 - math.fsum(pair[side] for pair in sums)) for side in (0, 1)
    )
    told = math.fsum(p * math.log(p / max(q, LEAST)) for p, q in sums if p > 0)
    return told + rest_p * math.log(rest_p / rest_q)


def _sum(log_probabilities: Iterable[float]) -> float:
    return math.fsum(map(math.exp, log_probabilities))


def diagnose(reference: Reference, answered: Sequence[Answered]) -> Diagnosis:
    """Find the strength of the adapter the replies were made with.

    The trained strength and the base are always computed; others only when neither explains the
    replies well.
    """
    has_figures = any(entry.likeliest for one in answered for entry in one.reply.entries or ())
    measure = probabilities_distance if has_figures else tokens_distance
    limit = MAX_MEAN_KL if has_figures else MAX_MEAN_GAP
    readings: dict[float, ReferenceReading] = {}
    for strength in STRENGTHS:
        readings[strength] = _read(reference, answered, strength, measure, limit)
        if len(readings) > 1 and min(one.distance for one in readings.values()) <= CLOSE:
            break
    nearest = min(readings.values(), key=lambda reading: reading.distance)
    trained = readings[TRAINED]
    scale: float | None = nearest.scale if nearest.fits else None
    if trained.fits and trained.distance <= CLEARLY_NEARER * nearest.distance:
        scale = TRAINED
    return Diagnosis(readings, scale, "probabilities" if has_figures else "tokens")


def same_tokens(one: Answered, followed: Followed) -> int:
    """Return how many tokens at a reply's beginning are those the server drew."""
    return align(one.reply.entries, followed.tokens).num_tokens


def expected_end(one: Answered, followed: Followed) -> int | None:
    """Return before which token the reference was sure the reply had ended, if at all."""
    inside = followed.stop_log_probabilities[: same_tokens(one, followed)]
    return next((index for index, stop in enumerate(inside) if stop >= SURE_STOP), None)


def compared_gaps(one: Answered, followed: Followed) -> list[float]:
    """Return the gaps of a reply's tokens, up to where it should have ended."""
    end = expected_end(one, followed)
    count = same_tokens(one, followed) if end is None else end
    return [token.gap for token in followed.tokens[:count]]


def is_right_end(one: Answered, followed: Followed) -> bool:
    """Tell whether a reply ended where the reference's favourite is the end of turn, or nearly."""
    return one.has_ended and followed.stop is not None and followed.stop.gap <= NEAR_TIE


def token_agreement(
    answered: Sequence[Answered], followed: Sequence[Followed]
) -> tuple[float, int]:
    """Return the share of reply tokens that are favourites or near ties, and their number.

    Right ends of turn count as tokens. No token is no agreement.
    """
    pairs = list(zip(answered, followed, strict=True))
    agreeing = [gap <= NEAR_TIE for one, read in pairs for gap in compared_gaps(one, read)]
    agreeing += [
        True
        for one, read in pairs
        if is_right_end(one, read) and same_tokens(one, read) == len(read.tokens)
    ]
    return (fmean(agreeing) if agreeing else 0.0), len(agreeing)


def _read(
    reference: Reference,
    answered: Sequence[Answered],
    scale: float,
    measure: Callable[[Sequence[Answered], Sequence[Followed]], float],
    limit: float,
) -> ReferenceReading:
    followed = tuple(reference.follow(one.messages, one.text, scale=scale) for one in answered)
    return ReferenceReading(scale, followed, measure(answered, followed), limit)


def probabilities_distance(answered: Sequence[Answered], followed: Sequence[Followed]) -> float:
    """Return how far served distributions are from the reference's, in nats.

    That is the mean over replies of what stands at their first entry, or the mean over all their
    tokens if that is more. Where a server tells nothing of a token it counts how far the token is
    behind the reference's favourite: greedy, it was the server's.
    """
    first, every = list[float](), list[float]()
    for one, read in zip(answered, followed, strict=True):
        told = {
            aligned.index: divergence(aligned.entry, _named(read, aligned.index))
            for aligned in align(one.reply.entries, read.tokens).entries
            if aligned.entry.likeliest and aligned.index < len(read.likeliest)
        }
        end = expected_end(one, read)
        gaps = dict(enumerate(compared_gaps(one, read)))
        along = {
            index: value
            for index, value in sorted((gaps | told).items())
            if end is None or index < max(end, 1)
        }
        if along:
            begun = min(told, default=0)
            first.append(math.fsum(value for index, value in along.items() if index <= begun))
            every += along.values()
    return max(fmean(first), fmean(every)) if every else math.inf


def tokens_distance(answered: Sequence[Answered], followed: Sequence[Followed]) -> float:
    """Return how far reply tokens are behind the reference's favourites, in nats."""
    gaps = [compared_gaps(*pair) for pair in zip(answered, followed, strict=True)]
    return fmean(fmean(one) if one else 0.0 for one in gaps)


def _named(followed: Followed, index: int) -> Mapping[str, float]:
    """Return the reference's log-probabilities at a place.

    llama.cpp tells the end of turn, as all special tokens, without its text.
    """
    end = followed.stop_log_probabilities[index : index + 1]
    return {**({"": end[0]} if end else {}), **followed.likeliest[index]}
