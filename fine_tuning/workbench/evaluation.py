"""Base against tuned on what neither was trained on: likelihood, facts, replies side by side.

Likelihood is computed by the training engine, replies come from the embedded runtime, the same
llama.cpp that serves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tuning.core.conversation import Message
from fine_tuning.core.example import TokenizedExample
from fine_tuning.core.ports import Progress, Sampling
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.engine.step import ExampleScore, score_targets
from fine_tuning.evaluation.comparison import Comparison, compare
from fine_tuning.evaluation.evaluator import Evaluator
from fine_tuning.evaluation.questions import Question
from fine_tuning.evaluation.results import HeldOutResult, QuestionsResult, SideBySide
from fine_tuning.evaluation.verdict import Policy, Verdict, decide
from fine_tuning.runtimes.base_model import BaseModel
from fine_tuning.runtimes.embedded import EmbeddedServer

PARALLEL_REPLIES = 8
# Room for a test prompt besides the reply; a longer prompt is refused by name.
PROMPT_TOKENS = 512
Score = Callable[[Sequence[TokenizedExample]], Sequence[ExampleScore]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model to evaluate: the base, with or without an adapter, under a name for reports."""

    name: str
    adapter_path: Path | None = None
    adapter: LoraAdapter | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """What was found about two models; the second is compared with the first."""

    held_out: tuple[HeldOutResult, HeldOutResult]
    comparisons: tuple[Comparison, ...]
    verdict: Verdict
    questions: tuple[QuestionsResult, QuestionsResult] | None
    side_by_side: tuple[SideBySide, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "held_out": [result.to_dict() for result in self.held_out],
            "questions": [result.to_dict() for result in self.questions or ()],
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            "verdict": self.verdict.to_dict(),
            "side_by_side": [pair.to_dict() for pair in self.side_by_side],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationTask:
    """What two models are evaluated on.

    ``examples`` is the held-out split; ``questions`` may be empty; ``prompts`` are answered side
    by side. ``max_reply_tokens`` cuts replies, ``threads`` None takes the runtime's choice.
    """

    base: BaseModel
    examples: Sequence[TokenizedExample]
    questions: Sequence[Question] = ()
    prompts: Sequence[str] = ()
    max_reply_tokens: int = 256
    threads: int | None = None


def evaluate(
    task: EvaluationTask,
    reference: Candidate,
    candidate: Candidate,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Evaluate two models of one base.

    Raises:
        DataError: if no held-out example has a target.
        FineTuningError: as the engine and the embedded runtime raise.
    """
    models = (reference, candidate)
    evaluator = Evaluator(progress=progress)
    with Decoder.open(task.base.path) as decoder:
        before, after = (
            evaluator.evaluate_held_out(task.examples, _scores(decoder, model), model=model.name)
            for model in models
        )
    answers = [_answers(task, model, progress) for model in models]
    comparisons = [compare(before.suite, after.suite, metrics=("loss", "accuracy"))]
    questions = None
    if answers[0][0] is not None and answers[1][0] is not None:
        questions = (answers[0][0], answers[1][0])
        comparisons.append(
            compare(questions[0].suite, questions[1].suite, metrics=("fact_recall",))
        )
    return EvaluationReport(
        held_out=(before, after),
        comparisons=tuple(comparisons),
        verdict=decide(comparisons, Policy(suite="held_out", metric="loss")),
        questions=questions,
        side_by_side=tuple(
            SideBySide(prompt=one.prompt, replies={**one.replies, **other.replies})
            for one, other in zip(answers[0][1], answers[1][1], strict=True)
        ),
    )


def _scores(decoder: Decoder, model: Candidate) -> Score:
    return lambda examples: score_targets(decoder, model.adapter, examples)


def _answers(
    task: EvaluationTask, model: Candidate, progress: Progress | None
) -> tuple[QuestionsResult | None, Sequence[SideBySide]]:
    """Let one model answer the questions and the prompts."""
    if not task.questions and not task.prompts:
        return None, ()
    sampling = Sampling(max_tokens=task.max_reply_tokens)
    with EmbeddedServer(
        task.base.path,
        adapter=model.adapter_path,
        parallel=PARALLEL_REPLIES,
        context_tokens=PROMPT_TOKENS + task.max_reply_tokens,
        threads=task.threads,
        system=task.base.system,
    ) as server:

        def reply_many(conversations: Sequence[Sequence[Message]]) -> list[str]:
            return server.reply_many(conversations, sampling)

        # Batches of several rounds of all slots, so that no slot idles while the last one ends.
        evaluator = Evaluator(batch_size=4 * PARALLEL_REPLIES, progress=progress)
        questions = (
            evaluator.evaluate_questions(task.questions, reply_many, model=model.name)
            if task.questions
            else None
        )
        pairs = evaluator.side_by_side(task.prompts, {model.name: reply_many})
    return questions, pairs
