"""What a user can do, one method per intention; command line and pages only call and show.

A workbench belongs to one workspace and one set of settings. Methods return values; progress is
told to the callback, a run's events to the listener.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.clock import SystemClock
from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import ConfigError, DataError, ModelNotFoundError, TrainingError
from fine_tuning.core.naming import canonical_json
from fine_tuning.core.ports import Progress, RunListener
from fine_tuning.data_collection.conversation_logger import ConversationLogger
from fine_tuning.data_collection.data_cleaner import CleaningReport, DataCleaner
from fine_tuning.data_collection.data_export import DataExporter
from fine_tuning.data_collection.importing import read_conversations
from fine_tuning.data_preparation.dataset_builder import DatasetBuilder, Ratios
from fine_tuning.data_preparation.snapshot import Snapshot, folder_name, load_snapshot
from fine_tuning.evaluation.questions import Question
from fine_tuning.runtimes.base_model import BaseModel, resolve_base_model
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.storage.atomic import write_file
from fine_tuning.storage.open_store import open_store
from fine_tuning.training.adapter_run import BaseModel as TrainingBase
from fine_tuning.training.events_file import Listeners
from fine_tuning.training.lora_trainer import LoRATrainer
from fine_tuning.training.plan import TrainingData
from fine_tuning.training.qlora_trainer import QLoRATrainer
from fine_tuning.training.run import Listening
from fine_tuning.training.run_folder import RunFolder, TrainedRun
from fine_tuning.workbench.evaluation import (
    Candidate,
    EvaluationReport,
    EvaluationTask,
    evaluate,
)
from fine_tuning.workbench.plans import training_plan
from fine_tuning.workbench.process import be_a_good_neighbour
from fine_tuning.workbench.runs import DEMO, FinishedRun, find_run

TRAINERS = {"lora": LoRATrainer, "qlora": QLoRATrainer}
CHAT_CONTEXT_TOKENS = 4096
EVALUATION_FILE = "evaluation.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What a file gave: conversations new to the log, those there before, lines passed over."""

    num_new: int
    num_known: int
    skipped: tuple[str, ...]


class Workbench:
    """One user's tools.

    Args:
        settings: The settings in force.
        workspace: Where the user's data lies.
        progress: Told how far long work is.
    """

    def __init__(
        self, settings: Settings, workspace: Workspace, progress: Progress | None = None
    ) -> None:
        be_a_good_neighbour()
        self.settings = settings
        self.workspace = workspace
        self.progress = progress

    # Conversations

    def logger(self) -> ConversationLogger:
        """Return a logger of a new session in the workspace's log."""
        return ConversationLogger(self.workspace.conversations)

    def conversations(self) -> list[Conversation]:
        """Return all recorded conversations.

        Raises:
            DataError: if there are none.
        """
        found = list(open_store(self.workspace.conversations).conversations())
        if not found:
            raise DataError(
                f"No conversations to train on: {self.workspace.conversations} holds none",
                next_command="fine-tuning chat, or fine-tuning import FILE",
            )
        return found

    def import_file(self, path: Path) -> ImportReport:
        """Add a file's conversations to the log; importing it twice adds nothing.

        Raises:
            DataError: if the file cannot be read as conversations.
            StorageError: if the log cannot be written.
        """
        store = open_store(self.workspace.conversations)
        known = {conversation.id for conversation in store.conversations()}
        reader = read_conversations(path)
        num_new = num_known = 0
        for conversation in reader:
            store.append(conversation)
            if conversation.id in known:
                num_known += 1
            else:
                num_new += 1
                known.add(conversation.id)
        skipped = tuple(f"line {item.line}: {item.reason}" for item in reader.skipped)
        if not num_new + num_known:
            first = f"; {skipped[0]}" if skipped else ""
            raise DataError(
                f"{path} holds no conversation in {len(skipped)} lines, expected one JSON object a "
                f"line: a log, ft/1, ChatML, Alpaca or instruction records{first}"
            )
        return ImportReport(num_new=num_new, num_known=num_known, skipped=skipped)

    def clean(self) -> CleaningReport:
        """Clean the recorded conversations by the settings; the log itself stays as it is."""
        collection = self.settings.data_collection
        cleaner = DataCleaner(
            min_length=collection.min_conversation_length,
            max_length=collection.max_conversation_length,
        )
        return cleaner.clean(self.conversations())

    def export(self, folder: Path | None = None) -> dict[str, Path]:
        """Write the clean conversations in every format; return the files by format."""
        exporter = DataExporter(folder or self.workspace.exports)
        return exporter.export_all_formats(self.clean().kept)

    def export_if_due(self) -> dict[str, Path]:
        """Export if the settings ask for it and ``export_interval`` more were recorded.

        Returns:
            The files by format; empty when it was not the time.
        """
        collection = self.settings.data_collection
        if not collection.auto_export:
            return {}
        store = open_store(self.workspace.conversations)
        count = sum(1 for _ in store.conversations())
        return self.export() if count and count % collection.export_interval == 0 else {}

    # Data sets

    def base_model(self, name: str | None = None) -> BaseModel:
        """Find a base model, by default that of the settings."""
        return resolve_base_model(name or self.settings.training.base_model)

    def prepare(self, base: BaseModel | None = None) -> Snapshot:
        """Build the data set of a base model from the clean conversations.

        Raises:
            DataError: if nothing is left to train on.
        """
        base = base or self.base_model()
        report, preparation = self.clean(), self.settings.data_preparation
        if not report.kept:
            reasons = ", ".join(f"{n} {why}" for why, n in report.counts["dropped"].items())
            raise DataError(
                f"No conversations to train on: cleaning dropped all of them ({reasons})",
                next_command="fine-tuning clean",
            )
        with self.open_model(base) as server:
            builder = DatasetBuilder(
                server.tokenizer,
                server.renderer,
                max_length=preparation.max_length,
                ratios=Ratios(
                    train=preparation.train_ratio,
                    validation=preparation.validation_ratio,
                    test=preparation.test_ratio,
                ),
                seed=self.settings.training.seed,
                base_model={"name": base.name, "digest": base.digest()},
            )
            return builder.build(report.kept, self.workspace.datasets, progress=self.progress)

    def snapshot(self, name: str) -> Snapshot:
        """Open a data set by its content name or folder.

        Raises:
            DataError: if it is missing or damaged.
        """
        known = self.workspace.datasets / folder_name(name)
        return load_snapshot(known if known.is_dir() else Path(name))

    # Training

    def train(
        self,
        snapshot: Snapshot | None = None,
        *,
        run_id: str = "",
        listener: RunListener | None = None,
    ) -> TrainedRun:
        """Train an adapter.

        Args:
            snapshot: What to learn; None prepares the recorded conversations first.
            run_id: The run's name; "" makes one from the time.
            listener: Hears the run's events.

        Raises:
            FineTuningError: as preparing and the trainer raise.
        """
        base = self.base_model()
        snapshot = snapshot or self.prepare(base)
        made_for = dict(snapshot.manifest.get("base_model") or {})
        if made_for.get("digest") not in (None, base.digest()):
            raise DataError(
                f"data set {snapshot.name} was tokenized for {made_for.get('name')}, "
                f"expected one made for {base.name}",
                next_command="fine-tuning prepare",
            )
        data = TrainingData(
            train=snapshot.split("train").examples,
            validation=snapshot.split("validation").examples,
            snapshot=snapshot.name,
        )
        name = run_id or SystemClock().now().strftime("%Y%m%d-%H%M%S")
        return TRAINERS[self.settings.training.method](training_plan(self.settings.training)).train(
            data,
            TrainingBase(path=base.path, name=base.name, digest=base.digest()),
            self._run_folder(name),
            _listening(listener),
        )

    def resume(self, run_id: str, listener: RunListener | None = None) -> TrainedRun:
        """Go on with an interrupted run; its own settings hold.

        Raises:
            TrainingError: if there is no such run, or it cannot go on.
        """
        folder = self.workspace.runs / run_id
        if not folder.is_dir():
            raise TrainingError(
                f"no run {run_id!r} in {self.workspace.runs}, expected one that was started there"
            )
        method = RunFolder(folder).settings().method
        return TRAINERS[method]().resume(folder, _listening(listener))

    def is_finished(self, run_id: str) -> bool:
        """Tell whether a run has its manifest."""
        return RunFolder(self.workspace.runs / run_id).manifest_path.exists()

    def _run_folder(self, name: str) -> Path:
        if Path(name).name != name or name.startswith("."):
            raise ConfigError(f"run id {name!r} is no plain folder name")
        return self.workspace.runs / name

    # Models

    def find_run(self, name: str) -> FinishedRun:
        """Find a finished run by id, start of id, folder, ``latest`` or ``demo``."""
        return find_run(self.workspace, name)

    def open_model(
        self, base: BaseModel, adapter: Path | None = None, *, name: str = ""
    ) -> EmbeddedServer:
        """Load a model into the embedded runtime under a name, by default the base's."""
        return EmbeddedServer(
            base.path,
            adapter=adapter,
            context_tokens=CHAT_CONTEXT_TOKENS,
            threads=self.settings.training.threads,
            system=base.system,
            name=name or base.name,
            reuse_prompt=True,
        )

    def open_chat(self, name: str | None) -> EmbeddedServer:
        """Load what a user wants to talk to.

        Args:
            name: A run (see :meth:`find_run`) or a base model; None takes the newest run, and
                without one the base model of the settings.

        Raises:
            ModelNotFoundError: if neither a run nor a base model has that name.
        """
        try:
            run = self.find_run(name or "latest")
        except ModelNotFoundError as no_run:
            try:
                return self.open_model(self.base_model(name))
            except ModelNotFoundError as no_base:
                if name is None:
                    raise ModelNotFoundError(
                        f"no run is finished yet, and {no_base.message}",
                        next_command="fine-tuning chat --model embedded, or fine-tuning demo",
                    ) from no_base
                if name == DEMO:
                    raise no_run from no_base
                raise ModelNotFoundError(
                    f"{no_run.message}; nor is it a base model: {no_base.message}",
                    next_command=no_base.next_command,
                ) from no_base
        base = self.base_of(run)
        return self.open_model(base, run.adapter_path, name=f"{run.run_id} on {base.name}")

    def base_of(self, run: FinishedRun) -> BaseModel:
        """Find the base model of a run, the very file it was trained on.

        Raises:
            TrainingError: if that name leads to another file by now.
        """
        base = self.base_model(run.base_name)
        if base.digest() != run.manifest["base_digest"]:
            raise TrainingError(
                f"run {run.run_id} was trained on {run.manifest['base_digest']}, and "
                f"{run.base_name} is {base.digest()} by now",
                next_command="fine-tuning train",
            )
        return base

    # Evaluation

    def evaluate(
        self,
        run_name: str,
        *,
        against: str = "base",
        questions: Sequence[Question] = (),
        prompts: Sequence[str] | None = None,
    ) -> EvaluationReport:
        """Evaluate a run on its test split, against its base or an earlier run of it.

        The report is also written into the run's folder.

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
        examples = self._data_of(run).split("test").examples
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
        return report

    def _data_of(self, run: FinishedRun) -> Snapshot:
        """Open the data set of a run, beside which the run's folder lies."""
        own = run.folder.parents[1] / "datasets" / folder_name(run.snapshot)
        return load_snapshot(own) if own.is_dir() else self.snapshot(run.snapshot)

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


def _listening(listener: RunListener | None) -> Listening:
    return Listening(listener=listener) if listener else Listening(listener=Listeners(()))


def write_json(path: Path, value: object) -> None:
    """Write a value as readable JSON, whole or not at all."""
    write_file(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())
