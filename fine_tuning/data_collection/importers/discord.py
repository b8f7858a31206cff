"""Channels of Discord as DiscordChatExporter writes them: a JSON file each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fine_tuning.core.conversation import Part
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject
from fine_tuning.data_collection.importers.fields import (
    iso_time,
    mapping,
    name_of,
    objects,
    picture,
    text,
    words,
)
from fine_tuning.data_collection.importers.importer import Importer, Sample, converted
from fine_tuning.data_collection.importers.items import UNREADABLE, Imported, ImportedItem
from fine_tuning.data_collection.importers.messenger import (
    Spoken,
    by_frequency,
    chosen_person,
    conversation,
    cut_at_pauses,
    unreadable,
)
from fine_tuning.data_collection.importers.source import Source

SOURCE = "import:discord"
_SAID = {"Default", "Reply", "ThreadStarterMessage", "ChatInputCommand", "0", "19", "20", "21", ""}
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp")


def _knows(sample: Sample) -> bool:
    return any(
        isinstance(record.get("channel"), Mapping)
        and isinstance(record.get("messages"), list)
        and "guild" in record
        for record in sample.records
    )


def _persons(source: Source) -> Sequence[str]:
    found: list[str] = []
    for record in source.records():
        try:
            if isinstance(record.value, Mapping):
                found += [_person(item) for item in objects(record.value, "messages")]
        except (DataError, *UNREADABLE):  # told when the channel is read
            continue
    return by_frequency(found)


def _person(item: JsonObject) -> str:
    return text(mapping(item, "author"), "nickname", "name") or name_of(
        mapping(item, "author"), "id"
    )


def _read(source: Source) -> Iterator[ImportedItem]:
    persons = _persons(source)
    if not persons:
        yield from unreadable(source)
        return
    assistant = chosen_person(source.path, persons, source.assistant)
    for record in source.records():
        yield from converted(record, lambda value: _convert(value, assistant))


def _convert(record: JsonObject, assistant: str) -> Iterator[Imported]:
    items = [item for item in objects(record, "messages") if name_of(item, "type") in _SAID]
    if not any(_person(item) == assistant for item in items):
        raise DataError(f"the channel holds no message of {assistant}")
    channel = mapping(record, "channel")
    spoken = [one for one in map(_spoken, items) if one.text.strip() or one.others]
    name = name_of(channel, "id") or text(channel, "name")
    for group in cut_at_pauses(spoken):
        yield conversation(SOURCE, name, text(channel, "name"), group, assistant)


def _spoken(item: JsonObject) -> Spoken:
    said = words(item, "content")
    for mention in objects(item, "mentions"):
        shown = text(mention, "nickname", "name")
        said = said.replace(f"<@{name_of(mention, 'id')}>", f"@{shown}")
    embeds = [text(embed, "description") for embed in objects(item, "embeds")]
    if not said.strip():
        said = "\n\n".join(filter(None, embeds))
    others: list[Part] = []
    for file in objects(item, "attachments"):
        name, url = text(file, "fileName"), text(file, "url")
        is_picture = name.lower().endswith(_PICTURES)
        others.append(picture(url, name) if is_picture else Part(type="file", data={"name": name}))
    return Spoken(
        person=_person(item),
        text=said,
        at=iso_time(item.get("timestamp")),
        id=name_of(item, "id"),
        others=tuple(others),
    )


DISCORD = Importer(
    name="discord", title="Discord channel", knows=_knows, read=_read, persons=_persons
)
