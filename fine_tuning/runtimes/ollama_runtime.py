"""Ollama's models by name: list, create in every version's way, alias, load, delete.

A model takes its name only after it wrote a token in a trial; until then whatever had the name
answers. Does not choose what to create: adapter, merged file and template come in the recipe.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fine_tuning.core.errors import (
    DataError,
    DeploymentError,
    FineTuningError,
    ModelNotFoundError,
    RuntimeFailedError,
    RuntimeUnavailableError,
)
from fine_tuning.core.ports import ModelInfo, ModelRecipe, Progress
from fine_tuning.runtimes.load_check import check_adapter, check_model
from fine_tuning.runtimes.ollama_answers import ModelList, ModelRow
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_host import server_identity
from fine_tuning.runtimes.ollama_model import OllamaServedModel
from fine_tuning.runtimes.ollama_modelfile import NO_TEMPLATE, Modelfile, parse_modelfile
from fine_tuning.runtimes.ollama_probe import ServerFacts, probe
from fine_tuning.runtimes.ollama_recipe import (
    BLOB,
    OllamaRecipe,
    as_fields,
    as_text,
    local_base,
)
from fine_tuning.runtimes.ollama_store import OllamaName

STAGED = "-new"
MAX_TAG_CHARACTERS = 80
STEPS = 4


class OllamaRuntime:
    """The models of one Ollama server (core.ports.ModelRuntime and AliasingRuntime).

    Args:
        client: The server.
    """

    def __init__(self, client: OllamaClient) -> None:
        self.client = client
        self._facts: ServerFacts | None = None

    @property
    def name(self) -> str:
        """What the registry calls this runtime."""
        return f"ollama {server_identity(self.client.url)}"

    def facts(self) -> ServerFacts:
        """Return what the server can do; it is asked once.

        Raises:
            RuntimeUnavailableError: if no server answers.
        """
        if self._facts is None:
            self._facts = probe(self.client)
        return self._facts

    def list(self) -> Sequence[ModelInfo]:
        """Return all models, sorted by name.

        Raises:
            RuntimeUnavailableError: if no server answers.
        """
        answer: ModelList = self.client.get("/api/tags")
        rows = answer.get("models") or ()
        return sorted((_info(row) for row in rows), key=lambda info: info.name)

    def show(self, name: str) -> ModelInfo:
        """Return one model; names are compared as Ollama does: without case, tag ``latest``.

        Raises:
            ModelNotFoundError: if there is no such model.
        """
        found = self._find(name)
        if found is not None:
            return found
        names = [info.name for info in self.list()]
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        raise ModelNotFoundError(
            f"Ollama at {self.client.url} has no model {name!r}{hint}", next_command="ollama list"
        )

    def has(self, name: str) -> bool:
        """Tell whether there is a model of that name."""
        return self._find(name) is not None

    def settings(self, name: str) -> Modelfile:
        """Return what a model brings besides its weights, with the places of these.

        ``template`` is "" when the model has none of its own: some versions then show the GGUF's
        Jinja template in its place, which must never be sent back as a Go template.

        Raises:
            ModelNotFoundError: if there is no such model.
            RuntimeFailedError: if the server shows no Modelfile that can be read.
        """
        answer = self.client.post("/api/show", {"model": name, "name": name})
        try:
            shown = parse_modelfile(str(answer.get("modelfile") or ""))
        except DataError as error:
            raise RuntimeFailedError(
                f"Ollama's description of {name!r} cannot be read: {error.message}",
                next_command=f"ollama show --modelfile {name}",
            ) from error
        is_own = shown.template.strip() != NO_TEMPLATE and "{%" not in shown.template
        return replace(
            shown,
            template=shown.template if is_own else "",
            system=str(answer.get("system") or ""),
        )

    def base_digest(self, name: str) -> str:
        """Return ``sha256:<64 hex>`` of a model's weights, "" when the server does not tell."""
        found = BLOB.search(self.settings(name).base)
        return f"sha256:{found[1].lower()}" if found else ""

    def create(self, name: str, recipe: ModelRecipe, progress: Progress | None = None) -> ModelInfo:
        """Make a model, or replace the one of that name, after it wrote one token in a trial.

        ``recipe.template`` is a Go template here. What the recipe leaves None is inherited from a
        base by name; a base that is a file brings nothing but its weights.

        Raises:
            DeploymentError: if the recipe leads to no model that loads; then nothing has changed.
            RuntimeUnavailableError: if no server answers.
        """
        if self._find(name) is None:
            self._draft(name, name, recipe, progress)
        else:
            self._replace(name, recipe, progress)
        _tell(progress, "created", STEPS)
        return self.show(name)

    def _replace(self, name: str, recipe: ModelRecipe, progress: Progress | None) -> None:
        staged = _staged(OllamaName.parse(name))
        self._draft(staged, name, recipe, progress)
        try:
            _tell(progress, "replacing the model", 3)
            self.unload(name)
            self.point_alias(name, staged)
        except RuntimeUnavailableError:
            raise
        except FineTuningError as error:
            self._remove_quietly(staged)
            raise _refused(name, error) from error
        self.delete(staged)

    def draft(self, name: str, recipe: ModelRecipe, progress: Progress | None = None) -> None:
        """Make a model nobody talks to yet, over the draft of that name if there is one.

        What the two have in common stays on the server; a draft that fails is removed.

        Raises:
            DeploymentError: if the recipe leads to no model that loads.
            RuntimeUnavailableError: if no server answers.
        """
        self._draft(name, name, recipe, progress)

    def _draft(
        self, name: str, called: str, recipe: ModelRecipe, progress: Progress | None
    ) -> None:
        try:
            OllamaName.parse(name)
            _tell(progress, "looking up the base", 0)
            self._check(recipe)
        except ModelNotFoundError as error:
            raise _refused(called, error) from error
        try:
            _tell(progress, "creating the model", 1)
            self._create(name, recipe, progress)
            _tell(progress, "trying the model", 2)
            self.warm_up(name)
        except RuntimeUnavailableError:
            raise
        except FineTuningError as error:
            self._remove_quietly(name)
            raise _refused(called, error) from error

    def delete(self, name: str) -> None:
        """Remove a model; weights other models use stay.

        Raises:
            ModelNotFoundError: if there is no such model.
        """
        found = self.show(name)
        self.client.delete("/api/delete", {"model": found.name, "name": found.name})

    def point_alias(self, alias: str, target: str) -> ModelInfo:
        """Let a name answer as another model does now; a model of that name is replaced.

        Raises:
            ModelNotFoundError: if there is no such target; then nothing has changed.
            DeploymentError: if the server refuses the name; then nothing has changed.
        """
        wanted = self.show(target)
        try:
            OllamaName.parse(alias)
            current = self._find(alias)
            if current is None or current.digest != wanted.digest:
                self.client.post("/api/copy", {"source": wanted.name, "destination": alias})
            found = self.show(alias)
        except (ModelNotFoundError, RuntimeFailedError) as error:
            raise DeploymentError(
                f"{alias!r} was not pointed at {target!r}: {error.message}",
                next_command=error.next_command,
            ) from error
        if found.digest != wanted.digest:
            raise DeploymentError(
                f"{alias!r} is {found.digest[:12]} after pointing it at {target!r}, "
                f"expected {wanted.digest[:12]}",
                next_command="ollama list, to see what changed it meanwhile; then do it again",
            )
        return found

    def warm_up(self, name: str) -> None:
        """Make sure that a model loads and writes a token, and that its next reply need not wait.

        Raises:
            ModelNotFoundError: if there is no such model.
            RuntimeFailedError: if it does not load, or writes nothing.
        """
        body = {
            "model": name,
            "prompt": "1",
            "raw": True,
            "stream": False,
            "options": {"num_predict": 1},
        }
        answer = self.client.post("/api/generate", body, is_work=True)
        if not isinstance(answer, Mapping) or not answer.get("done"):
            raise RuntimeFailedError(
                f"Ollama wrote nothing with {name!r}, expected one token",
                next_command=f"ollama run {name} hello",
            )

    def unload(self, name: str) -> None:
        """Free the memory of a model; one that is not loaded stays so.

        Raises:
            ModelNotFoundError: if there is no such model.
        """
        self.client.post(
            "/api/generate", {"model": name, "keep_alive": 0, "stream": False}, is_work=True
        )

    def served(self, name: str, *, context_tokens: int | None = None) -> OllamaServedModel:
        """Return a model to talk to; asks the server nothing yet."""
        return OllamaServedModel(self.client, name, context_tokens=context_tokens)

    def _find(self, name: str) -> ModelInfo | None:
        try:
            key = OllamaName.parse(name).key
        except ModelNotFoundError:
            return None
        return next((info for info in self.list() if _key(info.name) == key), None)

    def _check(self, recipe: ModelRecipe) -> None:
        """Refuse what Ollama would accept and fail at later, or answer with a download.

        Raises:
            ModelNotFoundError: if base or adapter is missing.
            DeploymentError: if the adapter does not fit, or the server takes none.
        """
        base: Path | None = local_base(recipe.base)
        if base is not None:
            check_model(base)
        else:
            self.show(recipe.base)
            shown = Path(self.settings(recipe.base).base)
            base = shown if shown.is_file() else None
        if recipe.adapter is None:
            return
        if not self.facts().takes_adapters:
            raise DeploymentError(
                f"the server takes no adapters: {self.facts().adapters_reason}",
                next_command="fine-tuning deploy latest, which merges the adapter where it must",
            )
        if not recipe.adapter.is_file():
            raise ModelNotFoundError(
                f"there is no adapter {recipe.adapter}", next_command="fine-tuning models"
            )
        if base is not None:
            try:
                check_adapter(recipe.adapter, base)
            except FineTuningError as error:
                raise DeploymentError(error.message) from error

    def _create(self, name: str, recipe: ModelRecipe, progress: Progress | None) -> None:
        files = self._uploaded(recipe, progress)
        build = as_text if self.facts().interface == "modelfile" else as_fields
        body = {"model": name, "name": name, **build(recipe, *files)}
        for line in self.client.lines("/api/create", body):
            if line.get("status") == "success":
                return
        raise RuntimeFailedError(
            f"Ollama did not say whether it created {name!r}", next_command="ollama list"
        )

    def _uploaded(self, recipe: ModelRecipe, progress: Progress | None) -> tuple[str, str]:
        """Bring the recipe's files to the server; returns the digests of base and adapter."""
        base = adapter = ""
        known = recipe if isinstance(recipe, OllamaRecipe) else OllamaRecipe(base=recipe.base)
        path = local_base(recipe.base)
        if path is not None:
            base = self.client.upload(path, progress, digest=known.base_digest)
        if recipe.adapter is not None:
            adapter = self.client.upload(recipe.adapter, progress, digest=known.adapter_digest)
        return base, adapter

    def _remove_quietly(self, name: str) -> None:
        """Remove what a failed creation left; a server that is gone cannot be tidied."""
        try:
            if self.has(name):
                self.delete(name)
        except FineTuningError:
            return


def _refused(name: str, error: FineTuningError) -> DeploymentError:
    return DeploymentError(
        f"{name!r} was not created: {error.message}", next_command=error.next_command
    )


def _staged(name: OllamaName) -> str:
    """Return the name under which a replacement is tried."""
    tag = name.tag[: MAX_TAG_CHARACTERS - len(STAGED)] + STAGED
    return str(OllamaName(host=name.host, namespace=name.namespace, model=name.model, tag=tag))


def _key(name: str) -> str:
    try:
        return OllamaName.parse(name).key
    except ModelNotFoundError:
        return name


def _info(row: ModelRow) -> ModelInfo:
    return ModelInfo(
        name=str(row.get("name") or row.get("model")),
        size_bytes=int(row.get("size") or 0),
        digest=str(row.get("digest") or ""),
        details=dict(row.get("details") or {}),
    )


def _tell(progress: Progress | None, what: str, done: int) -> None:
    if progress:
        progress(what, done, STEPS)
