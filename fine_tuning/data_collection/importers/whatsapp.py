"""WhatsApp's export of a chat: ``_chat.txt`` or ``WhatsApp Chat with X.txt``, in any language.

A message begins a line with its time and a name; lines without a time continue it. Which number of
the date is the day is told by the dates: one above 12 is no month, and months do not run backwards.
"""

# ruff: noqa: RUF001 - signs of other scripts are what this is about

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fine_tuning.core.conversation import Part
from fine_tuning.data_collection.importers.importer import Importer, Sample
from fine_tuning.data_collection.importers.items import ImportedItem, Quarantined, excerpt
from fine_tuning.data_collection.importers.messenger import (
    Spoken,
    by_frequency,
    chosen_person,
    conversation,
    cut_at_pauses,
)
from fine_tuning.data_collection.importers.source import Source
from fine_tuning.data_collection.importers.takeout_time import ascii_digits, moment
from fine_tuning.storage.atomic import storage_errors
from fine_tuning.storage.json_lines import lines

SOURCE = "import:whatsapp"
MAX_LINES = 2_000_000
MAX_NAME_CHARS = 80
_HIDDEN = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_DATE = r"(\d{1,4})\s?[./\-年]\s?(\d{1,2})\s?[./\-月]\s?(\d{1,4})[.日]?"
_CLOCK = (
    r"((?:[^\d\s:\[\]]{1,4}\s?)?\d{1,2}[:.h]\d{2}(?:[:.]\d{2})?(?:\s?(?:[ap]\.?\s?m\.?|[صم]))?)"
)
_START = re.compile(
    rf"^(?:\[{_DATE},?\s?(?:à|um|at|kl\.)?\s?{_CLOCK}\]\s?"
    rf"|{_DATE}[,،]?\s(?:à |um |at |kl\. )?{_CLOCK}(?:\s[-–]\s|,\s))(.*)$",
    re.IGNORECASE,
)
_OMITTED = re.compile(
    r"<[^<>]{3,40}>|.{0,30}\b(?:omitted|weggelassen|omitido|omitida|omis|omise|omesso|omessa|utelatt"
    r"|pominięto|weggelaten)|\S*(?:пропущен|省略|생략)\S*|\(?(?:file attached|Datei angehängt"
    r"|archivo adjunto|fichier joint)\)?",
    re.IGNORECASE,
)
_FILE = re.compile(r"^(\S[^\n]{0,80}\.\w{2,5}) \([^()]{4,30}\)$|^<[^<>:]{3,20}: ([^<>]+)>$")
_DELETED = {
    "this message was deleted", "you deleted this message", "diese nachricht wurde gelöscht",
    "du hast diese nachricht gelöscht", "se eliminó este mensaje", "eliminaste este mensaje",
    "ce message a été supprimé", "questo messaggio è stato eliminato", "mensagem apagada",
    "данное сообщение удалено", "このメッセージは削除されました", "此消息已删除",
    "삭제된 메시지입니다",
}  # fmt: skip


@dataclass(slots=True)
class _Line:
    """A message as its lines stand: the numbers of its date, clock, name and text."""

    number: int
    date: tuple[int, int, int]
    clock: str
    person: str
    text: list[str] = field(default_factory=list)


def _knows(sample: Sample) -> bool:
    given = [line for line in sample.text.splitlines()[:60] if line.strip()]
    started = [found for line in given if (found := _start(line)) is not None]
    return len(started) >= 2 and any(": " in found[4] for found in started)  # noqa: PLR2004


def _start(line: str) -> tuple[int, int, int, str, str] | None:
    """Return the date, clock and rest of a line that begins a message."""
    found = _START.match(ascii_digits(_HIDDEN.sub("", line)))
    if found is None:
        return None
    given = found.groups()
    date = given[:3] if given[0] else given[4:7]
    clock = given[3] if given[0] else given[7]
    return int(date[0]), int(date[1]), int(date[2]), clock, given[8] or ""


def _messages(source: Source, bad: list[Quarantined]) -> Iterator[_Line]:
    """Yield the messages of persons; notices of the program have no name.

    Lines that are no text are added to ``bad``.
    """
    current: _Line | None = None
    with storage_errors(source.text), source.text.open("rb") as file:
        for line in lines(file):
            if line.number > MAX_LINES:
                break
            try:
                said = (line.data or b"").decode().rstrip("\r")
            except UnicodeDecodeError as error:
                reason = f"the line is no UTF-8: {error.reason}"
                bad.append(Quarantined(line=line.number, reason=reason, excerpt=excerpt(line.data)))
                continue
            found = _start(said)
            if found is None:
                if current is not None:
                    current.text.append(_HIDDEN.sub("", said))
                continue
            if current is not None and current.person:
                yield current
            person, colon, first = _after_start(said, found[4])
            is_message = bool(colon) and len(person) <= MAX_NAME_CHARS
            name = person.strip() if is_message else ""
            current = _Line(line.number, found[:3], found[3], name, [first])
    if current is not None and current.person:
        yield current


def _after_start(said: str, rest: str) -> tuple[str, str, str]:
    """Return name, colon and text as they stand in the line, its digits and spaces unchanged."""
    plain = _HIDDEN.sub("", said)
    own = plain[len(plain) - len(rest) :]
    person, colon, first = own.partition(": ")
    if not colon and own.endswith(":"):
        return own[:-1], ":", ""
    return person, colon, first


def _persons(source: Source) -> Sequence[str]:
    return by_frequency(line.person for line in _messages(source, []))


def _read(source: Source) -> Iterator[ImportedItem]:
    bad: list[Quarantined] = []
    found = list(_messages(source, bad))
    yield from bad
    if not found:
        yield Quarantined(line=1, reason="no line begins with a time, a name and a colon")
        return
    persons = by_frequency(line.person for line in found)
    assistant = chosen_person(source.path, persons, source.assistant)
    order = _order([line.date for line in found])
    spoken = [one for one in (_spoken(line, order) for line in found) if one.text or one.others]
    chat = ", ".join(sorted(persons)[:4])
    for group in cut_at_pauses(spoken):
        yield conversation(SOURCE, chat, chat, group, assistant)


def _order(dates: Sequence[tuple[int, int, int]]) -> str:
    """Return the order of year, month and day in the dates."""
    if any(first > 31 for first, _, _ in dates):  # noqa: PLR2004
        return "ymd"
    if any(first > 12 for first, _, _ in dates):  # noqa: PLR2004
        return "dmy"
    if any(second > 12 for _, second, _ in dates):  # noqa: PLR2004
        return "mdy"
    back = {"dmy": 0, "mdy": 0}
    for before, after in itertools.pairwise(dates):
        back["dmy"] += _sortable(after, "dmy") < _sortable(before, "dmy")
        back["mdy"] += _sortable(after, "mdy") < _sortable(before, "mdy")
    return "mdy" if back["mdy"] < back["dmy"] else "dmy"


def _sortable(date: tuple[int, int, int], order: str) -> tuple[int, int, int]:
    named = dict(zip(order, date, strict=True))
    return named["y"], named["m"], named["d"]


def _spoken(line: _Line, order: str) -> Spoken:
    said = "\n".join(line.text).strip()
    others: tuple[Part, ...] = ()
    first, _, rest = said.partition("\n")
    if file := _FILE.match(first):
        others = (Part(type="file", data={"name": (file[1] or file[2]).strip()}),)
        said = rest.strip()
    elif _OMITTED.fullmatch(said):
        others, said = (Part(type="file", data={"name": said.strip("<>")}),), ""
    elif said.rstrip(".").casefold() in _DELETED:
        said = ""
    year, month, day = _sortable(line.date, order)
    at = moment(year, month, day, re.sub(r"(?<=\d)[.h](?=\d)", ":", line.clock), line.clock)
    return Spoken(person=line.person, text=said, at=at, others=others)


WHATSAPP = Importer(
    name="whatsapp", title="WhatsApp chat", knows=_knows, read=_read, persons=_persons
)
