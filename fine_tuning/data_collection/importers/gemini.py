"""Gemini's chats as Google Takeout gives them: ``MyActivity.json`` or ``MyActivity.html``.

An entry is a prompt with its reply, the newest first; what else was done is listed likewise. There
are no conversations in it: entries within half an hour of each other are one. The verb in front of
a prompt is in the account's language; where it is not known, it is what all titles begin with.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import unescape
from typing import BinaryIO

from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.naming import content_name
from fine_tuning.data_collection.importers.fields import iso_time, list_of, parts, picture, text
from fine_tuning.data_collection.importers.html_markdown import markdown
from fine_tuning.data_collection.importers.importer import Importer, Sample, converted
from fine_tuning.data_collection.importers.items import (
    UNREADABLE,
    Draft,
    Imported,
    ImportedItem,
    Quarantined,
    excerpt,
)
from fine_tuning.data_collection.importers.json_records import ParsedRecord
from fine_tuning.data_collection.importers.source import Source
from fine_tuning.data_collection.importers.takeout_time import takeout_time
from fine_tuning.data_collection.importers.trees import chained
from fine_tuning.storage.atomic import storage_errors

SOURCE = "import:gemini"
PAUSE = timedelta(minutes=30)
MAX_ENTRIES = 200_000
MAX_ENTRY_BYTES = 16 << 20
_CELL = b'<div class="outer-cell'
_NAMES = ("gemini", "bard")
_PROMPTED = (
    "Prompted with: ", "Asked Gemini: ", "Asked Bard: ", "Prompted ", "Asked ", "Said ",
    "Branched ", "Answered ", "Eingegebener Prompt: ", "Gefragt: ", "Prompt envoyé : ",
    "Peticion enviada: ", "Petición enviada: ", "Prompt inviato: ", "Comando inserido: ",
)  # fmt: skip
_DONE = (
    "Created ", "Used ", "Added ", "Gave ", "Selected ", "Shared ", "Deleted ", "Viewed ",
    "Visited ", "Searched ", "Edited ", "Pinned ", "Renamed ", "Exported ", "Updated ",
)  # fmt: skip
_ATTACHED = re.compile(r"\s*Attached \d+ files?\.?.*\Z", re.DOTALL)
_BODY = re.compile(
    r'<div class="content-cell[^"]*body-1">(.*?)</div>\s*<div class="content-cell', re.DOTALL
)
_BREAK = re.compile(r"<br\s*/?>")
_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True)
class _Entry:
    """What was asked and replied at a time ("" when not known), and the line of it."""

    line: int
    at: str
    asked: str
    reply: str
    pictures: tuple[Part, ...] = ()


def _knows(sample: Sample) -> bool:
    is_page = "outer-cell" in sample.text and "mdl-" in sample.text and _names_us(sample.text)
    return is_page or any(_is_entry(record) for record in sample.records)


def _names_us(said: str) -> bool:
    return any(name in said.lower() for name in _NAMES)


def _is_entry(record: JsonObject) -> bool:
    labels = [record.get("header"), *list_of(record.get("products") or ())]
    is_activity = isinstance(record.get("title"), str) and isinstance(record.get("time"), str)
    return is_activity and any(isinstance(label, str) and _names_us(label) for label in labels)


def _read(source: Source) -> Iterator[ImportedItem]:
    entries: list[_Entry] = []
    for found in _entries(source):
        if isinstance(found, Quarantined):
            yield found
        elif len(entries) == MAX_ENTRIES:
            yield Quarantined(
                line=found.line, reason=f"the file has more than {MAX_ENTRIES} entries"
            )
            break
        elif found.asked or found.reply:
            entries.append(found)
    entries.sort(key=lambda entry: entry.at)
    entries = _without_verb(entries)
    for group in _conversations(entries):
        first = group[0]
        made = {"at": first.at, "entries": list(group)}
        yield from converted(ParsedRecord(line=first.line, value=made), _convert)


def _entries(source: Source) -> Iterator[_Entry | Quarantined]:
    is_page = source.beginning().lstrip().startswith("<")
    for record in _cells(source) if is_page else source.records():
        try:
            if isinstance(record.value, bytes):
                yield _of_cell(record.line, record.value.decode())
            elif isinstance(record.value, Mapping) and "title" in record.value:
                if _is_entry(record.value) or "safeHtmlItem" in record.value:
                    yield _of_record(record.line, record.value)
            else:
                reason = record.reason or "the record is no entry of an activity"
                yield Quarantined(line=record.line, reason=reason, excerpt=record.excerpt)
        except UnicodeDecodeError as error:
            reason = f"the entry is no UTF-8: {error.reason}"
            yield Quarantined(line=record.line, reason=reason, excerpt=excerpt(record.value))
        except UNREADABLE as error:
            reason = f"the entry is not of the shape expected: {error!r}"
            yield Quarantined(line=record.line, reason=reason, excerpt=excerpt(record.value))


def _of_record(line: int, record: JsonObject) -> _Entry:
    pieces = [
        text(item, "html")
        for item in list_of(record.get("safeHtmlItem"))
        if isinstance(item, Mapping)
    ]
    reply = "\n\n".join(filter(None, map(markdown, filter(None, pieces))))
    title = text(record, "title")
    asked = "" if title.startswith(_DONE) else title
    found = [
        picture(one)
        for key in ("imageFile", "attachedFiles")
        for one in ([record[key]] if isinstance(record.get(key), str) else list_of(record.get(key)))
        if isinstance(one, str)
    ]
    return _Entry(line, iso_time(record.get("time")), asked, reply if asked else "", tuple(found))


def _cells(source: Source) -> Iterator[ParsedRecord]:
    """Yield the entries of a page, each as the text of its cell, in bounded memory."""
    with storage_errors(source.text), source.text.open("rb") as file:
        buffer, line = _skip_to_cell(file)
        while buffer:
            chunk = file.read(1 << 20)
            buffer += chunk
            *whole, buffer = buffer.split(_CELL)
            for cell in whole:
                if cell.strip():
                    yield ParsedRecord(line=line, value=cell)
                line += cell.count(b"\n")
            if not chunk or len(buffer) > MAX_ENTRY_BYTES:
                yield ParsedRecord(line=line, value=buffer)
                return
            buffer = _CELL + buffer


def _skip_to_cell(file: BinaryIO) -> tuple[bytes, int]:
    before = b""
    while chunk := file.read(1 << 20):
        before += chunk
        place = before.find(_CELL)
        if place >= 0:
            return before[place:], 1 + before.count(b"\n", 0, place)
        before = before[-len(_CELL) :]
    return b"", 1


def _of_cell(line: int, cell: str) -> _Entry:
    """Read an entry of a page: prompt, line break, time, line break, reply."""
    header, _, _ = cell.partition("content-cell")
    found = _BODY.search(cell) or re.search(r'body-1">(.*)', cell, re.DOTALL)
    if found is None or not _names_us(header):
        return _Entry(line, "", "", "")
    body = found[1]
    start = 0
    for mark in _BREAK.finditer(body):
        said = unescape(_TAG.sub("", body[start : mark.start()])).strip()
        moment = takeout_time(said)
        if moment:
            before = _BREAK.sub("\n", body[:start])
            asked = unescape(_TAG.sub("", before)).replace("\xa0", " ").strip()
            asked = "" if asked.startswith(_DONE) else asked
            return _Entry(line, moment, asked, markdown(body[mark.end() :]) if asked else "")
        start = mark.end()
    return _Entry(line, "", "", "")


def _without_verb(entries: Sequence[_Entry]) -> list[_Entry]:
    """Return the entries without the verb before each prompt, and the note on files behind it."""
    verb = _shared_verb([entry.asked for entry in entries if entry.reply])
    found: list[_Entry] = []
    for entry in entries:
        asked = entry.asked.replace("\xa0", " ")
        known = next((one for one in _PROMPTED if asked.startswith(one)), "")
        if not known and verb and asked.startswith(verb):
            known = verb
        if not known and not entry.reply:
            continue
        asked = _ATTACHED.sub("", asked[len(known) :]).strip()
        found.append(_Entry(entry.line, entry.at, asked, entry.reply, entry.pictures))
    return found


def _shared_verb(titles: Sequence[str]) -> str:
    """Return the words that at least four of five titles begin with, "" for none."""
    given = [title.replace("\xa0", " ") for title in titles]
    if len(given) < 3 or any(title.startswith(_PROMPTED[:8]) for title in given):  # noqa: PLR2004
        return ""
    verb = ""
    for count in (1, 2, 3, 4):
        heads = Counter(
            " ".join(t.split(" ")[:count]) + " " for t in given if t.count(" ") >= count
        )
        if not heads:
            return verb
        head, share = heads.most_common(1)[0]
        if share * 5 < len(given) * 4:
            return verb
        verb = head
    return verb


def _conversations(entries: Sequence[_Entry]) -> Iterator[list[_Entry]]:
    group: list[_Entry] = []
    for entry in entries:
        if group and (not entry.at or not group[-1].at or _gap(group[-1].at, entry.at) > PAUSE):
            yield group
            group = []
        group.append(entry)
    if group:
        yield group


def _gap(before: str, after: str) -> timedelta:
    return datetime.fromisoformat(after) - datetime.fromisoformat(before)


def _convert(record: JsonObject) -> Iterator[Imported]:
    group: Sequence[_Entry] = record["entries"]  # type: ignore[assignment]
    draft = Draft(SOURCE, content_name([group[0].at, group[0].asked]))
    messages: list[Message] = []
    for index, entry in enumerate(group):
        key = f"{draft.id}/{index}"
        asked = (*parts(entry.asked), *entry.pictures)
        messages.append(Message(id=f"{key}/q", role="user", content=asked, created_at=entry.at))
        if entry.reply:
            said = parts(entry.reply)
            messages.append(
                Message(id=f"{key}/a", role="assistant", content=said, created_at=entry.at)
            )
    title = group[0].asked[:80]
    yield draft.imported(draft.conversation(chained(messages), title=title, created_at=group[0].at))


GEMINI = Importer(name="gemini", title="Gemini activity (Google Takeout)", knows=_knows, read=_read)
