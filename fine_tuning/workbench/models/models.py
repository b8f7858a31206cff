"""The facade of tuned models: versions, lineage, deployment, aliases, A/B tests, files."""

from __future__ import annotations

import logging
from dataclasses import replace

from fine_tuning.core.errors import StorageError
from fine_tuning.model_management.embedded_target import NAME
from fine_tuning.model_management.pruning import (
    KEEP_NEWEST,
    DiskUse,
    PrunePlan,
    Pruner,
    disk_use,
)
from fine_tuning.model_management.versions import Event
from fine_tuning.runtimes.embedded_runtime import EmbeddedRuntime
from fine_tuning.workbench.catalog import Catalog
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.data.review import ConversationIndex
from fine_tuning.workbench.models.ab_test import AbTests
from fine_tuning.workbench.models.adapter_import import AdapterImporter
from fine_tuning.workbench.models.aliases import Aliases
from fine_tuning.workbench.models.deploy import VersionDeployment
from fine_tuning.workbench.models.export import ModelExporter
from fine_tuning.workbench.models.model_access import ModelAccess
from fine_tuning.workbench.models.modelfiles import Modelfiles
from fine_tuning.workbench.models.version_lineage import VersionLineage

logger = logging.getLogger(__name__)


class Models:
    """What a user does with tuned models.

    Args:
        context: Settings, workspace and progress.
        catalog: Base models, data sets, runs and versions.
        index: The recorded conversations, which say how an A/B test stands.
        aliases: Which version answers to which name.
        lineage: Which conversations went into which versions.

    Attributes:
        bases: Base models: found, opened, and which can be trained.
        register: The versions of this workspace and its registry.
        runs: Finds finished runs.
        versions: Finds versions.
        aliases: Which version answers to which name.
        lineage: Which conversations went into which versions.
        ab_tests: How sessions are split, and what people thought of each side.
        modelfiles: What Ollama needs to serve a version.
        exporter: Writes versions as files of their own.
        importer: Makes versions of adapters from elsewhere.
        deployment: Serves versions, and proves them.
        access: Models to talk to.
    """

    def __init__(
        self,
        context: Context,
        catalog: Catalog,
        index: ConversationIndex,
        aliases: Aliases,
        lineage: VersionLineage,
    ) -> None:
        self._context = context
        self.bases = catalog.bases
        self.register = catalog.register
        self.runs = catalog.runs
        self.versions = catalog.versions
        self.aliases = aliases
        self.lineage = lineage
        self.ab_tests = AbTests(context, index, aliases)
        threads = context.settings.training.threads
        self.modelfiles = Modelfiles(catalog, threads=threads)
        self.exporter = ModelExporter(catalog, self.modelfiles, context.progress)
        self.importer = AdapterImporter(context.workspace.runs, catalog, self.modelfiles)
        self.deployment = VersionDeployment(context, catalog, aliases, self.modelfiles)
        self.access = ModelAccess(context, catalog, aliases)

    def prune(self, *, keep: int = KEEP_NEWEST, is_trial: bool = False) -> PrunePlan:
        """Remove the files of versions nobody needs; a trial only says which.

        Args:
            keep: How many of the newest versions of each family stay whatever their use.
            is_trial: Remove nothing.

        Returns:
            What is removed, or would be.
        """
        pruner = Pruner(
            self.register.registry(), (self._context.workspace.home, self._context.workspace.runs)
        )
        unused_bytes = self.disk_use().unused_bytes
        plan = pruner.plan(keep=keep) if is_trial else pruner.prune(keep=keep)
        if unused_bytes and not is_trial:
            self._embedded().tidy()
        return replace(plan, unused_bytes=unused_bytes)

    def history(self, name: str | None = None) -> list[Event]:
        """Return what happened, oldest first: to a family, a version, or all.

        Raises:
            ModelNotFoundError: if neither a family nor a version has that name.
        """
        if name is None:
            return self.register.registry().history() if self.register.versions() else []
        registry = self.register.registry()
        version = registry.find(name)
        events = registry.history(version.family)
        is_family = name.lower() == version.family
        return events if is_family else [one for one in events if one.version == version.name]

    def disk_use(self, family: str | None = None) -> DiskUse:
        """Return the disk space of versions: their files, and copies the runtime here serves.

        What Ollama keeps is in Ollama's store and not counted.
        """
        runtime = self._embedded()
        versions, sizes_bytes = self.register.versions(family), runtime.copies_bytes()
        try:
            infos = runtime.list()
        except StorageError as error:  # a damaged recipe: what belongs to whom is not known
            logger.warning("%s", error.message)
            return replace(disk_use(versions, {}, sizes_bytes), unused_bytes=0)
        copies = {one.name: str(one.details.get("adapter_digest", "")) for one in infos}
        return disk_use(versions, copies, sizes_bytes)

    def _embedded(self) -> EmbeddedRuntime:
        return EmbeddedRuntime(self._context.workspace.models / NAME)
