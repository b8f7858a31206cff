"""Asks a served model many questions: several at a time, each answer kept as soon as it is there.

An evaluation that was killed, or whose model died, goes on where it stopped. What is measured is
what is served: any ``ServedModel``. What this does not know: how replies are scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from typing import Self

from fine_tuning.core.conversation import Message
from fine_tuning.core.errors import FineTuningError
from fine_tuning.core.json_value import JsonValue, trusted
from fine_tuning.core.naming import content_name
from fine_tuning.core.ports import GREEDY, Progress, Sampling, ServedModel, ServedReply
from fine_tuning.evaluation.cache import ResultCache

_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenReply:
    """A reply as it is scored. ``ended`` tells whether the model ended it by itself."""

    text: str
    ended: bool
    num_tokens: int | None = None
    first_token_s: float | None = None
    tokens_per_s: float | None = None

    @classmethod
    def of(cls, reply: ServedReply) -> Self:
        """Take what is scored from a server's reply."""
        return cls(
            text=reply.text,
            ended=reply.ended,
            num_tokens=reply.reply_tokens,
            first_token_s=reply.first_token_s,
            tokens_per_s=reply.tokens_per_s,
        )

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return asdict(self)


class Answerer:
    """Answers conversations through a model, and keeps each reply by its content.

    Args:
        model: Returns what is asked; called only when some reply is not kept.
        name: The content name of the model: weights, adapter, template.
        sampling: How replies are drawn.
        parallel: Conversations at a time; the model must allow as many.
        cache: Where replies are kept; None keeps none.
    """

    def __init__(
        self,
        model: Callable[[], ServedModel],
        *,
        name: str,
        sampling: Sampling = GREEDY,
        parallel: int = 1,
        cache: ResultCache | None = None,
    ) -> None:
        self._model = model
        self._name = name
        self._sampling = sampling
        self._parallel = max(1, parallel)
        self._cache = cache
        self.num_asked = 0
        """Conversations that were put to the model, not found in the cache."""

    def answer(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        what: str = "answering",
        progress: Progress | None = None,
    ) -> list[GivenReply]:
        """Answer conversations; equal ones are asked once.

        Args:
            conversations: The messages to answer.
            what: What progress and errors call it.
            progress: Called after each reply, from this thread.

        Returns:
            The replies, in the order of the conversations.

        Raises:
            FineTuningError: the model's own error, with the conversation it failed at; the replies
                given until then are kept, and asking again goes on behind them.
        """
        names = [self._reply_name(messages) for messages in conversations]
        wanted = dict(zip(names, conversations, strict=True))
        kept = self._cache.find(list(wanted)) if self._cache else {}
        replies = {name: GivenReply(**trusted(raw)) for name, raw in kept.items()}
        open_names = [name for name in wanted if name not in replies]
        if progress:
            progress(what, len(replies), len(wanted))
        if open_names:
            model = self._model()
            with ThreadPoolExecutor(self._parallel) as pool:
                waiting = {
                    pool.submit(model.complete, wanted[name], self._sampling): name
                    for name in open_names
                }
                self._collect(waiting, wanted, replies, (what, progress))
        return [replies[name] for name in names]

    def _collect(
        self,
        waiting: dict[Future[ServedReply], str],
        wanted: dict[str, Sequence[Message]],
        replies: dict[str, GivenReply],
        telling: tuple[str, Progress | None],
    ) -> None:
        """Take replies as they come; at the first failure those under way are still kept."""
        what, progress = telling
        failures: dict[str, FineTuningError] = {}
        for future in as_completed(waiting):
            name = waiting[future]
            try:
                replies[name] = GivenReply.of(future.result())
            except CancelledError:
                continue
            except FineTuningError as error:
                failures[name] = error
                for other in waiting:
                    other.cancel()
                continue
            self.num_asked += 1
            if self._cache:
                self._cache.keep({name: replies[name].to_dict()})
            if progress:
                progress(what, len(replies), len(wanted))
        if failures:
            # A dead model fails whatever was under way: the earliest item tells where it died.
            name = next(name for name in wanted if name in failures)
            counts = (len(replies), len(wanted))
            raise _explained(failures[name], what, wanted[name], counts) from failures[name]

    def _reply_name(self, messages: Sequence[Message]) -> str:
        turns = [
            [message.role, message.text, [call.to_dict() for call in message.tool_calls]]
            for message in messages
        ]
        return content_name(["reply/1", self._name, asdict(self._sampling), turns])


def _explained(
    error: FineTuningError, what: str, messages: Sequence[Message], counts: tuple[int, int]
) -> FineTuningError:
    """Return the error with the conversation it happened at and what is safe."""
    text = messages[-1].text
    shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
    return type(error)(
        f"{what} stopped at item {messages[-1].id!r} ({shown!r}): {error.message}; "
        f"{counts[0]} of {counts[1]} replies are kept, and the same command goes on behind them",
        next_command=error.next_command,
    )
