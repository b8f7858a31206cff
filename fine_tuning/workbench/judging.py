"""Judging: is a run better than its base, or than an earlier run?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fine_tuning.core.errors import DataError
from fine_tuning.core.naming import canonical_json
from fine_tuning.evaluation.questions import Question
from fine_tuning.storage.atomic import write_file
from fine_tuning.workbench.evaluation import (
    Candidate,
    EvaluationReport,
    EvaluationTask,
    evaluate,
)
from fine_tuning.workbench.registering import Registering
from fine_tuning.workbench.runs import FinishedRun

EVALUATION_FILE = "evaluation.json"


class Judging(Registering):
    """What a user asks about a run."""

    def evaluate(
        self,
        run_name: str,
        *,
        against: str = "base",
        questions: Sequence[Question] = (),
        prompts: Sequence[str] | None = None,
    ) -> EvaluationReport:
        """Evaluate a run on its test split, against its base or an earlier run of it.

        The report is also written into the run's folder, the verdict into the registry.

        Args:
            run_name: The run to judge.
            against: ``base``, or another run on the same base model.
            questions: Questions with key facts, asked of both.
            prompts: Answered side by side; None takes those of the settings.

        Raises:
            DataError: if the test split is empty, or the runs have different bases.
        """
        run = self.find_run(run_name)
        base = self.base_of(run)
        examples = self.data_of(run).split("test").examples
        task = EvaluationTask(
            base=base,
            examples=examples,
            questions=questions,
            prompts=self.settings.evaluation.test_prompts if prompts is None else prompts,
            max_reply_tokens=self.settings.evaluation.max_reply_tokens,
            threads=self.settings.training.threads,
        )
        report = evaluate(task, self._reference(against, run), _candidate(run), self.progress)
        write_file(run.folder / EVALUATION_FILE, canonical_json(report.to_dict()).encode())
        self.record_verdict(run, report.verdict.to_dict(), _metrics(report))
        return report

    def _reference(self, name: str, run: FinishedRun) -> Candidate:
        if name == "base":
            return Candidate(name="base")
        other = self.find_run(name)
        if other.manifest["base_digest"] != run.manifest["base_digest"]:
            raise DataError(
                f"run {other.run_id} has base {other.base_name} and run {run.run_id} has "
                f"{run.base_name}, expected runs on the same base"
            )
        return _candidate(other)


def _candidate(run: FinishedRun) -> Candidate:
    return Candidate(name=run.run_id, adapter_path=run.adapter_path, adapter=run.adapter())


def _metrics(report: EvaluationReport) -> dict[str, Any]:
    """Return the numbers a version is known by, beside those of training."""
    return {
        f"held_out_{name}": {"reference": getattr(before, name), "candidate": getattr(after, name)}
        for name in ("loss", "perplexity", "accuracy")
        for before, after in [report.held_out]
    }
