"""The data sets of a workspace: found by name, or by the run that was trained on one."""

from __future__ import annotations

from pathlib import Path

from fine_tuning.config.workspace import Workspace
from fine_tuning.core.run import Run
from fine_tuning.data_preparation.snapshot import NO_DATA, Snapshot, folder_name, load_snapshot
from fine_tuning.storage.records import Records


class Datasets:
    """The data sets of a workspace.

    Args:
        workspace: Where they lie.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def find(self, name: str) -> Snapshot:
        """Open a data set by its content name or folder.

        Raises:
            DataError: if it is missing or damaged.
        """
        folder = self._workspace.datasets / folder_name(name)
        if not folder.is_dir() and self._workspace.records.exists():
            # Another stands in its place when a conversation in it was forgotten.
            successor = Records(self._workspace.records).successor(name)
            folder = self._workspace.datasets / folder_name(successor)
        return load_snapshot(folder if folder.is_dir() else Path(name))

    def of_run(self, run: Run) -> Snapshot:
        """Open the data set of a run, beside which the run's folder lies.

        It is ``NO_DATA`` for an adapter that was trained elsewhere.

        Raises:
            DataError: if it is missing or damaged.
        """
        if not run.snapshot:
            return NO_DATA
        own = run.folder.parents[1] / "datasets" / folder_name(run.snapshot)
        return load_snapshot(own) if own.is_dir() else self.find(run.snapshot)
