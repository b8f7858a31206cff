"""What a chatbot imports to use the models tuned here: the name to ask for, a record of turns.

A chatbot that talks to Ollama itself needs two lines: ``model()`` before a reply and ``log()``
after it. ``chat()`` does both. Thin over the workbench, which does everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fine_tuning.config.loader import load_settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.ports import Sampling
from fine_tuning.data_collection.chat_session import ChatSession
from fine_tuning.workbench.workbench import Workbench


class OllamaIntegration:
    """A chatbot's way to its models.

    Args:
        home: The workspace; None takes ``FINE_TUNING_HOME``, else ``./fine_tuning_home``.
        config: A settings file; None takes the defaults.
        overrides: Single settings, such as ``"deployment.family=support"``.

    Raises:
        ConfigError: if a setting is not accepted.
    """

    def __init__(
        self,
        home: Path | str | None = None,
        config: Path | str | None = None,
        *,
        overrides: tuple[str, ...] = (),
    ) -> None:
        settings = load_settings(Path(config) if config else None, overrides=overrides)
        self._bench = Workbench(settings, Workspace.open(home, settings))
        self._logger = self._bench.data.logger() if settings.data_collection.enabled else None

    def models(self) -> list[str]:
        """Return the names a chatbot can offer its user, the tuned ones first.

        Raises:
            RuntimeUnavailableError: if Ollama was asked for or is in use, and does not answer.
        """
        return self._bench.models.access.chatbot_models()

    def model(self, session_id: str = "") -> str:
        """Return the name to ask for in a session: the tuned model in use, else the base.

        While traffic is split between two versions, a session stays with one of them.

        Args:
            session_id: The session a reply is wanted for; "" for none.

        Returns:
            A name Ollama answers to.
        """
        return self._bench.models.access.chatbot_model(session_id)

    def switch(self, name: str) -> str:
        """Use another version from now on, ``support:2``, or ``support:base``; returns its name.

        Args:
            name: A version, or a family's ``base``.

        Returns:
            The version in use now.

        Raises:
            ModelNotFoundError: if there is no such version.
            DeploymentError: if it is not deployed; then nothing has changed.
        """
        return self._bench.models.aliases.switcher().switch(name).version

    def rollback(self) -> str:
        """Use the version before again, at once; returns its name.

        Raises:
            DeploymentError: if there is nothing to go back to.
        """
        return self._bench.models.aliases.rollback(
            self._bench.context.settings.deployment.family
        ).version

    def log(
        self,
        user_message: str,
        bot_response: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        session_id: str | None = None,
    ) -> str:
        """Record a turn and return the reply's id; "" when ``data_collection.enabled`` is false.

        With a ``model`` in the metadata, the version it answers as is recorded too.

        Args:
            user_message: The person's words.
            bot_response: The chatbot's reply.
            metadata: Notes on the reply (model, latency, ...).
            session_id: The session the turn belongs to; None takes this object's own.

        Returns:
            The reply's message id, which the logger's feedback methods take.

        Raises:
            DataError: if a message is not text.
            StorageError: if it cannot be written.
        """
        if self._logger is None:
            return ""
        if isinstance(metadata, Mapping) and "version" not in metadata:
            version = self._bench.models.aliases.answering(str(metadata.get("model", ""))).version
            metadata = {**metadata, "version": version} if version else metadata
        return self._logger.log_conversation(
            user_message, bot_response, metadata, session_id=session_id
        )

    @contextmanager
    def chat(
        self, session_id: str = "", *, model: str | None = None, sampling: Sampling | None = None
    ) -> Iterator[ChatSession]:
        """Open a conversation whose replies are streamed and whose turns are recorded.

        Args:
            session_id: The session whose version replies; "" for none.
            model: The name to ask for; None takes that of :meth:`model`.
            sampling: How replies are drawn; None takes the defaults.

        Example::

            with OllamaIntegration().chat() as chat:
                for piece in chat.say("When do we get paid?"):
                    print(piece, end="")

        Raises:
            ModelNotFoundError: if the runtime has no such model.
            RuntimeUnavailableError: if Ollama was asked for or is in use, and does not answer.
        """
        with self._bench.models.access.open_served(model or self.model(session_id)) as served:
            yield self._bench.chat.session_with(served, sampling or Sampling())
