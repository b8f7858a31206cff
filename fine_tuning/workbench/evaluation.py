"""Is the candidate better? Every model measured on the same items, compared, and judged once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fine_tuning.core.ports import Progress
from fine_tuning.evaluation.comparison import Comparison, compare, corrected_together
from fine_tuning.evaluation.contamination import ContaminationReport
from fine_tuning.evaluation.gate import Margins, gate_policy, primary_suite
from fine_tuning.evaluation.judge import JudgeResult
from fine_tuning.evaluation.probes import ABILITY
from fine_tuning.evaluation.results import (
    HeldOutResult,
    QuestionsResult,
    SideBySide,
    SuiteResult,
)
from fine_tuning.evaluation.verdict import Policy, Verdict, decide
from fine_tuning.workbench.measuring import (
    Candidate,
    EvaluationTask,
    Meter,
    ModelResult,
)
from fine_tuning.workbench.preferring import Ask, Preferred, reply_pairs
from fine_tuning.workbench.scoring import open_decoder
from fine_tuning.workbench.served_models import ServedModels

SHOWN_METRICS = {
    "held_out": ("loss", "perplexity", "accuracy", "bits_per_byte"),
    "questions": ("fact_recall", "stop_rate", "repetition"),
    "ability": ("right_choice", "tasks_passed"),
}
"""Where a suite has more metrics than a reader needs, those that are compared."""
SKILL_METRICS = ("right_choice",)
"""Right or wrong replies to the few tasks of one skill show too little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """What was found about two or more models; the last is judged against the first.

    ``comparisons`` are the candidate's with each other model, suite by suite; ``drift`` is that
    with the untuned base where the reference is a tuned model. ``provenance`` says what decided
    the numbers: names, digests, settings, seeds.
    """

    models: tuple[ModelResult, ...]
    comparisons: tuple[Comparison, ...]
    drift: tuple[Comparison, ...] = ()
    policy: Policy
    verdict: Verdict
    side_by_side: tuple[SideBySide, ...]
    contamination: ContaminationReport | None = None
    judge: JudgeResult | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def held_out(self) -> tuple[HeldOutResult, HeldOutResult]:
        """The likelihoods of the reference and of the candidate."""
        return self.models[0].held_out, self.models[-1].held_out

    @property
    def questions(self) -> tuple[QuestionsResult, QuestionsResult] | None:
        """The answers of the reference and of the candidate."""
        before, after = self.models[0].questions, self.models[-1].questions
        return None if before is None or after is None else (before, after)

    def against(self, reference: str) -> tuple[Comparison, ...]:
        """Return the comparisons with one model."""
        return tuple(found for found in self.comparisons if found.reference == reference)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "held_out": [result.to_dict() for result in self.held_out],
            "questions": [result.to_dict() for result in self.questions or ()],
            "models": [model.to_dict() for model in self.models],
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            "drift": [comparison.to_dict() for comparison in self.drift],
            "policy": self.policy.to_dict(),
            "verdict": self.verdict.to_dict(),
            "side_by_side": [pair.to_dict() for pair in self.side_by_side],
            "contamination": self.contamination and self.contamination.to_dict(),
            "judge": self.judge and self.judge.to_dict(),
            "provenance": dict(self.provenance),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What the gate asks: the primary metric, the margins, and the seed of every resampling."""

    primary: str = "loss"
    margins: Margins = field(default_factory=Margins)
    seed: int = 0


def evaluate(
    task: EvaluationTask,
    models: Sequence[Candidate],
    *,
    gate: GateSettings | None = None,
    ask: Ask | None = None,
    served: ServedModels | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Measure models of one base, and judge the last against the first.

    Args:
        task: What they are measured on.
        models: The reference, further models to stand beside it, the candidate.
        gate: What the candidate must show; None takes the defaults.
        ask: Finds out whose replies are preferred, the first model's or the candidate's.
        served: Where the models answer; None opens them in this process.
        progress: Told how far it is.

    Raises:
        DataError: if no held-out example has a target, or the primary metric was not measured.
        FineTuningError: as the engine and the embedded runtime raise.
    """
    gate = gate or GateSettings()
    primary_suite(gate.primary, task.suites)  # better now than after minutes of measuring
    meter = Meter(task, progress, served)
    with open_decoder(task.base.path) as decoder:
        results = tuple(meter.measure(decoder, model) for model in models)
        # Where no model is the untuned base, the base is asked for its abilities alone.
        tuned = all(model.adapter_name for model in models)
        zero = meter.measure_ability(decoder, Candidate(name="base")) if tuned else ()
    *references, candidate = results
    preferred = _preferred(ask, references[0], candidate)
    compared = [compare(*pair, seed=gate.seed) for pair in preferred.suites]
    for reference in references:
        compared += _compared(reference.suites, candidate.suites, gate.seed)
    comparisons = corrected_together(compared)
    drift = corrected_together(_compared(zero, candidate.further, gate.seed))
    first = [found for found in comparisons if found.reference == references[0].name]
    policy = gate_policy(first, primary=gate.primary, margins=gate.margins)
    return EvaluationReport(
        models=results,
        comparisons=comparisons,
        drift=drift,
        policy=policy,
        verdict=decide(first, policy, candidate.canaries, since_zero=drift),
        side_by_side=_side_by_side(task, results),
        judge=preferred.judge,
    )


def _preferred(ask: Ask | None, reference: ModelResult, candidate: ModelResult) -> Preferred:
    """Ask about the replies both models gave, if there are any and someone to ask."""
    if ask is None or reference.replies is None or candidate.replies is None:
        return Preferred()
    pairs = reply_pairs(reference.replies.to_dict(), candidate.replies.to_dict())
    return ask(pairs, (reference.name, candidate.name))


def _compared(
    reference: Sequence[SuiteResult], candidate: Sequence[SuiteResult], seed: int
) -> list[Comparison]:
    """Compare the suites both models have."""
    there = {suite.suite: suite for suite in candidate}
    pairs = [(suite, there[suite.suite]) for suite in reference if suite.suite in there]
    return [compare(before, after, metrics=_chosen(before), seed=seed) for before, after in pairs]


def _chosen(suite: SuiteResult) -> tuple[str, ...]:
    have = {metric.name for metric in suite.metrics}
    is_skill = suite.suite.startswith(f"{ABILITY}/")
    wanted = SKILL_METRICS if is_skill else SHOWN_METRICS.get(suite.suite, ())
    return tuple(name for name in wanted if name in have)


def _side_by_side(task: EvaluationTask, results: Sequence[ModelResult]) -> tuple[SideBySide, ...]:
    names = _distinct([result.name for result in results])
    return tuple(
        SideBySide(
            prompt=prompt,
            replies={n: r.prompts[i] for n, r in zip(names, results, strict=True)},
        )
        for i, prompt in enumerate(task.prompts)
    )


def _distinct(names: Sequence[str]) -> list[str]:
    """Return names of which none stands twice: a model may be compared with itself."""
    return [
        name if name not in names[:place] else f"{name} again" for place, name in enumerate(names)
    ]


def with_provenance(
    report: EvaluationReport, found: Mapping[str, Any], contamination: ContaminationReport
) -> EvaluationReport:
    """Return the report with what decided its numbers, and what was left out of the task."""
    return replace(report, provenance=dict(found), contamination=contamination)
