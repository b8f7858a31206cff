"""What a served model is compared with: the model as it was trained, computed by the engine.

Log-probabilities are natural. Knows no server and no engine; the composition root brings both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fine_tuning.core.conversation import Message
from fine_tuning.core.json_value import JsonObject


@dataclass(frozen=True, slots=True)
class FollowedToken:
    """One token of a served reply: how likely the reference finds it, and its own favourite.

    A byte in ``text`` that is no character by itself is a surrogate (Python's "surrogateescape").
    """

    text: str
    log_probability: float
    best_log_probability: float

    @property
    def gap(self) -> float:
        """How far the token is behind the reference's favourite, in nats; 0 for the favourite."""
        return self.best_log_probability - self.log_probability


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A served reply as the reference reads it, token after token.

    Attributes:
        likeliest: Log-probabilities of the likeliest tokens by their text, at each place of the
            reply and, last, after it.
        tokens: The tokens of the reply's text, in order.
        stop_log_probabilities: Of the trained end of turn before each of ``tokens``, and last,
            after all of them.
        stop: The end of turn after the whole reply.
    """

    likeliest: tuple[Mapping[str, float], ...]
    tokens: tuple[FollowedToken, ...] = ()
    stop_log_probabilities: tuple[float, ...] = ()
    stop: FollowedToken | None = None


class Reference(Protocol):
    """The trained model: its prompts, and what it would say.

    * ``prompt`` MUST be the text training put before a reply.
    * ``follow`` with ``scale`` 1 MUST compute the trained model, with 0 its base, and with any
      other number the model whose adapter is that many times as strong.
    """

    @property
    def end_of_turn(self) -> str:
        """The text of the trained end of turn."""
        ...

    def prompt(self, messages: Sequence[Message], tools: Sequence[JsonObject] = ()) -> str:
        """Return the prompt of messages, generation prompt included.

        Raises:
            DataError: if the template refuses the order of roles.
        """
        ...

    def count_tokens(self, prompt: str) -> int:
        """Return how many tokens a prompt has, those added at its start included."""
        ...

    def follow(self, messages: Sequence[Message], reply: str, *, scale: float = 1.0) -> Followed:
        """Read a reply to messages; with "" only the first token is predicted."""
        ...
