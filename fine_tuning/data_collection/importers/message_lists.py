"""Plain lists of messages, as programs save what they send to a model.

    [{"role", "content"}, ...]          a file, which is one conversation
    [[{"role", "content"}, ...], ...]   a list of such lists, or one of them per line
    {"role", "content"}                 a message per line: one conversation, or those of an id

Also read are ``parts`` of Google's kind, ``from``/``value`` and ``speaker``/``text``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.reading import read_conversation
from fine_tuning.data_collection.importers.fields import name_of, text
from fine_tuning.data_collection.importers.importer import Importer, Sample, converted
from fine_tuning.data_collection.importers.items import (
    Imported,
    ImportedItem,
    Quarantined,
    excerpt,
    reference,
)
from fine_tuning.data_collection.importers.json_records import ParsedRecord
from fine_tuning.data_collection.importers.openai_chat import conversation_of, openai_message
from fine_tuning.data_collection.importers.source import Source
from fine_tuning.data_collection.importers.speakers import speaker_role

SOURCE = "import:messages"
MAX_MESSAGES = 100_000
_SPEAKERS = ("role", "from", "speaker", "sender", "author")
_TEXTS = ("content", "parts", "value", "text", "message", "tool_calls", "function_call")
_GROUPS = ("conversation_id", "chat_id", "session_id", "thread_id", "conversation", "session")


def is_turn(value: object) -> bool:
    """Tell whether a value is a message: it names a speaker of a known role and says something."""
    if not isinstance(value, Mapping):
        return False
    is_known = speaker_role(_speaker(value)) is not None
    return is_known and any(key in value for key in _TEXTS)


def is_turns(value: object) -> bool:
    """Tell whether a value is a list of messages."""
    return isinstance(value, list) and bool(value) and all(is_turn(item) for item in value)


def _speaker(value: JsonObject) -> str:
    return text(value, *_SPEAKERS).strip()


def _knows(sample: Sample) -> bool:
    if sample.lists:
        return sum(map(is_turns, sample.lists)) * 2 >= len(sample.lists)
    fitting = sum(is_turn(record) for record in sample.records)
    return fitting > 0 and fitting * 2 >= len(sample.records)


def _read(source: Source) -> Iterator[ImportedItem]:
    groups: dict[str, list[JsonObject]] = {}
    lines: dict[str, int] = {}
    count = 0
    for record in source.records():
        value = record.value
        if isinstance(value, list):
            made = ParsedRecord(line=record.line, value={"turns": value})
            yield from converted(made, _convert)
        elif not isinstance(value, Mapping):
            reason = record.reason or f"the record is {type(value).__name__}, expected a message"
            yield Quarantined(line=record.line, reason=reason, excerpt=record.excerpt)
        elif count == MAX_MESSAGES:
            reason = f"the file has more than {MAX_MESSAGES} messages"
            yield Quarantined(line=record.line, reason=reason, excerpt=excerpt(value))
            return
        elif not is_turn(value):
            reason = f"the message has the role {_speaker(value)!r}, or says nothing"
            yield Quarantined(line=record.line, reason=reason, excerpt=excerpt(value))
        else:
            count += 1
            group = name_of(value, *_GROUPS)
            lines.setdefault(group, record.line)
            groups.setdefault(group, []).append(value)
    for group, turns in groups.items():
        made = ParsedRecord(line=lines[group], value={"turns": turns, "group": group})
        yield from converted(made, _convert)


def _convert(record: JsonObject) -> Iterator[Imported]:
    turns = record["turns"]
    if not isinstance(turns, list) or not turns:
        raise DataError("the list holds no message")
    given = [openai_turn(turn) for turn in turns]
    found = conversation_of({"messages": given}, SOURCE)
    yield Imported(conversation=found)


def openai_turn(turn: JsonValue) -> dict[str, JsonValue]:
    """Return a message of any of these shapes in OpenAI's.

    Raises:
        DataError: if it names no speaker of a known role.
    """
    if not isinstance(turn, Mapping):
        raise DataError(f"a message is {type(turn).__name__}, expected an object")
    role = speaker_role(_speaker(turn))
    if role is None:
        raise DataError(f"a message has the role {_speaker(turn)!r}")
    made = {key: value for key, value in turn.items() if key not in _SPEAKERS}
    made["role"] = role
    if made.get("content") is None:
        if isinstance(parts := turn.get("parts"), list):
            made["content"] = [_part(part) for part in parts]
        elif said := text(turn, "value", "text", "message"):
            made["content"] = said
    return made


def _part(part: JsonValue) -> JsonValue:
    if isinstance(part, Mapping) and "type" not in part and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if isinstance(part, Mapping) and "type" not in part:
        kind = next(iter(part), "file")
        return {"type": kind, kind: part.get(kind)}
    return part


def turns_of(value: JsonValue, role: str) -> list[dict[str, JsonValue]]:
    """Return a text as the message of a role, or a list of messages as these.

    Raises:
        DataError: if it is neither.
    """
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, Sequence) and is_turns(value):
        return [openai_turn(item) for item in value]
    raise DataError(f"a prompt or reply is {type(value).__name__}, expected text or messages")


def conversation_of_turns(turns: Sequence[dict[str, JsonValue]], source: str, ref: str) -> Imported:
    """Return messages in OpenAI's shape as a conversation with lasting ids."""
    name = reference(source, ref)
    given = [{**openai_message(turn), "id": f"{name}/{index}"} for index, turn in enumerate(turns)]
    read = read_conversation({"id": name, "messages": given})
    return Imported(conversation=read)


MESSAGE_LISTS = Importer(name="messages", title="list of messages", knows=_knows, read=_read)
