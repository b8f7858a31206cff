"""A conversation on its way through cleaning, with what several steps want to know of it.

What is derived from the conversation (its branch, its texts in one piece) is computed once and
thrown away when a step replaces the conversation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from fine_tuning.core.conversation import Conversation, Message, Part, ToolCall
from fine_tuning.data_collection.text_repair import SEPARATOR

Edit = Callable[[str], str]


class CleaningItem:
    """One conversation in cleaning: ``original`` as it came, ``conversation`` as it stands.

    ``number`` is its place among those given; ``twin_id`` the conversation that says the same, if
    one was found.
    """

    __slots__ = ("_conversation", "_joined", "_path", "number", "original", "twin_id")

    def __init__(self, conversation: Conversation, number: int = 0) -> None:
        self.original = conversation
        self.number = number
        self.twin_id = ""
        self._conversation = conversation
        self._path: tuple[Message, ...] | None = None
        self._joined: str | None = None

    @property
    def conversation(self) -> Conversation:
        """The conversation as the steps so far left it."""
        return self._conversation

    @conversation.setter
    def conversation(self, value: Conversation) -> None:
        self._conversation = value
        self._path = self._joined = None

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

    def spoken(self) -> str:
        """Return what was said on the branch, a line per message."""
        return "\n".join([message.text for message in self.path])


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
