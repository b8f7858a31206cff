"""What a user does in the chat: chats and their list, models to talk to, serving them to others."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Protocol

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import DataError, ModelNotFoundError
from fine_tuning.core.ports import GREEDY, ChatModel, Clock, ConversationStore, Sampling
from fine_tuning.data_collection.chat_session import BuildMessages, ChatSession, build_messages
from fine_tuning.runtimes.base_model import BaseModel
from fine_tuning.workbench.chat.chat_list import ChatFormat, ChatPage, chat_file, chat_page
from fine_tuning.workbench.chat.models import (
    ChatModels,
    DeployedModels,
    ModelChoice,
    model_choices,
)
from fine_tuning.workbench.chat.serving import ModelServer, ServedAt
from fine_tuning.workbench.listing import Listing
from fine_tuning.workbench.models import ConversationTrace
from fine_tuning.workbench.runs import FinishedRun


class WorkspaceModels(DeployedModels, Protocol):
    """The workspace's models, and what they are made of."""

    def base_model(self, name: str | None = None) -> BaseModel:
        """Find a base model, by default that of the settings."""
        ...

    def base_of(self, run: FinishedRun) -> BaseModel:
        """Find the base model of a run."""
        ...

    def trace_conversation(self, conversation_id: str) -> ConversationTrace:
        """Return the data sets and versions that hold a conversation."""
        ...


class ChatFacade:
    """Chats, the models to talk to, and serving them.

    Args:
        settings: The settings in force.
        workspace: Where the user's data lies.
        store: Returns the store of conversations; not called while nothing is to be recorded.
        models: The workspace's models.
        listing: Returns the recorded conversations as rows.
        export_if_due: Called when a chat of :meth:`session_with` has begun.
        clock: Tells the time; None takes the system's.
    """

    def __init__(  # noqa: PLR0913 - every collaborator is an argument
        self,
        settings: Settings,
        workspace: Workspace,
        store: Callable[[], ConversationStore],
        *,
        models: WorkspaceModels,
        listing: Callable[[], Listing],
        export_if_due: Callable[[], object],
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._workspace = workspace
        self._store = store
        self._models = models
        self._listing = listing
        self._export_if_due = export_if_due
        self._clock = clock

    # Chats

    def chats(self, words: str = "", *, limit: int = 30, offset: int = 0) -> ChatPage:
        """Return a page of the recorded chats; see :func:`chat_page`.

        Raises:
            StorageError: if they cannot be read.
        """
        return chat_page(self._listing(), words, limit=limit, offset=offset)

    def session(self, conversation_id: str = "") -> ChatSession:
        """Return a conversation to go on with, or a new one; replies are asked of any model.

        With ``data_collection.enabled`` off nothing is recorded, and it lives as long as the value.
        """
        return ChatSession(
            self._recording_store(), conversation_id=conversation_id, clock=self._clock
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
            clock=self._clock,
            build_messages=build_messages,
            version_of=lambda name: self._models.answering(name).version,
            on_begun=self._export_if_due,
        )

    def file(self, conversation_id: str, kind: ChatFormat) -> bytes:
        """Return one conversation to take along: Markdown to read, or the ``ft/1`` record.

        Raises:
            DataError: if there is no such conversation.
        """
        return chat_file(self.session(conversation_id), kind)

    def what_holds(self, conversation_id: str) -> ConversationTrace | None:
        """Return the data sets and versions that hold a conversation; None when none does."""
        try:
            return self._models.trace_conversation(conversation_id)
        except (DataError, ModelNotFoundError):
            return None

    def _recording_store(self) -> ConversationStore | None:
        return self._store() if self._settings.data_collection.enabled else None

    # Models

    def model_choices(self) -> list[ModelChoice]:
        """Return the models to pick from; see :func:`model_choices`.

        Raises:
            RuntimeUnavailableError: if Ollama was asked for or is in use, and does not answer.
        """
        return model_choices(self._models, self._settings.training.base_model)

    def open_models(self) -> ChatModels:
        """Return the models to talk to, to be shared and closed; none is loaded yet."""
        return ChatModels(self._models, self._server, self._settings.training.base_model)

    def serve(
        self,
        *,
        host: str | None = None,
        port: int | None = None,
        token_file: Path | None = None,
        started: Callable[[ServedAt], None] | None = None,
    ) -> None:
        """Answer as Ollama and as OpenAI would, until Ctrl-C; see :meth:`ModelServer.serve`."""
        self._server.serve(host=host, port=port, token_file=token_file, started=started)

    @cached_property
    def _server(self) -> ModelServer:
        return ModelServer(
            self._settings,
            self._workspace,
            base_model=self._models.base_model,
            base_of=self._models.base_of,
        )
