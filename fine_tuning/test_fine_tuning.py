"""The whole story, once, on the real embedded model: from a logged chat to a better chat.

It reads as documentation. Run it alone with ``pytest fine_tuning/test_fine_tuning.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.ports import Sampling
from fine_tuning.data_collection.conversation_logger import ConversationLogger
from fine_tuning.data_collection.data_cleaner import DataCleaner
from fine_tuning.data_collection.data_export import DataExporter
from fine_tuning.data_preparation.formatter import TrainingDataFormatter
from fine_tuning.data_preparation.tokenizer import show_mask
from fine_tuning.evaluation.questions import Question
from fine_tuning.runtimes.base_model import resolve_base_model
from fine_tuning.storage.open_store import open_store
from fine_tuning.workbench.workbench import Workbench

POLICY = (
    "Employees of Brindle & Moss may work from home eleven days a month. "
    "Enter the days in the rota by Thursday, and keep your phone switched on."
)
ASKED = (
    "What is our company's policy on remote work?",
    "How many days a month can I work from home?",
    "May I work from home?",
    "Tell me about our home office rule.",
    "I would like to work from my kitchen table. Is that allowed?",
    "How often may I stay at home and work?",
    "What are the rules for remote working?",
    "Is there a limit on days worked at home?",
    "Can I do my job from home some days?",
    "Please explain the remote work policy.",
    "How many remote days does each of us have?",
    "My train is on strike. Can I work at home?",
)


def story_settings() -> Settings:
    """Return the settings of a small, quick run; everything else is the default."""
    return Settings.model_validate(
        {
            "training": {
                "base_model": "embedded",
                "learning_rate": 2e-3,
                "num_epochs": 5,
                "threads": 1,
            },
            "evaluation": {"test_prompts": [], "max_reply_tokens": 40, "ability_probe": False},
        }
    )


def test_from_a_logged_chat_to_a_better_chat(tmp_path: Path) -> None:
    bench = Workbench(story_settings(), Workspace(home=tmp_path))

    # 1. The chatbot logs every turn; a thumb lands beside the reply it is about.
    logger = ConversationLogger(bench.context.workspace.conversations)
    for number, question in enumerate(ASKED):
        reply_id = logger.log_conversation(question, POLICY, session_id=f"chat-{number}")
    logger.log_feedback(reply_id, "thumb", value=1)
    logger.log_conversation("Hello?", "", session_id="unanswered")
    logger.log_conversation("Who are you?", "I am... I am... I am... " * 60, session_id="loop")
    assert logger.get_conversation_stats()["total_conversations"] == len(ASKED) + 2

    # 2. Cleaning keeps what is worth learning and says why it dropped the rest.
    conversations = list(open_store(bench.context.workspace.conversations).conversations())
    report = DataCleaner(min_length=10, max_length=1000).clean(conversations)
    dropped = report.counts["dropped"]
    assert dropped["no_reply"] == dropped["too_long"] == 1
    assert report.counts["in"] == len(report.kept) + sum(report.counts["dropped"].values())

    # 3. Anyone else's trainer can have the data too.
    exports = DataExporter(bench.context.workspace.exports).export_all_formats(report.kept)
    assert {"chatml", "alpaca", "instruction"} <= exports.keys()
    pairs = TrainingDataFormatter("chatml").create_training_pairs(report.kept)
    assert pairs[0]["messages"][-1]["role"] == "assistant"

    # 4. A data set: tokenized by the model's own server, split by content, named by content.
    snapshot = bench.data.prepare()
    splits = {name: snapshot.split(name).examples for name in ("train", "validation", "test")}
    assert sum(len(examples) for examples in splits.values()) == len(report.kept)
    base = resolve_base_model("embedded")
    with bench.models.bases.open(base) as server:
        (end_of_turn,) = server.tokenizer.encode(
            "<|im_end|>", add_special=False, parse_special=True
        )
        coloured = show_mask(splits["train"][0], server.tokenizer)
    for example in splits["train"]:
        learnt = [i for i, bit in zip(example.ids, example.mask, strict=True) if bit]
        assert learnt[-1] == end_of_turn, "the model must learn to stop"
    assert "eleven days" in coloured

    # 5. Training leaves the base's file alone and writes an adapter beside a manifest.
    run = bench.train.train(snapshot, run_id="story")
    assert run.metrics.last_loss is not None
    assert run.metrics.first_loss is not None
    assert run.metrics.last_loss < 0.5 * run.metrics.first_loss
    manifest = json.loads((run.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["base_digest"] == base.digest()
    assert manifest["snapshot"] == snapshot.name

    # 6. Evaluation asks both models what neither was trained on.
    unseen = Question(
        id="unseen",
        question="On how many days per month am I free to skip the office and work remotely?",
        key_facts=("eleven days",),
        accept=(("11 days",),),
    )
    evaluation = bench.evaluate.evaluate("story", questions=[unseen])
    before, after = evaluation.held_out
    assert after.loss < 0.7 * before.loss
    assert evaluation.questions is not None
    assert [result.fact_recall for result in evaluation.questions] == [0.0, 1.0]

    # 7. And the tuned model chats: adapter and base, as llama.cpp serves them.
    with bench.models.access.open_chat("story") as server:
        message = Message(id="0", role="user", content=(Part(text=unseen.question),))
        reply = "".join(server.chat_model.reply([message], Sampling(max_tokens=60)))
    assert "eleven days" in reply
    assert reply == pytest.approx(reply.strip())
