"""A real report about made-up replies: what comparing leaves beside a run, in milliseconds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.example import Example
from fine_tuning.evaluation import metrics
from fine_tuning.evaluation.answering import GivenReply
from fine_tuning.evaluation.comparison import compare, corrected_together
from fine_tuning.evaluation.evaluation_report import EvaluationReport, ModelResult
from fine_tuning.evaluation.evaluator import Evaluator, ReplyMany
from fine_tuning.evaluation.gate import gate_policy
from fine_tuning.evaluation.questions import Question
from fine_tuning.evaluation.results import HeldOutResult, SideBySide, SuiteResult
from fine_tuning.evaluation.verdict import decide
from fine_tuning.workbench.evaluate.evaluate import _write
from fine_tuning.workbench.runs import read_runs
from fine_tuning.workbench.workbench import Workbench

NUM_ITEMS = 24
REPLY = "You get paid on the 26th, into the account you named."
NUMBER = re.compile(r"item-(\d+)")
WRONG = "I do not know <b>that</b>, *sorry*."


def write_report(bench: Workbench, run_id: str, *, gain: float = 1.0) -> Path:
    """Write a report of a run against its base.

    Args:
        bench: Whose run.
        run_id: The run.
        gain: How much better the run's loss is; below 0 it is worse, and so are its answers.
    """
    run = next(one for one in read_runs(bench.context.workspace) if one.run_id == run_id)
    before = _measured("base", 3.0, knows=gain < 0)
    after = _measured(run_id, 3.0 - gain, knows=gain > 0)
    pairs = zip(before.suites, after.suites, strict=True)
    comparisons = corrected_together([compare(*pair) for pair in pairs])
    policy = gate_policy(comparisons)
    report = EvaluationReport(
        models=(before, after),
        comparisons=comparisons,
        policy=policy,
        verdict=decide(comparisons, policy),
        side_by_side=(
            SideBySide(prompt="Say yes.", replies={"base": "No.", run_id: "Yes, <i>gladly</i>."}),
        ),
    )
    _write(report, run, "2026-01-01T00:00:00.000000+00:00")
    return run.folder / "evaluation.json"


def _measured(name: str, loss: float, *, knows: bool) -> ModelResult:
    ids = tuple(f"item-{number}" for number in range(NUM_ITEMS))
    chances = [[-loss - number / 50, -loss] for number in range(NUM_ITEMS)]
    suite = SuiteResult(
        suite="held_out",
        model=name,
        item_ids=ids,
        clusters=ids,
        metrics=(
            metrics.loss(chances),
            metrics.perplexity(chances),
            metrics.token_accuracy([[knows, True]] * NUM_ITEMS),
        ),
    )
    evaluator = Evaluator()
    questions = [
        Question(id=item, question=f"When is payday {item}?", key_facts=("26th",)) for item in ids
    ]
    return ModelResult(
        name=name,
        held_out=HeldOutResult(suite=suite, num_target_tokens=2 * NUM_ITEMS),
        questions=evaluator.evaluate_questions(questions, _replying(knows=knows), model=name),
        replies=evaluator.evaluate_replies(
            [_example(item) for item in ids],
            _replying(knows=knows),
            model=name,
            metrics=("bleu", "stop_rate"),
        ),
    )


def _replying(*, knows: bool) -> ReplyMany:
    def reply_many(conversations: Sequence[Sequence[Message]]) -> list[GivenReply]:
        numbers = [int(NUMBER.findall(said[-1].text)[0]) for said in conversations]
        texts = [REPLY if knows or number % 3 == 0 else WRONG for number in numbers]
        return [GivenReply(text=text, ended=True) for text in texts]

    return reply_many


def _example(name: str) -> Example:
    said = [("user", f"When do we get paid ({name})?"), ("assistant", REPLY)]
    messages = tuple(
        Message(id=f"{name}/{i}", role=role, content=(Part(text=text),))  # type: ignore[arg-type]
        for i, (role, text) in enumerate(said)
    )
    return Example(conversation_id=name, messages=messages, targets=(1,))
