"""Where a tuned model is deployed to, and what is deployed: the words the deployer speaks.

One target stands for one runtime and knows how its models are made; the deployer knows the order
of things and how they are undone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fine_tuning.core.json_value import JsonObject, JsonValue, trusted
from fine_tuning.core.ports import AliasingRuntime, Progress, ServedModel, ServedSettings
from fine_tuning.model_management.deploy_strategies import DeployStrategy, Way
from fine_tuning.model_management.tools_check import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployable:
    """A version as it can be served.

    Attributes:
        version: Its name in the registry, ``support:3``.
        served_as: Its name on the runtime, ``fine_tuned_support:3``.
        base_name: The base as the user calls it; a runtime may know it by that name.
        base_path: The base's file.
        base_digest: ``sha256:<64 hex>`` of it.
        adapter: The adapter, as llama.cpp reads it.
        is_mergeable: Whether it merges exactly into weights of 4 or 5 bits.
        merged: Writes the merged file of a way, or finds the one written before.
        prompt: The prompt training put before a reply to messages.
        system: What a conversation began with in training when it brought no system message.
        stop: Texts that end a reply besides the model's own end-of-turn tokens.
        parameters: The base's own PARAMETERs by Ollama's names.
        messages: (role, text) pairs that began every conversation in training.
        chat_template: The Jinja template of training when it is not the model's own.
        go_template: Ollama's TEMPLATE where that wrote the prompts of training.
        is_tools_trained: Whether conversations with tools were trained on.
        room_tokens: The context room the base rotates positions by; 0 where it does not matter.
    """

    version: str
    served_as: str
    base_name: str
    base_path: Path
    base_digest: str
    adapter: Path
    is_mergeable: bool
    merged: Callable[[Way, Progress | None], Path]
    prompt: Prompt
    system: str = ""
    stop: Sequence[str] = field(default_factory=tuple)
    parameters: JsonObject = field(default_factory=dict)
    messages: tuple[tuple[str, str], ...] = ()
    chat_template: str | None = None
    go_template: str = ""
    is_tools_trained: bool = False
    room_tokens: int = 0

    @property
    def settings(self) -> ServedSettings:
        """What a server must show of the model."""
        given = self.parameters.get("stop") or ()
        own = [given] if isinstance(given, str) else [str(text) for text in trusted(given)]
        stop = list(dict.fromkeys((*own, *self.stop)))
        room: dict[str, JsonValue] = {"num_ctx": self.room_tokens} if self.room_tokens else {}
        return ServedSettings(
            parameters={**self.parameters, **room, **({"stop": stop} if stop else {})},
            system=self.system,
            messages=self.messages,
            context_tokens=self.room_tokens or None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A model that was made: its way, and what was decided, each with its reason."""

    strategy: DeployStrategy
    decisions: JsonObject = field(default_factory=dict)


class DeploymentTarget(Protocol):
    """A runtime as the deployer uses it.

    * ``make`` MUST raise when no model of that name can be had, and may then leave one behind.
    """

    @property
    def name(self) -> str:
        """What the registry calls the runtime."""
        ...

    @property
    def runtime(self) -> AliasingRuntime:
        """The runtime."""
        ...

    def server(self) -> str:
        """Return the server's name and version: a proof holds for it.

        Raises:
            RuntimeUnavailableError: if no server answers.
        """
        ...

    def strategies(self, what: Deployable, only: Way | None) -> Sequence[DeployStrategy]:
        """Return the ways to try, best first.

        Raises:
            DeploymentError: if ``only`` cannot be.
            RuntimeUnavailableError: if no server answers.
        """
        ...

    def make(
        self, name: str, strategy: DeployStrategy, what: Deployable, progress: Progress | None
    ) -> Made:
        """Make a model of that name which loads and renders prompts as training did.

        Raises:
            DeploymentError: if the runtime refuses it, it does not load, or prompts differ.
            RuntimeUnavailableError: if no server answers.
        """
        ...

    def served(self, name: str) -> AbstractContextManager[ServedModel]:
        """Open a model to be proven."""
        ...

    def base_served(self, what: Deployable) -> ServedModel | None:
        """Return the base as the runtime serves it under its own name; None where it does not.

        Raises:
            RuntimeUnavailableError: if no server answers.
        """
        ...
