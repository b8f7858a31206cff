"""What an evaluation found: values that keep every item and serialise to JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_shape import build, data_errors
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.evaluation.metrics import MetricResult, metric_named
from fine_tuning.evaluation.questions import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteResult:
    """One model on one set of items, the unit two of which are compared.

    ``item_ids[i]`` names item i of every metric; ``clusters[i]`` names what it depends on with
    others (its conversation, its fact): clusters are resampled whole.

    Raises:
        DataError: on construction, if ids, clusters and a metric's items differ in number.
    """

    suite: str
    model: str
    item_ids: tuple[str, ...]
    clusters: tuple[str, ...]
    metrics: tuple[MetricResult, ...]

    def __post_init__(self) -> None:
        """Refuse metrics over other items."""
        numbers = {len(self.item_ids), len(self.clusters), *(len(m.items) for m in self.metrics)}
        if len(numbers) != 1:
            raise DataError(
                f"suite {self.suite!r} has {len(self.item_ids)} items and parts of other lengths "
                f"({', '.join(map(str, sorted(numbers)))}), expected one value per item"
            )

    def metric(self, name: str) -> MetricResult:
        """Return a metric by name.

        Raises:
            DataError: if the suite was not measured by it.
        """
        return metric_named(self.metrics, name, f"suite {self.suite!r}")

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {
            "suite": self.suite,
            "model": self.model,
            "item_ids": list(self.item_ids),
            "clusters": list(self.clusters),
            "metrics": [metric.to_dict() for metric in self.metrics],
        }

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read the form :meth:`to_dict` writes.

        Raises:
            DataError: if a field is missing or of the wrong type.
        """
        with data_errors("a suite's result"):
            return build(raw, cls)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutResult:
    """How well a model predicts the held-out replies, token by token.

    ``skipped`` counts examples without any target token, which say nothing.
    """

    suite: SuiteResult
    num_target_tokens: int
    skipped: int = 0

    @property
    def loss(self) -> float:
        """Mean negative log-probability of a target token, in nats."""
        return self.suite.metric("loss").value

    @property
    def perplexity(self) -> float:
        """Exponential of the loss."""
        return self.suite.metric("perplexity").value

    @property
    def accuracy(self) -> float:
        """Share of target tokens that were the model's first choice."""
        return self.suite.metric("accuracy").value

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {
            "loss": self.loss,
            "perplexity": self.perplexity,
            "accuracy": self.accuracy,
            "num_target_tokens": self.num_target_tokens,
            "skipped": self.skipped,
            "suite": self.suite.to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A model's reply to a question, and which of the key facts it states."""

    question: Question
    reply: str
    found: tuple[bool, ...]

    @property
    def is_right(self) -> bool:
        """Whether every key fact is there."""
        return all(self.found)

    @property
    def missing(self) -> tuple[str, ...]:
        """The key facts the reply does not state."""
        pairs = zip(self.question.key_facts, self.found, strict=True)
        return tuple(fact for fact, found in pairs if not found)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {
            "question": self.question.to_dict(),
            "reply": self.reply,
            "is_right": self.is_right,
            "missing": list(self.missing),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionsResult:
    """A model's answers to questions, in the questions' order."""

    suite: SuiteResult
    answers: tuple[Answer, ...]

    @property
    def fact_recall(self) -> float:
        """Share of questions whose reply states every key fact."""
        return self.suite.metric("fact_recall").value

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {
            "fact_recall": self.fact_recall,
            "answers": [answer.to_dict() for answer in self.answers],
            "suite": self.suite.to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RepliesResult:
    """A model's replies where the held-out conversations have theirs.

    ``prompts`` are the last turns before them; all three are in the order of the suite's items.
    """

    suite: SuiteResult
    prompts: tuple[str, ...]
    replies: tuple[str, ...]
    references: tuple[str, ...]

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {
            "prompts": list(self.prompts),
            "replies": list(self.replies),
            "references": list(self.references),
            "suite": self.suite.to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """One prompt and the reply of each model, by model name."""

    prompt: str
    replies: Mapping[str, str]

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {"prompt": self.prompt, "replies": dict(self.replies)}
