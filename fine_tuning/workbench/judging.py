"""Judging: is a run better than its base, or than earlier runs?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from fine_tuning.core.clock import SystemClock, iso
from fine_tuning.core.errors import DataError
from fine_tuning.core.example import Example, TokenizedExample
from fine_tuning.core.naming import canonical_json, content_name, file_sha256, unit_interval
from fine_tuning.core.run import Run
from fine_tuning.data_collection.judgements import preference_pairs
from fine_tuning.data_preparation.snapshot import Snapshot, newest_snapshot
from fine_tuning.evaluation.blind_trial import BlindTrial
from fine_tuning.evaluation.cache import ResultCache
from fine_tuning.evaluation.canaries import read_canaries
from fine_tuning.evaluation.contamination import ContaminationReport, find_contamination
from fine_tuning.evaluation.evaluator import REPLY_METRICS
from fine_tuning.evaluation.gate import OLD_SUITE, Margins
from fine_tuning.evaluation.probes import PROBE_FILE, read_probe_items
from fine_tuning.evaluation.questions import Question, read_questions
from fine_tuning.storage.atomic import write_file
from fine_tuning.workbench.evaluation import (
    EvaluationReport,
    GateSettings,
    evaluate,
    with_provenance,
)
from fine_tuning.workbench.measuring import Candidate, EvaluationTask
from fine_tuning.workbench.models import Models
from fine_tuning.workbench.preferring import JudgeModel, asking, reply_pairs, user_choices
from fine_tuning.workbench.report import evaluation_page
from fine_tuning.workbench.served_models import ServedModels

BASE = "base"
REPORT_FILE = "evaluation.html"
CACHE_FILE = "evaluation_cache.db"
QUESTIONS_FILE = "questions.jsonl"


class Judging(Models):
    """What a user asks about a run."""

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
        """Evaluate a run on its test split, against its base or an earlier run of it.

        What is known from before is not computed again: a killed evaluation goes on. The report
        is also written into the run's folder, the verdict into the registry.

        Args:
            run_name: The run to judge.
            against: ``base``, or another run on the same base model.
            beside: Further runs (or ``base``) shown on the same items; the verdict ignores them.
            questions: Asked of all; None takes ``questions.jsonl`` of the run's workspace.
            prompts: Answered side by side; None takes those of the settings.
            judge: A model that says blindly which replies are better; votes always count.
            served: Take the replies from where the models are deployed, Ollama or the embedded
                runtime, under the names a chatbot asks for; likelihoods stay the engine's.

        Raises:
            DataError: if the test split is empty, or the runs have different bases.
            DeploymentError: if ``served`` and one of the runs is not deployed.
        """
        run = self.find_run(run_name)
        questions = own_questions(run.folder.parents[1]) if questions is None else questions
        others = {name: self._run_beside(name, run) for name in (against, *beside)}
        data = self._measured_on(run, others)
        task, contamination = self._task(run, data, others, questions, prompts)
        models = [candidate_of(other) for other in (*others.values(), run)]
        places = self._served([*others.values(), run]) if served else None
        report = evaluate(
            task,
            models,
            gate=self._gate(),
            ask=asking(self._judge_model(judge), _votes_file(run, against)),
            served=places,
            progress=self.progress,
        )
        about = self._provenance(task, models, data, places)
        report = with_provenance(report, about, contamination)
        _write(report, run)
        self.record_verdict(run, report.verdict.to_dict(), _metrics(report))
        return report

    def report_file(self, run_name: str) -> Path:
        """Return where the page of a run's last evaluation lies; its Markdown lies beside it."""
        return self.find_run(run_name).folder / REPORT_FILE

    def blind_trial(self, run_name: str, *, against: str = BASE) -> BlindTrial:
        """Return the replies of a finished evaluation, for a person to compare blindly.

        Raises:
            DataError: if the run was not evaluated against that model, or gave no replies.
        """
        run = self.find_run(run_name)
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

    def _served(self, runs: Sequence[Run | None]) -> ServedModels:
        """Find where runs answer on the runtime, and their base."""
        switcher = self.switcher()
        versions = {run.run_id: self.register_run(run) for run in runs if run is not None}
        places = {name: switcher.served_as(version) for name, version in versions.items()}
        newest = next(reversed(versions.values()))
        places[BASE] = switcher.served_as(newest, base=True)
        return ServedModels(self.target(), places, threads=self.settings.training.threads)

    def _judge_model(self, name: str) -> JudgeModel | None:
        if not name:
            return None
        return JudgeModel(
            base=self.base_model(name),
            threads=self.settings.training.threads,
            cache=ResultCache(self.workspace.home / CACHE_FILE),
            choices=user_choices(preference_pairs(self.store)),
            progress=self.progress,
        )

    def _task(
        self,
        run: Run,
        data: Snapshot,
        others: Mapping[str, Run | None],
        questions: Sequence[Question],
        prompts: Sequence[str] | None,
    ) -> tuple[EvaluationTask, ContaminationReport]:
        """Gather what models are measured on, without what the candidate has seen."""
        settings = self.settings.evaluation
        held_out, train = data.split("test"), data.split("train")
        contamination = _contamination(held_out.sources, questions, train.sources)
        kept = contamination.kept
        sources = [source for source in held_out.sources if source.id in kept]
        examples = [example for example in held_out.examples if example.example_id in kept]
        canary_file = settings.canary_file
        return (
            EvaluationTask(
                base=self.base_of(run),
                examples=examples,
                target_bytes=_target_bytes(examples, sources),
                sources=_chosen(sources, settings.max_replies),
                questions=[question for question in questions if question.id in kept],
                prompts=settings.test_prompts if prompts is None else prompts,
                probes=read_probe_items() if settings.ability_probe else (),
                canaries=read_canaries(self.workspace.resolve(canary_file)) if canary_file else (),
                old=self._old_splits(data, others),
                old_questions=self._old_questions(),
                metrics=_reply_metrics((*settings.metrics, settings.primary_metric)),
                max_reply_tokens=settings.max_reply_tokens,
                threads=self.settings.training.threads,
                cache=ResultCache(self.workspace.home / CACHE_FILE),
            ),
            contamination,
        )

    def _measured_on(self, run: Run, others: Mapping[str, Run | None]) -> Snapshot:
        """Return the data set whose test split decides: the run's own.

        An adapter from elsewhere has none: it takes that of a run beside it, else the newest of
        the workspace that was made for its base.

        Raises:
            DataError: if there is none, or it is damaged.
        """
        if run.snapshot:
            return self.data_of(run)
        for other in others.values():
            if other is not None and other.snapshot:
                return self.data_of(other)
        digest = run.base_digest
        newest = newest_snapshot(self.workspace.datasets, digest)
        if newest is None:
            raise DataError(
                f"run {run.run_id} came without a data set, and {self.workspace.datasets} has none "
                f"for its base {run.base_name}, expected conversations to measure it on",
                next_command=f"fine-tuning prepare --base {run.base_name}",
            )
        return newest

    def _old_splits(
        self, data: Snapshot, others: Mapping[str, Run | None]
    ) -> dict[str, Sequence[TokenizedExample]]:
        """Return the test splits earlier runs were judged on, where they are not this one's."""
        found: dict[str, Sequence[TokenizedExample]] = {}
        for other in others.values():
            if other is not None and other.snapshot not in ("", data.name):
                examples = self.data_of(other).split("test").examples
                seen = {e.conversation_id for e in data.split("train").examples}
                unseen = [e for e in examples if e.conversation_id not in seen and e.num_targets]
                if unseen:
                    found[f"{OLD_SUITE}/{other.run_id}"] = unseen
        return found

    def _old_questions(self) -> dict[str, Sequence[Question]]:
        files = [self.workspace.resolve(name) for name in self.settings.evaluation.suite_files]
        return {f"{OLD_SUITE}/{file.stem}": read_questions(file) for file in files}

    def _gate(self) -> GateSettings:
        settings = self.settings.evaluation
        margins = Margins(
            ability=settings.max_ability_loss,
            skill=settings.max_skill_loss,
            tasks=settings.max_tasks_loss,
            stop_rate=settings.max_stop_rate_loss,
            facts=settings.max_fact_loss,
        )
        seed = self.settings.training.seed
        return GateSettings(primary=settings.primary_metric, margins=margins, seed=seed)

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
            "settings": self.settings.evaluation.model_dump(mode="json"),
            "seed": self.settings.training.seed,
        }

    def _run_beside(self, name: str, run: Run) -> Run | None:
        """Return a run to compare with; None for the base."""
        if name == BASE:
            return None
        other = self.find_run(name)
        if other.base_digest != run.base_digest:
            raise DataError(
                f"run {other.run_id} has base {other.base_name} and run {run.run_id} has "
                f"{run.base_name}, expected runs on the same base"
            )
        return other


def own_questions(home: Path) -> Sequence[Question]:
    """Return the questions that lie in a workspace, if there are any."""
    own = home / QUESTIONS_FILE
    return read_questions(own) if own.is_file() else ()


def _reply_metrics(names: Sequence[str]) -> list[str]:
    """Return those of the names that are measured on replies, each once."""
    asked = dict.fromkeys("rouge" if name == "rougeL" else name for name in names)
    return [name for name in asked if name in REPLY_METRICS]


def _write(report: EvaluationReport, run: Run) -> None:
    """Write the report into the run's folder, for machines and for people."""
    page = evaluation_page(report, iso(SystemClock().now()))
    write_file(run.evaluation_path, canonical_json(report.to_dict()).encode())
    write_file(run.folder / REPORT_FILE, page.to_html().encode())
    write_file((run.folder / REPORT_FILE).with_suffix(".md"), page.to_markdown().encode())


def _votes_file(run: Run, against: str) -> Path:
    return run.folder / f"votes-{against}.jsonl"


def candidate_of(run: Run | None) -> Candidate:
    """Return a run as a model to measure; None is the base."""
    if run is None:
        return Candidate(name=BASE)
    from fine_tuning.engine.adapter_files import read_gguf_adapter  # noqa: PLC0415 - torch is slow to load

    return Candidate(
        name=run.run_id,
        adapter_path=run.adapter_file,
        adapter=read_gguf_adapter(run.adapter_file),
        adapter_name=run.adapter_name,
        training=run.manifest.get("metrics", {}),
    )


def _chosen(sources: Sequence[Example], limit: int) -> list[Example]:
    """Return at most so many examples, always the same ones, in their order."""
    drawn = {source.id for source in sorted(sources, key=lambda s: unit_interval(s.id))[:limit]}
    return [source for source in sources if source.id in drawn]


def _target_bytes(
    examples: Sequence[TokenizedExample], sources: Sequence[Example]
) -> list[int] | None:
    """Return the UTF-8 bytes of the text each sequence asks for, or None where it is not known.

    A sequence holds the next replies of its example, one for each run of its mask.
    """
    texts = {
        source.id: [source.messages[target].text for target in source.targets] for source in sources
    }
    sizes = []
    for example in examples:
        left = texts.get(example.example_id, [])
        num_runs = sum(
            bit and not before
            for before, bit in zip((0, *example.mask), example.mask, strict=False)
        )
        own, texts[example.example_id] = left[:num_runs], left[num_runs:]
        size = sum(len(text.encode()) for text in own)
        if len(own) < num_runs or (num_runs and not size):
            return None
        sizes.append(size)
    return sizes


def _contamination(
    held_out: Sequence[Example], questions: Sequence[Question], train: Sequence[Example]
) -> ContaminationReport:
    """Look for what is asked in the test in what was asked in training.

    Only the words of the person count: a right answer may well be one that was learnt.
    """
    items = {source.id: _asked(source) for source in held_out}
    items |= {question.id: question.question for question in questions}
    return find_contamination(items, ((source.id, _asked(source)) for source in train))


def _asked(example: Example) -> str:
    return "\n".join(message.text for message in example.messages if message.role == "user")


def _metrics(report: EvaluationReport) -> dict[str, Any]:
    """Return the numbers a version is known by, beside those of training."""
    return {
        f"held_out_{name}": {"reference": getattr(before, name), "candidate": getattr(after, name)}
        for name in ("loss", "perplexity", "accuracy")
        for before, after in [report.held_out]
    }
