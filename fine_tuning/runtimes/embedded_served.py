"""A model on an embedded server, as a proof of deployment asks it (core.ports.ServedModel)."""

from __future__ import annotations

from collections.abc import Sequence

import psutil

from fine_tuning.core.conversation import Messages
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.ports import GREEDY, Sampling, ServedReply, ServedSettings
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.runtimes.llama_answers import served_token

MS_PER_S = 1000.0


class EmbeddedServedModel:
    """What an :class:`~fine_tuning.runtimes.embedded.EmbeddedServer` serves.

    Args:
        server: An open server; the caller closes it.
    """

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server

    @property
    def name(self) -> str:
        """The model's name."""
        return self._server.chat_model.name

    def rendered_prompt(self, messages: Messages, tools: Sequence[JsonObject] = ()) -> str | None:
        """Return the prompt of these messages, generation prompt included.

        Raises:
            DataError: if the template refuses the messages.
            RuntimeUnavailableError: if the server was closed.
        """
        return self._server.renderer.render(messages, add_generation_prompt=True, tools=tools)

    def complete(
        self, messages: Messages, sampling: Sampling = GREEDY, *, top_log_probabilities: int = 0
    ) -> ServedReply:
        """Return the whole reply.

        Raises:
            DataError: if the template refuses the messages.
            RuntimeUnavailableError: if the server was closed.
            RuntimeFailedError: if the prompt is too long.
        """
        answer = self._server.chat_model.answer(
            messages, sampling, {"n_probs": top_log_probabilities} if top_log_probabilities else {}
        )
        timings = answer["timings"]
        drawn = answer.get("completion_probabilities") or []
        return ServedReply(
            text=answer["content"],
            ended=answer["stop_type"] == "eos"
            or answer.get("stopping_word", "") in self._server.chat_model.stop,
            entries=tuple(map(served_token, drawn)) or None,
            prompt_tokens=answer["tokens_evaluated"],
            reply_tokens=answer["tokens_predicted"],
            load_s=self._server.load_s,
            first_token_s=timings["prompt_ms"] / MS_PER_S,
            tokens_per_s=timings["predicted_per_second"],
        )

    def settings(self) -> ServedSettings | None:
        """Return the room; parameters, system prompt and messages are its caller's."""
        return ServedSettings(context_tokens=self._server.context_tokens)

    def memory_bytes(self) -> int | None:
        """Return the resident memory of this process, which holds the model and more."""
        return int(psutil.Process().memory_info().rss)
