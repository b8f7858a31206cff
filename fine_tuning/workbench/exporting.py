"""A version as files of its own, for servers this project does not deploy to."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tuning.core.errors import ConfigError
from fine_tuning.gguf.merge import MergeReport
from fine_tuning.model_management.artefacts import (
    MERGED_KINDS,
    check_served,
    write_merged,
    write_modelfile,
)
from fine_tuning.runtimes.base_model import BaseModel
from fine_tuning.runtimes.embedded import missing_template
from fine_tuning.runtimes.load_check import check_model
from fine_tuning.runtimes.ollama_modelfile import Modelfile
from fine_tuning.storage.atomic import storage_errors, whole_folder
from fine_tuning.workbench.registering import Registering
from fine_tuning.workbench.runs import FinishedRun

ADAPTER, PEFT = "adapter", "peft"
EXPORT_KINDS = (ADAPTER, PEFT, *MERGED_KINDS)
PEFT_FILES = ("adapter_model.safetensors", "adapter_config.json")


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


class Exporting(Registering):
    """What a user takes away."""

    def export_model(self, name: str, kind: str, folder: Path) -> ExportedModel:
        """Write a version into a folder, with the Modelfile that makes Ollama serve it.

        Args:
            name: A version or a run.
            kind: ``adapter`` (GGUF, beside its base), ``peft`` (safetensors), or one of
                ``MERGED_KINDS``.
            folder: Where; it must not exist, or be empty. llama.cpp has loaded every GGUF file
                before the folder is there.

        Raises:
            ConfigError: if there is no such kind, or the folder holds something.
            ModelNotFoundError: if there is no such version, or its files were pruned.
            FineTuningError: as :func:`write_merged` raises; nothing is left behind.
        """
        if kind not in EXPORT_KINDS:
            raise ConfigError(
                f"{kind!r} is no form of a model, expected one of {', '.join(EXPORT_KINDS)}"
            )
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"{folder} holds something already, expected a new folder")
        run = self.find_run(name)
        version, base = self.register_run(run), self.base_of(run)
        with whole_folder(folder) as place:
            report = self._fill(place, kind, run, base)
            if kind != PEFT:
                _write_modelfile(place, folder, kind, base)
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

    def _fill(
        self, place: Path, kind: str, run: FinishedRun, base: BaseModel
    ) -> MergeReport | None:
        own = run.adapter_path.parent
        if kind in (ADAPTER, PEFT):
            for file in PEFT_FILES if kind == PEFT else (run.adapter_path.name,):
                with storage_errors(own / file):
                    shutil.copyfile(own / file, place / file)
            if kind == ADAPTER:
                check_served(base.path, place / run.adapter_path.name)
            return None
        out = place / _model_file(kind)
        made = write_merged(
            base.path,
            run.adapter_path,
            out,
            kind=kind,
            chat_template=missing_template(check_model(base.path)),
            progress=self.progress,
        )
        return made.report


def _model_file(kind: str) -> str:
    return f"{kind}.gguf"


def _write_modelfile(place: Path, folder: Path, kind: str, base: BaseModel) -> None:
    """Write a Modelfile that names the files where they will stand."""
    settings = Modelfile(
        base="",
        template=base.template,
        system=base.system,
        parameters=json.loads(base.parameters) if base.parameters else {},
    )
    is_adapter = kind == ADAPTER
    model = base.path if is_adapter else folder / _model_file(kind)
    adapter = folder / "adapter.gguf" if is_adapter else None
    write_modelfile(place / "Modelfile", model, settings, adapter)
