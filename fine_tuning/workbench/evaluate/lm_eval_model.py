"""What lm-evaluation-harness sees of us: a model, and a task with conversations of several turns.

Imported only where the optional package lm-eval is installed (see lm_eval.py). Likelihood comes
from the training engine and replies from the embedded runtime, by the functions of
evaluation_runner.py, so that the harness and our own evaluation measure the same model.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import datasets
from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

from fine_tuning.core.conversation import Message
from fine_tuning.core.errors import DataError
from fine_tuning.core.example import TokenizedExample
from fine_tuning.core.naming import content_name
from fine_tuning.core.ports import PromptRenderer, Tokenizer
from fine_tuning.evaluation.evaluator import ReplyMany, ScoreTargets

DEFAULT_REPLY_TOKENS = 256


class HarnessModel(LM):  # type: ignore[misc]
    """A model as the harness asks it; all prompts are conversations.

    Args:
        tokenizer: That of serving.
        renderer: That of serving.
        score: Scores the targets of examples.
        ask: Takes the tokens a reply may have, and returns what answers conversations.
    """

    def __init__(
        self,
        *,
        tokenizer: Tokenizer,
        renderer: PromptRenderer,
        score: ScoreTargets,
        ask: Callable[[int], ReplyMany],
    ) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self._renderer = renderer
        self._score = score
        self._ask = ask
        self._conversations: dict[str, tuple[Message, ...]] = {}

    @property
    def tokenizer_name(self) -> str:
        """The content name of tokenizer and template."""
        return content_name([self._tokenizer.fingerprint, self._renderer.fingerprint])

    def apply_chat_template(
        self, chat_history: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True
    ) -> str:
        """Return the prompt of a conversation as serving shows it.

        Raises:
            DataError: if a message cannot be read, the template refuses the messages, or the reply
                is begun already.
        """
        if not add_generation_prompt:
            raise DataError(
                "a task begins the model's reply (gen_prefix), expected a conversation to answer"
            )
        messages = tuple(
            Message.from_dict(raw, id=f"harness/{place}") for place, raw in enumerate(chat_history)
        )
        prompt = self._renderer.render(messages, add_generation_prompt=True)
        self._conversations[prompt] = messages
        return prompt

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Score continuations by the engine.

        Args:
            requests: ``args`` of each is (context, continuation). Special tokens are read in the
                context alone.

        Returns:
            Of each the sum of its tokens' natural log-probabilities, and whether each of them was
            the likeliest.

        Raises:
            DataError: if a context has no token: there is nothing to predict the first one from.
        """

        @cache
        def context_ids(text: str) -> tuple[int, ...]:
            return tuple(self._tokenizer.encode(text, add_special=True, parse_special=True))

        examples = []
        for number, request in enumerate(requests):
            context, continuation = request.args
            before = context_ids(context)
            ids = self._tokenizer.encode(continuation, add_special=False, parse_special=False)
            examples.append(
                TokenizedExample(
                    example_id=f"request {number}",
                    conversation_id=f"request {number}",
                    ids=(*before, *ids),
                    mask=(0,) * len(before) + (1,) * len(ids),
                )
            )
        return [
            (sum(score.log_probabilities), all(score.correct)) for score in self._score(examples)
        ]

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Refuse the likelihood of whole texts, for which a chat model has no prompt.

        Raises:
            DataError: always; ``compare`` measures perplexity on held-out replies.
        """
        raise DataError(
            f"{len(requests)} whole texts are to be scored (loglikelihood_rolling), expected tasks "
            "with a prompt",
            next_command="fine-tuning compare base latest",
        )

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Answer conversations greedily by the runtime; a reply is cut before a text of ``until``.

        Args:
            requests: ``args`` of each is (prompt of :meth:`apply_chat_template`, settings).

        Raises:
            DataError: if a prompt is no conversation, or replies are to be drawn at random.
            FineTuningError: as the runtime raises.
        """
        places: dict[int, list[int]] = {}
        for place, request in enumerate(requests):
            settings = request.args[1]
            if settings.get("do_sample"):
                raise DataError("a task draws replies at random (do_sample), expected greedy ones")
            tokens = int(settings.get("max_gen_toks", DEFAULT_REPLY_TOKENS))
            places.setdefault(tokens, []).append(place)
        replies = [""] * len(requests)
        for tokens, own in places.items():
            asked = [self._conversation(requests[place].args[0]) for place in own]
            for place, reply in zip(own, self._ask(tokens)(asked), strict=True):
                replies[place] = _before_any(reply.text, requests[place].args[1].get("until") or ())
        return replies

    def _conversation(self, prompt: str) -> tuple[Message, ...]:
        if prompt not in self._conversations:
            raise DataError(
                f"the prompt {prompt[:60]!r} is no conversation, expected tasks run with the "
                "model's chat template"
            )
        return self._conversations[prompt]


class HeldOutReplies(ConfigurableTask):  # type: ignore[misc]
    """A task whose prompts are the turns of a conversation up to the reply."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config={key: value for key, value in config.items() if key != "class"})

    def fewshot_context(
        self,
        doc: Mapping[str, Any],
        num_fewshot: int = 0,  # noqa: ARG002 - the harness's signature
        *,
        chat_template: Callable[..., str] | None = None,
        **_others: object,
    ) -> str:
        """Return the prompt of a line of ``replies.jsonl``.

        Raises:
            DataError: if the harness was started without a chat template.
        """
        if chat_template is None:
            raise DataError("held-out conversations need the model's chat template")
        return chat_template(json.loads(doc["source"])["messages"])


def run_tasks(
    model: HarnessModel, folder: Path, tasks: Sequence[str], *, limit: int | None = None
) -> dict[str, Any]:
    """Run task files of a folder; copies of them that the harness makes are gone afterwards.

    Args:
        model: What is asked.
        folder: As :func:`~fine_tuning.evaluation.lm_eval_tasks.write_tasks` leaves it.
        tasks: Names of tasks and groups.
        limit: Only so many items of each task.

    Returns:
        The harness's own results, samples included.
    """
    usual = datasets.config.HF_DATASETS_CACHE
    with tempfile.TemporaryDirectory(prefix="fine-tuning-") as copies:
        datasets.config.HF_DATASETS_CACHE = copies
        try:
            found: dict[str, Any] = simple_evaluate(
                model=model,
                tasks=list(tasks),
                limit=limit,
                apply_chat_template=True,
                task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            )
        finally:
            datasets.config.HF_DATASETS_CACHE = usual
    return found


def _before_any(text: str, ends: Sequence[str] | str) -> str:
    """Return a text up to the first place where one of ``ends`` stands."""
    for end in [ends] if isinstance(ends, str) else ends:
        text = text.partition(end)[0] if end else text
    return text
