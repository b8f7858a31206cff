"""The models a person can talk to: which there are, in words, and a handle on each.

Models of an Ollama server are asked there. All others are loaded once in this process and shared,
in such a pool as ``fine-tuning serve`` answers from. A loaded model is kept until
:meth:`ChatModels.close`.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fine_tuning.core.errors import ModelNotFoundError
from fine_tuning.core.ports import ChatModel
from fine_tuning.model_management.ollama_target import OllamaTarget
from fine_tuning.workbench.chat.serving import ModelServer
from fine_tuning.workbench.models.models import Models

if TYPE_CHECKING:
    from fine_tuning.runtimes.serving.local import LocalModels

Kind = Literal["champion", "version", "base", "other"]
_ORDER: tuple[Kind, ...] = ("champion", "version", "base", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """A model to pick: ``name`` is what its runtime answers to, ``label`` what people read."""

    name: str
    label: str
    kind: Kind


def model_choices(models: Models, base: str) -> list[ModelChoice]:
    """Return the models to talk to: champion, other deployed versions, the base, then others.

    Args:
        models: The workspace's models.
        base: The base model of the settings.

    Raises:
        RuntimeUnavailableError: if Ollama was asked for or is in use, and does not answer.
    """
    choices = {base: ModelChoice(name=base, label=f"{base} (base, not tuned)", kind="base")}
    for name in models.access.chatbot_models():
        choices.setdefault(name, ModelChoice(name=name, label=name, kind="other"))
    in_use = [alias for alias in models.aliases.all_aliases() if alias.alias in choices]
    challengers = {
        (split.runtime, split.alias): split.version for split in models.aliases.traffic()
    }
    for alias in in_use:
        label = f"{alias.version or 'base'} (in use)"
        if challenger := challengers.get((alias.runtime, alias.alias)):
            label = f"A/B: {alias.version or 'base'} or {challenger}"
        choices[alias.alias] = ModelChoice(name=alias.alias, label=label, kind="champion")
    for version in models.register.versions():
        for deployment in version.deployments:
            name = deployment.name
            if deployment.state != "active" or name not in choices:
                continue
            if version.name in {alias.version for alias in in_use}:
                del choices[name]  # the alias answers as it does
            else:
                choices[name] = ModelChoice(name=name, label=version.name, kind="version")
    return sorted(choices.values(), key=lambda choice: _ORDER.index(choice.kind))


class ChatModels:
    """A workspace's models, for all who chat at the same time; safe to share between threads.

    Args:
        models: The workspace's models.
        server: Loads those no Ollama serves.
        base: The base model of the settings.
    """

    def __init__(self, models: Models, server: ModelServer, base: str) -> None:
        self._models = models
        self._server = server
        self._base = base
        self._mutex = threading.Lock()
        self._open = ExitStack()
        self._here: LocalModels | None = None
        self._ollama: OllamaTarget | None = None

    def model(self, name: str) -> ChatModel:
        """Return a model to talk to; it is loaded when it is first asked something.

        Raises:
            ModelNotFoundError: if neither the runtime nor this workspace has that name.
            RuntimeUnavailableError: if Ollama was asked for or is in use, and does not answer.
        """
        target = self._target()
        if target is not None:
            try:
                return target.runtime.served(target.runtime.show(name).name)
            except ModelNotFoundError:
                if name != self._base:
                    raise
        return self._local().model(self._server.servable_name(name))

    def close(self) -> None:
        """Unload what was loaded here, and close all connections."""
        with self._mutex:
            self._open.close()
            self._here = self._ollama = None

    def _target(self) -> OllamaTarget | None:
        """Return the Ollama server in use, or None; one client serves all."""
        with self._mutex:
            if self._ollama is not None:
                return self._ollama
        target = self._models.aliases.target()
        if not isinstance(target, OllamaTarget):
            return None
        with self._mutex:
            if self._ollama is None:
                self._ollama = target
                self._open.callback(target.runtime.client.close)
            else:
                target.runtime.client.close()
            return self._ollama

    def _local(self) -> LocalModels:
        """Return the models loaded in this process; the first call makes room for them."""
        with self._mutex:
            if self._here is None:
                self._here = self._open.enter_context(closing(self._server.local_models()))
            return self._here
