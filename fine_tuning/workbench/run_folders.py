"""Every run of a workspace as its folder tells it: finished, at work, or left half done.

Reads only; a run's lock is never tried, for that could keep its own process out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from fine_tuning.config.workspace import Workspace

RunState = Literal["running", "interrupted", "finished"]
CLOCK_SLACK_S = 2.0
"""How much later than its lock a process may seem to have begun: kernels round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOverview:
    """A run's folder in short; ``pid`` is the process at work, 0 if none is.

    ``metrics`` are those of the manifest, empty until the run is finished; ``plan`` its numbers.
    """

    run_id: str
    folder: Path
    state: RunState
    created_at: str
    base_name: str
    base_digest: str
    method: str
    snapshot: str = ""
    pid: int = 0
    is_demo: bool = False
    is_judged: bool = False
    plan: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def events_path(self) -> Path:
        """What it told."""
        return self.folder / "events.jsonl"


def overviews(workspace: Workspace) -> list[RunOverview]:
    """Return the runs of a workspace and of its demo, oldest first."""
    places = {workspace.runs: False, Workspace(home=workspace.demo).runs: True}
    found = [
        run
        for place, is_demo in places.items()
        for folder in (place.iterdir() if place.is_dir() else ())
        if (run := overview(folder, is_demo=is_demo)) is not None
    ]
    return sorted(found, key=lambda run: (run.created_at, run.run_id))


def overview(folder: Path, *, is_demo: bool = False) -> RunOverview | None:
    """Return a run by its folder; None if that is none, or cannot be read."""
    manifest = _read(folder / "manifest.json")
    about = manifest or _read(folder / "settings.json")
    if about is None:
        return None
    pid = 0 if manifest else _worker(folder / ".lock")
    return RunOverview(
        run_id=folder.name,
        folder=folder,
        state="finished" if manifest else "running" if pid else "interrupted",
        created_at=str(about.get("created_at", "")),
        base_name=str(about.get("base_name", "")),
        base_digest=str(about.get("base_digest", "")),
        method=str(about.get("method", "")),
        snapshot=str(about.get("snapshot", "")),
        pid=pid,
        is_demo=is_demo,
        is_judged=(folder / "evaluation.json").is_file(),
        plan=dict(about.get("plan") or {}),
        metrics=dict(about.get("metrics") or {}),
    )


def _read(path: Path) -> dict[str, Any] | None:
    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return raw if isinstance(raw, dict) else None


def _worker(lock: Path) -> int:
    """Return the process that wrote a lock file, if it lives; another may have its number now."""
    try:
        pid, taken_s = int(lock.read_text("ascii")), lock.stat().st_mtime
        began_s = psutil.Process(pid).create_time()
    except (OSError, ValueError, psutil.Error):
        return 0
    return pid if began_s <= taken_s + CLOCK_SLACK_S else 0
