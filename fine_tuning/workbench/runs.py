"""Finds finished runs by what a user calls them: an id, the start of one, a folder, ``latest``.

Their order is the registry's, in which each got its number: clocks are set back, and two runs may
begin within a second. What is not registered yet comes after, by the time it was begun.
"""

from __future__ import annotations

import logging
from pathlib import Path

from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import FineTuningError, ModelNotFoundError
from fine_tuning.core.run import Run, RunOverview, RunRecord
from fine_tuning.model_management.model_registry import ModelRegistry
from fine_tuning.model_management.registry_file import DATABASE_FILE
from fine_tuning.storage.run_files import read_overview, read_run

_log = logging.getLogger(__name__)

LATEST = "latest"
DEMO = "demo"


def finished_runs(workspace: Workspace) -> list[Run]:
    """Return the finished runs of a workspace and its demo, oldest first, the demo's before all."""
    return [*read_runs(_demo(workspace)), *read_runs(workspace)]


def read_runs(workspace: Workspace) -> list[Run]:
    """Return the finished runs of a workspace alone, oldest first; others are passed over."""
    runs = [run for folder in _folders(workspace) if (run := read_run(folder)) is not None]
    numbers = _numbers(workspace)
    last = len(numbers) and max(numbers.values()) + 1
    return sorted(runs, key=lambda run: (numbers.get(run.run_id, last), *_begun_at(run)))


def overviews(workspace: Workspace) -> list[RunOverview]:
    """Return the runs of a workspace and of its demo in any state, oldest first."""
    runs = [
        run
        for home, is_demo in ((workspace, False), (_demo(workspace), True))
        for folder in _folders(home)
        if (run := read_overview(folder, is_demo=is_demo)) is not None
    ]
    runs.sort(key=_begun_at)
    try:
        numbers = _numbers(workspace)
    except FineTuningError as error:
        # What is under way is shown on every page: a damaged registry is told where it is needed.
        _log.warning("runs are ordered by their times alone: %s", error.message)
        numbers = {}
    # Those begun and not finished have a time alone: they keep their places among the others.
    places = [at for at, run in enumerate(runs) if run.run_id in numbers and not run.is_demo]
    in_order = sorted((runs[at] for at in places), key=lambda run: numbers[run.run_id])
    for at, run in zip(places, in_order, strict=True):
        runs[at] = run
    return runs


def _folders(workspace: Workspace) -> list[Path]:
    return list(workspace.runs.iterdir()) if workspace.runs.is_dir() else []


def _numbers(workspace: Workspace) -> dict[str, int]:
    """Return the order in which runs became versions; empty before the first did."""
    if not (workspace.models / DATABASE_FILE).exists():
        return {}
    return ModelRegistry(workspace.models).run_numbers()


def _begun_at(run: RunRecord) -> tuple[str, str]:
    return run.created_at, run.run_id


def find_run(workspace: Workspace, name: str) -> Run:
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
    if (given := read_run(Path(name))) is not None:
        return given
    runs = finished_runs(workspace)
    if name == LATEST and runs:
        return runs[-1]
    fitting = [run for run in runs if run.run_id.startswith(name)]
    exact = [run for run in fitting if run.run_id == name]
    if len(exact or fitting) == 1:
        return (exact or fitting)[0]
    newest = ", ".join(run.run_id for run in runs[-5:]) or "none yet"
    problem = f"{len(fitting)} runs start with" if fitting else "no finished run is called"
    raise ModelNotFoundError(
        f"{problem} {name!r} in {workspace.runs}; the newest are: {newest}",
        next_command="fine-tuning train" if not runs else "",
    )


def _demo(workspace: Workspace) -> Workspace:
    return Workspace(home=workspace.demo)
