"""What was found about two or more models of one base: results, comparisons and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fine_tuning.evaluation.comparison import Comparison
from fine_tuning.evaluation.contamination import ContaminationReport
from fine_tuning.evaluation.judge import JudgeResult
from fine_tuning.evaluation.results import (
    HeldOutResult,
    QuestionsResult,
    RepliesResult,
    SideBySide,
    SuiteResult,
)
from fine_tuning.evaluation.verdict import Policy, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResult:
    """What was measured of one model; a part that was not asked for is None or empty.

    ``deployment`` holds load_s, first_token_s, tokens_per_s, memory_bytes and success.
    """

    name: str
    held_out: HeldOutResult
    questions: QuestionsResult | None = None
    replies: RepliesResult | None = None
    further: tuple[SuiteResult, ...] = ()
    prompts: tuple[str, ...] = ()
    canaries: Mapping[str, bool] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    deployment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def suites(self) -> tuple[SuiteResult, ...]:
        """Every suite, in the order in which they are shown."""
        asked = self.questions.suite if self.questions else None
        answered = self.replies.suite if self.replies else None
        found = (self.held_out.suite, asked, answered, *self.further)
        return tuple(suite for suite in found if suite is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "held_out": self.held_out.to_dict(),
            "questions": self.questions and self.questions.to_dict(),
            "replies": self.replies and self.replies.to_dict(),
            "further": [suite.to_dict() for suite in self.further],
            "prompts": list(self.prompts),
            "canaries": dict(self.canaries),
            "training": dict(self.training),
            "deployment": dict(self.deployment),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """What was found about two or more models; the last is compared with the first.

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


def with_provenance(
    report: EvaluationReport, found: Mapping[str, Any], contamination: ContaminationReport
) -> EvaluationReport:
    """Return the report with what decided its numbers, and what was left out of the task."""
    return replace(report, provenance=dict(found), contamination=contamination)
