"""Measures one model: what the engine finds likely, what the runtime answers, what serving costs.

Likelihood is computed by the training engine; replies come from the embedded runtime, the same
llama.cpp that serves, or from where the model is deployed. Both are kept by content, so that a base
is measured once, and an evaluation that was killed goes on where it stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.errors import FineTuningError
from fine_tuning.core.example import Example, TokenizedExample
from fine_tuning.core.naming import content_name
from fine_tuning.core.ports import Progress, Sampling, ServedModel
from fine_tuning.core.run import SERVED_CONTEXT_TOKENS
from fine_tuning.evaluation.answering import Answerer
from fine_tuning.evaluation.cache import ResultCache
from fine_tuning.evaluation.canaries import Canary
from fine_tuning.evaluation.evaluation_report import ModelResult
from fine_tuning.evaluation.evaluator import Evaluator, ReplyMany
from fine_tuning.evaluation.probes import ProbeItem, TokenizedProbe, tokenize_probes
from fine_tuning.evaluation.questions import Question
from fine_tuning.evaluation.results import (
    QuestionsResult,
    RepliesResult,
    SuiteResult,
)
from fine_tuning.runtimes.base_model import BaseModel
from fine_tuning.runtimes.context_room import room_like
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.runtimes.embedded_served import EmbeddedServedModel
from fine_tuning.workbench.evaluate.scoring import SCORE_BATCH, scoring
from fine_tuning.workbench.evaluate.served_models import EMBEDDED_PARALLEL, OpenModel, ServedModels

if TYPE_CHECKING:
    from fine_tuning.engine.decoder import Decoder
    from fine_tuning.engine.lora import LoraAdapter
    from fine_tuning.engine.step import ExampleScore

logger = logging.getLogger(__name__)
# Room for a prompt besides the reply where nothing longer is asked.
PROMPT_TOKENS = 512
PROBE_REPLY_TOKENS = 40
"""A probe's right answer is short; what comes later is not looked at."""
REPLY_STRETCH = 2
"""A held-out reply is cut at so many times the longest recorded one: it did not end by itself."""
ALWAYS_MEASURED = ("stop_rate", "length_gap", "language_match")
"""Metrics of replies that guards look at, whatever the settings ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model to measure: the base, with or without an adapter, under a name for reports.

    ``adapter_name`` is the content name of the adapter's numbers, "" for the base; ``training``
    holds what its run measured.
    """

    name: str
    adapter_path: Path | None = None
    adapter: LoraAdapter | None = None
    adapter_name: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationTask:
    """What models of one base are measured on.

    ``examples`` is the held-out split as tokens, ``target_bytes`` the UTF-8 bytes of their texts to
    predict (None: unknown), ``sources`` those of them that are answered anew; ``old`` are
    held-out splits and ``old_questions`` question files that earlier models were evaluated on, by
    suite name. All but ``base`` and ``examples`` may be empty. ``metrics`` are those of the
    settings, ``max_reply_tokens`` cuts replies, ``context_tokens`` is the room the candidate was
    trained for, ``threads`` None takes the runtime's choice.
    """

    base: BaseModel
    examples: Sequence[TokenizedExample]
    target_bytes: Sequence[int] | None = None
    sources: Sequence[Example] = ()
    questions: Sequence[Question] = ()
    prompts: Sequence[str] = ()
    probes: Sequence[ProbeItem] = ()
    canaries: Sequence[Canary] = ()
    old: Mapping[str, Sequence[TokenizedExample]] = field(default_factory=dict)
    old_questions: Mapping[str, Sequence[Question]] = field(default_factory=dict)
    metrics: Sequence[str] = ()
    max_reply_tokens: int = 256
    context_tokens: int = SERVED_CONTEXT_TOKENS
    threads: int | None = None
    cache: ResultCache | None = None

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites a primary metric may be measured on."""
        asked = {"held_out": self.examples, "questions": self.questions, "replies": self.sources}
        return tuple(name for name, items in asked.items() if items)

    @property
    def held_out_reply_tokens(self) -> int:
        """Where replies to held-out conversations are cut."""
        return min(self.max_reply_tokens, REPLY_STRETCH * _longest_reply(self.examples))


class ModelEvaluator:
    """Measures models on one task; the base is opened once.

    Args:
        task: What models are measured on.
        progress: Told how far it is.
        served: Where the models answer; None opens them in this process.
    """

    def __init__(
        self,
        task: EvaluationTask,
        progress: Progress | None = None,
        served: ServedModels | None = None,
    ) -> None:
        self._task = task
        self._progress = progress
        self._served = served
        self._scoring = Evaluator(batch_size=SCORE_BATCH, progress=progress)
        # The answerer tells progress and keeps all slots busy, so it gets all items at once.
        self._answering = Evaluator(batch_size=1 << 30)
        self._probes: tuple[TokenizedProbe, ...] | None = None

    def measure(self, decoder: Decoder, model: Candidate) -> ModelResult:
        """Measure everything the task holds.

        Args:
            decoder: The opened base.
            model: What to measure.

        Raises:
            DataError: if no held-out example has a target.
            FineTuningError: as the engine and the embedded runtime raise.
        """
        task, score = self._task, self.score(decoder, model)
        held_out = self._scoring.evaluate_held_out(
            task.examples,
            score,
            model=model.name,
            target_bytes=task.target_bytes,
        )
        relevance = self._scoring.evaluate_relevance(task.examples, score, model=model.name)
        old = [self._old(name, examples, score, model) for name, examples in task.old.items()]
        with self._opened(model) as opened:
            # First, so that no other prompt is under way.
            deployment = deployment_metrics(opened.served)
            ability = self._ability(opened, model, score)
            ask = partial(self.ask, opened, model)
            return ModelResult(
                name=model.name,
                held_out=held_out,
                questions=self._questions(ask(task.max_reply_tokens), model),
                replies=self._replies(ask(task.held_out_reply_tokens), model),
                further=(
                    *([relevance] if relevance else []),
                    *ability,
                    *old,
                    *self._old_questions(ask(task.max_reply_tokens), model),
                ),
                prompts=self._prompts(ask(task.max_reply_tokens)),
                canaries=self._canaries(ask(task.max_reply_tokens)),
                training=model.training,
                deployment=deployment,
            )

    def measure_ability(self, decoder: Decoder, model: Candidate) -> tuple[SuiteResult, ...]:
        """Put only the probe tasks to a model; returns no suite when the task has none."""
        if not self._task.probes:
            return ()
        with self._opened(model) as opened:
            return self._ability(opened, model, self.score(decoder, model))

    def _ability(
        self, opened: OpenModel, model: Candidate, score: Callable[..., Any]
    ) -> tuple[SuiteResult, ...]:
        if not self._task.probes:
            return ()
        if self._probes is None:
            self._probes = self._tokenized_probes()
        reply_many = self.ask(opened, model, PROBE_REPLY_TOKENS)
        # The scoring evaluator would cut the replies into batches; the answerer needs them whole.
        return self._answering.evaluate_ability(self._probes, score, reply_many, model=model.name)

    def _tokenized_probes(self) -> tuple[TokenizedProbe, ...]:
        base = self._task.base
        with EmbeddedServer(
            base.path,
            threads=self._task.threads,
            system=base.system,
            prompts=base.prompts,
            context_tokens=PROMPT_TOKENS,
        ) as server:
            return tokenize_probes(self._task.probes, server.tokenizer, server.renderer)

    def _questions(self, reply_many: ReplyMany, model: Candidate) -> QuestionsResult | None:
        if not self._task.questions:
            return None
        return self._answering.evaluate_questions(
            self._task.questions, reply_many, model=model.name
        )

    def _replies(self, reply_many: ReplyMany, model: Candidate) -> RepliesResult | None:
        if not self._task.sources:
            return None
        names = (*(name for name in self._task.metrics), *ALWAYS_MEASURED)
        return self._answering.evaluate_replies(
            self._task.sources, reply_many, model=model.name, metrics=names
        )

    def _old(
        self,
        name: str,
        examples: Sequence[TokenizedExample],
        score: Callable[..., Any],
        model: Candidate,
    ) -> SuiteResult:
        return self._scoring.evaluate_held_out(
            examples, score, model=model.name, suite_name=name
        ).suite

    def _old_questions(self, reply_many: ReplyMany, model: Candidate) -> tuple[SuiteResult, ...]:
        return tuple(
            self._answering.evaluate_questions(
                questions, reply_many, model=model.name, suite_name=name
            ).suite
            for name, questions in self._task.old_questions.items()
        )

    def _prompts(self, reply_many: ReplyMany) -> tuple[str, ...]:
        conversations = [_asked(f"prompt/{i}", text) for i, text in enumerate(self._task.prompts)]
        return tuple(reply.text for reply in reply_many(conversations))

    def _canaries(self, reply_many: ReplyMany) -> dict[str, bool]:
        canaries = self._task.canaries
        replies = reply_many([canary.messages() for canary in canaries])
        return {
            canary.id: canary.holds(reply.text)
            for canary, reply in zip(canaries, replies, strict=True)
        }

    @contextmanager
    def _opened(self, model: Candidate) -> Iterator[OpenModel]:
        """Yield the model as it is served while it is measured."""
        if self._served is not None:
            with self._served.open(model.name, self._context_tokens) as opened:
                yield opened
        else:
            with self.server(model) as server:
                yield self.answering(server, model)

    @contextmanager
    def server(self, model: Candidate) -> Iterator[EmbeddedServer]:
        """Yield the model in this process, its adapter beside the base."""
        task = self._task
        with EmbeddedServer(
            task.base.path,
            adapter=model.adapter_path,
            parallel=EMBEDDED_PARALLEL,
            context_tokens=self._context_tokens,
            threads=task.threads,
            system=task.base.system,
            prompts=task.base.prompts,
            name=model.name,
            # Prompts begin alike: by the system prompt, and turns of one chat by more.
            reuse_prompt=True,
        ) as server:
            yield server

    def answering(self, server: EmbeddedServer, model: Candidate) -> OpenModel:
        """Return a model opened by :meth:`server` as something to be asked."""
        return OpenModel(
            served=EmbeddedServedModel(server),
            identity=content_name([self._name(model), server.renderer.fingerprint]),
            parallel=EMBEDDED_PARALLEL,
        )

    @property
    def _context_tokens(self) -> int:
        longest = max((len(example.ids) for example in self._task.examples), default=0)
        needed = max(PROMPT_TOKENS, longest) + self._task.max_reply_tokens
        return room_like(self._task.base.path, needed, self._task.context_tokens)

    def ask(self, opened: OpenModel, model: Candidate, max_tokens: int) -> ReplyMany:
        """Return a function that answers conversations, those known to the cache at once."""
        answerer = Answerer(
            lambda: opened.served,
            name=opened.identity,
            sampling=Sampling(max_tokens=max_tokens),
            parallel=opened.parallel,
            cache=self._task.cache,
        )
        return partial(answerer.answer, what=f"asking {model.name}", progress=self._progress)

    def score(
        self, decoder: Decoder, model: Candidate
    ) -> Callable[[Sequence[TokenizedExample]], list[ExampleScore]]:
        """Return a function that scores examples, those known to the cache without the engine."""
        return scoring(decoder, model.adapter, self._name(model), self._task.cache)

    def _name(self, model: Candidate) -> str:
        return content_name(["model/1", self._task.base.digest(), model.adapter_name])


def deployment_metrics(model: ServedModel) -> dict[str, Any]:
    """Measure what serving costs, on two prompts alone; the first may have to wait for loading.

    Returns:
        load_s, first_token_s, tokens_per_s, memory_bytes (resident; of the whole process where the
        model is in it) and success: whether a reply came; only that when none did.
    """
    try:
        first = model.complete(_asked("loading", "Hello."), _ONE_TOKEN)
        reply = model.complete(_asked("deployment", "What is the capital of France?"), _SHORT)
    except FineTuningError as error:
        logger.warning("%s did not reply to a prompt alone: %s", model.name, error.message)
        return {"success": False}
    return {
        "load_s": first.load_s,
        "first_token_s": reply.first_token_s,
        "tokens_per_s": reply.tokens_per_s,
        "memory_bytes": model.memory_bytes(),
        "success": bool(reply.text.strip()),
    }


def _longest_reply(examples: Sequence[TokenizedExample]) -> int:
    """Return the tokens of the longest recorded reply, its end of turn included."""
    longest = 1
    for example in examples:
        runs = "".join(map(str, example.mask)).split("0")
        longest = max(longest, *map(len, runs))
    return longest


def _asked(identity: str, text: str) -> tuple[Message, ...]:
    return (Message(id=identity, role="user", content=(Part(text=text),)),)


_ONE_TOKEN = Sampling(max_tokens=1)
_SHORT = Sampling(max_tokens=32)
