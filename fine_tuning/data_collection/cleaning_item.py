"""A conversation on its way through cleaning, with what several steps want to know of it.

What is derived from the conversation (its branch and exchanges, its texts in one piece) is computed
once and thrown away when a step replaces the conversation. Exchanges that are left out are noted
here, and get weight 0 when all steps are done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from fine_tuning.core.conversation import LEFT_OUT, Conversation, Message, Part, ToolCall
from fine_tuning.data_collection.exchanges import Exchange, exchanges_of
from fine_tuning.data_collection.text_repair import SEPARATOR

Edit = Callable[[str], str]


class Mark(NamedTuple):
    """Why an exchange is left out."""

    exchange: Exchange
    reason: str
    detail: str


class CleaningItem:
    """One conversation in cleaning: ``original`` as it came, ``conversation`` as it stands.

    ``number`` is its place among those given; ``marks`` are the exchanges left out, by place.
    """

    __slots__ = ("_conversation", "_exchanges", "_joined", "_path", "marks", "number", "original")

    def __init__(self, conversation: Conversation, number: int = 0) -> None:
        self.original = conversation
        self.number = number
        self.marks: dict[int, Mark] = {}
        self._conversation = conversation
        self._path: tuple[Message, ...] | None = None
        self._exchanges: tuple[Exchange, ...] | None = None
        self._joined: str | None = None

    @property
    def conversation(self) -> Conversation:
        """The conversation as the steps so far left it."""
        return self._conversation

    @conversation.setter
    def conversation(self, value: Conversation) -> None:
        self._conversation = value
        self._path = self._exchanges = self._joined = None

    @property
    def path(self) -> tuple[Message, ...]:
        """The branch last shown, oldest message first."""
        if self._path is None:
            self._path = self._conversation.path()
        return self._path

    @property
    def joined(self) -> str:
        """Every text of the conversation, side branches included, joined by ``SEPARATOR``."""
        if self._joined is None:
            texts = list(texts_of(self._conversation))
            self._joined = SEPARATOR.join(texts)
            if self._joined.count(SEPARATOR) >= max(1, len(texts)):  # a text holds one itself
                self._joined = SEPARATOR.join(text.replace(SEPARATOR, "\x01") for text in texts)
        return self._joined

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """The exchanges of the branch, left out or not."""
        if self._exchanges is None:
            self._exchanges = exchanges_of(self.path)
        return self._exchanges

    @property
    def standing(self) -> list[Exchange]:
        """The exchanges that no step left out."""
        marks = self.marks
        if not marks:
            return list(self.exchanges)
        return [exchange for exchange in self.exchanges if exchange.place not in marks]

    def leave_out(self, exchange: Exchange, reason: str, detail: str) -> None:
        """Note why an exchange is left out; the first reason wins."""
        self.marks.setdefault(exchange.place, Mark(exchange, reason, detail))

    def finished(self) -> Conversation:
        """Return the conversation with what is left out at weight 0."""
        reasons: dict[str, str] = {}
        for exchange in self.exchanges if self.marks else ():
            if mark := self.marks.get(exchange.place):
                reasons |= {message.id: mark.reason for message in exchange.messages}
        return without_training(self._conversation, reasons)


def without_training(conversation: Conversation, reasons: Mapping[str, str]) -> Conversation:
    """Return the conversation with weight 0 on some of its replies.

    Args:
        conversation: Stays as it is.
        reasons: Why each is left out, by the id of the message; others than replies stay.

    Returns:
        The very same conversation, if all those have weight 0 already.
    """
    named = {
        message.id
        for message in (conversation.messages if reasons else ())
        if message.id in reasons and message.role == "assistant" and message.weight
    }
    if not named:
        return conversation
    messages = tuple(
        replace(message, weight=0, metadata={**message.metadata, LEFT_OUT: reasons[message.id]})
        if message.id in named
        else message
        for message in conversation.messages
    )
    return replace(conversation, messages=messages)


def texts_of(conversation: Conversation) -> Iterator[str]:
    """Yield every text :func:`edit_texts` would edit; empty ones are left out."""
    if conversation.title:
        yield conversation.title
    for message in conversation.messages:
        for part in message.content:
            if part.type == "text" and part.text:
                yield part.text
        if message.reasoning:
            yield message.reasoning
        for call in message.tool_calls:
            yield from _texts_in(call.arguments)


def _texts_in(value: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts_in(item)


def edit_texts(conversation: Conversation, edit: Edit) -> Conversation:
    """Return the conversation with every text people or models wrote edited.

    Messages' texts and reasoning, arguments of tool calls, and the title; what nothing changed in
    is the very same object.
    """
    messages = tuple(_edit_message(message, edit) for message in conversation.messages)
    title = edit(conversation.title)
    is_same = all(a is b for a, b in zip(messages, conversation.messages, strict=True))
    if is_same and title == conversation.title:
        return conversation
    return replace(conversation, messages=messages, title=title)


def _edit_message(message: Message, edit: Edit) -> Message:
    if not message.reasoning and not message.tool_calls and len(message.content) == 1:
        (part,) = message.content  # nearly every message is one text
        if part.type != "text" or (part.text and edit(part.text) == part.text):
            return message
    content = tuple(_edit_part(part, edit) for part in message.content)
    content = tuple(part for part in content if part.type != "text" or part.text)
    edited = replace(
        message,
        content=content,
        reasoning=edit(message.reasoning),
        tool_calls=tuple(
            ToolCall(id=call.id, name=call.name, arguments=_edit_value(call.arguments, edit))
            for call in message.tool_calls
        ),
    )
    return message if edited == message else edited


def _edit_part(part: Part, edit: Edit) -> Part:
    return replace(part, text=edit(part.text)) if part.type == "text" else part


def _edit_value(value: Any, edit: Edit) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return edit(value)
    if isinstance(value, Mapping):
        return {key: _edit_value(item, edit) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_edit_value(item, edit) for item in value]
    return value
