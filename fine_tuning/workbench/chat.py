"""A chat with memory: replies are streamed, turns recorded, judgements kept."""

from __future__ import annotations

from collections.abc import Iterator

from fine_tuning.core.conversation import Message, Part, Role
from fine_tuning.core.ports import ChatModel, Sampling
from fine_tuning.workbench.workbench import Workbench


class ChatSession:
    """One person talking to one model.

    Turns are recorded when ``data_collection.enabled`` is on; with ``auto_export`` the log is
    exported again each time another ``export_interval`` conversations have been recorded.

    Args:
        bench: Whose log and settings.
        model: The model talked to.
        sampling: How replies are drawn.
    """

    def __init__(self, bench: Workbench, model: ChatModel, sampling: Sampling) -> None:
        self._bench = bench
        self._model = model
        self._sampling = sampling
        self.is_recording = bench.context.settings.data_collection.enabled
        self.start_over()

    @property
    def model_name(self) -> str:
        """The model talked to."""
        return self._model.name

    def start_over(self) -> None:
        """Forget what was said; the record of it stays."""
        self._messages: list[Message] = []
        self._last_reply_id = ""
        self._logger = self._bench.data.logger() if self.is_recording else None

    def say(self, text: str) -> Iterator[str]:
        """Ask, and stream the reply; the turn is recorded when the reply is complete.

        Raises:
            RuntimeFailedError: if the conversation outgrew the model's context.
            StorageError: if the turn cannot be recorded.
        """
        asked = _message("user", text, len(self._messages))
        pieces: list[str] = []
        for piece in self._model.reply([*self._messages, asked], self._sampling):
            pieces.append(piece)
            yield piece
        reply = "".join(pieces)
        self._messages += [asked, _message("assistant", reply, len(self._messages) + 1)]
        if self._logger is not None:
            is_first = not self._last_reply_id
            version = self._bench.models.aliases.answering(self.model_name).version
            notes = {"model": self.model_name, **({"version": version} if version else {})}
            self._last_reply_id = self._logger.log_conversation(text, reply, notes)
            if is_first:
                self._bench.data.export_if_due()

    def rate(self, value: int, *, reason: str = "") -> bool:
        """Record a thumb (1 or -1; 0 takes it back) for the last reply; False if there is none."""
        if self._logger is None or not self._last_reply_id:
            return False
        self._logger.log_feedback(self._last_reply_id, "thumb", value=value, reason=reason)
        return True

    def correct(self, text: str) -> bool:
        """Record what the last reply should have been; False when there is none recorded."""
        if self._logger is None or not self._last_reply_id:
            return False
        self._logger.log_feedback(self._last_reply_id, "correction", text=text)
        return True


def _message(role: Role, text: str, index: int) -> Message:
    return Message(id=str(index), role=role, content=(Part(text=text),))
