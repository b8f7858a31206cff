"""The one reader and the one writer of a run's folder: its settings and its manifest.

Reads without locking: a run's lock is never tried, for that could keep its own process out.
"""

from __future__ import annotations

import json
from pathlib import Path

import psutil

from fine_tuning.core.errors import TrainingError
from fine_tuning.core.json_shape import typed
from fine_tuning.core.json_value import JsonObject, parse_object
from fine_tuning.core.run import (
    LOCK_FILE,
    MANIFEST_FILE,
    SETTINGS_FILE,
    Run,
    RunManifest,
    RunOverview,
)
from fine_tuning.storage.atomic import storage_errors, write_file

CLOCK_SLACK_S = 2.0
"""How much later than its lock a process may seem to have begun: kernels round."""


def read_run(folder: Path) -> Run | None:
    """Read a finished run; None if the folder holds none, or its adapter was pruned.

    Raises:
        TrainingError: if its manifest is torn, or not that of a run.
    """
    run = Run(folder.absolute(), {})
    path = folder / MANIFEST_FILE
    if not run.adapter_file.is_file() or not path.is_file():
        return None
    return Run(run.folder, read_manifest(path))


def read_manifest(path: Path) -> RunManifest:
    """Read a manifest, or the settings of a run, which hold the same keys but the last few.

    Raises:
        TrainingError: if it is torn, or not that of a run.
    """
    try:
        return typed(parse_object(path.read_bytes()), RunManifest)
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read: {error}, expected a run's manifest") from error


def write_manifest(folder: Path, manifest: RunManifest) -> None:
    """Write the manifest, which makes a folder a finished run.

    Raises:
        StorageError: if it cannot be written.
    """
    write_file(folder / MANIFEST_FILE, pretty_json(manifest))


def write_settings(folder: Path, settings: JsonObject) -> None:
    """Write the settings of a run that begins.

    Raises:
        StorageError: if they cannot be written.
    """
    write_file(folder / SETTINGS_FILE, pretty_json(settings))


def read_object(path: Path) -> JsonObject:
    """Read one of a run's files of JSON.

    Raises:
        TrainingError: if it is torn or holds no object.
        StorageError: if it cannot be read.
    """
    with storage_errors(path):
        content = path.read_bytes()
    try:
        return parse_object(content)
    except json.JSONDecodeError as error:
        raise TrainingError(f"{path} is not JSON: {error}") from error
    except ValueError as error:
        raise TrainingError(f"{path}: {error}") from error


def read_overview(folder: Path, *, is_demo: bool = False) -> RunOverview | None:
    """Read a run in any state; None if the folder holds none, or it cannot be read."""
    manifest = _readable(folder / MANIFEST_FILE)
    about = manifest if manifest is not None else _readable(folder / SETTINGS_FILE)
    if about is None:
        return None
    pid = 0 if manifest else worker_of(folder / LOCK_FILE)
    run = RunOverview(folder, about)
    return RunOverview(
        folder,
        about,
        state="finished" if manifest else "running" if pid else "interrupted",
        pid=pid,
        is_demo=is_demo,
        is_evaluated=run.evaluation_path.is_file(),
    )


def worker_of(lock: Path) -> int:
    """Return the process that wrote a lock file, if it lives; another may have its number now."""
    try:
        pid, taken_s = int(lock.read_text("ascii")), lock.stat().st_mtime
        began_s = psutil.Process(pid).create_time()
    except (OSError, ValueError, psutil.Error):
        return 0
    return pid if began_s <= taken_s + CLOCK_SLACK_S else 0


def pretty_json(raw: object) -> bytes:
    """Return JSON as people read it."""
    return json.dumps(raw, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _readable(path: Path) -> RunManifest | None:
    try:
        return read_manifest(path)
    except TrainingError:
        return None
