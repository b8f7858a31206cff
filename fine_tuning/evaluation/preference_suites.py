"""Which of two replies is better: the pairs that are judged, and judgements as a suite's result.

A judge model and a person leave the same values, so their judgements stand in the same table as
every other metric. What this does not know: who judged, and how.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonValue
from fine_tuning.core.naming import unit_interval
from fine_tuning.evaluation.metrics import MetricResult
from fine_tuning.evaluation.results import SuiteResult

Winner = Literal["reference", "candidate", "tie"]
CREDIT: dict[Winner, float] = {"reference": 0.0, "tie": 0.5, "candidate": 1.0}
"""What a judgement adds to the candidate's share of preferences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyPair:
    """Two models' replies to one prompt.

    ``cluster`` names what pairs depend on together (their conversation). ``expected`` is the reply
    the user wanted, when one is known.
    """

    id: str
    prompt: str
    reference: str
    candidate: str
    cluster: str = ""
    expected: str = ""

    @property
    def is_equal(self) -> bool:
        """Whether both replies are the same text: then there is nothing to judge."""
        return self.reference.strip() == self.candidate.strip()

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return asdict(self)


def candidate_first(pair_id: str, *, seed: int) -> bool:
    """Decide by hash, hence for good, whether the candidate's reply is shown first."""
    return unit_interval(pair_id, salt=f"first:{seed}") < CREDIT["tie"]


def preference_suites(
    pairs: Sequence[ReplyPair],
    winners: Sequence[Winner],
    *,
    suite: str,
    models: tuple[str, str],
) -> tuple[SuiteResult, SuiteResult]:
    """Return the share of preferences of reference and candidate, as two suites to compare.

    Their one metric has the suite's name, as the gate knows it.

    Args:
        pairs: What was judged.
        winners: One for each pair.
        suite: The name of both suites and of their metric: ``judge`` or ``people``.
        models: The reference's and the candidate's name.

    Raises:
        DataError: if there are no pairs, or not one winner each.
    """
    if not pairs or len(pairs) != len(winners):
        raise DataError(
            f"suite {suite!r} has {len(pairs)} pairs and {len(winners)} judgements, expected one "
            "judgement each of at least one pair"
        )
    credits_ = tuple(CREDIT[winner] for winner in winners)
    first = _suite(suite, models[0], pairs, tuple(1.0 - credit for credit in credits_))
    return first, _suite(suite, models[1], pairs, credits_)


def _suite(
    suite: str, model: str, pairs: Sequence[ReplyPair], items: tuple[float, ...]
) -> SuiteResult:
    return SuiteResult(
        suite=suite,
        model=model,
        item_ids=tuple(pair.id for pair in pairs),
        clusters=tuple(pair.cluster or pair.id for pair in pairs),
        metrics=(
            MetricResult(
                name=suite,
                value=sum(items) / len(items),
                items=items,
                higher_is_better=True,
                unit="share",
            ),
        ),
    )
