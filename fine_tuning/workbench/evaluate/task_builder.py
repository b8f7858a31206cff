"""What models of one base are measured on: held-out conversations, questions, probes, canaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fine_tuning.core.errors import DataError
from fine_tuning.core.example import Example, TokenizedExample
from fine_tuning.core.naming import unit_interval
from fine_tuning.core.run import Run
from fine_tuning.data_preparation.snapshot import Snapshot, newest_snapshot
from fine_tuning.data_preparation.splits import MIN_CONVERSATIONS_FOR_ALL_SPLITS
from fine_tuning.evaluation.cache import ResultCache
from fine_tuning.evaluation.canaries import read_canaries
from fine_tuning.evaluation.contamination import ContaminationReport, find_contamination
from fine_tuning.evaluation.evaluator import REPLY_METRICS
from fine_tuning.evaluation.gate import OLD_SUITE, PRIMARY_SUITES
from fine_tuning.evaluation.probes import read_probe_items
from fine_tuning.evaluation.questions import Question, read_questions
from fine_tuning.workbench.base_models import BaseModels
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.datasets import Datasets
from fine_tuning.workbench.evaluate.evaluation_runner import Candidate, EvaluationTask

BASE = "base"
HELD_OUT_SUITES = ("held_out", "replies")
CACHE_FILE = "evaluation_cache.db"


class TaskBuilder:
    """Gathers what models are measured on.

    Args:
        context: Settings and workspace.
        bases: The base models of runs.
        datasets: The data sets of runs.
    """

    def __init__(self, context: Context, bases: BaseModels, datasets: Datasets) -> None:
        self._context = context
        self._bases = bases
        self._datasets = datasets

    @property
    def cache(self) -> ResultCache:
        """Where results are kept by content."""
        return ResultCache(self._context.workspace.home / CACHE_FILE)

    def build(
        self,
        run: Run,
        data: Snapshot,
        others: Mapping[str, Run | None],
        questions: Sequence[Question],
        prompts: Sequence[str] | None,
    ) -> tuple[EvaluationTask, ContaminationReport]:
        """Gather what models are measured on, without what the candidate has seen."""
        settings = self._context.settings.evaluation
        held_out, train = data.split("test"), data.split("train")
        contamination = _contamination(held_out.sources, questions, train.sources)
        kept = contamination.kept
        sources = [source for source in held_out.sources if source.id in kept]
        examples = [example for example in held_out.examples if example.example_id in kept]
        canary_file = settings.canary_file
        return (
            EvaluationTask(
                base=self._bases.of_run(run),
                examples=examples,
                target_bytes=_target_bytes(examples, sources),
                sources=_chosen(sources, settings.max_replies),
                questions=[question for question in questions if question.id in kept],
                prompts=settings.test_prompts if prompts is None else prompts,
                probes=read_probe_items() if settings.ability_probe else (),
                canaries=read_canaries(self._context.workspace.resolve(canary_file))
                if canary_file
                else (),
                old=self._old_splits(data, others),
                old_questions=self._old_questions(),
                metrics=_reply_metrics((*settings.metrics, settings.primary_metric)),
                max_reply_tokens=settings.max_reply_tokens,
                threads=self._context.settings.training.threads,
                context_tokens=run.context_tokens,
                cache=self.cache,
            ),
            contamination,
        )

    def check_held_out(self, task: EvaluationTask, data: Snapshot, primary: str) -> None:
        """Check that there is something to measure the primary metric on.

        Args:
            task: What models would be measured on.
            data: The data set its held-out conversations are from.
            primary: The metric that decides.

        Raises:
            DataError: if it needs held-out conversations, and there are none.
        """
        if PRIMARY_SUITES.get(primary) not in HELD_OUT_SUITES or task.examples:
            return
        held_out = data.split("test").examples
        kept = data.manifest.get("conversations", {}).get("kept", 0)
        if held_out:
            said = (
                f"all {len(held_out)} held-out sequences of data set {data.name} stand in its "
                "training data, too, so that they measure nothing"
            )
        else:
            said = (
                f"nothing was held out of data set {data.name} to measure {primary!r} on: it has "
                f"{kept} of the {MIN_CONVERSATIONS_FOR_ALL_SPLITS} different conversations that "
                "fill every split"
            )
        lacking = max(1, MIN_CONVERSATIONS_FOR_ALL_SPLITS - int(kept))
        raise DataError(
            said,
            next_command=f"collect or import {lacking} more different conversations, then "
            "fine-tuning train; or measure it on test questions: --questions FILE --set "
            "evaluation.primary_metric=fact_recall",
        )

    def measured_on(self, run: Run, others: Mapping[str, Run | None]) -> Snapshot:
        """Return the data set whose test split decides: the run's own.

        An adapter from elsewhere has none: it takes that of a run beside it, else the newest of
        the workspace that was made for its base.

        Raises:
            DataError: if there is none, or it is damaged.
        """
        if run.snapshot:
            return self._datasets.of_run(run)
        for other in others.values():
            if other is not None and other.snapshot:
                return self._datasets.of_run(other)
        digest = run.base_digest
        newest = newest_snapshot(self._context.workspace.datasets, digest)
        if newest is None:
            raise DataError(
                f"run {run.run_id} came without a data set, and "
                f"{self._context.workspace.datasets} has none for its base {run.base_name}, "
                "expected conversations to measure it on",
                next_command=f"fine-tuning prepare --base {run.base_name}",
            )
        return newest

    def _old_splits(
        self, data: Snapshot, others: Mapping[str, Run | None]
    ) -> dict[str, Sequence[TokenizedExample]]:
        """Return the test splits earlier runs were evaluated on, where they are not this one's."""
        found: dict[str, Sequence[TokenizedExample]] = {}
        for other in others.values():
            if other is not None and other.snapshot not in ("", data.name):
                examples = self._datasets.of_run(other).split("test").examples
                seen = {e.conversation_id for e in data.split("train").examples}
                unseen = [e for e in examples if e.conversation_id not in seen and e.num_targets]
                if unseen:
                    found[f"{OLD_SUITE}/{other.run_id}"] = unseen
        return found

    def _old_questions(self) -> dict[str, Sequence[Question]]:
        files = [
            self._context.workspace.resolve(name)
            for name in self._context.settings.evaluation.suite_files
        ]
        return {f"{OLD_SUITE}/{file.stem}": read_questions(file) for file in files}


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


def _reply_metrics(names: Sequence[str]) -> list[str]:
    """Return those of the names that are measured on replies, each once."""
    asked = dict.fromkeys("rouge" if name == "rougeL" else name for name in names)
    return [name for name in asked if name in REPLY_METRICS]


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
