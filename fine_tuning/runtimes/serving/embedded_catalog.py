"""The models a server offers: those deployed to the embedded runtime, and others it is told of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fine_tuning.core.errors import FineTuningError, ModelNotFoundError
from fine_tuning.core.ports import ModelRecipe, Progress
from fine_tuning.runtimes.embedded_runtime import EmbeddedRuntime
from fine_tuning.runtimes.loadable import LATEST, LoadableModel, plain_name

# Looking through Ollama's store takes some milliseconds, and clients ask at every request.
KEPT_S = 2.0


class EmbeddedCatalog:
    """Deployed models by name, and behind them others that only can be asked.

    Args:
        runtime: Where models are deployed.
        blobs: The folder of uploaded files.
        others: Returns further models, such as bases and runs; a deployed name comes first.
    """

    def __init__(
        self,
        runtime: EmbeddedRuntime,
        blobs: Path,
        others: Callable[[], Sequence[LoadableModel]] = tuple,
    ) -> None:
        self._runtime = runtime
        self._look = others
        self._others: tuple[LoadableModel, ...] = ()
        self._looked_s = float("-inf")
        self._lock = threading.Lock()
        self.blobs = blobs

    def models(self) -> Sequence[LoadableModel]:
        """Return all models; those that cannot be loaded are left out."""
        found: dict[str, LoadableModel] = {}
        for info in self._runtime.list():
            try:
                found[plain_name(info.name)] = self._runtime.loadable(info.name)
            except FineTuningError:
                continue
        for other in self._other_models():
            found.setdefault(plain_name(other.name), other)
        return list(found.values())

    def find(self, name: str) -> LoadableModel:
        """Return one model, checked to be what it was made of.

        Raises:
            ModelNotFoundError: if there is no such model.
            StorageError: if a file of it was damaged.
        """
        deployed = self._deployed(name)
        if deployed:
            return self._runtime.loadable(deployed)
        wanted = plain_name(name)
        for other in self._other_models():
            if plain_name(other.name) == wanted:
                return other
        raise ModelNotFoundError(f"model {name[:100]!r} not found")

    def create(self, name: str, recipe: ModelRecipe, progress: Progress | None = None) -> None:
        """Make a model, or replace the one of that name.

        Raises:
            DeploymentError: if it is refused; then nothing has changed.
        """
        self._runtime.create(self._deployed(name) or plain_name(name), recipe, progress)

    def copy(self, source: str, destination: str) -> None:
        """Let another name answer as a model does now.

        Raises:
            ModelNotFoundError: if there is no such source.
            DeploymentError: if the destination is not a model name.
        """
        target = self._deployed(source)
        alias = self._deployed(destination) or plain_name(destination)
        if target:
            self._runtime.point_alias(alias, target)
            return
        model = self.find(source)
        recipe = ModelRecipe(
            base=str(model.base_path),
            adapter=model.adapter_path,
            parameters=model.parameters,
            template=model.template or None,
            go_template=model.go_template,
            system=model.system,
            messages=model.messages,
            license=model.license,
        )
        self._runtime.create(alias, recipe)

    def delete(self, name: str) -> None:
        """Remove a deployed model.

        Raises:
            ModelNotFoundError: if no model of that name was deployed.
        """
        if not (deployed := self._deployed(name)):
            raise ModelNotFoundError(f"model {name[:100]!r} not found among the deployed ones")
        self._runtime.delete(deployed)

    def _deployed(self, name: str) -> str:
        """Return the name under which a model was deployed, "" when there is none."""
        plain = plain_name(name)
        for candidate in (plain, plain + LATEST):
            try:
                return self._runtime.show(candidate).name
            except ModelNotFoundError:
                continue
        return ""

    def _other_models(self) -> tuple[LoadableModel, ...]:
        with self._lock:
            if time.monotonic() - self._looked_s > KEPT_S:
                self._others = tuple(self._look())
                self._looked_s = time.monotonic()
            return self._others
