"""Evaluates models through what they answer and how likely they find given text; never loads one.

Scoring and replying come in as functions, so that what is measured is whatever serves: the engine,
the embedded runtime, Ollama. What this does not know: weights, runtimes, files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.errors import DataError, RuntimeFailedError
from fine_tuning.core.example import Example, TokenizedExample
from fine_tuning.core.ports import Progress
from fine_tuning.evaluation import metrics as measure
from fine_tuning.evaluation import similarity
from fine_tuning.evaluation.answering import GivenReply
from fine_tuning.evaluation.embeddings import embedding_similarity
from fine_tuning.evaluation.languages import language_of
from fine_tuning.evaluation.probes import ProbeItem, TokenizedProbe, ability_suites
from fine_tuning.evaluation.questions import Question
from fine_tuning.evaluation.relevance import first_replies, relevance, with_other_questions
from fine_tuning.evaluation.results import (
    Answer,
    HeldOutResult,
    QuestionsResult,
    RepliesResult,
    SideBySide,
    SuiteResult,
)


class TargetScores(Protocol):
    """How a model scored the target tokens of one example, in their order.

    ``log_probabilities`` are natural logarithms; ``correct`` tells whether the target was the
    model's first choice.
    """

    @property
    def log_probabilities(self) -> Sequence[float]:
        """One value per target token."""
        ...

    @property
    def correct(self) -> Sequence[bool]:
        """One value per target token."""
        ...


ScoreTargets = Callable[[Sequence[TokenizedExample]], Sequence[TargetScores]]
"""Scores examples: one result each, in order."""
ReplyMany = Callable[[Sequence[Sequence[Message]]], Sequence[GivenReply]]
"""Answers conversations that end with a user turn: one reply each, in order."""

Item = TypeVar("Item")
Result = TypeVar("Result")

LIKELIHOOD_METRICS = ("perplexity", "accuracy", "bits_per_byte")
"""What :meth:`Evaluator.evaluate_held_out` computes, besides the loss."""
REFERENCE_METRICS = (
    *("bleu", "chrf", "rouge", "exact_match", "f1"),
    *("length_gap", "embedding_similarity"),
)
REPLY_METRICS = (*REFERENCE_METRICS, *measure.TEXT_METRICS, "language_match", "stop_rate")
"""What :meth:`Evaluator.evaluate_replies` can compute."""


class Evaluator:
    """Evaluates models on held-out examples, questions and prompts.

    Args:
        batch_size: How many items a scoring or replying function is given at a time; progress is
            told after each batch.
        progress: Called with what is being done, items done and items in all.
    """

    def __init__(self, *, batch_size: int = 16, progress: Progress | None = None) -> None:
        if batch_size < 1:
            raise DataError(f"the batch size is {batch_size}, expected at least 1")
        self._batch_size = batch_size
        self._progress = progress

    def evaluate_held_out(
        self,
        examples: Sequence[TokenizedExample],
        score: ScoreTargets,
        *,
        model: str = "model",
        suite_name: str = "held_out",
        target_bytes: Sequence[int] | None = None,
    ) -> HeldOutResult:
        """Score the target tokens of held-out examples: loss, perplexity, accuracy.

        Args:
            examples: The held-out split; examples without targets are counted and passed over.
            score: Scores a batch of examples.
            model: The name results are filed under.
            suite_name: What the suite is called.
            target_bytes: UTF-8 bytes of each example's target text; adds ``bits_per_byte``.

        Raises:
            DataError: if no example has a target, or a log-probability is not finite.
            RuntimeFailedError: if ``score`` returns another number of results or of values.
        """
        kept = [index for index, example in enumerate(examples) if example.num_targets]
        if not kept:
            raise DataError(
                f"none of {len(examples)} held-out examples has a token to predict, "
                "expected at least one",
                next_command="fine-tuning prepare",
            )
        chosen = [examples[index] for index in kept]
        scores = self._in_batches(f"scoring {model}", chosen, score)
        _check_scores(chosen, scores)
        sizes = target_bytes and [target_bytes[index] for index in kept]
        suite = SuiteResult(
            suite=suite_name,
            model=model,
            item_ids=tuple(example.example_id for example in chosen),
            clusters=tuple(example.conversation_id for example in chosen),
            metrics=_likelihood_metrics(scores, sizes),
        )
        return HeldOutResult(
            suite=suite,
            num_target_tokens=sum(example.num_targets for example in chosen),
            skipped=len(examples) - len(chosen),
        )

    def evaluate_relevance(
        self,
        examples: Sequence[TokenizedExample],
        score: ScoreTargets,
        *,
        model: str = "model",
    ) -> SuiteResult | None:
        """Score each first reply after its own and after another conversation's question.

        Returns:
            The suite ``relevance``, or None when there are not two conversations with different
            questions.
        """
        firsts = first_replies(examples)
        swapped = with_other_questions(firsts)
        if not swapped:
            return None
        scores = self._in_batches(f"scoring {model}", [*firsts, *swapped], score)
        _check_scores([*firsts, *swapped], scores)
        values = [result.log_probabilities for result in scores]
        return SuiteResult(
            suite="relevance",
            model=model,
            item_ids=tuple(example.example_id for example in firsts),
            clusters=tuple(example.conversation_id for example in firsts),
            metrics=(relevance(values[: len(firsts)], values[len(firsts) :]),),
        )

    def evaluate_ability(
        self,
        probes: Sequence[TokenizedProbe],
        score: ScoreTargets,
        reply_many: ReplyMany | None = None,
        *,
        model: str = "model",
    ) -> tuple[SuiteResult, ...]:
        """Put the probe tasks to a model: its choice by likelihood, and what it answers.

        Args:
            probes: The tasks, tokenized for the model.
            score: Scores a batch of examples.
            reply_many: Answers a batch of conversations; None leaves ``tasks_passed`` out.
            model: The name results are filed under.

        Returns:
            The suite of all tasks, then one for each skill.
        """
        sequences = [sequence for probe in probes for sequence in probe.sequences]
        scores = self._in_batches(f"probing {model}", sequences, score)
        _check_scores(sequences, scores)
        sums = iter([sum(result.log_probabilities) for result in scores])
        shares = [measure.right_share([next(sums) for _ in probe.sequences]) for probe in probes]
        items: list[ProbeItem] = [probe.item for probe in probes]
        replies: Sequence[GivenReply] = ()
        if reply_many is not None:
            prompts = [item.messages() for item in items]
            replies = self._in_batches(f"probing {model}", prompts, reply_many)
        return ability_suites(
            items, model=model, shares=shares, replies=[reply.text for reply in replies]
        )

    def evaluate_questions(
        self,
        questions: Sequence[Question],
        reply_many: ReplyMany,
        *,
        model: str = "model",
        system: str = "",
        suite_name: str = "questions",
    ) -> QuestionsResult:
        """Ask questions and look for their key facts in the replies.

        Args:
            questions: What to ask; each is a conversation of its own.
            reply_many: Answers a batch of conversations.
            model: The name results are filed under.
            system: A system message to put before every question; "" for none.
            suite_name: What the suite is called.

        Raises:
            DataError: if there are no questions.
            RuntimeFailedError: if ``reply_many`` returns another number of replies.
        """
        prompts = [question.messages(system) for question in questions]
        given = self._in_batches(f"asking {model}", prompts, reply_many)
        replies = [reply.text for reply in given]
        suite = SuiteResult(
            suite=suite_name,
            model=model,
            item_ids=tuple(question.id for question in questions),
            clusters=tuple(question.cluster for question in questions),
            metrics=(
                measure.fact_recall(replies, questions),
                *(metric(replies) for metric in measure.TEXT_METRICS.values()),
                measure.stop_rate([reply.ended for reply in given]),
            ),
        )
        answers = tuple(
            Answer(question=question, reply=reply, found=question.found(reply))
            for question, reply in zip(questions, replies, strict=True)
        )
        return QuestionsResult(suite=suite, answers=answers)

    def evaluate_replies(
        self,
        examples: Sequence[Example],
        reply_many: ReplyMany,
        *,
        model: str = "model",
        metrics: Iterable[str] = ("bleu", "rouge"),
    ) -> RepliesResult:
        """Answer held-out conversations at each target turn and compare with the person's reply.

        Args:
            examples: Each target turn is one item; what stands before it is the prompt.
            reply_many: Answers a batch of conversations.
            model: The name results are filed under.
            metrics: Names out of ``REPLY_METRICS``.

        Raises:
            DataError: if a metric is unknown or no example has a target turn.
            RuntimeFailedError: if ``reply_many`` returns another number of replies.
        """
        names = tuple(dict.fromkeys(metrics))
        unknown = [name for name in names if name not in REPLY_METRICS]
        if unknown:
            raise DataError(
                f"metric {unknown[0]!r} is unknown, expected one of {', '.join(REPLY_METRICS)}"
            )
        turns = answered_turns(examples)
        if not turns:
            raise DataError(
                f"none of {len(examples)} held-out conversations has a reply to compare with"
            )
        prompts = [example.messages[:target] for example, target in turns]
        references = [example.messages[target].text for example, target in turns]
        replies = self._in_batches(f"asking {model}", prompts, reply_many)
        suite = SuiteResult(
            suite="replies",
            model=model,
            item_ids=tuple(f"{example.id}/{target}" for example, target in turns),
            clusters=tuple(example.conversation_id for example, _ in turns),
            metrics=reply_metrics(replies, references, [p[-1].text for p in prompts], names),
        )
        return RepliesResult(
            suite=suite,
            prompts=tuple(prompt[-1].text for prompt in prompts),
            replies=tuple(reply.text for reply in replies),
            references=tuple(references),
        )

    def side_by_side(
        self, prompts: Sequence[str], models: Mapping[str, ReplyMany]
    ) -> tuple[SideBySide, ...]:
        """Put every prompt to every model.

        Args:
            prompts: Each is a conversation of one user turn.
            models: The replying function of each model, by model name.

        Raises:
            RuntimeFailedError: if a model returns another number of replies.
        """
        conversations = [
            (Message(id=f"prompt/{i}", role="user", content=(Part(text=prompt),)),)
            for i, prompt in enumerate(prompts)
        ]
        replies = {
            name: self._in_batches(f"asking {name}", conversations, reply_many)
            for name, reply_many in models.items()
        }
        return tuple(
            SideBySide(prompt=prompt, replies={name: replies[name][i].text for name in models})
            for i, prompt in enumerate(prompts)
        )

    def _in_batches(
        self,
        what: str,
        items: Sequence[Item],
        work: Callable[[Sequence[Item]], Sequence[Result]],
    ) -> list[Result]:
        """Apply a function batch by batch, tell progress, check that it answers each item."""
        results: list[Result] = []
        for start in range(0, len(items), self._batch_size):
            batch = items[start : start + self._batch_size]
            answered = work(batch)
            if len(answered) != len(batch):
                raise RuntimeFailedError(
                    f"{what} gave {len(answered)} results for {len(batch)} items from item "
                    f"{start}, expected one each"
                )
            results.extend(answered)
            if self._progress:
                self._progress(what, len(results), len(items))
        return results


def reply_metrics(
    given: Sequence[GivenReply],
    references: Sequence[str],
    prompts: Sequence[str],
    names: Iterable[str],
) -> tuple[measure.MetricResult, ...]:
    """Compute metrics of replies by name; ``rouge`` gives its three.

    Raises:
        DataError: if there are no replies, or not one reference and one prompt each.
        MissingDependencyError: if a metric needs an optional package that is not installed.
    """
    replies = [reply.text for reply in given]
    results: list[measure.MetricResult] = []
    for name in names:
        if name == "rouge":
            results.extend(similarity.rouge(replies, references))
        elif name in measure.TEXT_METRICS:
            results.append(measure.TEXT_METRICS[name](replies))
        elif name == "stop_rate":
            results.append(measure.stop_rate([reply.ended for reply in given]))
        elif name == "language_match":
            results.append(measure.language_match(replies, prompts, language_of))
        else:
            results.append(_REFERENCE_METRICS[name](replies, references))
    return tuple(results)


_REFERENCE_METRICS: dict[str, Callable[[Sequence[str], Sequence[str]], measure.MetricResult]] = {
    "bleu": similarity.bleu,
    "chrf": similarity.chrf,
    "exact_match": lambda replies, references: measure.exact_match(
        replies, [[r] for r in references]
    ),
    "f1": lambda replies, references: measure.f1(replies, [[r] for r in references]),
    "length_gap": measure.length_gap,
    "embedding_similarity": embedding_similarity,
}


def answered_turns(examples: Sequence[Example]) -> list[tuple[Example, int]]:
    """Return where a reply can be compared; a turn that only calls a tool has no text for it."""
    return [
        (example, target)
        for example in examples
        for target in example.targets
        if target and example.messages[target].text.strip()
    ]


def _likelihood_metrics(
    scores: Sequence[TargetScores], target_bytes: Sequence[int] | None
) -> tuple[measure.MetricResult, ...]:
    values = [result.log_probabilities for result in scores]
    found = (
        measure.loss(values),
        measure.perplexity(values),
        measure.token_accuracy([result.correct for result in scores]),
    )
    return (*found, measure.bits_per_byte(values, target_bytes)) if target_bytes else found


def _check_scores(examples: Sequence[TokenizedExample], scores: Sequence[TargetScores]) -> None:
    """Refuse scores that are not one per target token."""
    for example, result in zip(examples, scores, strict=True):
        found = (len(result.log_probabilities), len(result.correct))
        if found != (example.num_targets, example.num_targets):
            raise RuntimeFailedError(
                f"example {example.example_id} was scored with {found[0]} log-probabilities and "
                f"{found[1]} choices, expected {example.num_targets} of each"
            )
