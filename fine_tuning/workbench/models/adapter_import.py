"""Adapters trained elsewhere: checked against their base, they become versions like any other.

Taken are folders of PEFT and GGUF LoRA adapters. What they learnt from is not known, and is said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fine_tuning.core.clock import SystemClock, iso
from fine_tuning.core.errors import FineTuningError, ModelNotFoundError, UnsupportedModelError
from fine_tuning.core.naming import file_sha256
from fine_tuning.core.run import (
    ADAPTER_DIR,
    ADAPTER_GGUF,
    MANIFEST_FILE,
    PEFT_CONFIG,
    AdapterFiles,
    Run,
    RunManifest,
)
from fine_tuning.engine.architecture import ModelConfig, config_of, linear_names
from fine_tuning.gguf.adapter import BASE_DIGEST_KEY, BASE_NAME_KEY
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.requantize_exact import EXACT_TYPES
from fine_tuning.model_management.artefacts import check_served
from fine_tuning.model_management.versions import IMPORTED, ModelVersion, check_family
from fine_tuning.runtimes.base_model import BaseModel
from fine_tuning.runtimes.embedded import missing_template
from fine_tuning.runtimes.load_check import check_adapter, check_model
from fine_tuning.storage.atomic import storage_errors, whole_folder
from fine_tuning.storage.run_files import read_manifest, write_manifest
from fine_tuning.workbench.catalog import Catalog
from fine_tuning.workbench.models.modelfiles import Modelfiles
from fine_tuning.workbench.register import FILE_KINDS

if TYPE_CHECKING:
    from fine_tuning.engine.lora import LoraAdapter

GGUF, PEFT = "GGUF", "PEFT"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedAdapter:
    """A version made of files from elsewhere; ``is_new`` is false when it was one already."""

    version: ModelVersion
    form: str
    is_new: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"form": self.form, "is_new": self.is_new, "version": self.version.to_dict()}


@dataclass(frozen=True, slots=True)
class _Found:
    """An adapter as it was read, and what its files say about its base."""

    source: Path
    form: str
    adapter: LoraAdapter
    shape: ModelConfig
    said_name: str


class AdapterImporter:
    """Makes versions of adapters from elsewhere.

    Args:
        runs_folder: Where the files of versions lie.
        catalog: The base models adapters are checked against, and the versions.
        modelfiles: What Ollama needs to serve them.
    """

    def __init__(self, runs_folder: Path, catalog: Catalog, modelfiles: Modelfiles) -> None:
        self._folder = runs_folder
        self._catalog = catalog
        self._modelfiles = modelfiles

    def import_adapter(
        self, source: Path, base: str | None = None, *, family: str = ""
    ) -> ImportedAdapter:
        """Register an adapter that was trained elsewhere as a version.

        It can be shown, compared, deployed and exported like one trained here; it has no data set.

        Args:
            source: A folder of PEFT (``adapter_config.json``, ``adapter_model.safetensors``), or a
                GGUF LoRA adapter.
            base: The base it was trained on; None takes that of the settings.
            family: The family it joins; "" takes that of the settings, else the base's name.

        Returns:
            The version, the form it was read from, and whether it is new.

        Raises:
            ModelNotFoundError: if a file or the base is missing.
            ConfigError: if the family's name cannot be part of a model's name.
            TrainingError: if PEFT's files are damaged, or hold more than low-rank factors.
            GgufError: if the GGUF file is not a sound adapter.
            UnsupportedModelError: if it is of another base, or llama.cpp does not load it.
            StorageError: if it cannot be written; in every case nothing is left behind.
        """
        if family:
            check_family(family)
        place = _place(source)
        base_model = self._catalog.bases.find(base)
        with _next_command(f"name the base it was trained on: fine-tuning models import {source}"):
            imported = _read(place, base_model)
            name = _name(imported.adapter, base_model)
            run_id = f"{IMPORTED}-{name.partition(':')[2][:NAME_DIGITS]}"
            folder = self._folder / run_id
            is_new = not (folder / MANIFEST_FILE).is_file()
            if is_new:
                _write_run(folder, imported, base_model, name=name, family=family)
            elif not (folder / ADAPTER_DIR / ADAPTER_GGUF).is_file():  # it was pruned
                with whole_folder(folder / ADAPTER_DIR) as adapter_dir:
                    _write(adapter_dir, imported, base_model)
        run = Run(folder, read_manifest(folder / MANIFEST_FILE))
        version = self._catalog.register.register(run)
        registry = self._catalog.register.registry()
        for file, kind in FILE_KINDS.items() if version.adapter_path is None else ():
            registry.add_artefact(version.name, kind, run.adapter_dir / file)
        self._modelfiles.keep(run)
        return ImportedAdapter(
            version=registry.find(version.name), form=imported.form, is_new=is_new
        )


@contextmanager
def _next_command(otherwise: str) -> Iterator[None]:
    """Give an error that names no next command one."""
    try:
        yield
    except FineTuningError as error:
        error.next_command = error.next_command or f"{otherwise} --base BASE"
        raise


def _read(place: Path, base: BaseModel) -> _Found:
    from fine_tuning.engine.adapter_files import read_gguf_adapter  # noqa: PLC0415 - torch is slow to load
    from fine_tuning.engine.peft_files import peft_base, read_peft_adapter  # noqa: PLC0415 - as above

    shape = config_of(base.path)
    if place.is_dir():
        said_name, said_digest = peft_base(place)
        _check_base(place, said_name, said_digest, base)
        adapter = read_peft_adapter(place, shape, foldable=_foldable(base.path))
        _check_sizes(place, adapter, base)
        return _Found(place, PEFT, adapter, shape, said_name)
    check_adapter(place, base.path)
    with GgufFile.open(place) as file:
        said_digest = file.get(BASE_DIGEST_KEY, str, "")
        said_name = file.get(BASE_NAME_KEY, str, "")
    _check_base(place, said_name, said_digest, base)
    adapter = read_gguf_adapter(place)
    _check_targets(place, adapter.targets, shape)
    return _Found(place, GGUF, adapter, shape, said_name)


def _place(source: Path) -> Path:
    """Return PEFT's folder or the GGUF file a user means by a path.

    Raises:
        ModelNotFoundError: if there is neither.
    """
    path = source.expanduser()
    if path.suffix in (".safetensors", ".json", ".bin"):  # one of the files in the folder meant
        path = path.parent
    if path.is_dir() and not (path / PEFT_CONFIG).exists():
        inside = sorted(path.glob("*.gguf"))
        path = inside[0] if len(inside) == 1 else path
    if not path.exists():
        raise ModelNotFoundError(
            f"there is no {source}, expected a folder of PEFT or a GGUF adapter",
            next_command=f"ls {path.parent}",
        )
    return path


def _check_base(place: Path, said_name: str, said_digest: str, base: BaseModel) -> None:
    if said_digest and said_digest != base.digest():
        raise UnsupportedModelError(
            f"{place} was trained on {said_name or 'a base'} ({said_digest}), and {base.name} is "
            f"{base.digest()}",
            next_command=f"fine-tuning models import {place} --base {said_name or 'BASE'}",
        )


def _check_sizes(place: Path, adapter: LoraAdapter, base: BaseModel) -> None:
    with GgufFile.open(base.path) as model:
        for name, shape in adapter.shapes.items():
            found = model.tensors.get(name)
            if found is None or found.shape != shape:
                has = " x ".join(map(str, found.shape)) if found else "nothing of it"
                raise UnsupportedModelError(
                    f"{place} changes {name} as {shape[0]} x {shape[1]}, and {base.name} has {has}"
                )


def _check_targets(place: Path, targets: Collection[str], shape: ModelConfig) -> None:
    layers = linear_names(shape.spec)
    known = {f"blk.{i}.{layer}.weight" for i in range(shape.num_layers) for layer in layers}
    others = sorted(set(targets) - known)
    if others:
        raise UnsupportedModelError(
            f"{place} changes {', '.join(others[:3])}, expected linear layers of the blocks "
            f"({', '.join(layers)}): nothing else can be proven or merged",
            next_command="merge it with llama.cpp's llama-export-lora and use that as the base",
        )


def _foldable(base: Path) -> frozenset[str]:
    """Return the weights a block sum folds into."""
    with GgufFile.open(base) as file:
        return frozenset(name for name, info in file.tensors.items() if info.type in EXACT_TYPES)


NAME_DIGITS = 12
"""So many digits of an adapter's name are in the name of its run."""


def _name(adapter: LoraAdapter, base: BaseModel) -> str:
    from fine_tuning.engine.adapter_files import adapter_name  # noqa: PLC0415 - torch is slow to load

    scale = (adapter.rank, adapter.alpha, adapter.use_rslora)
    return adapter_name(adapter.state_dict(), base_digest=base.digest(), scale=scale)


def _write_run(folder: Path, imported: _Found, base: BaseModel, *, name: str, family: str) -> None:
    """Write the folder of a run that was trained elsewhere."""
    with whole_folder(folder) as place:
        (place / ADAPTER_DIR).mkdir()
        adapter = AdapterFiles(name=name, files=_write(place / ADAPTER_DIR, imported, base))
        write_manifest(place, _manifest(folder.name, imported, base, family, adapter))


def _write(place: Path, found: _Found, base: BaseModel) -> dict[str, str]:
    """Write an adapter in both forms, and have llama.cpp load it; return the files' digests."""
    from fine_tuning.engine.adapter_files import write_gguf_adapter  # noqa: PLC0415 - torch is slow to load
    from fine_tuning.engine.peft_files import write_peft_adapter  # noqa: PLC0415 - as above

    adapter, shape, gguf = found.adapter, found.shape, place / ADAPTER_GGUF
    about = {BASE_DIGEST_KEY: base.digest(), BASE_NAME_KEY: base.name}
    write_gguf_adapter(gguf, adapter, architecture=shape.architecture, metadata=about)
    write_peft_adapter(place, adapter, shape, base.name, base_digest=base.digest())
    check_served(base.path, gguf, missing_template(check_model(base.path)))
    with storage_errors(place):
        return {path.name: file_sha256(path) for path in sorted(place.iterdir())}


def _manifest(
    run_id: str, imported: _Found, base: BaseModel, family: str, files: AdapterFiles
) -> RunManifest:
    adapter = imported.adapter
    return {
        "run_id": run_id,
        "method": IMPORTED,
        "base_path": str(base.path),
        "base_digest": base.digest(),
        "base_fingerprint": base.fingerprint(),
        "base_name": base.name,
        "snapshot": "",
        "created_at": iso(SystemClock().now()),
        "family": family,
        "imported": {
            "from": str(imported.source.absolute()),
            "form": imported.form,
            "base_named": imported.said_name,
        },
        "plan": {
            "adapter": "mergeable" if adapter.qalora else "lora",
            "rank": adapter.rank,
            "alpha": adapter.alpha,
            "use_rslora": adapter.use_rslora,
        },
        "metrics": {},
        "adapter": files,
    }
