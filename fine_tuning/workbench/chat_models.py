"""The models a person can talk to: which there are, in words, and a handle on each.

Models of an Ollama server are asked there. All others are loaded once in this process and shared,
behind the same interface ``fine-tuning serve`` offers. A loaded model is kept until
:meth:`ChatModels.close`.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Literal

from fine_tuning.core.errors import ModelNotFoundError
from fine_tuning.core.ports import ChatModel
from fine_tuning.model_management.ollama_target import OllamaTarget
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_model import OllamaServedModel
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.models.models import Models
from fine_tuning.workbench.serving import Serving

Kind = Literal["champion", "version", "base", "other"]
_ORDER: tuple[Kind, ...] = ("champion", "version", "base", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """A model to pick: ``name`` is what its runtime answers to, ``label`` what people read."""

    name: str
    label: str
    kind: Kind


class ModelMenu:
    """What a user does to pick a model to talk to."""

    def __init__(self, context: Context, models: Models) -> None:
        self._context = context
        self._models = models

    def model_choices(self) -> list[ModelChoice]:
        """Return the models to talk to: champion, other deployed versions, the base, then others.

        Raises:
            RuntimeUnavailableError: if Ollama was asked for or is in use, and does not answer.
        """
        base = self._context.settings.training.base_model
        found = {base: ModelChoice(name=base, label=f"{base} (base, not tuned)", kind="base")}
        for name in self._models.access.chatbot_models():
            found.setdefault(name, ModelChoice(name=name, label=name, kind="other"))
        in_use = [
            pointing for pointing in self._models.aliases.pointings() if pointing.alias in found
        ]
        shares = {(one.runtime, one.alias): one for one in self._models.aliases.traffic()}
        for pointing in in_use:
            label = f"{pointing.version or 'base'} (in use)"
            if share := shares.get((pointing.runtime, pointing.alias)):
                label = f"A/B: {pointing.version or 'base'} or {share.version}"
            found[pointing.alias] = ModelChoice(name=pointing.alias, label=label, kind="champion")
        for version in self._models.register.versions():
            for one in version.deployments:
                if one.state != "active" or one.name not in found:
                    continue
                if version.name in {pointing.version for pointing in in_use}:
                    del found[one.name]  # the alias answers as it does
                else:
                    label = version.name
                    found[one.name] = ModelChoice(name=one.name, label=label, kind="version")
        return sorted(found.values(), key=lambda choice: _ORDER.index(choice.kind))


class ChatModels:
    """A workbench's models, for all who chat at the same time; safe to share between threads.

    Args:
        context: Settings.
        models: Whose models.
        serving: Serves those of this process.
    """

    def __init__(self, context: Context, models: Models, serving: Serving) -> None:
        self._context = context
        self._models = models
        self._serving = serving
        self._mutex = threading.Lock()
        self._open = ExitStack()
        self._here: OllamaClient | None = None
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
                if name != self._context.settings.training.base_model:
                    raise
        return OllamaServedModel(self._client(), self._serving.servable_name(name))

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

    def _client(self) -> OllamaClient:
        """Return the client of the models loaded here; the first call starts serving them."""
        with self._mutex:
            if self._here is None:
                url = self._open.enter_context(self._serving.serving_here())
                self._here = self._open.enter_context(closing(OllamaClient(url)))
            return self._here
