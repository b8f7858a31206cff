"""Which model is it that answers? Served replies against the reference at several strengths.

llama.cpp computes with activations rounded to 8 bits, the engine does not, so the same model moves
by some hundredths of a nat; another strength of the adapter, or another base, by far more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from fine_tuning.core.conversation import Message
from fine_tuning.core.ports import ServedReply
from fine_tuning.model_management.reference import Followed, Reference

# From the served distribution of the first token to the trained model's, mean over prompts, nats.
MAX_MEAN_KL = 0.05
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


@dataclass(frozen=True, slots=True)
class Answered:
    """A prompt and the served model's greedy reply to it."""

    messages: tuple[Message, ...]
    reply: ServedReply


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


def divergence(served: Mapping[str, float], computed: Mapping[str, float]) -> float:
    """Return the KL divergence from served to computed, in nats.

    Args:
        served: Log-probabilities of the likeliest tokens, by text.
        computed: The reference's, of many more tokens; one that is not among them counts as the
            least of them. All that was not served is compared as one outcome.
    """
    least = min(computed.values())
    pairs = [(p, computed.get(text, least)) for text, p in served.items()]
    rest_p, rest_q = (
        max(LEAST_REST, 1 - math.fsum(math.exp(pair[side]) for pair in pairs)) for side in (0, 1)
    )
    return math.fsum(math.exp(p) * (p - q) for p, q in pairs) + rest_p * math.log(rest_p / rest_q)


def diagnose(reference: Reference, answered: Sequence[Answered]) -> Diagnosis:
    """Find the strength of the adapter the replies were made with.

    The trained strength and the base are always computed; others only when neither explains the
    replies well.
    """
    has_figures = all(one.reply.first_token_log_probabilities for one in answered)
    measure = first_token_distance if has_figures else _reply_distance
    limit = MAX_MEAN_KL if has_figures else MAX_MEAN_GAP
    readings: dict[float, ReferenceReading] = {}
    for strength in STRENGTHS:
        readings[strength] = _read(reference, answered, strength, measure, limit)
        if len(readings) > 1 and min(one.distance for one in readings.values()) <= limit / 2:
            break
    nearest = min(readings.values(), key=lambda reading: reading.distance)
    trained = readings[TRAINED]
    scale: float | None = nearest.scale if nearest.fits else None
    if trained.fits and trained.distance <= CLEARLY_NEARER * nearest.distance:
        scale = TRAINED
    return Diagnosis(readings, scale, "probabilities" if has_figures else "tokens")


def same_tokens(one: Answered, followed: Followed) -> int:
    """Return how many tokens at a reply's beginning are those the server drew.

    A text can be cut into tokens in several ways, and the reference cuts it in the usual one.
    """
    drawn = one.reply.tokens
    if drawn is None:
        return len(followed.tokens)
    pairs = zip(drawn, followed.tokens, strict=False)
    return next(
        (index for index, (text, token) in enumerate(pairs) if text != token.text),
        min(len(drawn), len(followed.tokens)),
    )


def expected_end(one: Answered, followed: Followed) -> int | None:
    """Return before which token the reference was sure the reply had ended, if at all."""
    inside = followed.stop_log_probabilities[: same_tokens(one, followed)]
    return next((index for index, stop in enumerate(inside) if stop >= SURE_STOP), None)


def compared_gaps(one: Answered, followed: Followed) -> list[float]:
    """Return the gaps of a reply's tokens, up to where it should have ended."""
    end = expected_end(one, followed)
    count = same_tokens(one, followed) if end is None else end
    return [token.gap for token in followed.tokens[:count]]


def token_agreement(
    answered: Sequence[Answered], followed: Sequence[Followed]
) -> tuple[float, int]:
    """Return the share of reply tokens that are favourites or near ties, and their number."""
    pairs = zip(answered, followed, strict=True)
    gaps = [gap for one, read in pairs for gap in compared_gaps(one, read)]
    return (fmean(gap <= NEAR_TIE for gap in gaps) if gaps else 1.0), len(gaps)


def _read(
    reference: Reference,
    answered: Sequence[Answered],
    scale: float,
    measure: Callable[[Answered, Followed], float],
    limit: float,
) -> ReferenceReading:
    followed = tuple(
        reference.follow(one.messages, one.reply.text, scale=scale) for one in answered
    )
    distances = [measure(one, read) for one, read in zip(answered, followed, strict=True)]
    return ReferenceReading(scale, followed, fmean(distances), limit)


def first_token_distance(one: Answered, followed: Followed) -> float:
    """Return how far the first token's served distribution is from the reference's, in nats."""
    served = one.reply.first_token_log_probabilities or {}
    # llama.cpp tells the end of turn, as all special tokens, without its text.
    end = followed.stop_log_probabilities[:1]
    named = {**({"": end[0]} if end else {}), **followed.first}
    return divergence(served, named)


def _reply_distance(one: Answered, followed: Followed) -> float:
    gaps = compared_gaps(one, followed)
    return fmean(gaps) if gaps else 0.0
