"""The lines of a conversation log: what each says, written for people, read for the tree.

    ft-turn/1      one question and its reply; a person can read it
    ft/1           any other conversation, or messages that continue one ("continues": true)
    ft-feedback/1  one piece of feedback

A turn's ``session_id`` is its conversation's id. Without ``parent_id`` a turn follows the last
message its conversation has on the lines before. Lines of no schema, such as bare ``user_message``
and ``bot_response``, are read too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fine_tuning.core.conversation import SCHEMA, Conversation, Message, Part
from fine_tuning.core.errors import DataError
from fine_tuning.core.feedback import Feedback
from fine_tuning.core.formats import TURN, as_conversation, detect_format
from fine_tuning.core.json_value import JsonObject, JsonValue, trusted
from fine_tuning.core.reading import read_conversation

TURN_SCHEMA = "ft-turn/1"
FEEDBACK_SCHEMA = "ft-feedback/1"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """What one line adds: messages to the conversation whose header it carries.

    ``conversation.messages`` may name parents on earlier lines; with ``follow``, those without a
    parent follow the conversation's last message.
    """

    conversation: Conversation
    follow: bool


def entry_line(conversation: Conversation, messages: Sequence[Message], *, follow: bool) -> Any:  # noqa: ANN401 - JSON
    """Return the line that adds messages to a conversation."""
    if _is_simple_turn(conversation, messages):
        return _turn_line(messages[0], messages[1], conversation.id, follow=follow)
    raw = full_record(replace(conversation, messages=tuple(messages)))
    return {**raw, "continues": True, "follow": True} if follow else {**raw, "continues": True}


def full_record(conversation: Conversation) -> dict[str, JsonValue]:
    """Return the ``ft/1`` form with every parent said aloud, or a reader would chain messages."""
    raw = conversation.to_dict()
    messages = [{**item, "parent_id": item.get("parent_id")} for item in trusted(raw["messages"])]
    return {**raw, "messages": messages}


def _is_simple_turn(conversation: Conversation, messages: Sequence[Message]) -> bool:
    """Tell whether a turn line would say everything there is."""
    if len(messages) != len(("question", "reply")):
        return False
    asked, reply = messages
    header = Conversation(id=conversation.id, created_at=asked.created_at)
    return (
        replace(conversation, messages=()) == header
        and asked == _plain(asked, "user", asked.parent_id)
        and replace(reply, metadata={}, model="") == _plain(reply, "assistant", asked.id)
        and reply.created_at == asked.created_at
    )


def _plain(message: Message, role: Any, parent_id: str | None) -> Message:  # noqa: ANN401 - Role
    content = (Part(text=message.text),) if message.text else ()
    return Message(
        id=message.id,
        role=role,
        content=content,
        parent_id=parent_id,
        created_at=message.created_at,
    )


def _turn_line(
    asked: Message, reply: Message, session_id: str, *, follow: bool
) -> dict[str, JsonValue]:
    line: dict[str, JsonValue] = {
        "timestamp": asked.created_at,
        "session_id": session_id,
        "user_message": asked.text,
        "bot_response": reply.text,
        "metadata": dict(reply.metadata),
        "message_ids": [asked.id, reply.id],
        "schema": TURN_SCHEMA,
    }
    if reply.model:
        line["model"] = reply.model
    if asked.parent_id is not None or not follow:
        line["parent_id"] = asked.parent_id
    return line


def feedback_line(feedback: Feedback) -> dict[str, JsonValue]:
    """Return the line of feedback; fields that say nothing are left out.

    A review is of a whole conversation: its ``message_id`` is "", and said nevertheless.
    """
    raw = feedback.to_dict()
    said = {key: raw[key] for key in raw if key == "message_id" or raw[key] not in {"", 0}}
    if feedback.annotator_kind == "human":
        del said["annotator_kind"]
    return {**said, "schema": FEEDBACK_SCHEMA}


def read_line(raw: JsonObject, *, offset: int) -> LogEntry | Feedback:
    """Read a line of any kind.

    Args:
        raw: The line's object.
        offset: Where the line begins in its file; it tells equal lines without an id apart.

    Raises:
        DataError: if the line is of no kind known or malformed.
    """
    schema = raw.get("schema")
    if schema == FEEDBACK_SCHEMA:
        return _read_feedback(raw)
    if schema == SCHEMA and raw.get("continues"):
        return _read_continuing(raw)
    if schema not in {None, SCHEMA, TURN_SCHEMA}:
        raise DataError(f"the line has schema {schema!r}, which is not known here")
    conversation = as_conversation(raw)
    if detect_format(raw) == TURN:
        return _turn_entry(conversation, raw, offset)
    if not raw.get("id"):
        conversation = replace(conversation, id=f"{conversation.id}@{offset}")
    return LogEntry(conversation, follow=False)


def _read_feedback(raw: JsonObject) -> Feedback:
    feedback = Feedback.from_dict(raw)
    for key, value in feedback.to_dict().items():
        if not isinstance(value, int if key == "value" else str):
            raise DataError(f"feedback's {key} is {type(value).__name__}")
    return feedback


def _read_continuing(raw: JsonObject) -> LogEntry:
    """Read messages whose parents may stand on earlier lines."""
    items = raw.get("messages")
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise DataError("the line's messages are expected to be a list of objects")
    parents = [item.get("parent_id") for item in items]
    here = {item.get("id") for item in items if isinstance(item.get("id"), str)}
    if not all(parent is None or isinstance(parent, str) for parent in parents):
        raise DataError("a message's parent_id is expected to be text or null")
    local = [
        {**item, "parent_id": parent if parent in here else None}
        for item, parent in zip(items, parents, strict=True)
    ]
    conversation = read_conversation({**raw, "messages": local})
    pairs = zip(conversation.messages, parents, strict=True)
    messages = tuple(replace(message, parent_id=parent) for message, parent in pairs)
    return LogEntry(replace(conversation, messages=messages), follow=bool(raw.get("follow")))


def _turn_entry(turn: Conversation, raw: JsonObject, offset: int) -> LogEntry:
    """Give a turn the ids and the parent its line names."""
    asked, reply = turn.messages
    session = raw.get("session_id")
    ids = raw.get("message_ids") or [f"{turn.id}@{offset}/0", f"{turn.id}@{offset}/1"]
    if not isinstance(ids, list) or [type(name) for name in ids] != [str, str]:
        raise DataError(f"'message_ids' is {ids!r}, expected two texts")
    parent, model = raw.get("parent_id"), raw.get("model") or ""
    if not isinstance(parent, str | None) or not isinstance(model, str):
        raise DataError("a turn's parent_id and model are expected to be text")
    return LogEntry(
        Conversation(
            id=str(session) if session else f"{turn.id}@{offset}",
            messages=(
                replace(asked, id=ids[0], parent_id=parent),
                replace(reply, id=ids[1], parent_id=ids[0], model=model),
            ),
            created_at=turn.created_at,
        ),
        follow="parent_id" not in raw,
    )
