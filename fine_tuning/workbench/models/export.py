"""A version as files of its own, for servers this project does not deploy to."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tuning.core.errors import ConfigError
from fine_tuning.core.ports import Progress
from fine_tuning.core.run import PEFT_CONFIG, PEFT_WEIGHTS, Run
from fine_tuning.engine.architecture import config_of
from fine_tuning.gguf.merge import MergeReport
from fine_tuning.model_management.artefacts import (
    MERGED,
    MERGED_KINDS,
    check_served,
    write_merged,
    write_modelfile,
)
from fine_tuning.runtimes.base_model import BaseModel
from fine_tuning.storage.atomic import storage_errors, whole_folder
from fine_tuning.workbench.catalog import Catalog
from fine_tuning.workbench.models.modelfiles import MODELFILE_NAME, Modelfiles

ADAPTER, PEFT = "adapter", "peft"
EXPORT_KINDS = (ADAPTER, PEFT, *MERGED_KINDS)
PEFT_FILES = (PEFT_WEIGHTS, PEFT_CONFIG)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedModel:
    """What was written: the folder, its files, and what a merge did."""

    version: str
    kind: str
    folder: Path
    files: tuple[Path, ...]
    size_bytes: int
    report: MergeReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        value: dict[str, Any] = {
            "version": self.version,
            "kind": self.kind,
            "folder": str(self.folder),
            "files": [path.name for path in self.files],
            "size_bytes": self.size_bytes,
        }
        if self.report:
            value |= {"is_exact": self.report.is_exact, "kept": self.report.kept}
            value["tensors"] = [
                {
                    "name": one.name,
                    "before": one.before.name,
                    "after": one.after.name,
                    "is_exact": one.is_exact,
                    "kept": one.kept,
                    "noise": one.noise,
                }
                for one in self.report.tensors
            ]
        return value


class ModelExporter:
    """Writes versions as files of their own.

    Args:
        catalog: Base models, runs and versions.
        modelfiles: What Ollama needs to serve them.
        progress: Called with how far a merge is.
    """

    def __init__(
        self,
        catalog: Catalog,
        modelfiles: Modelfiles,
        progress: Progress | None = None,
    ) -> None:
        self._catalog = catalog
        self._modelfiles = modelfiles
        self._progress = progress

    def export(self, name: str, kind: str, folder: Path) -> ExportedModel:
        """Write a version into a folder, with the Modelfile that makes Ollama serve it.

        Args:
            name: A version or a run.
            kind: ``adapter`` (GGUF, beside its base), ``peft`` (safetensors), or one of
                ``MERGED_KINDS``.
            folder: Where; it must not exist, or be empty. llama.cpp has loaded every model and
                adapter, PEFT's converted back, before the folder is there.

        Returns:
            The files that were written, and their bytes.

        Raises:
            ConfigError: if there is no such kind, or the folder holds something.
            ModelNotFoundError: if there is no such version, or its files were pruned.
            FineTuningError: as :func:`write_merged` raises; nothing is left behind.
        """
        if kind not in EXPORT_KINDS:
            raise ConfigError(
                f"{kind!r} is no form of a model, expected one of {', '.join(EXPORT_KINDS)}",
                next_command=f"fine-tuning models export {name} --as {MERGED} --to {folder}",
            )
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(
                f"{folder} holds something already, expected a new folder",
                next_command=f"fine-tuning models export {name} --as {kind} --to {folder}-new",
            )
        run = self._catalog.runs.find(name)
        version, base = self._catalog.register.register(run), self._catalog.bases.of_run(run)
        with whole_folder(folder) as staged_folder:
            report = self._fill(staged_folder, kind, run, base)
            if kind != PEFT:
                adapter = staged_folder / run.adapter_file.name if kind == ADAPTER else None
                model = base.path if adapter else staged_folder / _model_file(kind)
                settings = self._modelfiles.serving_settings(base)
                write_modelfile(staged_folder / MODELFILE_NAME, model, settings, adapter)
        self._modelfiles.keep(run)
        files = tuple(sorted(folder.iterdir()))
        size_bytes = sum(path.stat().st_size for path in files)
        return ExportedModel(
            version=version.name,
            kind=kind,
            folder=folder,
            files=files,
            size_bytes=size_bytes,
            report=report,
        )

    def _fill(self, place: Path, kind: str, run: Run, base: BaseModel) -> MergeReport | None:
        if kind == PEFT:
            _write_peft(place, run, base)
            return None
        if kind == ADAPTER:
            copy = place / run.adapter_file.name
            with storage_errors(copy):
                shutil.copyfile(run.adapter_file, copy)
            check_served(base.path, copy)
            return None
        out = place / _model_file(kind)
        made = write_merged(
            base.path,
            run.adapter_file,
            out,
            kind=kind,
            chat_template=base.prompts.jinja if base.prompts else "",
            progress=self._progress,
        )
        return made.report


def _model_file(kind: str) -> str:
    return f"{kind}.gguf"


def _write_peft(adapter_folder: Path, run: Run, base: BaseModel) -> None:
    """Write a run's adapter as PEFT's, once llama.cpp loads what is read back from it.

    Raises:
        TrainingError: if the adapter changes weights PEFT has no name for.
        FineTuningError: if what is read back is another adapter, or llama.cpp refuses it.
    """
    from fine_tuning.engine.adapter_files import (  # noqa: PLC0415 - torch is slow to load
        check_same_update,
        read_gguf_adapter,
        write_gguf_adapter,
    )
    from fine_tuning.engine.peft_files import read_peft_adapter, write_peft_adapter  # noqa: PLC0415 - as above

    shape = config_of(base.path)
    own, adapter = run.adapter_dir, read_gguf_adapter(run.adapter_file)
    if all((own / file).is_file() for file in PEFT_FILES):
        for file in PEFT_FILES:
            with storage_errors(adapter_folder / file):
                shutil.copyfile(own / file, adapter_folder / file)
    else:
        write_peft_adapter(adapter_folder, adapter, shape, base.name, base_digest=base.digest())
    back = read_peft_adapter(adapter_folder, shape)
    check_same_update(back, adapter, adapter_folder)
    with tempfile.TemporaryDirectory(dir=adapter_folder.parent, prefix=".peft.") as beside:
        converted = Path(beside) / run.adapter_file.name
        write_gguf_adapter(converted, back, architecture=shape.architecture)
        check_served(base.path, converted)
