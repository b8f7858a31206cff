"""The one way to find a finished run, and the one way to find a version, by any name."""

from __future__ import annotations

from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import ModelNotFoundError
from fine_tuning.core.run import Run
from fine_tuning.model_management.versions import ModelVersion
from fine_tuning.storage.run_files import read_run
from fine_tuning.workbench.register import VersionRegister
from fine_tuning.workbench.runs import find_run, read_runs


class RunLocator:
    """Finds finished runs.

    Args:
        workspace: Whose runs.
        register: Knows which run a version is.
    """

    def __init__(self, workspace: Workspace, register: VersionRegister) -> None:
        self._workspace = workspace
        self._register = register

    def find(self, name: str | Run) -> Run:
        """Find a run by id, start of id, folder, ``latest``, ``demo``, or a version's name.

        A run is returned as it is, so that one at hand is not looked for again.

        Raises:
            ModelNotFoundError: if there is none, or the start of an id fits several.
        """
        if isinstance(name, Run):
            return name
        try:
            return find_run(self._workspace, name)
        except ModelNotFoundError as no_run:
            if not self._register.exists and not read_runs(self._workspace):
                raise
            try:
                # Not the registry alone: a run that finished unseen is a version too.
                version = self._register.registry().find(name)
            except ModelNotFoundError as no_version:
                raise ModelNotFoundError(
                    f"{no_run.message}; {no_version.message}", next_command=no_run.next_command
                ) from no_version
        if version.adapter_path is None:
            raise ModelNotFoundError(
                f"the files of {version.name} were pruned, expected a version that has them",
                next_command="fine-tuning models",
            )
        run = read_run(version.run_folder)
        if run is None:
            raise ModelNotFoundError(
                f"{version.run_folder} of {version.name} holds no finished run",
                next_command="fine-tuning models verify " + version.name,
            )
        return run


class VersionLocator:
    """Finds versions.

    Args:
        register: Where versions are registered.
        runs: Finds the run a version is made of.
    """

    def __init__(self, register: VersionRegister, runs: RunLocator) -> None:
        self._register = register
        self._runs = runs

    def find(self, name: str) -> ModelVersion:
        """Find a version: ``support:3``, ``support:champion``, ``latest``, a run, a served name.

        Raises:
            ModelNotFoundError: if there is none.
        """
        return self._register.registry().find(name)

    def of_run(self, name: str | Run) -> ModelVersion:
        """Find the version of a run, itself or by any name :meth:`RunLocator.find` takes.

        A run that is not registered yet becomes a version.

        Raises:
            ModelNotFoundError: if there is no such run.
        """
        return self._register.register(self._runs.find(name))
