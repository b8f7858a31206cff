"""Finds finished runs by what a user calls them: an id, the start of one, a folder, ``latest``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import ModelNotFoundError, TrainingError

if TYPE_CHECKING:
    from fine_tuning.engine.lora import LoraAdapter

LATEST = "latest"
DEMO = "demo"


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run with its adapter."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def adapter_path(self) -> Path:
        """The adapter as llama.cpp reads it."""
        return self.folder / "adapter" / "adapter.gguf"

    @property
    def base_name(self) -> str:
        """The name by which the base model was asked for."""
        return str(self.manifest["base_name"])

    @property
    def snapshot(self) -> str:
        """The content name of the data set it learnt from."""
        return str(self.manifest["snapshot"])

    @property
    def adapter_name(self) -> str:
        """The content name of the adapter's numbers."""
        return str(self.manifest.get("adapter", {}).get("name", ""))

    def adapter(self) -> LoraAdapter:
        """Read the adapter.

        Raises:
            GgufError: if its file was damaged.
        """
        from fine_tuning.engine.adapter_files import read_gguf_adapter  # noqa: PLC0415 - torch is slow to load

        return read_gguf_adapter(self.adapter_path)


def finished_runs(workspace: Workspace) -> list[FinishedRun]:
    """Return the finished runs of a workspace and its demo, oldest first."""
    return sorted([*read_runs(workspace), *read_runs(_demo(workspace))], key=_begun_at)


def read_runs(workspace: Workspace) -> list[FinishedRun]:
    """Return the finished runs of a workspace alone, oldest first; others are passed over."""
    folders = workspace.runs.iterdir() if workspace.runs.is_dir() else ()
    found = [run for folder in folders if (run := _read(folder)) is not None]
    return sorted(found, key=_begun_at)


def _begun_at(run: FinishedRun) -> tuple[str, str]:
    return str(run.manifest.get("created_at", "")), run.run_id


def find_run(workspace: Workspace, name: str) -> FinishedRun:
    """Find a finished run.

    Args:
        workspace: Whose runs.
        name: A run id or the start of one, a run folder, ``latest``, or ``demo``.

    Raises:
        ModelNotFoundError: if there is none, or the start of an id fits several.
    """
    if name == DEMO:
        workspace, name = _demo(workspace), LATEST
        if not finished_runs(workspace):
            raise ModelNotFoundError(
                f"the demo has not run in {workspace.home} yet", next_command="fine-tuning demo"
            )
    if (given := _read(Path(name))) is not None:
        return given
    runs = finished_runs(workspace)
    if name == LATEST and runs:
        return runs[-1]
    fitting = [run for run in runs if run.run_id.startswith(name)]
    exact = [run for run in fitting if run.run_id == name]
    if len(exact or fitting) == 1:
        return (exact or fitting)[0]
    known = ", ".join(run.run_id for run in runs[-5:]) or "none yet"
    found = f"{len(fitting)} runs start with" if fitting else "no finished run is called"
    raise ModelNotFoundError(
        f"{found} {name!r} in {workspace.runs}; the newest are: {known}",
        next_command="fine-tuning train" if not runs else "",
    )


def _demo(workspace: Workspace) -> Workspace:
    return Workspace(home=workspace.demo)


def _read(folder: Path) -> FinishedRun | None:
    path = folder / "manifest.json"
    if not (folder / "adapter" / "adapter.gguf").is_file() or not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read: {error}, expected a run's manifest") from error
    return FinishedRun(folder.absolute(), manifest)
