"""Models by name on the embedded llama.cpp: a recipe per model, adapters named by their content.

    <folder>/<name>/recipe.json       what the model is made of; an alias is a second such file
    <folder>/.adapters/<sha256>.gguf  copies of adapters, shared by the recipes that name them
    <folder>/.servers/<pid>.json      where the models are served, see announcing.py

A model is a base, found by name or path, and perhaps a LoRA adapter. Loads nothing but one trial
per ``create`` or ``warm_up``; :meth:`EmbeddedRuntime.open_chat` starts a server.
"""

from __future__ import annotations

import difflib
import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from fine_tuning.core.errors import (
    DeploymentError,
    FineTuningError,
    ModelNotFoundError,
    RuntimeFailedError,
    StorageError,
)
from fine_tuning.core.json_value import JsonObject, JsonValue, number_at
from fine_tuning.core.naming import content_name, file_sha256
from fine_tuning.core.ports import ModelInfo, ModelRecipe, Progress
from fine_tuning.runtimes.adapter_copies import AdapterCopies
from fine_tuning.runtimes.announcing import load_on_servers
from fine_tuning.runtimes.base_model import BaseModel, known_digest, resolve_base_model
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.runtimes.load_check import check_adapter
from fine_tuning.runtimes.loadable import LoadableModel
from fine_tuning.runtimes.trial_load import trial_load
from fine_tuning.storage.atomic import storage_errors, sync_folder, write_file
from fine_tuning.storage.locking import locked

RECIPE_FILE = "recipe.json"
ADAPTERS = ".adapters"
SCHEMA = "ft-embedded/2"
DEFAULT_CONTEXT_TOKENS = 2048
STEPS = 3
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/\-]{0,79}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecipe:
    """What is known of a model; ``adapter_digest`` "" means there is no adapter.

    The base is found again at ``base_path``, or by its name should Ollama have moved it, and must
    still have its digest; an unchanged size and time of change spare reading it all.
    """

    name: str
    base: str
    base_path: str
    base_digest: str
    base_size_bytes: int
    base_mtime_ns: int
    adapter_digest: str
    adapter_size_bytes: int
    template: str
    system: str
    parameters: JsonObject
    messages: Sequence[Sequence[str]] = ()
    license: str = ""
    go_template: str = ""
    schema: str = SCHEMA


class EmbeddedRuntime:
    """Serves models by name from this process (core.ports.AliasingRuntime).

    A change is one file renamed into its place, so that a name answers as before or as after it,
    whatever kills the process.

    Args:
        folder: Where the models' folders lie; made when the first is created.
        ollama_models: Ollama's models folder; None looks where Ollama keeps them.
    """

    def __init__(self, folder: Path, *, ollama_models: Path | None = None) -> None:
        self._folder = folder
        self._copies = AdapterCopies(folder / ADAPTERS)
        self._ollama_models = ollama_models

    def list(self) -> Sequence[ModelInfo]:
        """Return all models, sorted by name.

        Raises:
            StorageError: if a recipe was damaged.
        """
        return [_info(_read(place.parent)) for place in self._recipes()]

    def show(self, name: str) -> ModelInfo:
        """Return one model; names are compared without case, as Ollama does.

        Raises:
            ModelNotFoundError: if there is no such model.
            StorageError: if its recipe was damaged.
        """
        return _info(_read(self._existing(name)))

    def create(self, name: str, recipe: ModelRecipe, progress: Progress | None = None) -> ModelInfo:
        """Make a model, or replace the one of that name, after it wrote one token in a trial.

        ``recipe.template`` is a Jinja chat template here. What the recipe leaves None is taken
        from the base.

        Raises:
            DeploymentError: if the recipe leads to no model that loads; then nothing has changed.
            StorageError: if the model's folder cannot be written; then nothing has changed.
        """
        place = self._place(name)
        try:
            _tell(progress, "looking up the base", 0)
            base = resolve_base_model(recipe.base, ollama_models=self._ollama_models)
            if recipe.adapter is not None:
                check_adapter(recipe.adapter, base.path)
            stored = _stored(name, recipe, base)
        except FineTuningError as error:
            raise DeploymentError(
                f"{name!r} was not created: {error.message}", next_command=error.next_command
            ) from error
        _tell(progress, "trying the model", 1)
        reason = trial_load(base.path, recipe.adapter, recipe.template or "")
        if reason:
            raise DeploymentError(f"{name!r} was not created: llama.cpp says {reason}")
        _tell(progress, "writing the model", 2)
        with self._held():
            if recipe.adapter is not None:
                self._copies.keep(recipe.adapter, stored.adapter_digest)
            _write(place, stored)
            self._drop_unused_adapters()
        _tell(progress, "created", STEPS)
        return self.show(name)

    def delete(self, name: str) -> None:
        """Remove a model, and its adapter if no other has it; the base stays.

        Raises:
            ModelNotFoundError: if there is no such model.
            StorageError: if it cannot be removed.
        """
        with self._held():
            place = self._existing(name)
            with storage_errors(place):
                aside = Path(tempfile.mkdtemp(dir=self._folder, prefix=f".{place.name}.old."))
                place.rename(aside / place.name)
                sync_folder(self._folder)
                shutil.rmtree(aside)
            self._drop_unused_adapters()

    def point_alias(self, alias: str, target: str) -> ModelInfo:
        """Let a name answer as another model does now; a model of that name is replaced.

        Raises:
            ModelNotFoundError: if there is no such target; then nothing has changed.
            DeploymentError: if the alias is not a model name; then nothing has changed.
            StorageError: if the recipe cannot be written; then nothing has changed.
        """
        place = self._place(alias)
        with self._held():
            _write(place, replace(_read(self._existing(target)), name=alias))
            self._drop_unused_adapters()
        return self.show(alias)

    def warm_up(self, name: str) -> None:
        """Have a model loaded by every server over this folder, so that nobody waits for it.

        Without one it is loaded once, in another process, and writes a token: its files are in the
        system's page cache then.

        Raises:
            ModelNotFoundError: if there is no such model, or its base is gone.
            StorageError: if a file was damaged, or the base is not the one it was made from.
            RuntimeFailedError: if llama.cpp or a server refuses it.
        """
        stored = _read(self._existing(name))
        if load_on_servers(self._folder, stored.name):
            return
        reason = trial_load(self._base_of(stored), self._adapter_of(stored), stored.template)
        if reason:
            raise RuntimeFailedError(f"{name!r} does not load: llama.cpp says {reason}")

    def open_chat(
        self,
        name: str,
        *,
        parallel: int = 1,
        context_tokens: int | None = None,
        threads: int | None = None,
        reuse_prompt: bool = False,
    ) -> EmbeddedServer:
        """Load a model; the caller closes the server.

        Args:
            name: The model.
            parallel: Conversations answered at the same time.
            context_tokens: Room for each; None takes the model's ``num_ctx``, else 2048.
            threads: Compute threads; None takes the model's ``num_thread``, else the runtime's.
            reuse_prompt: Keep what two prompts share, for long chats.

        Raises:
            ModelNotFoundError: if there is no such model, or its base is gone.
            StorageError: if a file was damaged, or the base is not the one it was made from.
        """
        model = self.loadable(name)
        parameters = model.parameters
        return EmbeddedServer(
            model.base_path,
            adapter=model.adapter_path,
            name=model.name,
            parallel=parallel,
            context_tokens=int(
                context_tokens or number_at(parameters, "num_ctx") or DEFAULT_CONTEXT_TOKENS
            ),
            threads=threads or int(number_at(parameters, "num_thread") or 0) or None,
            prompts=model.prompts,
            reuse_prompt=reuse_prompt,
        )

    def loadable(self, name: str) -> LoadableModel:
        """Return the parts of a model, checked to be those it was made of.

        Raises:
            ModelNotFoundError: if there is no such model, or its base is gone.
            StorageError: if a file was damaged, or the base is not the one it was made from.
        """
        place = self._existing(name)
        stored = _read(place)
        with storage_errors(place):
            changed_s = (place / RECIPE_FILE).stat().st_mtime
        info = _info(stored)
        return LoadableModel(
            name=stored.name,
            base_path=self._base_of(stored),
            adapter_path=self._adapter_of(stored),
            template=stored.template,
            go_template=stored.go_template,
            system=stored.system,
            parameters=stored.parameters,
            messages=tuple((str(role), str(text)) for role, text in stored.messages),
            license=stored.license,
            digest=info.digest,
            size_bytes=info.size_bytes,
            modified_at=datetime.fromtimestamp(changed_s, UTC),
            parent=stored.base,
        )

    def copies_bytes(self) -> dict[str, int]:
        """Return the sizes of the adapters' copies by digest; what no model has is among them."""
        return self._copies.sizes_bytes()

    def tidy(self) -> None:
        """Remove the copies no model has, which a killed process left."""
        with self._held():
            self._drop_unused_adapters()

    def _place(self, name: str) -> Path:
        """Return a name's folder: quoted, so that no name leaves the runtime's folder."""
        if not _NAME.fullmatch(name):
            raise DeploymentError(
                f"{name!r} is not a model name, expected letters, digits and any of _ . : / -"
            )
        return self._folder / quote(name.lower(), safe="")

    def _existing(self, name: str) -> Path:
        if _NAME.fullmatch(name):
            place = self._place(name)
            if (place / RECIPE_FILE).is_file():
                return place
        names = [info.name for info in self.list()]
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        raise ModelNotFoundError(f"the embedded runtime has no model {name!r}{hint}")

    def _held(self) -> AbstractContextManager[None]:
        """Let one process at a time change models."""
        return locked(self._folder / ".lock")

    def _adapter_of(self, stored: StoredRecipe) -> Path | None:
        """Return the adapter's file, or raise when it is not what the model was made from."""
        if not stored.adapter_digest:
            return None
        path = self._copies.place(stored.adapter_digest)
        if not path.is_file() or known_digest(path) != stored.adapter_digest:
            raise StorageError(f"{path} is not the adapter {stored.name!r} was created with")
        return path

    def _drop_unused_adapters(self) -> None:
        """Remove adapters no recipe names; with a damaged recipe, none."""
        try:
            used = {_read(place.parent).adapter_digest for place in self._recipes()}
        except StorageError:
            return
        self._copies.drop_unused(used)

    def _recipes(self) -> Sequence[Path]:
        with storage_errors(self._folder):
            return sorted(self._folder.glob(f"[!.]*/{RECIPE_FILE}"))

    def _base_of(self, stored: StoredRecipe) -> Path:
        """Return the base's file, or raise when it is not what the model was made from."""
        path = Path(stored.base_path)
        if path.is_file():
            status = path.stat()
            if (status.st_size, status.st_mtime_ns) == (
                stored.base_size_bytes,
                stored.base_mtime_ns,
            ):
                return path
        name = stored.base_path if path.is_file() else stored.base
        base = resolve_base_model(name, ollama_models=self._ollama_models)
        if base.digest() != stored.base_digest:
            raise StorageError(
                f"{stored.name!r} was made from {stored.base!r} as {stored.base_digest}, "
                f"and {base.path} is now {base.digest()}",
                next_command="train again on the new base, or bring the old one back",
            )
        return base.path


def _stored(name: str, recipe: ModelRecipe, base: BaseModel) -> StoredRecipe:
    adapter = recipe.adapter
    with storage_errors(base.path):
        status = base.path.stat()
    return StoredRecipe(
        name=name,
        base=base.name,
        base_path=str(base.path),
        base_digest=base.digest(),
        base_size_bytes=status.st_size,
        base_mtime_ns=status.st_mtime_ns,
        adapter_digest=file_sha256(adapter) if adapter else "",
        adapter_size_bytes=adapter.stat().st_size if adapter else 0,
        template=recipe.template or "",
        system=base.system if recipe.system is None else recipe.system,
        parameters=_parameters(base) if recipe.parameters is None else recipe.parameters,
        messages=recipe.messages,
        license=recipe.license,
        go_template=recipe.go_template,
    )


def _parameters(base: BaseModel) -> dict[str, JsonValue]:
    """Return the base's own parameters, from Ollama's layer."""
    if not base.parameters:
        return {}
    try:
        raw = json.loads(base.parameters)
    except ValueError as error:
        raise StorageError(f"the parameters of {base.name!r} are not JSON: {error}") from error
    return raw if isinstance(raw, dict) else {}


def _write(place: Path, stored: StoredRecipe) -> None:
    text = json.dumps(asdict(stored), indent=2, ensure_ascii=False)
    write_file(place / RECIPE_FILE, text.encode() + b"\n")


def _read(place: Path) -> StoredRecipe:
    path = place / RECIPE_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return StoredRecipe(**raw)
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(
            f"{path} is damaged: {error}", next_command=f"remove the folder {place}"
        ) from error


def _info(stored: StoredRecipe) -> ModelInfo:
    # Neither its name nor where the base lies says what a model is.
    told = ["base_digest", "adapter_digest", "template", "system", "parameters"]
    told += [key for key in ("messages", "go_template") if getattr(stored, key)]
    return ModelInfo(
        name=stored.name,
        size_bytes=stored.base_size_bytes + stored.adapter_size_bytes,
        digest=content_name({key: getattr(stored, key) for key in told}),
        details={
            "base": stored.base,
            "base_digest": stored.base_digest,
            "adapter_digest": stored.adapter_digest,
        },
    )


def _tell(progress: Progress | None, what: str, done: int) -> None:
    if progress:
        progress(what, done, STEPS)
