"""What every part of the workbench stands on: settings, workspace, base models, finished runs."""

from __future__ import annotations

from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Self

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import TrainingError
from fine_tuning.core.ports import ConversationStore, Progress
from fine_tuning.core.run import Run
from fine_tuning.data_preparation.snapshot import Snapshot, folder_name, load_snapshot
from fine_tuning.runtimes.base_model import BaseModel, resolve_base_model
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.storage.open_store import open_store
from fine_tuning.storage.records import Records
from fine_tuning.workbench.process import be_a_good_neighbour
from fine_tuning.workbench.runs import find_run

CHAT_CONTEXT_TOKENS = 4096


class WorkbenchBase:
    """One user's tools.

    Args:
        settings: The settings in force.
        workspace: Where the user's data lies.
        progress: Told how far long work is.
    """

    def __init__(
        self, settings: Settings, workspace: Workspace, progress: Progress | None = None
    ) -> None:
        be_a_good_neighbour()
        self.settings = settings
        self.workspace = workspace
        self.progress = progress

    @cached_property
    def store(self) -> ConversationStore:
        """Where conversations are recorded; kept open, as it remembers where each one stands.

        Raises:
            StorageError: if it cannot be opened.
        """
        return open_store(self.workspace.conversations)

    def telling(self, progress: Progress) -> Self:
        """Return the same workbench, which tells another callback how far long work is."""
        other = copy(self)
        other.progress = progress
        return other

    def base_model(self, name: str | None = None) -> BaseModel:
        """Find a base model, by default that of the settings."""
        return resolve_base_model(name or self.settings.training.base_model)

    def snapshot(self, name: str) -> Snapshot:
        """Open a data set by its content name or folder.

        Raises:
            DataError: if it is missing or damaged.
        """
        known = self.workspace.datasets / folder_name(name)
        if not known.is_dir() and self.workspace.records.exists():
            # Another stands in its place when a conversation in it was forgotten.
            successor = Records(self.workspace.records).successor(name)
            known = self.workspace.datasets / folder_name(successor)
        return load_snapshot(known if known.is_dir() else Path(name))

    def find_run(self, name: str | Run) -> Run:
        """Find a finished run by id, start of id, folder, ``latest`` or ``demo``."""
        return name if isinstance(name, Run) else find_run(self.workspace, name)

    def open_model(
        self, base: BaseModel, adapter: Path | None = None, *, name: str = ""
    ) -> EmbeddedServer:
        """Load a model into the embedded runtime under a name, by default the base's."""
        return EmbeddedServer(
            base.path,
            adapter=adapter,
            context_tokens=CHAT_CONTEXT_TOKENS,
            threads=self.settings.training.threads,
            system=base.system,
            name=name or base.name,
            reuse_prompt=True,
        )

    def base_of(self, run: Run) -> BaseModel:
        """Find the base model of a run, the very file it was trained on.

        Raises:
            TrainingError: if that name leads to another file by now.
        """
        base = self.base_model(run.base_name)
        if base.digest() != run.base_digest:
            raise TrainingError(
                f"run {run.run_id} was trained on {run.manifest['base_digest']}, and "
                f"{run.base_name} is {base.digest()} by now",
                next_command="fine-tuning train",
            )
        return base
