"""The folder of one run: what it holds, who may work in it, and what says it is finished.

``settings.json`` is written first and holds everything needed to resume; ``manifest.json`` is
written last, so a folder with one is a finished run. While the run can be resumed, ``data/`` holds
its own copy of the sequences; it is removed at the end, so that a run keeps no one's words.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

import orjson
import torch

from fine_tuning.core.errors import TrainingError
from fine_tuning.core.item import Item, item_from_dict
from fine_tuning.core.json_shape import typed
from fine_tuning.core.json_value import JsonObject, JsonValue, object_at, trusted
from fine_tuning.core.naming import file_sha256
from fine_tuning.core.run import (
    ADAPTER_DIR,
    ADAPTER_GGUF,
    EVENTS_FILE,
    LOCK_FILE,
    MANIFEST_FILE,
    SERVED_CONTEXT_TOKENS,
    SETTINGS_FILE,
    Run,
    RunManifest,
    TrainingMetrics,
)
from fine_tuning.storage.atomic import storage_errors, write_file
from fine_tuning.storage.locking import LockedError, locked
from fine_tuning.storage.run_files import (
    read_manifest,
    read_object,
    write_manifest,
    write_settings,
)
from fine_tuning.training.checkpoints import CheckpointFolder
from fine_tuning.training.plan import TrainingData, TrainingPlan
from fine_tuning.training.starting_point import StartingPoint

FORMAT = 2
"""Format 2 may hold items with weights; format 1, tokenized examples alone, is read as such."""
READABLE = (1, 2)
SPLITS = ("train", "validation")
OPTIONAL = ("parents", "base_fingerprint", "context_tokens", "prompts")
"""What settings of earlier versions lack."""


def resume_command(run_folder: Path) -> str:
    """Return the command that goes on with a run."""
    return f"fine-tuning train --resume {run_folder.name}"


def current_versions() -> dict[str, str]:
    """Return the versions that decide a run's numbers."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "fine-tuning": importlib.metadata.version("fine-tuning"),
        "platform": f"{platform.system()}-{platform.machine()}",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What a run was started with.

    ``data_digests`` name the copies of the sequences, and of the adapter it began with; ``parents``
    are the versions that is of; ``base_fingerprint`` names the base's tensors, "" where that is not
    known, and ``prompts`` say what wrote them (``core.run.RunManifest``).
    """

    run_id: str
    method: str
    plan: TrainingPlan
    base_path: str
    base_digest: str
    base_name: str
    snapshot: str
    threads: int
    compute_dtype: str
    compute_dtype_reason: str
    kernels: str
    created_at: str
    versions: Mapping[str, str]
    data_digests: Mapping[str, str]
    parents: tuple[str, ...] = ()
    base_fingerprint: str = ""
    context_tokens: int = SERVED_CONTEXT_TOKENS
    prompts: JsonObject = field(default_factory=dict)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        raw = {name: getattr(self, name) for name in self.__slots__}
        return {"format": FORMAT, **raw, "plan": self.plan.to_dict()}

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read the form :meth:`to_dict` writes.

        Raises:
            TrainingError: if a key is missing, or the format is another one.
            ConfigError: if a number of the plan is out of range.
        """
        missing = [name for name in cls.__slots__ if name not in raw and name not in OPTIONAL]
        if missing or raw.get("format") not in READABLE:
            found = f"lacks {', '.join(missing)}" if missing else f"has format {raw.get('format')}"
            raise TrainingError(f"the run's settings.json {found}, expected format {FORMAT}")
        values = {name: trusted(raw[name]) for name in cls.__slots__ if name in raw}
        values["parents"] = tuple(trusted(raw.get("parents", ())))
        return cls(**{**values, "plan": TrainingPlan.from_dict(object_at(raw, "plan"))})


class RunFolder:
    """Places and files of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.settings_path = self.path / SETTINGS_FILE
        self.events_path = self.path / EVENTS_FILE
        self.manifest_path = self.path / MANIFEST_FILE
        self.adapter_dir = self.path / ADAPTER_DIR
        self.data_path = self.path / "data"
        self.hidden_path = self.path / "hidden"
        self.start_path = self.data_path / ADAPTER_GGUF
        self.checkpoints = CheckpointFolder(self.path / "checkpoints")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; the system frees it when the process dies, however.

        Raises:
            TrainingError: if another process holds it.
            StorageError: if the folder cannot be written.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path / LOCK_FILE, wait_s=0))
            except LockedError as error:
                raise TrainingError(
                    f"run {self.path.name} is being trained by another process ({error.owner}), "
                    "expected a run that no one works on",
                    next_command=f"wait until it ends, or stop it with: kill -INT {error.owner}",
                ) from error
            yield

    def begin(
        self,
        settings: RunSettings,
        data: TrainingData,
        start_from: StartingPoint | None = None,
    ) -> RunSettings:
        """Write the sequences and the settings of a new run; returns the settings as written.

        The adapter it begins with, if it is a version's, is copied beside the sequences.

        Raises:
            TrainingError: if the folder holds a run already.
            StorageError: if it cannot be written.
        """
        if self.settings_path.exists():
            raise TrainingError(
                f"{self.path} holds a run already, expected a new folder",
                next_command=resume_command(self.path),
            )
        digests = {
            split: _write_sequences(self.data_path / f"{split}.jsonl", getattr(data, split))
            for split in SPLITS
        }
        if start_from is not None:
            with storage_errors(start_from.adapter_file):
                write_file(self.start_path, start_from.adapter_file.read_bytes())
            digests["adapter"] = file_sha256(self.start_path)
        raw = {**settings.to_dict(), "data_digests": digests}
        write_settings(self.path, raw)
        return RunSettings.from_dict(raw)

    def settings(self) -> RunSettings:
        """Read the settings.

        Raises:
            TrainingError: if the folder is not a run, or was not fully written when it was begun.
        """
        if not self.settings_path.is_file():
            raise TrainingError(
                f"{self.path} holds no settings.json, expected the folder of a run",
                next_command="fine-tuning train",
            )
        return RunSettings.from_dict(read_object(self.settings_path))

    def data(self, settings: RunSettings) -> TrainingData:
        """Read the run's copy of its sequences.

        Raises:
            TrainingError: if a copy is missing or was changed.
        """
        splits = {}
        for split in SPLITS:
            path = self.data_path / f"{split}.jsonl"
            _refuse_changed(path, settings.data_digests[split])
            with storage_errors(path):
                lines = path.read_bytes().splitlines()
            splits[split] = [item_from_dict(orjson.loads(line)) for line in lines]
        return TrainingData(**splits, snapshot=settings.snapshot)

    def starting_point(self, settings: RunSettings) -> StartingPoint | None:
        """Return the version a run began from, by the run's own copy; None began afresh.

        Raises:
            TrainingError: if the copy is missing or was changed.
        """
        if not settings.parents:
            return None
        _refuse_changed(self.start_path, settings.data_digests["adapter"])
        return StartingPoint(name=settings.parents[0], adapter_file=self.start_path)

    def finish(self, settings: RunSettings, metrics: TrainingMetrics, adapter_name: str) -> Run:
        """Write the manifest, then remove what only resuming needed.

        Args:
            settings: The run's settings.
            metrics: What it measured.
            adapter_name: Content name of the adapter, whose files are in place.

        Raises:
            StorageError: if the manifest cannot be written.
        """
        with storage_errors(self.adapter_dir):
            files = {path.name: file_sha256(path) for path in sorted(self.adapter_dir.iterdir())}
        about: dict[str, JsonValue] = {
            **settings.to_dict(),
            "seed": settings.plan.seed,
            "metrics": asdict(metrics),
            "adapter": {"name": adapter_name, "files": files},
        }
        write_manifest(self.path, typed(about, RunManifest))
        return self.finished_run()

    def finished_run(self) -> Run:
        """Read a finished run; leftovers of its making are removed.

        Raises:
            TrainingError: if the run is not finished, or its manifest is torn.
        """
        manifest = read_manifest(self.manifest_path)
        for key in ("run_id", "metrics", "adapter"):
            if key not in manifest:
                raise TrainingError(
                    f"{self.manifest_path} lacks {key!r}, expected the manifest of a finished run"
                )
        self.checkpoints.remove()
        for leftover in (self.data_path, self.hidden_path):
            shutil.rmtree(leftover, ignore_errors=True)
        return Run(self.path, manifest)


def _refuse_changed(path: Path, digest: str) -> None:
    if not path.is_file() or file_sha256(path) != digest:
        raise TrainingError(
            f"{path} is not what the run was started with, expected {digest}",
            next_command="fine-tuning train",
        )


def _write_sequences(path: Path, sequences: Sequence[Item]) -> str:
    write_file(path, b"".join(orjson.dumps(each.to_dict()) + b"\n" for each in sequences))
    return file_sha256(path)
