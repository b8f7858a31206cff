"""Where a user's data lies: one folder with a fixed layout, named once and passed around.

``--home`` is stronger than ``FINE_TUNING_HOME``, which is stronger than ``./fine_tuning_home``. A
workspace only names paths; nothing is created before something is written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fine_tuning.config.schema import Settings
from fine_tuning.core.errors import StorageError

HOME_VARIABLE = "FINE_TUNING_HOME"
DEFAULT_HOME = "fine_tuning_home"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """The folder of one user's conversations, data sets, runs and models.

    ``log_file`` and ``output_dir`` are the settings of those names; a relative one starts at
    ``home``.
    """

    home: Path
    log_file: str = "conversations.jsonl"
    output_dir: str = "./fine_tuned_models"

    @classmethod
    def open(
        cls,
        home: Path | str | None = None,
        settings: Settings | None = None,
        *,
        environment: Mapping[str, str] = os.environ,
    ) -> Self:
        """Return the workspace in force; creates nothing.

        Args:
            home: The ``--home`` given, or None.
            settings: Where the log and the runs go; None takes the defaults.
            environment: Where ``FINE_TUNING_HOME`` is looked up; empty counts as absent.
        """
        chosen = Path(home or environment.get(HOME_VARIABLE) or DEFAULT_HOME)
        settings = settings or Settings()
        return cls(
            home=chosen.expanduser().absolute(),
            log_file=settings.data_collection.log_file,
            output_dir=settings.training.output_dir,
        )

    def resolve(self, path: Path | str) -> Path:
        """Return a setting's path: absolute as it is, relative from ``home``, ``~`` expanded.

        Args:
            path: A setting's path.
        """
        return Path(os.path.normpath(self.home / Path(path).expanduser()))

    def ensure(self, path: Path | str) -> Path:
        """Return a folder of the workspace, created with its parents if it is not there.

        Args:
            path: Absolute, or relative from ``home``; ``~`` is expanded.

        Returns:
            The folder's absolute path.

        Raises:
            StorageError: if it cannot be created.
        """
        folder = self.resolve(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"folder {folder} cannot be created: {error.strerror}",
                next_command="choose another workspace with --home",
            ) from error
        return folder

    @property
    def conversations(self) -> Path:
        """The file conversations are recorded in."""
        return self.resolve(self.log_file)

    @property
    def runs(self) -> Path:
        """The folder with one folder per training run."""
        return self.resolve(self.output_dir)

    @property
    def records(self) -> Path:
        """The database of what was done with conversations; the log's own when it is one."""
        log = self.conversations
        return log if log.suffix.lower() != ".jsonl" else self.home / "records.db"

    @property
    def attachments(self) -> Path:
        """The folder of pictures and sounds that conversations refer to."""
        return self.home / "attachments"

    @property
    def quarantine(self) -> Path:
        """The folder of records that could not be imported, with line and reason."""
        return self.home / "quarantine"

    @property
    def datasets(self) -> Path:
        """The folder with one folder per data set."""
        return self.home / "datasets"

    @property
    def models(self) -> Path:
        """The folder of model files made for deployment."""
        return self.home / "models"

    @property
    def exports(self) -> Path:
        """The folder of exported conversations."""
        return self.home / "exports"

    @property
    def jobs(self) -> Path:
        """The folder of the queue of long work."""
        return self.home / "jobs"

    @property
    def demo(self) -> Path:
        """The folder of the demonstration, which has its own data and runs."""
        return self.home / "demo"
