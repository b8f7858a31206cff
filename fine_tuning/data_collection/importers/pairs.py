"""Records of a question and its answer under any of the usual names.

    {"prompt", "completion"}   {"input", "output"}   {"question", "answer"}   {"query", "response"}

A system prompt and what the question is about (``context``) are read with it. Texts may be lists of
messages instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.naming import content_name
from fine_tuning.data_collection.importers.fields import iso_time, name_of
from fine_tuning.data_collection.importers.importer import importer_of_records
from fine_tuning.data_collection.importers.items import Imported
from fine_tuning.data_collection.importers.message_lists import (
    conversation_of_turns,
    is_turns,
    turns_of,
)

SOURCE = "import:pairs"
ASKED = (
    "prompt", "question", "query", "instruction", "input", "user", "human", "user_message", "q",
)  # fmt: skip
ANSWERED = (
    "completion", "response", "answer", "output", "reply", "assistant", "bot", "bot_response",
    "assistant_message", "a", "answers",
)  # fmt: skip
_ABOUT = ("context", "passage", "document", "background")
_SYSTEM = ("system", "system_prompt", "system_message")


def _accepts(record: JsonObject) -> bool:
    keys = _named(record, ASKED), _named(record, ANSWERED)
    return all(key is not None and _is_said(record[key]) for key in keys)


def _is_said(value: JsonValue) -> bool:
    """Tell whether a value is a text, some texts, or messages."""
    value = _first(value)
    return isinstance(value, str) or is_turns(value)


def _named(record: JsonObject, names: tuple[str, ...]) -> str | None:
    """Return the record's own key for the first of some names that it holds."""
    own = {str(key).lower().replace(" ", "_"): key for key in record}
    for name in names:
        if name in own and isinstance(record[own[name]], str | list | Mapping):
            return str(own[name])
    return None


def _convert(record: JsonObject) -> Iterator[Imported]:
    asked_key, answered_key = _named(record, ASKED), _named(record, ANSWERED)
    if asked_key is None or answered_key is None:
        raise DataError("the record has no question and answer")
    asked = record[asked_key]
    about_key = _named(record, (*_ABOUT, *(("input",) if asked_key.lower() != "input" else ())))
    about = record[about_key] if about_key else ""
    if isinstance(asked, str) and isinstance(about, str) and about.strip():
        asked = f"{asked}\n\n{about}"
    turns = turns_of(asked, "user")
    system_key = _named(record, _SYSTEM)
    system = record[system_key] if system_key else ""
    if isinstance(system, str) and system.strip():
        turns = [{"role": "system", "content": system}, *turns]
    turns += turns_of(_first(record[answered_key]), "assistant")
    if not any(turn.get("content") for turn in turns):
        raise DataError("the record has neither a question nor an answer")
    ref = content_name([turns])
    found = conversation_of_turns(turns, SOURCE, ref).conversation
    if found is None:  # never: it is made of turns
        raise DataError("the record holds no message")
    given = name_of(record, "id", "conversation_id")
    created_at = iso_time(record.get("created_at") or record.get("timestamp"))
    yield Imported(
        conversation=replace(
            found,
            source=SOURCE,
            source_ref=ref,
            created_at=created_at,
            metadata={"id": given} if given else {},
        )
    )


def _first(value: JsonValue) -> JsonValue:
    """Return the first of several answers (SQuAD's are a list or an object of lists)."""
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        value = value["text"]
    if isinstance(value, list) and value and isinstance(value[0], str):
        return str(value[0])
    return value


PAIRS = importer_of_records("pairs", "questions and answers", _accepts, _convert)
