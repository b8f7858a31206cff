"""AnythingLLM's export of workspace chats as JSON or CSV, with ratings.

Its JSONL merges a workspace into one conversation and drops the ratings, so its JSON is the one to
use. It tells no threads: every exchange is a conversation of its own. Its Alpaca export has the
system prompt as instruction; it is read so when this format is named by the user.
"""

from __future__ import annotations

from collections.abc import Iterator

from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.naming import content_name
from fine_tuning.data_collection.importers.fields import (
    iso_time,
    name_of,
    objects,
    parts,
    picture,
    text,
    words,
)
from fine_tuning.data_collection.importers.importer import Importer, Sample, converted
from fine_tuning.data_collection.importers.items import Draft, Imported, ImportedItem
from fine_tuning.data_collection.importers.json_records import ParsedRecord
from fine_tuning.data_collection.importers.source import Source
from fine_tuning.data_collection.importers.trees import chained
from fine_tuning.data_collection.markup import part_markup

SOURCE = "import:anything-llm"
_THUMBS = {"GOOD": 1, "BAD": -1, "TRUE": 1, "FALSE": -1, "1": 1, "0": -1}
_COLUMNS = {"workspace", "prompt", "response", "sent_at"}


def _knows(sample: Sample) -> bool:
    return sample.columns >= _COLUMNS or any(record.keys() >= _COLUMNS for record in sample.records)


def _read(source: Source) -> Iterator[ImportedItem]:
    if source.is_json:
        for record in source.records():
            yield from converted(record, _convert)
        return
    for line, cells, reason in source.rows({"prompt", "response"}):
        record = ParsedRecord(line=line, value=cells, reason=reason)
        if cells is None or any(cells.values()):
            yield from converted(record, _convert)


def _convert(record: JsonObject) -> Iterator[Imported]:
    system = ""
    if {"instruction", "input", "output"} <= record.keys():
        system = words(record, "instruction")
        record = {"prompt": record["input"], "response": record["output"]}
    if "prompt" not in record or "response" not in record:
        raise DataError("the record has no 'prompt' and 'response'")
    asked = words(record, "prompt")
    reply = words(record, "response")
    place = [text(record, "workspace"), name_of(record, "id"), text(record, "sent_at")]
    bare = part_markup(reply, role="assistant").text
    ref = content_name([*place, system, asked, bare])
    draft = Draft(SOURCE, ref)
    name, at = draft.id, iso_time(record.get("sent_at"))
    pictures: tuple[Part, ...] = ()
    if isinstance(record.get("attachments"), list):
        found = objects(record, "attachments")
        pictures = tuple(picture(one["image"]) for one in found if one.get("image"))
    messages = [
        Message(id=f"{name}/system", role="system", content=parts(system)),
        Message(id=f"{name}/q", role="user", content=(*parts(asked), *pictures), created_at=at),
        Message(
            id=f"{name}/a",
            role="assistant",
            content=parts(reply),
            created_at=at,
        ),
    ]
    thumb = _THUMBS.get(str(record.get("rating")).upper())
    if thumb:
        draft.add_feedback(f"{name}/a", "thumb", value=thumb)
    said = chained(messages if system else messages[1:])
    yield draft.imported(draft.conversation(said, title=text(record, "workspace"), created_at=at))


ANYTHING_LLM = Importer(name="anything-llm", title="AnythingLLM export", knows=_knows, read=_read)
