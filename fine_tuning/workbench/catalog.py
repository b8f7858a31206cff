"""What there is in a workspace: base models, data sets, finished runs and versions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from fine_tuning.workbench.base_models import BaseModels
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.datasets import Datasets
from fine_tuning.workbench.locators import RunLocator, VersionLocator
from fine_tuning.workbench.register import VersionRegister


@dataclass(frozen=True)
class Catalog:
    """One way to find each kind of thing.

    Attributes:
        bases: Base models: found, opened, and which can be trained.
        datasets: Data sets, by name or by run.
        register: The versions of this workspace, and its registry.
        runs: Finished runs, by any name.
        versions: Versions, by any name.
    """

    bases: BaseModels
    datasets: Datasets
    register: VersionRegister
    runs: RunLocator
    versions: VersionLocator

    @classmethod
    def of(cls, context: Context) -> Self:
        """Return the catalog of a workspace; nothing is read yet."""
        settings, workspace = context.settings, context.workspace
        datasets = Datasets(workspace)
        register = VersionRegister(workspace, datasets, settings.deployment.family)
        runs = RunLocator(workspace, register)
        versions = VersionLocator(register, runs)
        return cls(BaseModels(settings), datasets, register, runs, versions)
