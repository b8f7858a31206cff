"""Does the gate tell good runs from bad ones? Four candidates on the sample handbook.

Run: python -m benchmarks.gate [folder]
Trains the demo's run, one on shuffled answers and one that learns the handbook alone until it
forgets the rest, and prints the verdict of each with what decided it. Runs that are in the folder
already are not trained again. About ten minutes on two idle cores.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.conversation import Conversation
from fine_tuning.evaluation.questions import read_questions
from fine_tuning.evaluation.verdict import Verdict
from fine_tuning.workbench.demo import DEMO_SETTINGS, SAMPLES, read_samples
from fine_tuning.workbench.workbench import Workbench

EXPECTED = {
    "proper": "promote",
    "itself": "not enough evidence",
    "shuffled": "reject",
    "forgetful": "reject",
}


def main(folder: Path) -> int:
    """Print each verdict; return how many are not what they should be."""
    wrong = 0
    for name, verdict in verdicts(folder).items():
        print(f"{name}: {verdict.outcome} (expected {EXPECTED[name]})")
        for reason in verdict.reasons:
            if reason.finding != "holds" or reason.check.startswith("primary"):
                print(f"  {reason.finding}  {reason.check}: {reason.sentence}")
        wrong += verdict.outcome != EXPECTED[name]
    return wrong


def verdicts(folder: Path) -> dict[str, Verdict]:
    """Train what is not there, and judge every candidate."""
    handbook, general = (
        read_samples(f"{name}_conversations.jsonl") for name in ("handbook", "general")
    )
    proper = trained(folder, "proper", [*handbook, *general])
    shuffled = trained(folder, "shuffled", with_shuffled_answers([*handbook, *general]))
    forgetful = trained(folder, "forgetful", handbook, num_epochs=5)
    questions = read_questions(SAMPLES / "handbook_questions.jsonl")
    return {
        "proper": proper.evaluate.evaluate("proper", questions=questions).verdict,
        "itself": proper.evaluate.evaluate("proper", against="proper", questions=questions).verdict,
        "shuffled": shuffled.evaluate.evaluate("shuffled", questions=questions).verdict,
        "forgetful": forgetful.evaluate.evaluate("forgetful", questions=questions).verdict,
    }


def trained(
    folder: Path, name: str, conversations: Sequence[Conversation], **training: Any
) -> Workbench:
    """Return a workspace with a run of its name, trained by the demo's settings."""
    changed = DEMO_SETTINGS.training.model_copy(update=training)
    settings = Settings.model_validate(
        {**DEMO_SETTINGS.model_dump(), "training": changed.model_dump()}
    )
    bench = Workbench(settings, Workspace(home=folder / name))
    if not bench.train.is_finished(name):
        store = bench.data.logger().store
        for conversation in conversations:
            store.append(conversation)
        bench.train.train(bench.data.prepare(), run_id=name)
    return bench


def with_shuffled_answers(conversations: Sequence[Conversation]) -> list[Conversation]:
    """Return the conversations with every answer behind another's question."""
    answers = [m.content for c in conversations for m in c.messages if m.role == "assistant"]
    random.Random(1).shuffle(answers)
    left = iter(answers)
    return [
        replace(
            conversation,
            messages=tuple(
                replace(message, content=next(left)) if message.role == "assistant" else message
                for message in conversation.messages
            ),
        )
        for conversation in conversations
    ]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(main(Path(scratch)))
