"""The prompts of one conversation, in time that grows with its length and not with its square.

Between two replies most templates only append. So prompts are put together from one piece per
exchange, each tokenised once and cut at the special token that ends a reply; the last prompt is
rendered and tokenised whole, and unless text and ids are equal, every prompt is made whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from fine_tuning.core.conversation import Message, Role
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject
from fine_tuning.data_preparation.chat_template import ChatTemplate
from fine_tuning.data_preparation.reply_form import (
    QUESTION,
    REPLY,
    common_length,
    short_message,
)

MIN_REPLIES = 3
"""Fewer replies are not worth a check."""
MAX_FAILURES = 3
"""So many conversations may fail the check before the first that passes it."""
FIRST_CHARS_PER_TOKEN = 4
"""How much of a conversation is put together at first; each further part is twice as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What a template writes from one prompt to the next, around a reply and a question.

    The next prompt is the one before without ``thought_opening`` (which only the last turn has),
    then ``lead``, the reply, ``close``, ``open``, the question, ``tail`` and ``thought_opening``;
    ``open`` begins with the special token that ends the reply.
    """

    thought_opening: str
    lead: str
    close: str
    open: str
    tail: str
    trims_reply: bool
    trims_question: bool

    def closing(self, reply: Message) -> str:
        """Return a reply as it stands in the past, up to the end of its turn."""
        return self.lead + (reply.text.strip() if self.trims_reply else reply.text) + self.close

    def opening(self, question: Message) -> str:
        """Return the end of a turn and the question behind it, up to the next turn's header."""
        text = question.text.strip() if self.trims_question else question.text
        return self.open + text + self.tail


@dataclass(frozen=True, slots=True)
class _PromptPieces:
    """Prompts of some replies: each is a beginning of ``past``, then ids of its own."""

    past: list[int]
    lengths: dict[int, int]
    tails: dict[int, list[int]]
    replies: dict[int, list[int]]

    def prompt_and_reply(self, target: int) -> tuple[list[int], list[int]]:
        return self.past[: self.lengths[target]] + self.tails[target], self.replies[target]


class IncrementalPrompts:
    """Puts prompts of one model together.

    Args:
        turns: The model's turns.
    """

    def __init__(self, turns: ChatTemplate) -> None:
        self.turns = turns
        self.frame = find_frame(turns)
        """None when the template does not append, or ends replies with plain text."""
        self._num_passed = self._num_failed = 0

    def extend(
        self,
        messages: Sequence[Message],
        targets: Sequence[int],
        *,
        max_chars: int,
        tools: Sequence[JsonObject] = (),
    ) -> _PromptPieces | None:
        """Return the prompts of the first targets, about ``max_chars`` of them.

        Returns None when they have to be made whole. Raises nothing: what the model cannot read
        is found again, and told, when a prompt is made whole.
        """
        if self.frame is None:
            return None
        run = _plain_run(messages, targets, max_chars)
        if len(run) < MIN_REPLIES:
            return None
        try:
            grown = self._put_together(self.frame, messages, run, tools)
        except DataError:
            grown = None
        self._num_passed += grown is not None
        self._num_failed += grown is None
        if not self._num_passed and self._num_failed >= MAX_FAILURES:
            self.frame = None
        return grown

    def _put_together(
        self,
        frame: Frame,
        messages: Sequence[Message],
        run: Sequence[int],
        tools: Sequence[JsonObject],
    ) -> _PromptPieces | None:
        """Return the prompts of a run of plain exchanges, or None if the check fails."""
        tokenizer, renderer = self.turns.tokenizer, self.turns.renderer
        first, last = run[0], run[-1]
        start = renderer.render(messages[:first], add_generation_prompt=True, tools=tools)
        shown = start.removesuffix(frame.thought_opening)
        places = range(first, last, 2)
        closings = [frame.closing(messages[place]) for place in places]
        openings = [frame.opening(messages[place + 1]) for place in places]
        pieces = [one + other for one, other in zip(closings, openings, strict=True)]
        text = shown + "".join(pieces) + frame.thought_opening
        if text != renderer.render(messages[:last], add_generation_prompt=True, tools=tools):
            return None
        start_ids, past, whole = (
            tokenizer.encode(one, add_special=True, parse_special=True)
            for one in (start, shown + closings[0], text)
        )
        turns = [one + other for one, other in zip(openings, closings[1:], strict=False)]
        last_turns = [opening + frame.thought_opening for opening in openings]
        found = tokenizer.encode_many([*turns, *last_turns], parse_special=True)
        turn_ids, tail_ids = found[: len(turns)], found[len(turns) :]
        lengths = list(accumulate(map(len, turn_ids), initial=len(past)))
        for ids in turn_ids:
            past += ids
        if not start_ids or [*past, *tail_ids[-1]] != whole:
            return None
        replies = self.turns.replies([messages[target] for target in run])
        behind = range(first + 2, last + 1, 2)
        return _PromptPieces(
            past,
            {first: 0} | dict(zip(behind, lengths, strict=True)),
            {first: start_ids} | dict(zip(behind, tail_ids, strict=True)),
            dict(zip(run, replies, strict=True)),
        )


class ConversationPrompts:
    """Prompt and reply of each target of one conversation, asked for in order.

    Args:
        prompts: What puts prompts together.
        messages: The conversation.
        targets: The replies to be learnt, ascending.
        max_length: The longest prompt that is of use, in tokens.
        tools: The functions the model was offered.
        is_bounded: Whether the conversation is known to be about as long as is of use; then it is
            put together at once.
    """

    def __init__(
        self,
        prompts: IncrementalPrompts,
        messages: Sequence[Message],
        targets: Sequence[int],
        max_length: int,
        tools: Sequence[JsonObject] = (),
        *,
        is_bounded: bool = False,
    ) -> None:
        self._tools = tools
        self._prompts = prompts
        self.messages = messages
        self._targets = targets
        self._max_length = max_length
        part = FIRST_CHARS_PER_TOKEN * max_length
        self._max_chars = sum(len(m.text) for m in messages) + 1 if is_bounded else part
        self._put_together: _PromptPieces | None = None
        self._retry_at = 0
        self._since = 0

    def at(self, place: int) -> tuple[list[int], list[int]]:
        """Return the ids before the target at a place among the targets, and those to be said.

        Raises:
            UnlearnableError: as :meth:`Turns.prompt_and_reply` raises.
        """
        target = self._targets[place]
        if self._put_together is None or target not in self._put_together.replies:
            self._put_together = self._next(place)
        if self._put_together is None:
            return self._prompts.turns.prompt_and_reply(self.messages, target, self._tools)
        return self._put_together.prompt_and_reply(target)

    def fitting(self, place: int) -> tuple[list[int], list[int]]:
        """Return prompt and reply without the oldest exchanges that do not fit ``max_length``.

        What did not fit before an earlier reply does not fit before a later one, so the search
        goes on where it ended. When nothing fits, the whole is returned.

        Raises:
            UnlearnableError: as :meth:`Turns.prompt_and_reply` raises.
        """
        if not self._since:
            prompt, reply = self.at(place)
            if len(prompt) + len(reply) <= self._max_length:
                return prompt, reply
        target = self._targets[place]
        num_fixed = sum(message.role in {"system", "developer"} for message in self.messages[:1])
        for start in range(max(self._since, num_fixed + 1), target):
            if self.messages[start].role != "user":
                continue
            rest = [*self.messages[:num_fixed], *self.messages[start : target + 1]]
            prompt, reply = self._prompts.turns.prompt_and_reply(rest, len(rest) - 1, self._tools)
            if len(prompt) + len(reply) <= self._max_length:
                self._since = start
                return prompt, reply
        self._since = target
        return self.at(place)

    def _next(self, place: int) -> _PromptPieces | None:
        """Grow the next part; where that failed, twice as many are made whole before a new try."""
        if place < self._retry_at:
            return None
        rest = self._targets[place:]
        grown = self._prompts.extend(
            self.messages, rest, max_chars=self._max_chars, tools=self._tools
        )
        if grown is None:
            self._retry_at = 2 * place + 1
        else:
            self._max_chars *= 2
        return grown


def find_frame(turns: ChatTemplate) -> Frame | None:
    """Find out how a template goes on, by rendering two small conversations."""
    asked, said = short_message("user", QUESTION), short_message("assistant", REPLY)
    render = turns.renderer.render
    try:
        prompt = render([asked], add_generation_prompt=True)
        longer = render([asked, said, short_message("user", "More")], add_generation_prompt=True)
        padded = render([asked, said, short_message("user", " More ")], add_generation_prompt=True)
    except DataError:
        return None
    opening = prompt[common_length(prompt, longer) :]
    if opening and not longer.endswith(opening):
        return None
    prompt, longer = prompt.removesuffix(opening), longer.removesuffix(opening)
    lead, has_reply, rest = longer.removeprefix(prompt).partition(REPLY)
    between, has_question, tail = rest.partition("More")
    close, end, after = between.partition(turns.final_token or between)
    if not (longer.startswith(prompt) and has_reply and has_question and turns.final_token and end):
        return None
    return Frame(
        thought_opening=opening,
        lead=lead,
        close=close,
        open=end + after,
        tail=tail,
        trims_reply=turns.ending.trims,
        trims_question=" More " not in padded,
    )


def _plain_run(messages: Sequence[Message], targets: Sequence[int], max_chars: int) -> list[int]:
    """Return the first targets between which questions and replies of plain text alternate."""
    place = targets[0]
    if place == 0 or not _is_plain(messages[place], "assistant"):
        return []
    run, wanted, num_chars = [place], set(targets), 0
    while (
        place + 2 <= targets[-1]
        and num_chars < max_chars
        and _is_plain(messages[place + 1], "user")
        and _is_plain(messages[place + 2], "assistant")
    ):
        num_chars += len(messages[place].text) + len(messages[place + 1].text)
        place += 2
        if place in wanted:
            run.append(place)
    return run


def _is_plain(message: Message, role: Role) -> bool:
    """Tell whether a message is one text and nothing else a template could show."""
    more = (message.tool_calls, message.reasoning, message.name, message.tool_call_id)
    is_text = len(message.content) == 1 and message.content[0].type == "text"
    return message.role == role and is_text and not any(more)
