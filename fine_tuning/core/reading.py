"""Conversations read from dictionaries that strangers wrote.

``Conversation.from_dict`` trusts types and knows one grammar; here, types are checked and the
habits of other tools are undone, so that bad input ends in one sentence and never a traceback.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from fine_tuning.core.conversation import Conversation, Message
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue, trusted

_UNREADABLE = (AttributeError, KeyError, TypeError, ValueError, RecursionError)


def read_conversation(record: JsonObject) -> Conversation:
    """Read a dictionary with ``messages``: OpenAI's shape, or a whole ``ft/1`` conversation.

    Raises:
        DataError: if messages are missing or malformed, or a field has the wrong type.
    """
    items = record.get("messages")
    if not isinstance(items, list):
        raise DataError(f"a conversation's messages are {type(items).__name__}, expected a list")
    try:
        messages = [_plain_message(item) for item in items]
        conversation = Conversation.from_dict({**record, "messages": messages})
    except _UNREADABLE as error:
        raise DataError(f"a conversation cannot be read: {error}") from error
    _check_types(conversation)
    return conversation


def _plain_message(item: JsonValue) -> JsonValue:
    """Undo two habits of other tools: arguments as a JSON string, reasoning by another name."""
    if not isinstance(item, Mapping):
        return item
    message = dict(item)
    thoughts = message.get("reasoning_content") or message.get("thinking")
    if thoughts and "reasoning" not in message:
        message["reasoning"] = thoughts
    if calls := message.get("tool_calls"):
        message["tool_calls"] = [_plain_call(call) for call in trusted(calls)]
    return message


def _plain_call(call: JsonObject) -> dict[str, JsonValue]:
    function = call.get("function")
    arguments = function.get("arguments") if isinstance(function, Mapping) else None
    if isinstance(function, Mapping) and isinstance(arguments, str):
        return {**call, "function": {**function, "arguments": json.loads(arguments or "{}")}}
    return dict(call)


def _check_types(conversation: Conversation) -> None:
    """Refuse header and message fields whose type would only fail much later."""
    header = ("id", "source", "source_ref", "title", "created_at")
    _check_fields(conversation, header, "conversation")
    for message in conversation.messages:
        fields = ("id", "name", "tool_call_id", "reasoning", "model", "status", "created_at")
        _check_fields(message, fields, "message")
        if message.weight not in {0, 1}:
            raise DataError(f"a message has weight {message.weight!r}, expected 0 or 1")


def _check_fields(value: Conversation | Message, fields: Iterable[str], what: str) -> None:
    for name in fields:
        found = getattr(value, name)
        if not isinstance(found, str):
            raise DataError(f"a {what}'s {name} is {type(found).__name__}, expected text")
    if not isinstance(value.metadata, Mapping):
        kind = type(value.metadata).__name__
        raise DataError(f"a {what}'s metadata is {kind}, expected an object")
