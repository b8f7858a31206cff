"""Chatting in the workspace: the list of chats, one of them, what forgetting it would touch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from fine_tuning.core.errors import DataError, ModelNotFoundError
from fine_tuning.data_collection.conversation_index import Wanted
from fine_tuning.storage.log_lines import full_record
from fine_tuning.workbench.chat_models import ChatModels, ModelMenu
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.data.review import ConversationIndex
from fine_tuning.workbench.models.lineage import ConversationTrace
from fine_tuning.workbench.models.models import Models
from fine_tuning.workbench.serving import Serving
from fine_tuning.workbench.talking import Talk, new_id

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


class Chat:
    """What a user does in the chat."""

    def __init__(self, context: Context, index: ConversationIndex, models: Models) -> None:
        self._context = context
        self._index = index
        self._models = models
        self.menu = ModelMenu(context, models)
        self.serving = Serving(context, models.bases)

    def models(self) -> ChatModels:
        """Return handles on the models to talk to."""
        return ChatModels(self._context, self._models, self.serving)

    def chats(self, words: str = "", *, limit: int = 30, offset: int = 0) -> ChatPage:
        """Return a page of the recorded chats, newest first; imported ones are not among them.

        Args:
            words: All must occur, in the name or in what was said; "" takes all chats.
            limit: The most to return.
            offset: How many to leave out first.

        Raises:
            StorageError: if they cannot be read.
        """
        listing = self._index.listing()
        found = listing.find(Wanted(sources=(CHAT,)))
        if words.strip():
            said = {row.id for row in listing.find(Wanted(sources=(CHAT,), words=words))}
            wanted = words.casefold().split()
            named = {
                name
                for name, one in listing.verdicts.items()
                if one.title and all(word in one.title.casefold() for word in wanted)
            }
            found = [row for row in found if row.id in said or row.id in named]
        rows: list[ChatRow] = []
        for row in found[offset : offset + limit]:
            verdicts = listing.verdicts.get(row.id)
            rows.append(
                ChatRow(
                    id=row.id,
                    title=(verdicts.title if verdicts else "") or row.title,
                    last_at=row.last_at,
                    has_consent=not (verdicts and verdicts.consent < 0),
                )
            )
        return ChatPage(rows=tuple(rows), total=len(found))

    def talk(self, conversation_id: str = "") -> Talk:
        """Return a conversation to go on with, or a new one.

        With ``data_collection.enabled`` off nothing is recorded, and it lives as long as the value.
        """
        is_recording = self._context.settings.data_collection.enabled
        return Talk(conversation_id or new_id(), self._context.store if is_recording else None)

    def what_holds(self, conversation_id: str) -> ConversationTrace | None:
        """Return the data sets and versions that hold a conversation; None when none does."""
        try:
            return self._models.lineage.trace_conversation(conversation_id)
        except (DataError, ModelNotFoundError):
            return None

    def chat_file(self, conversation_id: str, kind: ChatFormat) -> bytes:
        """Return one conversation to take along: Markdown to read, or the ``ft/1`` record.

        Raises:
            DataError: if there is no such conversation.
        """
        talk = self.talk(conversation_id)
        conversation = talk.conversation()
        if not conversation.messages:
            raise DataError(f"there is no conversation {conversation_id!r}, expected one begun")
        verdicts = talk.verdicts()
        if kind == "json":
            return json.dumps(full_record(conversation), indent=2, ensure_ascii=False).encode(
                "utf-8", "replace"
            )
        parts = [f"# {verdicts.title}"] if verdicts.title else []
        for message in conversation.path():
            who = {"user": "You", "assistant": "Chatbot"}.get(message.role, message.role)
            parts.append(f"**{who}**\n\n{verdicts.corrections.get(message.id, message.text)}")
        return ("\n\n".join(parts) + "\n").encode("utf-8", "replace")
