"""ShareGPT's records, which others write too: ``{"conversations": [{"from", "value"}, ...]}``.

Real files hold conversations without turns, ones that begin with a reply, and chunks ``abc_0``,
``abc_1`` of one chat; chunks keep their common name in the metadata, for keeping them in one split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from fine_tuning.core.conversation import Message, Role
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.naming import content_name
from fine_tuning.data_collection.importers.fields import (
    arguments,
    name_of,
    object_of,
    objects,
    parts,
    text,
    tool_call,
    words,
)
from fine_tuning.data_collection.importers.importer import importer_of_records
from fine_tuning.data_collection.importers.items import Draft, Imported
from fine_tuning.data_collection.importers.speakers import speaker_roles
from fine_tuning.data_collection.importers.trees import chained
from fine_tuning.data_collection.importers.unread import KnownKeys

SOURCE = "import:sharegpt"
_LISTS = ("conversations", "conversation", "items", "messages")
_SIDES = {"gpt", "assistant", "ai", "bot", "model", "chatgpt"}
"""Names of the side that speaks, which say nothing of the model."""
_CHUNK = re.compile(r"(.+)_(\d+)")


def _turns_key(record: JsonObject) -> str:
    """Return the key under which a record has its turns, "" when it has none."""
    for key in _LISTS:
        turns = record.get(key)
        if isinstance(turns, list) and all(_is_turn(turn) for turn in turns):
            return key
    return ""


def _is_turn(turn: object) -> bool:
    if not isinstance(turn, dict):
        return False
    return "from" in turn or {"role", "content"} <= turn.keys() or {"human", "assistant"} <= {*turn}


def _accepts(record: JsonObject) -> bool:
    key = _turns_key(record)
    return key not in {"", "messages"} or bool(
        key == "messages" and any("from" in turn for turn in objects(record, "messages"))
    )


def _convert(record: JsonObject) -> Iterator[Imported]:
    key = _turns_key(record)
    if not key:
        raise DataError("the record has no list of turns with 'from' and 'value'")
    turns = objects(record, key)
    given = name_of(record, "id", "conversation_id")
    draft = Draft(SOURCE, content_name([given, turns, record.get("system")]))
    messages: list[Message] = []
    if system := text(record, "system", "system_prompt"):
        messages.append(Message(id=f"{draft.id}/system", role="system", content=parts(system)))
    speakers = speaker_roles(_speaker(turn) for turn in turns if not _is_both(turn))
    for index, turn in enumerate(turns):
        own = _messages(f"{draft.id}/{index}", turn, speakers)
        if own[0].tool_calls and messages and messages[-1].tool_calls:
            both = (*messages[-1].tool_calls, *own[0].tool_calls)  # calls made side by side
            messages[-1] = replace(messages[-1], tool_calls=both)
        else:
            messages += own
    chunk = _CHUNK.fullmatch(given)
    notes: dict[str, JsonValue] = {"id": given} if given else {}
    if chunk:
        notes["group"] = chunk[1]
    if record.get("tools"):
        notes["tools"] = record["tools"]
    conversation = draft.conversation(
        chained(messages), title=text(record, "title"), metadata=notes
    )
    yield draft.imported(conversation)


def _speaker(turn: JsonObject) -> str:
    return str(turn.get("from", turn.get("role")))


def _is_both(turn: JsonObject) -> bool:
    """Tell whether a turn holds question and reply."""
    return "from" not in turn and {"human", "assistant"} <= turn.keys()


def _messages(name: str, turn: JsonObject, speakers: Mapping[str, Role]) -> list[Message]:
    """Return the message of a turn, or both of one that holds question and reply.

    Raises:
        DataError: if the speaker is unknown or what was said is no text.
    """
    if _is_both(turn):
        asked = Message(id=f"{name}/q", role="user", content=parts(words(turn, "human")))
        reply = Message(id=f"{name}/a", role="assistant", content=parts(words(turn, "assistant")))
        return [asked, reply]
    speaker = _speaker(turn)
    role = speakers.get(speaker)
    if role is None:
        raise DataError(
            f"a turn is from {speaker!r}, expected human, gpt, system, tool or a model's name"
        )
    key = next((key for key in ("value", "content", "text", "markdown") if key in turn), "value")
    said = words(turn, key)
    weight = 0 if turn.get("weight") == 0 else 1
    if speaker.lower() in {"function_call", "tool_call"}:
        called = arguments(said)
        several = called.get("value")
        calls = several if isinstance(several, list) else [called]
        made = tuple(
            tool_call("", call.get("name"), call.get("arguments")) for call in map(object_of, calls)
        )
        return [Message(id=name, role=role, tool_calls=made, weight=weight)]
    model = "" if role != "assistant" or speaker.lower() in _SIDES else speaker
    return [Message(id=name, role=role, content=parts(said), weight=weight, model=model)]


_KNOWN = KnownKeys(
    frozenset({*_LISTS, "system", "system_prompt", "conversation_id", "tools", "title"}),
    frozenset({
        "from", "role", "value", "content", "text", "markdown", "human", "assistant", "weight",
    }),
)  # fmt: skip

SHAREGPT = importer_of_records("sharegpt", "ShareGPT", _accepts, _convert, _KNOWN)
