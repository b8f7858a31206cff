"""Open WebUI's chat export, with its ratings, and its separate export of feedback.

A chat stands alone or in the wrapper that newer versions write around it. Messages are a tree;
several models may answer side by side. Timestamps are seconds, milliseconds or nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fine_tuning.core.conversation import Message, Part, Role, Status
from fine_tuning.core.errors import DataError
from fine_tuning.core.feedback import RATING_RANGE
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.naming import content_name
from fine_tuning.data_collection.importers.fields import (
    iso_time,
    list_of,
    mapping,
    name_of,
    objects,
    parts,
    picture,
    text,
    words,
)
from fine_tuning.data_collection.importers.importer import importer_of_records
from fine_tuning.data_collection.importers.items import Draft, Imported
from fine_tuning.data_collection.importers.trees import Node, arrange
from fine_tuning.data_collection.markup_marks import without_citations

SOURCE = "import:open-webui"
_ROLES: dict[str, Role] = {
    "user": "user", "assistant": "assistant", "system": "system", "tool": "tool",
}  # fmt: skip


def _accepts(record: JsonObject) -> bool:
    chat = record.get("chat") if isinstance(record.get("chat"), Mapping) else record
    history = mapping(chat, "history") if isinstance(chat, Mapping) else {}
    is_feedback = {"data", "meta"} <= record.keys() and "message_id" in mapping(record, "meta")
    return isinstance(history.get("messages"), Mapping) or is_feedback


def _convert(record: JsonObject) -> Iterator[Imported]:
    if "meta" in record and "data" in record and "chat" not in record:
        yield from _feedback_export(record)
        return
    yield _chat(record)


def _chat(record: JsonObject, ref: str = "") -> Imported:
    """Read a chat, in its wrapper or without.

    Raises:
        DataError: if it holds no messages.
    """
    inner = record.get("chat")
    chat = inner if isinstance(inner, Mapping) else record
    history = mapping(chat, "history")
    tree = history.get("messages")
    if isinstance(tree, Mapping):
        given = {str(k): v for k, v in tree.items() if isinstance(v, Mapping)}
    else:
        given = _by_order(objects(chat, "messages"))
    ref = ref or name_of(record, "id") or name_of(chat, "id") or content_name([*given.values()])
    draft = Draft(SOURCE, ref)
    nodes = {}
    for key, item in given.items():
        message = _message(key, item)
        nodes[key] = Node(text(item, "parentId", "parent_id") or None, (message,))
        _add_rating(draft, key, mapping(item, "annotation"))
    current = text(history, "currentId", "current_id")
    messages, leaf_id = arrange(nodes, current or None)
    if system := text(chat, "system") or text(mapping(chat, "params"), "system"):
        messages, leaf_id = _under(system, draft.id, messages, leaf_id)
    tags = list(map(str, list_of(chat.get("tags") or mapping(record, "meta").get("tags") or ())))
    conversation = draft.conversation(
        messages,
        leaf_id=leaf_id,
        title=text(record, "title") or text(chat, "title"),
        created_at=iso_time(record.get("created_at") or chat.get("timestamp")),
        metadata={"tags": tags} if tags else {},
    )
    return draft.imported(conversation)


def _by_order(items: list[dict[str, JsonValue]]) -> dict[str, JsonObject]:
    """Return the messages of a chat without a tree, each following the one before."""
    given: dict[str, JsonObject] = {}
    before = ""
    for index, item in enumerate(items):
        key = text(item, "id") or str(index)
        given[key] = {**item, "parentId": item.get("parentId") or before}
        before = key
    return given


def _under(
    system: str, name: str, messages: tuple[Message, ...], leaf_id: str | None
) -> tuple[tuple[Message, ...], str | None]:
    """Put a system prompt above everything, unless there is one."""
    if any(message.role == "system" for message in messages):
        return messages, leaf_id
    top = Message(id=f"{name}/system", role="system", content=parts(system))
    below = (m if m.parent_id else replace(m, parent_id=top.id) for m in messages)
    return (top, *below), leaf_id


def _message(key: str, item: JsonObject) -> Message:
    role = _ROLES.get(str(item.get("role")))
    if role is None:
        raise DataError(f"a message has the role {item.get('role')!r}")
    content = item.get("content")
    said = _text_of(content) if isinstance(content, list) else words(item, "content")
    if role == "assistant":
        said = said if said.strip() else _output_text(item)
        if item.get("sources") or item.get("citations"):
            said = without_citations(said)
    status: Status = "aborted" if item.get("done") is False else "complete"
    notes = {}
    if item.get("error"):
        status, notes["error"] = "error", item["error"]
    pictures = tuple(
        picture(one.get("url"), text(one, "name"))
        for one in objects(item, "files")
        if one.get("type") == "image" and one.get("url")
    )
    return Message(
        id=key,
        role=role,
        content=(*parts(said), *pictures),
        model=text(item, "model", "modelName"),
        status=status,
        created_at=iso_time(item.get("timestamp")),
        metadata=notes,
    )


def _output_text(item: JsonObject) -> str:
    """Return the words of a reply that newer versions keep as a list of what was put out."""
    output = item.get("output")
    pieces = [one for one in output if isinstance(one, Mapping)] if isinstance(output, list) else []
    said = [
        text(part, "text")
        for one in pieces
        if one.get("type") == "message" and isinstance(one.get("content"), list)
        for part in one["content"]
        if isinstance(part, Mapping)
    ]
    return "\n".join(filter(None, said))


def _text_of(content: list[Any]) -> str:
    found = [Part.from_dict(one) for one in content if isinstance(one, Mapping)]
    return "\n".join(part.text for part in found if part.type == "text")


def _add_rating(draft: Draft, message_id: str, annotation: JsonObject) -> None:
    """Take over a rating: the thumb with its reason and comment, and the grade from 1 to 10."""
    rating, grade = annotation.get("rating"), mapping(annotation, "details").get("rating")
    fields = {"reason": text(annotation, "reason"), "comment": text(annotation, "comment")}
    if isinstance(rating, str) and rating.lstrip("+-").isdecimal():
        rating = int(rating)
    if rating in {1, -1}:
        draft.add_feedback(message_id, "thumb", value=int(rating), **fields)
    if isinstance(grade, int) and grade in RATING_RANGE:
        draft.add_feedback(message_id, "rating", value=grade, **fields)


def _feedback_export(record: JsonObject) -> Iterator[Imported]:
    """Read one line of the feedback export, with the chat as it was then if that is there."""
    meta, snapshot = mapping(record, "meta"), mapping(mapping(record, "snapshot"), "chat")
    ref, message_id = name_of(meta, "chat_id"), name_of(meta, "message_id")
    if not ref or not message_id:
        raise DataError("the feedback names no chat or no message")
    draft = Draft(SOURCE, ref)
    _add_rating(draft, message_id, mapping(record, "data"))
    if not draft.feedback:
        raise DataError("the feedback holds no rating")
    if snapshot:
        found = _chat(snapshot, ref)
        yield replace(
            found, feedback=tuple({f.id: f for f in (*found.feedback, *draft.feedback)}.values())
        )
        return
    yield draft.imported()


OPEN_WEBUI = importer_of_records("open-webui", "Open WebUI export", _accepts, _convert)
