"""Chats between persons, of whom one is the assistant: who that is, a person must say.

A chat of years becomes conversations: a pause of eight hours ends one. Messages of one person in a
row stay what they are; cleaning joins them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.errors import DataError
from fine_tuning.core.naming import content_name
from fine_tuning.data_collection.importers.fields import parts
from fine_tuning.data_collection.importers.items import Draft, Imported, Quarantined, excerpt
from fine_tuning.data_collection.importers.source import Source
from fine_tuning.data_collection.importers.trees import chained

PAUSE = timedelta(hours=8)
NUM_NAMED = 8


class AssistantUnknownError(DataError):
    """Which of several persons is the assistant was not said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What a person said at a time; ``id`` is the messenger's own, "" for none."""

    person: str
    text: str
    at: str = ""
    id: str = ""
    others: tuple[Part, ...] = ()


def chosen_person(path: object, persons: Sequence[str], wanted: str) -> str:
    """Return the person of a chat who is the assistant.

    Args:
        path: The file, for the sentence.
        persons: Who speaks in it, the most frequent first.
        wanted: What the user says.

    Raises:
        DataError: if the user did not say, or there is no such person; the sentence names all.
    """
    plain = wanted.strip().casefold()
    for person in persons:
        if plain and person.casefold() == plain:
            return person
    if not persons:
        raise DataError(f"{path} holds no message of a person")
    named = ", ".join(persons[:NUM_NAMED]) + (" and others" if len(persons) > NUM_NAMED else "")
    what = f"has no person {wanted!r}" if plain else "is a chat between persons"
    raise AssistantUnknownError(
        f"{path} {what}; one of them must be the assistant: {named}",
        next_command=f'fine-tuning import FILE --assistant "{persons[0]}"',
    )


def by_frequency(names: Iterable[str]) -> list[str]:
    """Return each name once, the most frequent first."""
    counts: dict[str, int] = {}
    for name in names:
        if name:
            counts[name] = counts.get(name, 0) + 1
    return sorted(counts, key=lambda name: -counts[name])


def unreadable(source: Source) -> Iterator[Quarantined]:
    """Yield every record of a file in which no person speaks, set aside."""
    for record in source.records():
        reason = record.reason or "nobody speaks in the record"
        shown = record.excerpt or excerpt(record.value)
        yield Quarantined(line=record.line, reason=reason, excerpt=shown)


def cut_at_pauses(spoken: Iterable[Spoken]) -> Iterator[list[Spoken]]:
    """Yield the conversations of a chat: what is said without a pause of eight hours."""
    group: list[Spoken] = []
    for one in spoken:
        if group and one.at and group[-1].at and _gap(group[-1].at, one.at) > PAUSE:
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _gap(before: str, after: str) -> timedelta:
    return datetime.fromisoformat(after) - datetime.fromisoformat(before)


def conversation(
    source: str, chat: str, title: str, group: Sequence[Spoken], assistant: str
) -> Imported:
    """Return a conversation of a chat, whose assistant is one of its persons.

    Args:
        source: Where it comes from, as conversations name it.
        chat: What identifies the chat.
        title: What it is called.
        group: What was said.
        assistant: The person who is the assistant.
    """
    first = group[0]
    draft = Draft(source, content_name([chat, first.id or [first.at, first.person, first.text]]))
    others = {one.person for one in group} - {assistant}
    messages = [
        Message(
            id=f"{draft.id}/{one.id or index}",
            role="assistant" if one.person == assistant else "user",
            content=(*parts(one.text), *one.others),
            name=one.person if len(others) > 1 and one.person != assistant else "",
            created_at=one.at,
        )
        for index, one in enumerate(group)
    ]
    found = draft.conversation(
        chained(messages),
        title=title,
        created_at=first.at,
        metadata={"chat": chat} if chat else {},
    )
    return draft.imported(found)
