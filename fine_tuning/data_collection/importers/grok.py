"""Grok's data export: ``prod-grok-backend.json``, or the ZIP archive it comes in.

    {"conversations": [{"conversation": {...}, "responses": [{"response": {...}}]}]}

Only ``human`` is the user: the other senders are the assistant under several names. Responses name
their parents; the recorded end of the branch is mostly absent, so the newest response is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fine_tuning.core.conversation import Message, Part, Status
from fine_tuning.core.errors import DataError
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
from fine_tuning.data_collection.importers.items import Draft, Imported, add_choices
from fine_tuning.data_collection.importers.trees import Node, arrange

SOURCE = "import:grok"


def _accepts(record: JsonObject) -> bool:
    responses = record.get("responses")
    return isinstance(record.get("conversation"), Mapping) and isinstance(responses, list)


def _convert(record: JsonObject) -> Iterator[Imported]:
    facts = mapping(record, "conversation")
    items = [mapping(item, "response") or item for item in objects(record, "responses")]
    if not items:
        raise DataError("the conversation holds no message")
    ref = name_of(facts, "id", "conversation_id") or content_name(items)
    draft = Draft(SOURCE, ref)
    nodes: dict[str, Node] = {}
    times: dict[str, str] = {}
    known = {name_of(item, "_id", "id") for item in items}
    is_tree = any(name_of(item, "parent_response_id") in known for item in items)
    before: str | None = None
    for index, item in enumerate(items):
        key = name_of(item, "_id", "id") or f"{draft.id}/{index}"
        parent = name_of(item, "parent_response_id") if is_tree else before
        message = _message(key, item)
        nodes[key] = Node(parent if parent in known else None, (message,))
        times[key] = message.created_at
        before = key
    end = name_of(facts, "leaf_response_id")
    order = {key: index for index, key in enumerate(nodes)}
    newest = max(nodes, key=lambda key: (times[key], order[key]))
    messages, leaf_id = arrange(nodes, end if end in nodes else newest)
    conversation = draft.conversation(
        messages,
        leaf_id=leaf_id,
        title=text(facts, "title"),
        created_at=_time(facts.get("create_time")),
    )
    add_choices(draft, conversation)
    yield draft.imported(conversation)


def _message(key: str, item: JsonObject) -> Message:
    is_user = text(item, "sender").lower() in {"human", "user"}
    said = words(item, "message")
    status: Status = "aborted" if item.get("partial") is True else "complete"
    return Message(
        id=key,
        role="user" if is_user else "assistant",
        content=(*parts(said), *_pictures(item)),
        reasoning=text(item, "thinking_trace"),
        model="" if is_user else text(item, "model"),
        status=status,
        created_at=_time(item.get("create_time")),
    )


def _pictures(item: JsonObject) -> tuple[Part, ...]:
    found = [
        *list_of(item.get("image_attachments")),
        *list_of(item.get("generated_image_urls")),
    ]
    return tuple(picture(one) for one in found if isinstance(one, str) and one)


def _time(value: JsonValue) -> str:
    """Return a time as ISO 8601; it may be an extended JSON date of milliseconds."""
    if isinstance(value, Mapping):
        date = value.get("$date")
        value = name_of(date, "$numberLong") if isinstance(date, Mapping) else date
    if isinstance(value, str) and value.isdecimal():
        value = int(value[:18])
    return iso_time(value)


GROK = importer_of_records("grok", "Grok export", _accepts, _convert)
