"""The one policy of the gate: what must get better, what must not get worse, by which margin.

Every candidate passes it, whoever made it. The primary metric is asked for by name; every guard
whose metric was measured applies. What this does not know: models, and how a guard is decided
(see verdict.py).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fine_tuning.core.errors import DataError
from fine_tuning.evaluation.comparison import Comparison
from fine_tuning.evaluation.probes import ABILITY
from fine_tuning.evaluation.verdict import Guard, Policy

PRIMARY_SUITES = {
    "loss": "held_out",
    "accuracy": "held_out",
    "fact_recall": "questions",
    "bleu": "replies",
    "chrf": "replies",
    "rougeL": "replies",
    "f1": "replies",
    "judge": "judge",
    "people": "people",
}
"""The metrics a candidate may have to improve, and the suite each is measured on."""
OLD_SUITE = "old"
"""How the names of suites begin that earlier models were evaluated on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """How much worse a guarded metric may get, each in the metric's own unit.

    ``ability`` is the share of chance given to the right choice over all probe tasks, ``skill``
    that over the tasks of one skill, ``tasks`` the share of tasks passed; ``stop_rate``,
    ``facts`` and ``language`` are shares; ``length`` is doublings off the person's own length,
    ``relevance`` the chance given to a reply's own question, ``loss`` (where it is a guard) nats
    per token.
    """

    ability: float = 0.05
    skill: float = 0.25
    tasks: float = 0.10
    stop_rate: float = 0.05
    length: float = 0.5
    facts: float = 0.10
    language: float = 0.05
    relevance: float = 0.1
    loss: float = 0.05


def primary_suite(primary: str, suites: Collection[str]) -> str:
    """Return the suite a primary metric is measured on.

    Raises:
        DataError: if the metric is unknown, or its suite is not among those measured.
    """
    if primary not in PRIMARY_SUITES:
        known = ", ".join(PRIMARY_SUITES)
        raise DataError(f"the primary metric is {primary!r}, expected one of {known}")
    suite = PRIMARY_SUITES[primary]
    if suite not in suites:
        measured = [metric for metric, other in PRIMARY_SUITES.items() if other in suites]
        raise DataError(
            f"the primary metric {primary!r} was not measured: there is no suite {suite!r} with it",
            next_command=f"choose one that is: --set evaluation.primary_metric={measured[0]}"
            if measured
            else "collect more conversations, so that some can be held out: fine-tuning prepare",
        )
    return suite


def gate_policy(
    comparisons: Sequence[Comparison], *, primary: str = "loss", margins: Margins | None = None
) -> Policy:
    """Return the policy for what was measured.

    Args:
        comparisons: Of the candidate with its reference, one per suite.
        primary: The metric that must get better, one of ``PRIMARY_SUITES``.
        margins: How much worse the others may get; None takes the defaults.

    Raises:
        DataError: if the primary metric is unknown or was not measured.
    """
    margins = margins or Margins()
    has_it = [c.suite for c in comparisons if any(row.name == primary for row in c.rows)]
    suite = primary_suite(primary, has_it)
    measured = {(found.suite, row.name) for found in comparisons for row in found.rows}
    guards = [
        guard
        for found in comparisons
        for guard in _guards_of(found.suite, margins)
        if (guard.suite, guard.metric) in measured - {(suite, primary)}
    ]
    return Policy(suite=suite, metric=primary, guards=tuple(guards))


def _guards_of(suite: str, margins: Margins) -> tuple[Guard, ...]:
    """Return the guards that belong on a suite; a name with a slash is a part of one."""
    kind, _, part = suite.partition("/")
    wanted: dict[str, float] = {
        "held_out": {"loss": margins.loss},
        "relevance": {"relevance": margins.relevance},
        "questions": {"fact_recall": margins.facts},
        "replies": {
            "stop_rate": margins.stop_rate,
            "length_gap": margins.length,
            "language_match": margins.language,
        },
        OLD_SUITE: {"loss": margins.loss, "fact_recall": margins.facts},
        ABILITY: (
            {"right_choice": margins.skill}
            if part
            else {"right_choice": margins.ability, "tasks_passed": margins.tasks}
        ),
    }.get(kind, {})
    return tuple(
        Guard(suite=suite, metric=metric, margin=margin) for metric, margin in wanted.items()
    )
