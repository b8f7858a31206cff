"""Alpaca's records: instruction, input, output, and the system prompt and history of its heirs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fine_tuning.core.errors import DataError
from fine_tuning.core.formats import from_alpaca, validate_record
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.naming import content_name
from fine_tuning.data_collection.importers.importer import importer_of_records
from fine_tuning.data_collection.importers.items import Imported, reference
from fine_tuning.data_collection.importers.unread import KnownKeys

SOURCE = "import:alpaca"


def _accepts(record: JsonObject) -> bool:
    return {"instruction", "output"} <= record.keys()


def _convert(record: JsonObject) -> Iterator[Imported]:
    problems = validate_record(record, "alpaca")
    if problems:
        raise DataError(problems[0])
    read = from_alpaca(record)
    ref = content_name([[message.role, message.text] for message in read.messages])
    name = reference(SOURCE, ref)
    ids = {message.id: f"{name}/{index}" for index, message in enumerate(read.messages)}
    messages = tuple(
        replace(m, id=ids[m.id], parent_id=ids[m.parent_id] if m.parent_id else None)
        for m in read.messages
    )
    yield Imported(
        conversation=replace(read, id=name, messages=messages, source=SOURCE, source_ref=ref)
    )


_KNOWN = KnownKeys(
    frozenset({"instruction", "input", "context", "output", "system", "history", "text"})
)
"""``text`` repeats all the others in one piece."""

ALPACA = importer_of_records("alpaca", "Alpaca", _accepts, _convert, _KNOWN)
