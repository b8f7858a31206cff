"""OpenAI's chat and fine-tuning records: ``{"messages": [...]}``, with tools, parts and weights.

Also read here are the habits of records of that kind: the retired ``function_call`` and role
``function``, arguments as JSON text, ``from``/``value`` left to ShareGPT.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.naming import content_name
from fine_tuning.core.reading import read_conversation
from fine_tuning.data_collection.importers.fields import iso_time, mapping, name_of, objects, text
from fine_tuning.data_collection.importers.importer import importer_of_records
from fine_tuning.data_collection.importers.items import Imported, reference
from fine_tuning.data_collection.importers.speakers import speaker_role
from fine_tuning.data_collection.importers.unread import KnownKeys

SOURCE = "import:openai"
_KEPT = ("tools", "parallel_tool_calls", "functions", "response_format")
_MESSAGE_KEYS = (
    "content", "name", "tool_call_id", "reasoning", "reasoning_content", "thinking", "model",
    "weight",
)  # fmt: skip
_IDS = ("id", "conversation_id", "prompt_id")


def _accepts(record: JsonObject) -> bool:
    messages = record.get("messages")
    return isinstance(messages, list) and all(
        isinstance(item, dict) and "role" in item for item in messages
    )


def _convert(record: JsonObject) -> Iterator[Imported]:
    yield Imported(conversation=conversation_of(record, SOURCE))


def conversation_of(record: JsonObject, source: str) -> Conversation:
    """Read a record with ``messages`` as a conversation of a source.

    Raises:
        DataError: if a message is malformed.
    """
    items = [openai_message(item) for item in objects(record, "messages")]
    system = text(record, "system", "system_prompt")
    if system and all(item["role"] not in {"system", "developer"} for item in items):
        items = [{"role": "system", "content": system}, *items]
    ref = content_name([items, record.get("tools") or []])  # ids of such files are row numbers
    name = reference(source, ref)
    given = [{**item, "id": f"{name}/{index}"} for index, item in enumerate(items)]
    notes = {key: record[key] for key in _KEPT if record.get(key) is not None}
    if given_id := name_of(record, *_IDS):
        notes["id"] = given_id
    notes |= mapping(record, "metadata")
    read = read_conversation({"id": name, "messages": given})
    return replace(
        read,
        source=source,
        source_ref=ref,
        title=text(record, "title", "name"),
        created_at=iso_time(record.get("created_at") or record.get("created")),
        metadata=notes,
    )


def openai_message(item: JsonObject) -> dict[str, JsonValue]:
    """Return a message in the grammar of ``core``: present-day roles and calls, known keys only.

    Raises:
        DataError: if a part of it is of an unexpected type.
    """
    message = {key: item[key] for key in _MESSAGE_KEYS if item.get(key) is not None}
    message["role"] = speaker_role(item.get("role")) or item.get("role")
    if isinstance(content := item.get("content"), list):
        message["content"] = [_part(part) for part in content]
    if isinstance(item.get("refusal"), str) and not message.get("content"):
        message["content"] = item["refusal"]
    if item.get("tool_calls"):
        message["tool_calls"] = objects(item, "tool_calls")
    elif isinstance(call := item.get("function_call"), Mapping):
        message["tool_calls"] = [{"id": "", "type": "function", "function": dict(call)}]
    return message


def _part(part: object) -> dict[str, JsonValue]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, Mapping):
        raise DataError(f"a message part is {type(part).__name__}, expected an object")
    if part.get("type") == "refusal":
        return {"type": "text", "text": part.get("refusal")}
    if part.get("type") == "image" and isinstance(part.get("image"), str):
        return {"type": "image_url", "image_url": {"url": part["image"]}}
    return dict(part)


_KNOWN = KnownKeys(
    frozenset({
        *_KEPT, *_IDS, "messages", "metadata", "title", "name", "created", "system",
        "system_prompt",
    }),
    frozenset({*_MESSAGE_KEYS, "role", "tool_calls", "function_call", "refusal"}),
)  # fmt: skip

OPENAI_CHAT = importer_of_records("openai", "OpenAI chat messages", _accepts, _convert, _KNOWN)
