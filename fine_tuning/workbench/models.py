"""Models: what a user talks to, its versions, which one a chatbot gets, where each came from."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fine_tuning.core.errors import DeploymentError, ModelNotFoundError, StorageError
from fine_tuning.data_preparation.snapshot import snapshot_members
from fine_tuning.model_management.deployment_target import DeploymentTarget
from fine_tuning.model_management.embedded_target import NAME
from fine_tuning.model_management.lineage import Lineage, Origin, Use, VersionDiff
from fine_tuning.model_management.model_registry import ModelRegistry
from fine_tuning.model_management.model_switcher import (
    BASE,
    CHAMPION_TAG,
    ModelSwitcher,
    Switched,
)
from fine_tuning.model_management.pruning import (
    KEEP_NEWEST,
    DiskUse,
    PrunePlan,
    Pruner,
    disk_use,
)
from fine_tuning.model_management.router import Route, Router, deployed_as
from fine_tuning.model_management.switchings import Pointing, Traffic, pointings, splits
from fine_tuning.model_management.versions import Event, ModelVersion
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.runtimes.embedded_runtime import EmbeddedRuntime
from fine_tuning.workbench.registering import Registering
from fine_tuning.workbench.runs import DEMO
from fine_tuning.workbench.targets import open_target

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationTrace:
    """Where a conversation went: the data sets that hold it, by split, and the versions.

    ``served`` are the names by which runtimes answer with what was learnt from it.
    """

    conversation_id: str
    datasets: dict[str, str]
    uses: tuple[Use, ...]
    served: tuple[str, ...]


class Models(Registering):
    """What a user does with models."""

    def open_chat(self, name: str | None) -> EmbeddedServer:
        """Load what a user wants to talk to.

        Args:
            name: A run or a version (see :meth:`find_run`) or a base model; None takes the newest
                run, and without one the base model of the settings.

        Raises:
            ModelNotFoundError: if neither a run nor a base model has that name.
        """
        try:
            run = self.find_run(name or "latest")
        except ModelNotFoundError as no_run:
            try:
                return self.open_model(self.base_model(name))
            except ModelNotFoundError as no_base:
                if name is None:
                    raise ModelNotFoundError(
                        f"no run is finished yet, and {no_base.message}",
                        next_command="fine-tuning chat --model embedded, or fine-tuning demo",
                    ) from no_base
                if name == DEMO:
                    raise no_run from no_base
                raise ModelNotFoundError(
                    f"{no_run.message}; nor is it a base model: {no_base.message}",
                    next_command=no_base.next_command,
                ) from no_base
        base = self.base_of(run)
        return self.open_model(base, run.adapter_file, name=f"{run.run_id} on {base.name}")

    # Versions

    def versions(self, family: str | None = None) -> list[ModelVersion]:
        """Return all versions, or those of a family, oldest first; none before the first run."""
        try:
            return self.registry().versions(family)
        except ModelNotFoundError:
            return []

    def version(self, name: str) -> ModelVersion:
        """Find a version: ``support:3``, ``support:champion``, ``latest``, a run, a served name.

        Raises:
            ModelNotFoundError: if there is none.
        """
        return self.registry().find(name)

    def pointings(self) -> list[Pointing]:
        """Return what every alias points at."""
        return pointings(ModelRegistry(self.workspace.models)) if self.has_registry else []

    def diff_versions(self, first: str, second: str) -> VersionDiff:
        """Compare the data, settings and metrics of two versions."""
        return Lineage(self.registry()).diff(first, second)

    def verify_version(self, name: str) -> list[str]:
        """Read a version's files again and return what is wrong, a sentence each."""
        return self.registry().verify(name)

    def note_version(self, name: str, text: str) -> ModelVersion:
        """Leave a remark on a version."""
        return self.registry().note(name, text)

    def prune_versions(self, *, keep: int = KEEP_NEWEST, is_trial: bool = False) -> PrunePlan:
        """Remove the files of versions nobody needs; a trial only says which.

        Args:
            keep: How many of the newest versions of each family stay whatever their use.
            is_trial: Remove nothing.
        """
        pruner = Pruner(self.registry(), (self.workspace.home, self.workspace.runs))
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
            return self.registry().history() if self.versions() else []
        registry = self.registry()
        version = registry.find(name)
        events = registry.history(version.family)
        is_family = name.lower() == version.family
        return events if is_family else [one for one in events if one.version == version.name]

    def disk_use(self, family: str | None = None) -> DiskUse:
        """Return the disk space of versions: their files, and copies the runtime here serves.

        What Ollama keeps is in Ollama's store and not counted.
        """
        runtime = self._embedded()
        versions, sizes_bytes = self.versions(family), runtime.copies_bytes()
        try:
            infos = runtime.list()
        except StorageError as error:  # a damaged recipe: what belongs to whom is not known
            logger.warning("%s", error.message)
            return replace(disk_use(versions, {}, sizes_bytes), unused_bytes=0)
        copies = {one.name: str(one.details.get("adapter_digest", "")) for one in infos}
        return disk_use(versions, copies, sizes_bytes)

    def _embedded(self) -> EmbeddedRuntime:
        return EmbeddedRuntime(self.workspace.models / NAME)

    # Lineage

    def base_behind(self, name: str) -> Pointing | None:
        """Return what an alias, ``support:champion`` or ``support:base`` points at if the base.

        None for any other name, and while a version answers.
        """
        family, _, tag = name.lower().rpartition(":")
        for one in self.pointings():
            is_family = family == one.family and tag in {CHAMPION_TAG, BASE}
            if not one.version and (name.lower() == one.alias.lower() or is_family):
                return one
        return None

    def origins(self, name: str) -> list[Origin]:
        """Return the conversations a version, or what is served by a name, was made with.

        Raises:
            ModelNotFoundError: if there is no such version.
        """
        return Lineage(self.registry()).conversations(name)

    def trace_conversation(self, conversation_id: str) -> ConversationTrace:
        """Return the data sets and the versions that hold a conversation.

        Args:
            conversation_id: Its id or the beginning of one.

        Raises:
            DataError: if no data set holds it, or several begin like this.
            ModelNotFoundError: if the workspace holds neither data sets nor versions.
        """
        members = snapshot_members(self.workspace.datasets)
        lineage = self._lineage(members)
        whole = lineage.conversation_id(conversation_id)
        uses = lineage.uses(whole)
        learnt = {use.version for use in uses if use.is_learnt}
        served = {
            deployment.name
            for version in self.versions()
            if version.name in learnt
            for deployment in version.deployments
            if deployment.state == "active"
        }
        served |= {one.alias for one in self.pointings() if one.version in learnt}
        return ConversationTrace(
            conversation_id=whole,
            datasets={n: split for n, split in lineage.datasets(whole).items() if n in members},
            uses=tuple(uses),
            served=tuple(sorted(served)),
        )

    def mark_for_retraining(self, conversation_id: str, reason: str) -> list[str]:
        """Mark the versions that learnt from a conversation; return their names, oldest first."""
        try:
            registry = self.registry()
        except ModelNotFoundError:
            return []
        return Lineage(registry).mark_for_retraining(conversation_id, reason)

    def versions_to_retrain(self) -> list[ModelVersion]:
        """Return the champions and challengers that learnt from what was forgotten since."""
        return Lineage(self.registry()).to_retrain() if self.versions() else []

    def _lineage(self, members: Mapping[str, Mapping[str, Sequence[str]]]) -> Lineage:
        """Open the lineage of the versions and of the workspace's data sets."""
        lineage = Lineage(ModelRegistry(self.workspace.models) if members else self.registry())
        known = lineage.known_datasets()
        for name, conversations in members.items():
            if name not in known:
                lineage.record_dataset(name, conversations)
        return lineage

    # Serving

    def target(self) -> DeploymentTarget:
        """Return the runtime tuned models are deployed to, by the settings and what answers.

        Raises:
            RuntimeUnavailableError: if Ollama was asked for or is in use, and does not answer.
        """
        used = {one.runtime for one in self.pointings()}
        return open_target(self.settings.deployment, self.workspace.models, used=used)

    def switcher(self) -> ModelSwitcher:
        """Return what moves the aliases of that runtime."""
        target = self.target()
        return ModelSwitcher(
            self.registry(),
            target.runtime,
            runtime_name=target.name,
            prefix=self.settings.deployment.model_name_prefix,
        )

    def switch(self, name: str) -> Switched:
        """Let a chatbot's alias answer as a version, or as the base (``support:base``).

        Raises:
            ModelNotFoundError: if there is no such version.
            DeploymentError: if it is not deployed; then nothing has changed.
        """
        return self.switcher().switch(name)

    def rollback(self, family: str | None = None) -> Switched:
        """Let the alias of a family, or of the only one there is, answer as it did before.

        Raises:
            DeploymentError: if there is nothing to roll back to, or several families could be
                meant; then nothing has changed.
        """
        return self.switcher().rollback(family or self._only_family())

    def split_traffic(self, name: str, share: float) -> Traffic:
        """Let a version answer a share of its family's sessions, beside the champion."""
        return self.switcher().split(name, share)

    def end_split(self, family: str | None = None) -> bool:
        """Let the champion answer every session again; False if it did already."""
        return self.switcher().end_split(family or self._only_family())

    def withdraw(self, name: str, *, force: bool = False) -> str:
        """Remove a version from the runtime; return the name it had. Its files stay.

        Args:
            name: The version.
            force: Give up that an alias can be rolled back to it. What answers now always stays.

        Raises:
            DeploymentError: if it is not deployed there, or an alias needs it.
        """
        return self.switcher().withdraw(name, force=force)

    def archive_version(self, name: str, reason: str = "") -> ModelVersion:
        """Put a version aside; it can still be served, and be promoted again.

        Raises:
            ModelNotFoundError: if there is no such version.
            DeploymentError: if it answers somebody.
        """
        return self.registry().archive(name, reason)

    def promote_version(self, name: str, reason: str = "") -> ModelVersion:
        """Take up an archived version: it is a challenger again; :meth:`switch` makes champions.

        Raises:
            ModelNotFoundError: if there is no such version.
        """
        return self.registry().promote(name, reason)

    def traffic(self) -> list[Traffic]:
        """Return how the sessions of aliases are split between two versions, where they are."""
        return splits(ModelRegistry(self.workspace.models)) if self.has_registry else []

    def answering(self, name: str, session_id: str = "") -> Route:
        """Return which model answers who asks for a name, and as which version.

        Args:
            name: An alias, or any other name of the runtime.
            session_id: The session, which stays with one of two versions while an alias's sessions
                are split between them; "" draws none.

        Returns:
            ``version`` is ``support:base`` for an alias that answers as the base model, and "" for
            a model that is none of the registry's.
        """
        found = [one for one in self.pointings() if one.alias.lower() == name.lower()]
        if len(found) > 1:  # the same name on several runtimes
            used = self.target().name
            found = [one for one in found if one.runtime == used]
        if not found:
            return Route(model=name, version=self._deployed_as(name))
        (pointing,) = found
        route = Route(model=name, version=pointing.version)
        if session_id:
            file = ModelRegistry(self.workspace.models)
            route = Router(file, runtime=pointing.runtime, alias=pointing.alias).route(session_id)
        return replace(route, version=route.version or f"{pointing.family}:{BASE}")

    def _deployed_as(self, name: str) -> str:
        return deployed_as(ModelRegistry(self.workspace.models), name) if self.has_registry else ""

    def router(self, family: str | None = None) -> Router:
        """Return what tells a chatbot which model answers which session."""
        switcher = self.switcher()
        alias = switcher.alias_of(family or self._only_family())
        return Router(self.registry(), runtime=switcher.journal.runtime, alias=alias)

    def _only_family(self) -> str:
        families = sorted({one.family for one in self.pointings()})
        if len(families) != 1:
            found = f"aliases of {', '.join(families)}" if families else "no alias yet"
            raise DeploymentError(
                f"there are {found}, expected the name of one family",
                next_command="fine-tuning models",
            )
        return families[0]
