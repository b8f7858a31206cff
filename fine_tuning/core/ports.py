"""The ports between rooms. Each is a Protocol of one to four methods; its laws say MUST.

``tests/contracts/`` holds one suite per port, run against every implementation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from fine_tuning.core.conversation import Messages
from fine_tuning.core.events import RunEvent
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.store_ports import (
    ConversationAdmin,
    ConversationLog,
    ConversationQueries,
    ConversationStore,
    Skipped,
)

__all__ = [
    "GREEDY",
    "AliasingRuntime",
    "ChatModel",
    "Clock",
    "ConversationAdmin",
    "ConversationLog",
    "ConversationQueries",
    "ConversationStore",
    "ModelInfo",
    "ModelRecipe",
    "ModelRuntime",
    "Progress",
    "PromptRenderer",
    "RunListener",
    "Sampling",
    "ServedModel",
    "ServedReply",
    "ServedSettings",
    "ServedToken",
    "Skipped",
    "Tokenizer",
]


class Tokenizer(Protocol):
    """Text to token ids and back, as the serving runtime does it.

    * ``decode(encode(text))`` MUST equal ``text`` for text without special tokens.
    * With ``parse_special`` false, text that looks like a special token MUST become plain tokens.
    * ``fingerprint`` MUST differ when any text could be encoded differently.
    """

    @property
    def fingerprint(self) -> str:
        """The content name of vocabulary and rules."""
        ...

    def encode(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Return token ids.

        Args:
            text: Any text.
            add_special: Add what the model expects at a sequence's start (BOS), if anything.
            parse_special: Read special tokens' text as those tokens.
        """
        ...

    def encode_many(self, texts: Sequence[str], *, parse_special: bool) -> list[list[int]]:
        """Return the ids of each text by itself, as ``encode`` without ``add_special`` does."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens included."""
        ...


class PromptRenderer(Protocol):
    """Messages to exactly the text the server will put before the model.

    * The rendering of ``messages[:k]`` with a generation prompt, the reply and the end of turn
      MUST be what the model sees in serving, with the server's default settings.
    * Messages hold text only; what a template refuses MUST raise ``DataError``, never render in
      part. Who asks adapts the messages (data_preparation/template_reading.py), not the renderer.
    * A template that knows no tools MUST ignore them.
    * ``fingerprint`` MUST differ when any messages could be rendered differently.
    """

    @property
    def fingerprint(self) -> str:
        """The content name of template and rules."""
        ...

    def render(
        self,
        messages: Messages,
        *,
        add_generation_prompt: bool,
        tools: Sequence[JsonObject] = (),
    ) -> str:
        """Return the prompt text.

        Args:
            messages: The conversation.
            add_generation_prompt: Begin the assistant's turn at the end.
            tools: What the model may call, in OpenAI's form.

        Raises:
            DataError: if the template refuses the messages, such as the order of their roles.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a reply is drawn: greedy by default; ``temperature`` 0 always takes the likeliest."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    max_tokens: int = 512
    repeat_penalty: float = 1.0
    stop: tuple[str, ...] = ()


GREEDY = Sampling()


class ChatModel(Protocol):
    """A model one can talk to.

    * The pieces of ``reply`` joined MUST be the reply, without end-of-turn tokens.
    * With ``temperature`` 0 the same messages MUST give the same reply.
    * Closing the iterator MUST stop the work.
    """

    @property
    def name(self) -> str:
        """The model's name, as its runtime lists it."""
        ...

    def reply(self, messages: Messages, sampling: Sampling = GREEDY) -> Iterator[str]:
        """Stream the assistant's reply.

        Raises:
            RuntimeUnavailableError: if no server answers.
            RuntimeFailedError: if the server reports an error or stops half-way.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What a runtime says about one of its models; ``size_bytes`` 0 means unknown."""

    name: str
    size_bytes: int = 0
    digest: str = ""
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecipe:
    """What a new model is made of.

    ``base`` names an existing model or a GGUF file; ``adapter`` is a GGUF LoRA file or None.
    ``parameters``, ``template`` and ``system`` are inherited from the base when None. ``messages``
    (role, text) begin every conversation; ``license`` is told with the model. ``go_template`` is
    one of Ollama's, for runtimes whose ``template`` is of another kind.
    """

    base: str
    adapter: Path | None = None
    parameters: JsonObject | None = None
    template: str | None = None
    system: str | None = None
    messages: tuple[tuple[str, str], ...] = ()
    license: str = ""
    go_template: str = ""


Progress = Callable[[str, int, int], None]
"""Called with what is being done, units done, units in all (0 when unknown).

Within one piece of work ``done`` MUST NOT go down and MUST end at a known total. What a callback
raises MUST end the work: that is how it is stopped.
"""


class ModelRuntime(Protocol):
    """Something that serves models by name.

    * After ``create`` returned, ``show`` MUST find the name; after it raised, the runtime MUST be
      as it was before.
    * ``delete`` of an unknown name MUST raise, and delete nothing.
    """

    def list(self) -> Sequence[ModelInfo]:
        """Return all models.

        Raises:
            RuntimeUnavailableError: if no server answers.
        """
        ...

    def show(self, name: str) -> ModelInfo:
        """Return one model.

        Raises:
            ModelNotFoundError: if the runtime has no such model.
        """
        ...

    def create(self, name: str, recipe: ModelRecipe, progress: Progress | None = None) -> ModelInfo:
        """Make a model, or replace the one of that name.

        Raises:
            DeploymentError: if the runtime refuses the recipe.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove a model.

        Raises:
            ModelNotFoundError: if the runtime has no such model.
        """
        ...


class AliasingRuntime(ModelRuntime, Protocol):
    """A runtime that answers under a second name.

    * While ``point_alias`` works, however it ends, ``alias`` MUST answer as before or as
      ``target``, never not at all; afterwards ``show(alias).digest`` MUST be
      ``show(target).digest``, and so it MUST stay when ``target`` is deleted or replaced.
    * ``point_alias`` and ``warm_up`` MUST leave ``target`` itself as it was.
    """

    def point_alias(self, alias: str, target: str) -> ModelInfo:
        """Let a name answer as another model does now; a model of that name is replaced.

        Raises:
            ModelNotFoundError: if the runtime has no such target; then nothing has changed.
            DeploymentError: if the runtime refuses the name; then nothing has changed.
        """
        ...

    def warm_up(self, name: str) -> None:
        """Make sure that a model loads and writes a token, and that its next reply need not wait.

        Raises:
            ModelNotFoundError: if the runtime has no such model.
            RuntimeFailedError: if the model does not load.
        """
        ...


@dataclass(frozen=True, slots=True)
class ServedToken:
    """An entry of the log-probabilities a server tells along a reply.

    ``text`` is what was sent with it: the text of a token, or that of a character's last token with
    those before it that are bytes only. ``likeliest`` holds the likeliest tokens in the place of
    that last token as (text, natural log-probability), likeliest first. A byte that is no character
    by itself is a surrogate (Python's "surrogateescape") where the server tells bytes, else U+FFFD:
    then several tokens may have the same text. Special tokens have the text "".
    """

    text: str
    log_probability: float
    likeliest: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedReply:
    """One reply as its server sent it, with what it says about the work.

    ``ended`` is true when the model ended the reply itself by its end-of-turn token, false when a
    length limit or a stop text cut it. ``broken_off`` says why the server, which lives, broke the
    reply off without an end, "" when it did not; the text up to there is whole. ``entries`` are the
    log-probabilities told along the reply, None when the server tells none. Times and counts the
    server does not tell are None.
    """

    text: str
    ended: bool
    broken_off: str = ""
    entries: tuple[ServedToken, ...] | None = None
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    load_s: float | None = None
    first_token_s: float | None = None
    tokens_per_s: float | None = None

    @property
    def tokens(self) -> tuple[str, ...] | None:
        """The texts of the entries; None when the server tells none."""
        return None if self.entries is None else tuple(entry.text for entry in self.entries)

    @property
    def first_token_log_probabilities(self) -> Mapping[str, float] | None:
        """Natural log-probabilities of the likeliest tokens at the first entry, by their text.

        Tokens of the same text count together. None when the server tells none.
        """
        found: dict[str, float] = {}
        for text, more in self.entries[0].likeliest if self.entries else ():
            old = found.get(text)
            found[text] = more if old is None else math.log(math.exp(old) + math.exp(more))
        return found or None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedSettings:
    """What a server shows of a model besides its weights and template; None is not told.

    ``parameters`` are PARAMETERs by name (``stop`` texts as a sequence), ``messages`` (role, text)
    pairs put before every conversation, ``context_tokens`` is the room it is loaded with.
    """

    parameters: JsonObject | None = None
    system: str | None = None
    messages: Sequence[tuple[str, str]] | None = None
    context_tokens: int | None = None


class ServedModel(Protocol):
    """A model as its server serves it: what a proof of deployment asks.

    * ``rendered_prompt`` MUST be the very text the server puts before the model, or None when the
      server has no way to tell it.
    * ``complete`` with greedy ``sampling`` MUST give the same reply for the same messages.
    """

    @property
    def name(self) -> str:
        """The model's name, as its runtime lists it."""
        ...

    def rendered_prompt(self, messages: Messages, tools: Sequence[JsonObject] = ()) -> str | None:
        """Return the prompt of these messages, generation prompt included.

        Raises:
            DataError: if the template refuses the messages, or the server refuses tools for this
                model.
            RuntimeUnavailableError: if no server answers.
            RuntimeFailedError: if the server reports an error.
        """
        ...

    def complete(
        self, messages: Messages, sampling: Sampling = GREEDY, *, top_log_probabilities: int = 0
    ) -> ServedReply:
        """Return the whole reply; ``top_log_probabilities`` first tokens are asked for, 0 to 20.

        Raises:
            RuntimeUnavailableError: if no server answers.
            RuntimeFailedError: if the server reports an error or stops half-way.
        """
        ...

    def memory_bytes(self) -> int | None:
        """Return the resident memory of the loaded model, or None when it is not told."""
        ...

    def settings(self) -> ServedSettings | None:
        """Return what the server shows of the model, or None when it shows nothing.

        Raises:
            RuntimeUnavailableError: if no server answers.
            RuntimeFailedError: if the server reports an error.
        """
        ...


class RunListener(Protocol):
    """Hears what a run tells. It MUST NOT raise for an event kind it does not know."""

    def on_event(self, event: RunEvent) -> None:
        """Take one event, in order."""
        ...


class Clock(Protocol):
    """Time, injected so that tests own it. ``monotonic_s`` MUST never go backwards."""

    def now(self) -> datetime:
        """Return the time of day, in UTC, with its zone."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds since an arbitrary moment."""
        ...
