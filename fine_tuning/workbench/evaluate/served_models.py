"""Opens what a runtime serves, to be measured: models of Ollama, or of the embedded runtime.

A model is measured as chatbots get it: by its name, with the template, system prompt, parameters
and room its runtime gives it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from fine_tuning.core.errors import DeploymentError
from fine_tuning.core.naming import content_name
from fine_tuning.core.ports import ServedModel
from fine_tuning.model_management.alias_history import Alias
from fine_tuning.model_management.deployment_target import DeploymentTarget
from fine_tuning.model_management.embedded_target import EmbeddedTarget
from fine_tuning.model_management.ollama_target import OllamaTarget
from fine_tuning.runtimes.embedded_served import EmbeddedServedModel

EMBEDDED_PARALLEL = 16
OLLAMA_PARALLEL = 4
"""Requests Ollama is given at a time; it answers as many at once as it is set to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenModel:
    """A model that answers.

    ``identity`` is the content name of what decides its replies, ``parallel`` how many
    conversations it may be asked at a time.
    """

    served: ServedModel
    identity: str
    parallel: int = 1


class ServedModels:
    """What one runtime serves of the models to be measured.

    Args:
        target: The runtime.
        places: Where each model answers, by its name in reports.
        threads: Compute threads of the embedded runtime; None leaves them to it.
    """

    def __init__(
        self, target: DeploymentTarget, places: Mapping[str, Alias], *, threads: int | None
    ) -> None:
        self._target = target
        self._places = places
        self._threads = threads

    def told(self) -> dict[str, str]:
        """Return where each model answers, for a report."""
        return {
            name: f"{place.target} on {place.runtime}, {place.digest}"
            for name, place in self._places.items()
        }

    @contextmanager
    def open(self, name: str, context_tokens: int) -> Iterator[OpenModel]:
        """Open a model; the embedded runtime is given room for prompts and replies.

        Raises:
            DeploymentError: if the runtime is none that can be measured.
            RuntimeUnavailableError: if no server answers.
            FineTuningError: as the runtime raises.
        """
        alias, target = self._places[name], self._target
        identity_parts = ["served/1", alias.runtime, alias.digest]
        if isinstance(target, OllamaTarget):
            version = target.runtime.facts().version
            with target.served(alias.target) as served:
                identity = content_name([*identity_parts, str(version)])
                yield OpenModel(served=served, identity=identity, parallel=OLLAMA_PARALLEL)
        elif isinstance(target, EmbeddedTarget):
            with target.runtime.open_chat(
                alias.target,
                parallel=EMBEDDED_PARALLEL,
                context_tokens=context_tokens,
                threads=self._threads,
                reuse_prompt=True,
            ) as server:
                yield OpenModel(
                    served=EmbeddedServedModel(server),
                    identity=content_name(identity_parts),
                    parallel=EMBEDDED_PARALLEL,
                )
        else:
            raise DeploymentError(f"models of {target.name} cannot be measured")
