"""SillyTavern's chat files: a line of facts about the chat, then a line per message.

A message's ``swipes`` are the replies that were generated for it, ``swipe_id`` the one that was
kept: each other one makes a choice. The greeting a chat begins with was written by a person, and
its alternatives are no choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.naming import content_name
from fine_tuning.data_collection.importers.fields import (
    iso_time,
    mapping,
    named_pictures,
    objects,
    parts,
    picture,
    text,
    words,
)
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

SOURCE = "import:silly-tavern"
MAX_MESSAGES = 100_000
_MACROS = (
    re.compile(r"\{\{(?i:user)\}\}|<USER>"),
    re.compile(r"\{\{(?i:char)\}\}|<(?:BOT|CHAR)>"),
)
"""What stands for the person's name, and for the character's."""


def _knows(sample: Sample) -> bool:
    return any(
        {"mes", "is_user"} <= record.keys() or {"character_name", "user_name"} <= record.keys()
        for record in sample.records
    )


def _read(source: Source) -> Iterator[ImportedItem]:
    """Gather the lines of the file, which is one conversation, and yield it."""
    facts: JsonObject = {}
    spoken: list[JsonObject] = []
    for record in source.records():
        value = record.value
        if not isinstance(value, Mapping):
            reason = record.reason or f"the line is {type(value).__name__}, expected an object"
            yield Quarantined(line=record.line, reason=reason, excerpt=record.excerpt)
        elif "mes" not in value:
            facts = facts or value
        elif len(spoken) == MAX_MESSAGES:
            reason = f"the chat has more than {MAX_MESSAGES} messages"
            yield Quarantined(line=record.line, reason=reason, excerpt=excerpt(value))
            return
        else:
            try:
                _texts(value)
                spoken.append(value)
            except (DataError, *UNREADABLE) as error:
                yield Quarantined(line=record.line, reason=str(error), excerpt=excerpt(value))
    made = ParsedRecord(line=1, value={"facts": facts, "messages": spoken})
    yield from converted(made, _convert)


def _convert(record: JsonObject) -> Iterator[Imported]:
    facts, items = mapping(record, "facts"), objects(record, "messages")
    if not items:
        raise DataError("the chat holds no message")
    notes = mapping(facts, "chat_metadata")
    who = [text(facts, "user_name"), text(facts, "character_name"), text(facts, "create_date")]
    beginning = [words(item, "mes") for item in items[:2]]
    ref = text(notes, "integrity") or content_name([who, beginning])
    draft = Draft(SOURCE, ref)
    names = _names(facts, items)
    messages: list[Message] = []
    parent: str | None = None
    hidden = 0
    for index, item in enumerate(items):
        if item.get("is_system"):
            hidden += 1
            continue
        own = _alternatives(f"{draft.id}/{index}", item, names)
        kept = _kept(item, len(own))
        for message in own:
            messages.append(replace(message, parent_id=parent))
            is_answer = parent is not None and not item.get("is_user")
            if is_answer and message is not own[kept] and message.text.strip():
                draft.add_feedback(own[kept].id, "choice", rejected_id=message.id)
        parent = own[kept].id
    found = {"character": names[1]} if names[1] else {}
    conversation = draft.conversation(
        messages,
        leaf_id=parent,
        title=names[1],
        created_at=iso_time(facts.get("create_date")),
        metadata={**found, **({"hidden_messages": hidden} if hidden else {})},
    )
    yield draft.imported(conversation)


def _texts(item: JsonObject) -> list[str]:
    """Return all the replies of a message, or its text.

    Raises:
        DataError: if one is no text.
    """
    said, swipes = words(item, "mes"), item.get("swipes")
    if item.get("is_user") or not isinstance(swipes, list) or len(swipes) < 2:  # noqa: PLR2004
        return [said]
    if not all(isinstance(swipe, str) for swipe in swipes):
        raise DataError("'swipes' is expected to be a list of texts")
    return [*swipes]


def _kept(item: JsonObject, count: int) -> int:
    chosen = item.get("swipe_id")
    return chosen if isinstance(chosen, int) and 0 <= chosen < count else 0


def _names(facts: JsonObject, items: Sequence[JsonObject]) -> list[str]:
    """Return the names of person and character; newer files name them in the messages only."""
    found = []
    for key, is_person in (("user_name", True), ("character_name", False)):
        name = text(facts, key)
        if name in {"", "unused"}:
            said = (text(i, "name") for i in items if bool(i.get("is_user")) is is_person)
            name = next(filter(None, said), "")
        found.append(name)
    return found


def _alternatives(name: str, item: JsonObject, who: list[str]) -> list[Message]:
    """Return the replies of a message; the one kept is what ``mes`` says, which may be edited."""
    said = _texts(item)
    kept = _kept(item, len(said))
    said[kept] = words(item, "mes")
    facts, extra = item.get("swipe_info"), mapping(item, "extra")
    role = "user" if item.get("is_user") else "assistant"
    if role == "assistant" and text(item, "name"):  # in a group, each speaks for itself
        who = [who[0], text(item, "name")]
    found = []
    for index, one in enumerate(said):
        info = facts[index] if isinstance(facts, list) and index < len(facts) else {}
        own = (
            extra if index == kept else mapping(info, "extra") if isinstance(info, Mapping) else {}
        )
        found.append(
            Message(
                id=name if index == kept else f"{name}#{index}",
                role=role,  # type: ignore[arg-type]
                content=(*parts(_named(one, who)), *_pictures(item, role)),
                reasoning=text(own, "reasoning"),
                model=text(own, "model"),
                created_at=iso_time(item.get("send_date")),
                metadata={"speaker": item["name"]} if isinstance(item.get("name"), str) else {},
            )
        )
    return found


def _pictures(item: JsonObject, role: str) -> tuple[Part, ...]:
    """Return the pictures a person sent with a message."""
    extra = mapping(item, "extra")
    if role != "user":
        return ()
    sent = picture(extra["image"]) if isinstance(extra.get("image"), str) else None
    return (*((sent,) if sent and extra["image"] else ()), *named_pictures(extra.get("media")))


def _named(said: str, who: list[str]) -> str:
    """Put the names in where a macro stands for them."""
    for macro, name in zip(_MACROS, who, strict=False):
        if name:
            said = macro.sub(name.replace("\\", r"\\"), said)
    return said


SILLY_TAVERN = Importer(name="silly-tavern", title="SillyTavern chat", knows=_knows, read=_read)
