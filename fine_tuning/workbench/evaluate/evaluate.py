"""The facade of evaluation: is a run better than its base, or than earlier runs?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from fine_tuning.core.clock import iso
from fine_tuning.core.errors import DataError
from fine_tuning.core.extras import require_all
from fine_tuning.core.loops import GateResult
from fine_tuning.core.naming import canonical_json, content_name, file_sha256
from fine_tuning.core.run import Run
from fine_tuning.data_collection.feedback_summary import preference_pairs
from fine_tuning.data_preparation.snapshot import Snapshot
from fine_tuning.evaluation.blind_trial import BlindTrial
from fine_tuning.evaluation.evaluation_report import EvaluationReport, with_provenance
from fine_tuning.evaluation.evaluation_summary import EvaluationSummary, read_summary
from fine_tuning.evaluation.gate import Margins
from fine_tuning.evaluation.probes import PROBE_FILE
from fine_tuning.evaluation.questions import Question
from fine_tuning.evaluation.report_page import evaluation_page
from fine_tuning.storage.atomic import write_file
from fine_tuning.workbench.catalog import Catalog
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.evaluate.evaluation import GateSettings, evaluate_models
from fine_tuning.workbench.evaluate.evaluation_runner import Candidate, EvaluationTask
from fine_tuning.workbench.evaluate.lm_eval import LmEvalRunner
from fine_tuning.workbench.evaluate.pairwise_judge import (
    Ask,
    JudgeModel,
    preference_asker,
    reply_pairs,
    user_choices,
)
from fine_tuning.workbench.evaluate.question_file import QuestionFile, own_questions
from fine_tuning.workbench.evaluate.served_models import ServedModels
from fine_tuning.workbench.evaluate.task_builder import BASE, TaskBuilder, candidate_of
from fine_tuning.workbench.models.aliases import Aliases

REPORT_FILE = "evaluation.html"


class Evaluate:
    """What a user asks about a run.

    Args:
        context: Settings, workspace, store and progress.
        catalog: Base models, data sets, runs and versions.
        aliases: Where versions are served.

    Attributes:
        questions: Test questions a person writes.
        lm_eval: The same tests by another program.
    """

    def __init__(self, context: Context, catalog: Catalog, aliases: Aliases) -> None:
        self._context = context
        self._bases = catalog.bases
        self._versions = catalog.register
        self._runs = catalog.runs
        self._aliases = aliases
        self._tasks = TaskBuilder(context, catalog.bases, catalog.datasets)
        self.questions = QuestionFile(context.workspace.home, catalog.runs)
        self.lm_eval = LmEvalRunner(context, catalog, self._tasks)

    def evaluate(  # noqa: PLR0913 - what is asked of a comparison, all but the run optional
        self,
        run_name: str,
        *,
        against: str = BASE,
        beside: Sequence[str] = (),
        questions: Sequence[Question] | None = None,
        prompts: Sequence[str] | None = None,
        judge: str = "",
        served: bool = False,
    ) -> EvaluationReport:
        """Return how a run does on its test split, against its base or an earlier run of it.

        What is known from before is not computed again: a killed evaluation goes on. The report
        is also written into the run's folder, the verdict into the registry.

        Args:
            run_name: The run to evaluate.
            against: ``base``, or another run on the same base model.
            beside: Further runs (or ``base``) shown on the same items; the verdict ignores them.
            questions: Asked of all; None takes ``questions.jsonl`` of the run's workspace.
            prompts: Answered side by side; None takes those of the settings.
            judge: A model that says blindly which replies are better; votes always count.
            served: Take the replies from where the models are deployed, Ollama or the embedded
                runtime, under the names a chatbot asks for; likelihoods stay the engine's.

        Raises:
            MissingDependencyError: if the extra ``train`` or ``evaluate`` is not installed.
            DataError: if the test split is empty, or the runs have different bases.
            DeploymentError: if ``served`` and one of the runs is not deployed.
        """
        require_all("train", "evaluate")
        run = self._runs.find(run_name)
        others = {name: self._run_beside(name, run) for name in (against, *beside)}
        asked = own_questions(run.folder.parents[1]) if questions is None else questions
        ask = preference_asker(self._judge_model(judge), _votes_file(run, against))
        data = self._tasks.measured_on(run, others)
        task, contamination = self._tasks.build(run, data, others, asked, prompts)
        self._tasks.check_held_out(task, data, self._context.settings.evaluation.primary_metric)
        report, about = self._compared(task, data, [*others.values(), run], ask, served=served)
        report = with_provenance(report, about, contamination)
        return self._recorded(report, run)

    def _recorded(self, report: EvaluationReport, run: Run) -> EvaluationReport:
        """Return a report, written into its run's folder and its verdict into the registry."""
        _write(report, run, iso(self._context.clock.now()))
        self._versions.record_verdict(run, report.verdict.to_dict(), _metrics(report))
        return report

    def evaluate_candidate(self, candidate: str, reference: str = BASE) -> GateResult:
        """Ask the gate about a version; see :class:`core.loops.CandidateEvaluator`.

        Args:
            candidate: A version or a run.
            reference: Another one on the same base, or ``base``.

        Returns:
            The outcome and the sentences that give the reasons.
        """
        verdict = self.evaluate(candidate, against=reference).verdict
        return GateResult(
            candidate=candidate,
            reference=reference,
            outcome=verdict.outcome,
            reasons=tuple(reason.sentence for reason in verdict.reasons),
        )

    def report_file(self, run_name: str) -> Path:
        """Return where the page of a run's last evaluation lies; its Markdown lies beside it."""
        return self._runs.find(run_name).folder / REPORT_FILE

    def blind_trial(self, run_name: str, *, against: str = BASE) -> BlindTrial:
        """Return the replies of a finished evaluation, for a person to compare blindly.

        Args:
            run_name: The run that was evaluated.
            against: What it was evaluated against: ``base`` or a run.

        Raises:
            DataError: if the run was not evaluated against that model, or gave no replies.
        """
        run = self._runs.find(run_name)
        place = run.evaluation_path
        models = orjson.loads(place.read_bytes())["models"] if place.is_file() else []
        named = [model for model in models[:-1] if model["name"] == against and model["replies"]]
        if not named:
            raise DataError(
                f"run {run.run_id} has no evaluation against {against!r} with replies to compare",
                next_command=f"fine-tuning compare {against} {run.run_id}",
            )
        pairs = reply_pairs(named[0]["replies"], models[-1]["replies"])
        return BlindTrial(pairs, _votes_file(run, against))

    def summary(self, run_name: str) -> EvaluationSummary | None:
        """Return what was found when a run was last compared; None if it never was.

        Raises:
            ModelNotFoundError: if there is no such run.
            DataError: if the report cannot be read.
        """
        return read_summary(self._runs.find(run_name).folder)

    def _served(self, runs: Sequence[Run | None]) -> ServedModels:
        """Find where runs answer on the runtime, and their base."""
        switcher = self._aliases.switcher()
        versions = {run.run_id: self._versions.register(run) for run in runs if run is not None}
        places = {name: switcher.served_as(version) for name, version in versions.items()}
        newest = next(reversed(versions.values()))
        places[BASE] = switcher.served_as(newest, base=True)
        return ServedModels(
            self._aliases.target(), places, threads=self._context.settings.training.threads
        )

    def _judge_model(self, name: str) -> JudgeModel | None:
        if not name:
            return None
        return JudgeModel(
            base=self._bases.with_prompts(self._bases.find(name)),
            threads=self._context.settings.training.threads,
            cache=self._tasks.cache,
            choices=user_choices(preference_pairs(self._context.store)),
            progress=self._context.progress,
        )

    def _gate(self) -> GateSettings:
        settings = self._context.settings.evaluation
        margins = Margins(
            ability=settings.max_ability_loss,
            skill=settings.max_skill_loss,
            tasks=settings.max_tasks_loss,
            stop_rate=settings.max_stop_rate_loss,
            facts=settings.max_fact_loss,
        )
        seed = self._context.settings.training.seed
        return GateSettings(primary=settings.primary_metric, margins=margins, seed=seed)

    def _compared(
        self,
        task: EvaluationTask,
        data: Snapshot,
        runs: Sequence[Run | None],
        ask: Ask,
        *,
        served: bool,
    ) -> tuple[EvaluationReport, dict[str, Any]]:
        """Compare runs, the candidate last, and return what decided the numbers beside it."""
        models = [candidate_of(run) for run in runs]
        places = self._served(runs) if served else None
        report = evaluate_models(
            task,
            models,
            gate=self._gate(),
            ask=ask,
            served=places,
            progress=self._context.progress,
        )
        return report, self._provenance(task, models, data, places)

    def _provenance(
        self,
        task: EvaluationTask,
        models: Sequence[Candidate],
        data: Snapshot,
        places: ServedModels | None,
    ) -> dict[str, Any]:
        """Return what decided the numbers: a report that cannot say this proves nothing."""
        return {
            "base": {"name": task.base.name, "digest": task.base.digest()},
            "models": {model.name: model.adapter_name or "untuned" for model in models},
            "served": places.told() if places else None,
            "data_set": data.name,
            "probe_items": file_sha256(PROBE_FILE) if task.probes else None,
            "questions": content_name([question.to_dict() for question in task.questions]),
            "settings": self._context.settings.evaluation.model_dump(mode="json"),
            "seed": self._context.settings.training.seed,
        }

    def _run_beside(self, name: str, run: Run) -> Run | None:
        """Return a run to compare with; None for the base."""
        if name == BASE:
            return None
        other = self._runs.find(name)
        if not self._bases.have_one_base(other, run):
            raise DataError(
                f"run {other.run_id} has base {other.base_name} and run {run.run_id} has "
                f"{run.base_name}, expected runs on the same base"
            )
        return other


def _write(report: EvaluationReport, run: Run, made_at: str) -> None:
    """Write the report into the run's folder, for machines and for people."""
    page = evaluation_page(report, made_at)
    write_file(run.evaluation_path, canonical_json(report.to_dict()).encode())
    write_file(run.folder / REPORT_FILE, page.to_html().encode())
    write_file((run.folder / REPORT_FILE).with_suffix(".md"), page.to_markdown().encode())


def _votes_file(run: Run, against: str) -> Path:
    return run.folder / f"votes-{against}.jsonl"


def _metrics(report: EvaluationReport) -> dict[str, Any]:
    """Return the numbers a version is known by, beside those of training."""
    return {
        f"held_out_{name}": {"reference": getattr(before, name), "candidate": getattr(after, name)}
        for name in ("loss", "perplexity", "accuracy")
        for before, after in [report.held_out]
    }
