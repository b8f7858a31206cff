"""Our tests in lm-evaluation-harness, over the engine and the embedded runtime, without network.

The optional package lm-eval (extra ``lm-eval``) chooses, counts and averages by its own code: a
second opinion on the numbers of ``evaluate``. What this does not know: the form of its files.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fine_tuning.core.errors import ConfigError, MissingDependencyError
from fine_tuning.core.naming import canonical_json
from fine_tuning.evaluation.lm_eval_tasks import write_tasks
from fine_tuning.evaluation.probes import read_probe_items
from fine_tuning.evaluation.questions import Question
from fine_tuning.storage.atomic import write_file
from fine_tuning.workbench.catalog import Catalog
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.evaluate.evaluation_runner import (
    Candidate,
    EvaluationTask,
    ModelEvaluator,
)
from fine_tuning.workbench.evaluate.question_file import own_questions
from fine_tuning.workbench.evaluate.scoring import open_decoder
from fine_tuning.workbench.evaluate.task_builder import BASE, TaskBuilder, candidate_of

EXTRA = "lm-eval"
PACKAGE = "lm_eval"
FOLDER = "lm_eval"
RESULT_FILE = "results.json"
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LmEvalScore:
    """One number of the harness: a task or group, its metric, and the items it is a mean over.

    ``standard_error`` is None where the harness computes none.
    """

    task: str
    metric: str
    value: float
    standard_error: float | None
    num_items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LmEvalReport:
    """What the harness found; ``folder`` holds its task files and all of this as JSON.

    ``items`` holds of each task its items: id, what the model gave (log-probability of each choice
    and whether it is the likeliest text, or the reply), and each metric.
    """

    model: str
    version: str
    folder: Path
    scores: tuple[LmEvalScore, ...]
    items: Mapping[str, Sequence[Mapping[str, Any]]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "model": self.model,
            "version": self.version,
            "folder": str(self.folder),
            "scores": [asdict(score) for score in self.scores],
            "items": {task: list(items) for task, items in self.items.items()},
        }


class LmEvalRunner:
    """Runs our tests through lm-evaluation-harness.

    Args:
        context: Settings, workspace and progress.
        catalog: Base models, runs and versions.
        tasks: What models are measured on.
    """

    def __init__(self, context: Context, catalog: Catalog, tasks: TaskBuilder) -> None:
        self._context = context
        self._catalog = catalog
        self._tasks = tasks

    def run(
        self,
        model: str,
        *,
        tasks: Sequence[str] = (),
        limit: int | None = None,
        questions: Sequence[Question] | None = None,
    ) -> LmEvalReport:
        """Write our tests as task files and run them through lm-evaluation-harness.

        Args:
            model: A run, asked about its own held-out conversations too, or ``base``.
            tasks: Which of those that can be asked; all if empty.
            limit: Only so many items of each task.
            questions: Questions with key facts; None takes those of ``questions.jsonl`` in the
                workspace, if there are any.

        Raises:
            MissingDependencyError: if the package lm-eval is not installed.
            ConfigError: if a task is unknown, or there is none.
            FineTuningError: as the engine and the embedded runtime raise.
        """
        if importlib.util.find_spec(PACKAGE) is None:
            raise MissingDependencyError(
                "lm-evaluation-harness runs by the package lm-eval, which is not installed",
                next_command=f"pip install 'fine-tuning[{EXTRA}]'",
            )
        task, candidate = self._asked_of(model, questions)
        folder = self._context.workspace.resolve(FOLDER) / candidate.name
        written_tasks = write_tasks(
            folder,
            probes=task.probes,
            questions=task.questions,
            sources=task.sources,
            max_question_tokens=task.max_reply_tokens,
            max_reply_tokens=task.held_out_reply_tokens,
        )
        task_names = _known_tasks(tasks, written_tasks, folder)
        raw_results = self._through_lm_eval(task, candidate, folder, task_names, limit)
        report = LmEvalReport(
            model=candidate.name,
            version=version("lm-eval"),
            folder=folder,
            scores=_scores(raw_results),
            items={name: [_item(raw) for raw in of] for name, of in raw_results["samples"].items()},
        )
        write_file(folder / RESULT_FILE, canonical_json(report.to_dict()).encode())
        return report

    def _through_lm_eval(
        self,
        task: EvaluationTask,
        candidate: Candidate,
        folder: Path,
        tasks: Sequence[str],
        limit: int | None,
    ) -> dict[str, Any]:
        """Return the harness's own results of one model."""
        # The harness and its libraries read these when they are loaded, and not again.
        os.environ.update(OFFLINE)
        from fine_tuning.workbench.evaluate.lm_eval_model import (  # noqa: PLC0415 - needs the extra
            HarnessModel,
            run_tasks,
        )

        evaluator = ModelEvaluator(task, self._context.progress)
        with (
            open_decoder(task.base.path, task.context_tokens) as decoder,
            evaluator.server(candidate) as server,
        ):
            model = HarnessModel(
                tokenizer=server.tokenizer,
                renderer=server.renderer,
                score=evaluator.score(decoder, candidate),
                ask=partial(evaluator.ask, evaluator.answering(server, candidate), candidate),
            )
            return run_tasks(model, folder, tasks, limit=limit)

    def _asked_of(
        self, model: str, questions: Sequence[Question] | None
    ) -> tuple[EvaluationTask, Candidate]:
        """Return what a model is asked: a run what ``evaluate`` asks it, the base what is there."""
        if model != BASE:
            run = self._catalog.runs.find(model)
            if questions is None:
                questions = own_questions(run.folder.parents[1])
            data = self._tasks.measured_on(run, {})
            task, _ = self._tasks.build(run, data, {}, questions, ())
            return task, candidate_of(run)
        settings = self._context.settings.evaluation
        task = EvaluationTask(
            base=self._catalog.bases.with_prompts(self._catalog.bases.find()),
            examples=(),
            questions=own_questions(self._context.workspace.home)
            if questions is None
            else questions,
            probes=read_probe_items() if settings.ability_probe else (),
            max_reply_tokens=settings.max_reply_tokens,
            threads=self._context.settings.training.threads,
            cache=self._tasks.cache,
        )
        return task, candidate_of(None)


def _known_tasks(tasks: Sequence[str], known: Sequence[str], folder: Path) -> list[str]:
    """Return the tasks to run; a task of a group that is asked for runs once."""
    # All of them: groups stand before their tasks and bring them.
    groups = [name for name in known if not any(name.startswith(f"{k}_") for k in known)]
    if not known:
        raise ConfigError(f"there is nothing to ask: {folder} has no task")
    for name in tasks:
        if name not in known:
            raise ConfigError(
                f"task {name!r} is not among those of {folder}, expected one of {', '.join(known)}"
            )
    return list(tasks) or groups


def _scores(found: Mapping[str, Any]) -> tuple[LmEvalScore, ...]:
    """Read the harness's table, whose keys are ``metric,filter`` and ``metric_stderr,filter``."""
    counts = {name: int(count["effective"]) for name, count in found["n-samples"].items()}
    scores = []
    for task, row in found["results"].items():
        members = found.get("group_subtasks", {}).get(task) or [task]
        for key, value in row.items():
            metric, comma, kind = key.partition(",")
            if comma and not metric.endswith("_stderr"):
                error = row.get(f"{metric}_stderr,{kind}")
                scores.append(
                    LmEvalScore(
                        task=task,
                        metric=metric,
                        value=float(value),
                        standard_error=error if isinstance(error, float) else None,
                        num_items=sum(counts[member] for member in members),
                    )
                )
    return tuple(scores)


def _item(raw: Mapping[str, Any]) -> dict[str, Any]:
    given = [list(each) if isinstance(each, tuple) else each for each in raw["filtered_resps"]]
    return {
        "id": raw["doc"]["id"],
        "given": given,
        **{metric: float(raw[metric]) for metric in raw["metrics"]},
    }
