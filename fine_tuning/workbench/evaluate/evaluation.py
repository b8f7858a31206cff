"""Is the candidate better? Every model measured on the same items, compared, and decided once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fine_tuning.core.ports import Progress
from fine_tuning.evaluation.comparison import Comparison, compare, corrected_together
from fine_tuning.evaluation.evaluation_report import EvaluationReport, ModelResult
from fine_tuning.evaluation.gate import Margins, gate_policy, primary_suite
from fine_tuning.evaluation.probes import ABILITY
from fine_tuning.evaluation.results import (
    SideBySide,
    SuiteResult,
)
from fine_tuning.evaluation.verdict import decide
from fine_tuning.workbench.evaluate.evaluation_runner import (
    Candidate,
    EvaluationTask,
    ModelEvaluator,
)
from fine_tuning.workbench.evaluate.pairwise_judge import Ask, Preferred, reply_pairs
from fine_tuning.workbench.evaluate.scoring import open_decoder
from fine_tuning.workbench.evaluate.served_models import ServedModels

SHOWN_METRICS = {
    "held_out": ("loss", "perplexity", "accuracy", "bits_per_byte"),
    "questions": ("fact_recall", "stop_rate", "repetition"),
    "ability": ("right_choice", "tasks_passed"),
}
"""Where a suite has more metrics than a reader needs, those that are compared."""
SKILL_METRICS = ("right_choice",)
"""Right or wrong replies to the few tasks of one skill show too little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What the gate asks: the primary metric, the margins, and the seed of every resampling."""

    primary: str = "loss"
    margins: Margins = field(default_factory=Margins)
    seed: int = 0


def evaluate_models(
    task: EvaluationTask,
    models: Sequence[Candidate],
    *,
    gate: GateSettings | None = None,
    ask: Ask | None = None,
    served: ServedModels | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Measure models of one base, and compare the last with the first.

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
    evaluator = ModelEvaluator(task, progress, served)
    with open_decoder(task.base.path, task.context_tokens) as decoder:
        results = tuple(evaluator.measure(decoder, model) for model in models)
        # Where no model is the untuned base, the base is asked for its abilities alone.
        tuned = all(model.adapter_name for model in models)
        zero = evaluator.measure_ability(decoder, Candidate(name="base")) if tuned else ()
    *references, candidate = results
    preferred = _preferred(ask, references[0], candidate)
    compared = [compare(*pair, seed=gate.seed) for pair in preferred.suites]
    for reference in references:
        compared += _compared(reference.suites, candidate.suites, gate.seed)
    comparisons = corrected_together(compared)
    drift = corrected_together(_compared(zero, candidate.further, gate.seed))
    first = [comparison for comparison in comparisons if comparison.reference == references[0].name]
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
