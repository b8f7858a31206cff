"""What a user does in the chat: chats and their list, models to talk to, serving them to others."""

from __future__ import annotations

from collections.abc import Callable

from fine_tuning.core.errors import DataError, ModelNotFoundError
from fine_tuning.core.ports import GREEDY, ChatModel, ConversationStore, Sampling
from fine_tuning.data_collection.chat_session import BuildMessages, ChatSession, build_messages
from fine_tuning.workbench.chat.chat_list import ChatFormat, ChatPage, chat_file, chat_page
from fine_tuning.workbench.chat.chat_models import (
    ChatModels,
    ModelChoice,
    model_choices,
)
from fine_tuning.workbench.chat.serving import ModelServer
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.data.review import ConversationIndex
from fine_tuning.workbench.models.models import Models
from fine_tuning.workbench.models.version_lineage import ConversationTrace


class Chat:
    """Chats, the models to talk to, and serving them.

    Args:
        context: Settings, workspace, store and clock.
        index: The recorded conversations as rows.
        models: The workspace's models.
        export_if_due: Called when a chat of :meth:`session_with` has begun.

    Attributes:
        server: Serves the models to other programs and to this one.
    """

    def __init__(
        self,
        context: Context,
        index: ConversationIndex,
        models: Models,
        export_if_due: Callable[[], object],
    ) -> None:
        self._context = context
        self._index = index
        self._models = models
        self._export_if_due = export_if_due
        self.server = ModelServer(context, models.bases)

    # Chats

    def chats(self, words: str = "", *, limit: int = 30, offset: int = 0) -> ChatPage:
        """Return a page of the recorded chats; see :func:`chat_page`.

        Args:
            words: See :func:`chat_page`.
            limit: The most chats of the page.
            offset: How many chats to leave out before it.

        Raises:
            StorageError: if they cannot be read.
        """
        return chat_page(self._index.listing(), words, limit=limit, offset=offset)

    def session(self, conversation_id: str = "") -> ChatSession:
        """Return a conversation to go on with, or a new one; replies are asked of any model.

        With ``data_collection.enabled`` off nothing is recorded, and it lives as long as the value.
        """
        return ChatSession(
            self._recording_store(), conversation_id=conversation_id, clock=self._context.clock
        )

    def session_with(
        self,
        model: ChatModel,
        sampling: Sampling = GREEDY,
        *,
        build_messages: BuildMessages = build_messages,
    ) -> ChatSession:
        """Return a new conversation with one model.

        With ``auto_export`` the log is exported again each time another ``export_interval``
        conversations have been recorded.

        Args:
            model: The model talked to.
            sampling: How its replies are drawn.
            build_messages: Makes of the history what it is to read.
        """
        return ChatSession(
            self._recording_store(),
            model,
            sampling,
            clock=self._context.clock,
            build_messages=build_messages,
            version_of=lambda name: self._models.aliases.answering(name).version,
            on_begun=self._export_if_due,
        )

    def file(self, conversation_id: str, kind: ChatFormat) -> bytes:
        """Return one conversation to take along: Markdown to read, or the ``ft/1`` record.

        Args:
            conversation_id: The conversation's.
            kind: The form of the file.

        Raises:
            DataError: if there is no such conversation.
        """
        return chat_file(self.session(conversation_id), kind)

    def what_holds(self, conversation_id: str) -> ConversationTrace | None:
        """Return the data sets and versions that hold a conversation; None when none does."""
        try:
            return self._models.lineage.trace_conversation(conversation_id)
        except (DataError, ModelNotFoundError):
            return None

    def _recording_store(self) -> ConversationStore | None:
        return self._context.store if self._context.settings.data_collection.enabled else None

    # Models

    def model_choices(self) -> list[ModelChoice]:
        """Return the models to pick from; see :func:`model_choices`.

        Raises:
            RuntimeUnavailableError: if Ollama was asked for or is in use, and does not answer.
        """
        return model_choices(self._models, self._context.settings.training.base_model)

    def open_models(self) -> ChatModels:
        """Return the models to talk to, to be shared and closed; none is loaded yet."""
        return ChatModels(self._models, self.server, self._context.settings.training.base_model)
