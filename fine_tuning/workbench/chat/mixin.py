"""The workbench's own names for what :class:`ChatFacade` does."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from fine_tuning.core.ports import GREEDY, ChatModel, Sampling
from fine_tuning.data_collection.chat_session import ChatSession
from fine_tuning.workbench.chat.chat_list import ChatFormat, ChatPage
from fine_tuning.workbench.chat.facade import ChatFacade
from fine_tuning.workbench.chat.models import ChatModels, ModelChoice
from fine_tuning.workbench.chat.serving import ServedAt
from fine_tuning.workbench.deploying import Deploying
from fine_tuning.workbench.forgetting import Forgetting
from fine_tuning.workbench.models import ConversationTrace


class Conversing(Forgetting, Deploying):
    """What a user does in the chat."""

    @cached_property
    def chatting(self) -> ChatFacade:
        """The workspace's chats and models to talk to."""
        return ChatFacade(
            self.settings,
            self.workspace,
            lambda: self.store,
            models=self,
            listing=self.listing,
            export_if_due=self.export_if_due,
        )

    def chats(self, words: str = "", *, limit: int = 30, offset: int = 0) -> ChatPage:
        """See :meth:`ChatFacade.chats`."""
        return self.chatting.chats(words, limit=limit, offset=offset)

    def talk(self, conversation_id: str = "") -> ChatSession:
        """See :meth:`ChatFacade.session`."""
        return self.chatting.session(conversation_id)

    def talk_with(self, model: ChatModel, sampling: Sampling = GREEDY) -> ChatSession:
        """See :meth:`ChatFacade.session_with`."""
        return self.chatting.session_with(model, sampling)

    def chat_file(self, conversation_id: str, kind: ChatFormat) -> bytes:
        """See :meth:`ChatFacade.file`."""
        return self.chatting.file(conversation_id, kind)

    def what_holds(self, conversation_id: str) -> ConversationTrace | None:
        """See :meth:`ChatFacade.what_holds`."""
        return self.chatting.what_holds(conversation_id)

    def model_choices(self) -> list[ModelChoice]:
        """See :meth:`ChatFacade.model_choices`."""
        return self.chatting.model_choices()

    def open_models(self) -> ChatModels:
        """See :meth:`ChatFacade.open_models`."""
        return self.chatting.open_models()

    def serve(
        self,
        *,
        host: str | None = None,
        port: int | None = None,
        token_file: Path | None = None,
        started: Callable[[ServedAt], None] | None = None,
    ) -> None:
        """See :meth:`ChatFacade.serve`."""
        self.chatting.serve(host=host, port=port, token_file=token_file, started=started)
