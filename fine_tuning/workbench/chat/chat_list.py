"""The list of chats, newest first, and one of them as a file to take along."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from fine_tuning.core.errors import DataError
from fine_tuning.data_collection.chat_session import ChatSession
from fine_tuning.data_collection.conversation_index import Listing, Wanted
from fine_tuning.storage.log_lines import full_record

ChatFormat = Literal["markdown", "json"]
CHAT = "chat"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRow:
    """A chat in the list; ``last_at`` is ISO 8601 in UTC, "" when unknown."""

    id: str
    title: str
    last_at: str
    has_consent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatPage:
    """Some of the chats, newest first, and how many there are in all."""

    rows: tuple[ChatRow, ...]
    total: int


def chat_page(listing: Listing, words: str = "", *, limit: int = 30, offset: int = 0) -> ChatPage:
    """Return a page of the recorded chats, newest first; imported ones are not among them.

    Args:
        listing: The recorded conversations as rows.
        words: All must occur, in the name or in what was said; "" takes all chats.
        limit: The most to return.
        offset: How many to leave out first.
    """
    chats = listing.find(Wanted(sources=(CHAT,)))
    if words.strip():
        matching = {row.id for row in listing.find(Wanted(sources=(CHAT,), words=words))}
        needles = words.casefold().split()
        named = {
            name
            for name, one in listing.feedback_summaries.items()
            if one.title and all(word in one.title.casefold() for word in needles)
        }
        chats = [row for row in chats if row.id in matching or row.id in named]
    rows: list[ChatRow] = []
    for row in chats[offset : offset + limit]:
        summary = listing.feedback_summaries.get(row.id)
        rows.append(
            ChatRow(
                id=row.id,
                title=(summary.title if summary else "") or row.title,
                last_at=row.last_at,
                has_consent=not (summary and summary.consent < 0),
            )
        )
    return ChatPage(rows=tuple(rows), total=len(chats))


def chat_file(session: ChatSession, kind: ChatFormat) -> bytes:
    """Return one conversation to take along: Markdown to read, or the ``ft/1`` record.

    Args:
        session: The conversation.
        kind: ``markdown`` or ``json``.

    Raises:
        DataError: if it was never begun.
    """
    conversation = session.conversation()
    if not conversation.messages:
        raise DataError(f"there is no conversation {session.id!r}, expected one begun")
    summary = session.feedback_summary()
    if kind == "json":
        return json.dumps(full_record(conversation), indent=2, ensure_ascii=False).encode(
            "utf-8", "replace"
        )
    parts = [f"# {summary.title}"] if summary.title else []
    for message in conversation.path():
        who = {"user": "You", "assistant": "Chatbot"}.get(message.role, message.role)
        parts.append(f"**{who}**\n\n{summary.corrections.get(message.id, message.text)}")
    return ("\n\n".join(parts) + "\n").encode("utf-8", "replace")
