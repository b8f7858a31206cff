"""Prompts of a conversation that is longer than a sequence may be: windows on it.

The first window begins with the conversation. Each further one begins at an exchange, with the
system messages and about a quarter of ``max_length`` of earlier exchanges as context. Work grows
with the conversation's length: sizes are counted once, and a window is put together once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from fine_tuning.core.conversation import Message
from fine_tuning.core.errors import DataError
from fine_tuning.core.naming import canonical_json
from fine_tuning.data_preparation.chat_template import REFUSED, UnlearnableError
from fine_tuning.data_preparation.incremental_prompts import ConversationPrompts, IncrementalPrompts
from fine_tuning.data_preparation.template_reading import ReadableConversation

CONTEXT_SHARE = 4
"""One part in so many of a further window is context from before its first trained reply."""
TOKENS_AROUND_TURN = 6
"""What a template writes around a turn, about; a window that turns out too long is shortened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowPrompt:
    """The ids before a reply and those to be said, with the messages they were rendered from.

    ``messages[place]`` is the reply; prompts with the same ``start`` are of one window.
    """

    messages: Sequence[Message]
    place: int
    prompt: list[int]
    reply: list[int]
    start: int


@dataclass(frozen=True, slots=True)
class _Window:
    start: int
    messages: list[Message]
    offset: int
    prompts: ConversationPrompts
    numbers: dict[int, int]


class WindowedPrompts:
    """Prompt and reply of each target of one conversation, asked for in order.

    Args:
        prompts: What puts prompts together.
        conversation: The conversation.
        max_length: The longest sequence, in tokens.
    """

    def __init__(
        self, prompts: IncrementalPrompts, conversation: ReadableConversation, max_length: int
    ) -> None:
        self._prompts = prompts
        self._conversation = conversation
        self._max_length = max_length
        self._targets = conversation.targets
        self._starts = sorted({0, *conversation.starts})
        self._ends: list[int] = []
        self._window: _Window | None = None

    def at(self, target: int, *, moves: bool = True) -> WindowPrompt:
        """Return the prompt of a target and its reply, in the window so far or in a new one.

        Args:
            target: The place of the reply among the conversation's turns.
            moves: Whether a prompt that does not fit begins a new window.

        Raises:
            UnlearnableError: as :meth:`ChatTemplate.prompt_and_reply` raises.
        """
        if self._window is None:
            self._window = self._opened(0, target)
        if target in self._window.numbers:
            found = self._read(self._window, target)
            if not moves or self._fits(found):
                return found
        for start in self._new_starts(target):
            self._window = self._opened(start, target)
            found = self._read(self._window, target)
            if self._fits(found):
                break
        return found

    def oldest_left_out(self, target: int) -> WindowPrompt:
        """Return the prompt of a target without the oldest exchanges that do not fit.

        Raises:
            UnlearnableError: as :meth:`ChatTemplate.prompt_and_reply` raises.
        """
        if self._window is None:
            self._window = self._opened(0, target)
        prompt, reply = self._window.prompts.fitting(self._window.numbers[target])
        return self._prompt(self._window, target, prompt, reply)

    def _fits(self, found: WindowPrompt) -> bool:
        return len(found.prompt) + len(found.reply) <= self._max_length

    def _opened(self, start: int, target: int) -> _Window:
        """Return a window of the turns from a place on: as many as may fit, to the target at least.

        The first one holds all turns, since nothing is counted before something does not fit.
        """
        stop = len(self._conversation.turns)
        if self._ends:
            limit = self._ends[start] + self._max_length * 9 // 8
            stop = max(target + 1, bisect_right(self._ends, limit) - 1)
        messages, offset = self._conversation.window(start, stop)
        places = self._targets[
            bisect_left(self._targets, target) : bisect_left(self._targets, stop)
        ]
        prompts = ConversationPrompts(
            self._prompts,
            messages,
            [place - start + offset for place in places],
            self._max_length,
            self._conversation.tools,
            is_bounded=bool(self._ends),
        )
        numbers = {place: number for number, place in enumerate(places)}
        return _Window(start, messages, offset, prompts, numbers)

    def _read(self, window: _Window, target: int) -> WindowPrompt:
        prompt, reply = window.prompts.at(window.numbers[target])
        return self._prompt(window, target, prompt, reply)

    def _prompt(
        self, window: _Window, target: int, prompt: list[int], reply: list[int]
    ) -> WindowPrompt:
        return WindowPrompt(
            messages=window.messages,
            place=target - window.start + window.offset,
            prompt=prompt,
            reply=reply,
            start=window.start,
        )

    def _new_starts(self, target: int) -> list[int]:
        """Return where a window for a target may begin, the longest context first."""
        ends = self._counted()
        own = bisect_right(self._starts, target) - 1
        reach = ends[target + 1] - self._max_length  # what lies before does not fit
        context = ends[self._starts[own]] - self._max_length // CONTEXT_SHARE
        first = bisect_left(self._starts, max(reach, context, 0), key=ends.__getitem__)
        first = min(first, own)
        return [
            self._starts[place] for place in dict.fromkeys((first, (first + own + 1) // 2, own))
        ]

    def _counted(self) -> list[int]:
        """Return about how many tokens stand before each turn, and in all; counted once."""
        if not self._ends:
            texts = [_text(turn.message) for turn in self._conversation.turns]
            tokenizer = self._prompts.turns.tokenizer
            try:
                found = tokenizer.encode_many(texts, parse_special=False)
            except DataError as error:
                raise UnlearnableError(REFUSED, error.message) from error
            sizes = (len(ids) + TOKENS_AROUND_TURN for ids in found)
            self._ends = list(accumulate(sizes, initial=0))
        return self._ends


def _text(message: Message) -> str:
    calls = [canonical_json(call.to_dict()) for call in message.tool_calls]
    return "\n".join([message.text, *calls])
