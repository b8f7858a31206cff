"""Conversations as people have them: a tree of messages, where an edit or a retry is a sibling.

Values only: nothing here reads, writes or knows a chat template. Content follows OpenAI's message
grammar (text or parts, tool calls) with two differences that spare every reader a special case:
``content`` is always a tuple of parts, and tool-call arguments are always an object, never a JSON
string. Timestamps are ISO 8601 strings in UTC; "" means unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, cast, get_args

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue, trusted
from fine_tuning.core.naming import content_name

Role = Literal["system", "developer", "user", "assistant", "tool"]
ROLES: tuple[str, ...] = get_args(Role)
Status = Literal["streaming", "complete", "aborted", "error"]
SCHEMA = "ft/1"
LEFT_OUT = "left_out"
"""The key of a message's metadata with the reason why cleaning left it out of training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One piece of a message: text, or a reference to an image, a sound or a file.

    ``type`` is OpenAI's name of the piece ("text", "image_url", "input_audio", "file"). Text is in
    ``text``; every other type keeps its payload in ``data`` as it came.
    """

    type: str = "text"
    text: str = ""
    data: JsonObject = field(default_factory=dict)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the OpenAI form of the part."""
        if self.type == "text":
            return {"type": "text", "text": self.text}
        return {"type": self.type, self.type: dict(self.data)}

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read the OpenAI form of a part.

        Returns:
            The part; of a kind other than text, its data as they stand.

        Raises:
            DataError: if ``type`` is missing or text is not a string.
        """
        kind = raw.get("type")
        if not isinstance(kind, str):
            raise DataError(f"a message part has type {kind!r}, expected a string such as 'text'")
        if kind == "text":
            text = raw.get("text")
            if not isinstance(text, str):
                raise DataError(f"a text part holds {text!r}, expected a string")
            return cls(text=text)
        data = raw.get(kind, {})
        return cls(type=kind, data=data if isinstance(data, Mapping) else {"value": data})


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A function the assistant asked for; ``arguments`` is an object."""

    id: str
    name: str
    arguments: JsonObject = field(default_factory=dict)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the call with its arguments as an object (Ollama and chat templates want that)."""
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": dict(self.arguments)},
        }

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read the form :meth:`to_dict` writes.

        Returns:
            The call; without an id it is "".

        Raises:
            DataError: if the function's name or arguments are not of the expected type.
        """
        function = raw.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(name, str):
            raise DataError(f"a tool call holds {function!r}, expected an object with a 'name'")
        arguments = function.get("arguments", {})
        if not isinstance(arguments, Mapping):
            raise DataError(f"tool call {name!r} has arguments that are not an object")
        return cls(id=str(raw.get("id", "")), name=name, arguments=arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message and its place in the tree.

    ``weight`` is 0 for a turn that must not be learnt (OpenAI's meaning), else 1. ``reasoning`` is
    the model's thinking, kept out of the content.
    """

    id: str
    role: Role
    content: tuple[Part, ...] = ()
    parent_id: str | None = None
    name: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    reasoning: str = ""
    model: str = ""
    status: Status = "complete"
    weight: int = 1
    created_at: str = ""
    metadata: JsonObject = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All text parts, joined by newlines."""
        if len(self.content) == 1:  # nearly always, and asked for very often
            (part,) = self.content
            return part.text if part.type == "text" else ""
        return "\n".join(part.text for part in self.content if part.type == "text")

    def with_text(self, text: str) -> Message:
        """Return the message with its text parts replaced by one; other parts stay, after it.

        Args:
            text: What the message says instead.

        Returns:
            A new message; this one stays as it is.
        """
        others = tuple(part for part in self.content if part.type != "text")
        return replace(self, content=(Part(text=text), *others))

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the message as plain JSON values; fields at their default are left out."""
        raw: dict[str, JsonValue] = {"id": self.id, "role": self.role}
        raw["content"] = (
            self.text
            if all(part.type == "text" for part in self.content) and len(self.content) <= 1
            else [part.to_dict() for part in self.content]
        )
        if self.tool_calls:
            raw["tool_calls"] = [call.to_dict() for call in self.tool_calls]
        if self.metadata:
            raw["metadata"] = dict(self.metadata)
        for key, default in _MESSAGE_DEFAULTS.items():
            if (value := getattr(self, key)) != default:
                raw[key] = value
        return raw

    @classmethod
    def from_dict(cls, raw: JsonObject, *, id: str = "") -> Self:  # noqa: A002 - field name
        """Read a message; text content may be a string or a list of parts.

        Args:
            raw: The form :meth:`to_dict` writes, or an OpenAI message.
            id: The message id to use when ``raw`` carries none.

        Returns:
            The message; empty or missing content gives no parts.

        Raises:
            DataError: if the role is unknown or the content has the wrong type.
        """
        role = raw.get("role")
        if role not in ROLES:
            raise DataError(f"a message has role {role!r}, expected one of {', '.join(ROLES)}")
        content = raw.get("content")
        if content is None or content == "":
            parts: tuple[Part, ...] = ()
        elif isinstance(content, str):
            parts = (Part(text=content),)
        elif isinstance(content, list):
            parts = tuple(Part.from_dict(part) for part in content)
        else:
            kind = type(content).__name__
            raise DataError(f"a message's content is {kind}, expected text or a list of parts")
        line = trusted(raw)
        fields = {key: line[key] for key in _MESSAGE_DEFAULTS if line.get(key) is not None}
        return cls(
            id=str(raw.get("id") or id),
            role=cast("Role", role),
            content=parts,
            tool_calls=tuple(ToolCall.from_dict(call) for call in line.get("tool_calls") or ()),
            metadata=line.get("metadata") or {},
            **fields,
        )


_MESSAGE_DEFAULTS: dict[str, JsonValue] = {
    "parent_id": None,
    "name": "",
    "tool_call_id": "",
    "reasoning": "",
    "model": "",
    "status": "complete",
    "weight": 1,
    "created_at": "",
}


Messages = Sequence[Message]
"""Turns in order, as a model reads them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A tree of messages; parents stand before their children.

    ``leaf_id`` names the end of the branch the user last saw; None means the last message.
    ``source`` says where it came from ("chat", "import:chatgpt", ...); (``source``,
    ``source_ref``) identifies it there, so that importing twice adds nothing.
    """

    id: str
    messages: tuple[Message, ...] = ()
    leaf_id: str | None = None
    source: str = "chat"
    source_ref: str = ""
    title: str = ""
    created_at: str = ""
    metadata: JsonObject = field(default_factory=dict)

    def path(self, leaf_id: str | None = None) -> tuple[Message, ...]:
        """Return the messages from the root to a leaf, oldest first.

        Args:
            leaf_id: The branch's last message; None takes the branch the user last saw.

        Raises:
            DataError: if the leaf or one of its ancestors is not in the conversation.
        """
        if not self.messages:
            return ()
        by_id = {message.id: message for message in self.messages}
        wanted = leaf_id or self.leaf_id or self.messages[-1].id
        path: list[Message] = []
        while wanted is not None:
            if wanted not in by_id or len(path) > len(self.messages):
                raise DataError(f"conversation {self.id} has no message {wanted!r} on its path")
            path.append(by_id[wanted])
            wanted = cast("str", path[-1].parent_id)
        return tuple(reversed(path))

    def siblings(self, message_id: str) -> tuple[Message, ...]:
        """Return the other messages with the same parent: retries and edits of a message.

        Args:
            message_id: A message of this conversation.

        Returns:
            Those messages in the order in which they were appended, without the one
            named.
        """
        (message,) = (m for m in self.messages if m.id == message_id)
        return tuple(
            m for m in self.messages if m.parent_id == message.parent_id and m.id != message_id
        )

    @property
    def content_id(self) -> str:
        """The name of what was said on the current branch; ids, times and metadata left out."""
        return content_name(
            [
                [
                    m.role,
                    [part.to_dict() for part in m.content],
                    [call.to_dict() for call in m.tool_calls],
                ]
                for m in self.path()
            ]
        )

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the conversation as plain JSON values, the interchange form (schema ``ft/1``)."""
        raw: dict[str, JsonValue] = {
            "schema": SCHEMA,
            "id": self.id,
            "messages": [message.to_dict() for message in self.messages],
        }
        for key, default in _CONVERSATION_DEFAULTS.items():
            if (value := getattr(self, key)) != default:
                raw[key] = value
        if self.metadata:
            raw["metadata"] = dict(self.metadata)
        return raw

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read the interchange form; messages without parents are chained in order.

        Returns:
            The conversation; without an id it is named by its messages.

        Raises:
            DataError: if messages are missing, have bad roles, or name an unknown parent.
        """
        items = raw.get("messages")
        if not isinstance(items, list):
            raise DataError(
                f"a conversation's messages are {type(items).__name__}, expected a list"
            )
        identity = str(raw.get("id") or content_name(items))
        messages: list[Message] = []
        seen: set[str] = set()
        is_tree = any("parent_id" in item for item in items if isinstance(item, Mapping))
        for index, item in enumerate(items):
            if not isinstance(item, Mapping):
                raise DataError(f"message {index} is {type(item).__name__}, expected an object")
            message = Message.from_dict(item, id=f"{identity}/{index}")
            if not is_tree and messages:
                message = replace(message, parent_id=messages[-1].id)
            if message.parent_id is not None and message.parent_id not in seen:
                raise DataError(
                    f"message {message.id!r} names unknown parent {message.parent_id!r}"
                )
            if message.id in seen:
                raise DataError(
                    f"message id {message.id!r} stands twice in conversation {identity}"
                )
            seen.add(message.id)
            messages.append(message)
        line = trusted(raw)
        fields = {key: line[key] for key in _CONVERSATION_DEFAULTS if line.get(key) is not None}
        return cls(
            id=identity, messages=tuple(messages), metadata=line.get("metadata") or {}, **fields
        )

    @classmethod
    def from_turns(
        cls,
        turns: Iterable[tuple[Role, str]],
        *,
        id: str = "",  # noqa: A002 - field name
        **fields: Any,  # noqa: ANN401 - passed to the constructor, which checks them
    ) -> Self:
        """Make a straight conversation from (role, text) pairs; the id defaults to its content.

        Args:
            turns: (role, text) of each message, in order.
            id: The conversation's id; "" names it by its content.
            **fields: Further fields of the interchange form.

        Returns:
            The conversation, each message the parent of the next.
        """
        raw = [{"role": role, "content": text} for role, text in turns]
        return cls.from_dict({"id": id or content_name(raw), "messages": raw, **fields})


_CONVERSATION_DEFAULTS: dict[str, JsonValue] = {
    "leaf_id": None,
    "source": "chat",
    "source_ref": "",
    "title": "",
    "created_at": "",
}

ConversationLike = Conversation | JsonObject
"""A conversation, or a dictionary in any shape ``core/formats.py`` reads."""
