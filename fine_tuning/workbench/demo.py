"""The whole loop on the sample handbook and the embedded model, measured stage by stage.

The company and its handbook are fictional, so the base model cannot know a single answer; the
questions at the end are worded unlike anything in the training data.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.conversation import Conversation, Message, Part
from fine_tuning.core.extras import require_all
from fine_tuning.core.ports import Progress, RunListener, Sampling
from fine_tuning.core.run import Run
from fine_tuning.data_collection.data_cleaner import CleaningReport
from fine_tuning.data_preparation.formatter import TrainingDataFormatter
from fine_tuning.data_preparation.snapshot import Snapshot
from fine_tuning.evaluation.evaluation_report import EvaluationReport
from fine_tuning.evaluation.questions import Question, read_questions
from fine_tuning.evaluation.results import SideBySide
from fine_tuning.storage.atomic import write_file
from fine_tuning.workbench.evaluate.question_file import QUESTIONS_FILE
from fine_tuning.workbench.process import CostMeter, StageCost
from fine_tuning.workbench.workbench import Workbench

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
RUN_ID = "handbook"
SUMMARY_FILE = "summary.json"
NUM_SHOWN = 3

DEMO_SETTINGS = Settings.model_validate(
    {
        "data_preparation": {
            "max_length": 512,
            # Few conversations carry each fact, so fewer than usual are held out.
            "train_ratio": 0.88,
            "validation_ratio": 0.02,
            "test_ratio": 0.1,
        },
        "training": {
            "base_model": "embedded",
            # Found by measurement on this data (docs/LOG.md): facts need a larger rate than tone.
            "learning_rate": 2e-3,
            "num_epochs": 3,
            "early_stopping_patience": None,
            # Most chats are short: eight of them at a time unpack the weights half as often.
            "batch_size": 8,
            "warmup_ratio": 0.05,
            # The embedded runtime, which answers here, takes plain adapters.
            "adapter": "lora",
        },
        # `fine-tuning compare base demo` also answers the held-out chats and probes general
        # abilities: another two minutes.
        "evaluation": {"max_reply_tokens": 48, "max_replies": 0, "ability_probe": False},
    }
)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo did and found."""

    home: Path
    cleaning: CleaningReport
    snapshot: Snapshot
    run: Run
    evaluation: EvaluationReport
    chat: str
    costs: Sequence[StageCost]

    @property
    def loss_ratio(self) -> float:
        """Held-out loss of the tuned model, as a share of the base's."""
        before, after = self.evaluation.held_out
        return after.loss / before.loss

    @property
    def shown(self) -> list[SideBySide]:
        """A few questions with both replies; those come first that only the tuned model knew."""
        if self.evaluation.questions is None:
            return []
        before, after = (result.answers for result in self.evaluation.questions)
        pairs = sorted(zip(before, after, strict=True), key=lambda p: p[0].is_right - p[1].is_right)
        step = max(1, len(pairs) // (2 * NUM_SHOWN))
        return [
            SideBySide(
                prompt=one.question.question, replies={"base": one.reply, "tuned": other.reply}
            )
            for one, other in pairs[: step * NUM_SHOWN : step]
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain JSON values."""
        before, after = self.evaluation.held_out
        question_results = self.evaluation.questions
        return {
            "held_out_loss": {"base": before.loss, "tuned": after.loss, "ratio": self.loss_ratio},
            "perplexity": {"base": before.perplexity, "tuned": after.perplexity},
            "token_accuracy": {"base": before.accuracy, "tuned": after.accuracy},
            "facts_right": question_results
            and {
                "base": question_results[0].fact_recall,
                "tuned": question_results[1].fact_recall,
                "num_questions": len(question_results[0].answers),
            },
            "verdict": self.evaluation.verdict.to_dict(),
            "cleaning": self.cleaning.counts,
            "snapshot": {"name": self.snapshot.name, "folder": str(self.snapshot.path)},
            "run": {
                "run_id": self.run.run_id,
                "folder": str(self.run.folder),
                "adapter": str(self.run.adapter_dir),
                **asdict(self.run.metrics),
            },
            "stages": [asdict(cost) for cost in self.costs],
            "total_time_s": sum(cost.time_s for cost in self.costs),
            "peak_memory_bytes": max(cost.peak_memory_bytes for cost in self.costs),
            "shown": [pair.to_dict() for pair in self.shown],
            "chat": self.chat,
            "home": str(self.home),
        }


def run_demo(
    home: Path,
    *,
    settings: Settings = DEMO_SETTINGS,
    listener: RunListener | None = None,
    progress: Progress | None = None,
    on_stage: Callable[[str], None] = lambda _: None,
) -> DemoResult:
    """Run the whole loop in a folder of its own; what an earlier demo left there is replaced.

    Args:
        home: The demo's workspace; ``summary.json`` is written into it at the end.
        settings: The demo's settings; tests make it shorter.
        listener: Hears the training run's events.
        progress: Told how far long work is.
        on_stage: Told the name of each stage as it begins.

    Raises:
        MissingDependencyError: if the extra ``train`` or ``evaluate`` is not installed.
        FineTuningError: as the stages raise.
    """
    require_all("train", "evaluate")  # said before minutes of work, not after
    _remove_earlier(home)
    bench = Workbench(settings, Workspace(home=home), progress)
    meter = CostMeter(on_stage)
    with meter.stage("log conversations"):
        log_samples(bench)
        questions_file = _placed_questions(home)
    with meter.stage("clean"):
        cleaning = bench.data.clean()
    with meter.stage("export and format"):
        bench.data.export()
        format_pairs(bench, cleaning.kept)
    with meter.stage("build data set"):
        snapshot = bench.data.prepare()
    with meter.stage("train and export adapter"):
        run = bench.train.train(snapshot, run_id=RUN_ID, listener=listener)
    with meter.stage("evaluate"):
        questions = read_questions(questions_file)
        evaluation = bench.evaluate.evaluate(RUN_ID, prompts=())
    with meter.stage("chat with the tuned model"):
        chat = ask_once(bench, questions[0])
    stages = (cleaning, snapshot, run, evaluation, chat)
    result = DemoResult(home, *stages, costs=tuple(meter.costs))
    _write_json(home / SUMMARY_FILE, result.to_dict())
    return result


def _placed_questions(home: Path) -> Path:
    """Put the questions where every later evaluation of the demo's runs finds them."""
    return Path(shutil.copy(SAMPLES / "handbook_questions.jsonl", home / QUESTIONS_FILE))


def log_samples(bench: Workbench) -> None:
    """Log the handbook turn by turn, as a chatbot does, and the other records as they are.

    In the general conversations the model itself has answered, so that it goes on doing what it
    could do before; the messy ones are for the cleaner.
    """
    logger = bench.data.logger()
    for conversation in read_samples("handbook_conversations.jsonl"):
        turns = conversation.path()
        for asked, reply in zip(turns[::2], turns[1::2], strict=True):
            notes = dict(conversation.metadata)
            logger.log_conversation(asked.text, reply.text, notes, session_id=conversation.id)
    for name in ("general_conversations.jsonl", "messy_conversations.jsonl"):
        for conversation in read_samples(name):
            logger.store.append(conversation)


def read_samples(name: str) -> list[Conversation]:
    """Read one of the sample files of conversations."""
    lines = (SAMPLES / name).read_text(encoding="utf-8").splitlines()
    return [Conversation.from_dict(json.loads(line)) for line in lines]


def format_pairs(bench: Workbench, conversations: Sequence[Conversation]) -> int:
    """Write the training pairs in the format of the settings; return how many."""
    kind = bench.context.settings.data_preparation.format_type
    pairs = TrainingDataFormatter(kind).create_training_pairs(conversations)
    _write_json(bench.context.workspace.exports / f"training_pairs_{kind}.json", pairs)
    return len(pairs)


def ask_once(bench: Workbench, question: Question) -> str:
    """Load base and adapter as the chat does and stream one reply."""
    with bench.models.access.open_chat(RUN_ID) as server:
        message = Message(id="0", role="user", content=(Part(text=question.question),))
        limit = bench.context.settings.evaluation.max_reply_tokens
        return "".join(server.chat_model.reply([message], Sampling(max_tokens=limit)))


def _remove_earlier(home: Path) -> None:
    """Remove what a demo makes, and nothing else a user may have put there."""
    workspace = Workspace(home=home)
    for folder in (workspace.exports, workspace.datasets, workspace.runs, workspace.models):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (workspace.conversations, home / SUMMARY_FILE, home / QUESTIONS_FILE):
        file.unlink(missing_ok=True)


def _write_json(path: Path, value: object) -> None:
    """Write a value as readable JSON, whole or not at all."""
    write_file(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())
