"""Where versions came from, where conversations went, and which versions are to be trained anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import ModelNotFoundError
from fine_tuning.data_preparation.snapshot import snapshot_members
from fine_tuning.model_management.lineage import Lineage, Origin, Use, VersionDiff
from fine_tuning.model_management.model_registry import ModelRegistry
from fine_tuning.model_management.versions import ModelVersion
from fine_tuning.workbench.models.aliases import Aliases
from fine_tuning.workbench.register import VersionRegister


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationTrace:
    """Where a conversation went: the data sets that hold it, by split, and the versions.

    ``served`` are the names by which runtimes answer with what was learnt from it.
    """

    conversation_id: str
    datasets: dict[str, str]
    uses: tuple[Use, ...]
    served: tuple[str, ...]


class VersionLineage:
    """The lineage of a workspace's versions and data sets.

    Args:
        workspace: Whose.
        register: The versions.
        aliases: The names versions answer to.
    """

    def __init__(self, workspace: Workspace, register: VersionRegister, aliases: Aliases) -> None:
        self._workspace = workspace
        self._versions = register
        self._aliases = aliases

    def diff(self, first: str, second: str) -> VersionDiff:
        """Compare the data, settings and metrics of two versions.

        Args:
            first: The earlier version, by its name.
            second: The one compared with it.

        Returns:
            What differs from the first to the second.
        """
        return Lineage(self._versions.registry()).diff(first, second)

    def origins(self, name: str) -> list[Origin]:
        """Return the conversations a version, or what is served by a name, was made with.

        Raises:
            ModelNotFoundError: if there is no such version.
        """
        return Lineage(self._versions.registry()).conversations(name)

    def trace_conversation(self, conversation_id: str) -> ConversationTrace:
        """Return the data sets and the versions that hold a conversation.

        Args:
            conversation_id: Its id or the beginning of one.

        Raises:
            DataError: if no data set holds it, or several begin like this.
            ModelNotFoundError: if the workspace holds neither data sets nor versions.
        """
        members = snapshot_members(self._workspace.datasets)
        lineage = self._lineage(members)
        whole = lineage.conversation_id(conversation_id)
        uses = lineage.uses(whole)
        learnt = {use.version for use in uses if use.is_learnt}
        served = {
            deployment.name
            for version in self._versions.versions()
            if version.name in learnt
            for deployment in version.deployments
            if deployment.state == "active"
        }
        served |= {alias.alias for alias in self._aliases.all_aliases() if alias.version in learnt}
        return ConversationTrace(
            conversation_id=whole,
            datasets={n: split for n, split in lineage.datasets(whole).items() if n in members},
            uses=tuple(uses),
            served=tuple(sorted(served)),
        )

    def mark_for_retraining(self, conversation_id: str, reason: str) -> list[str]:
        """Mark the versions that learnt from a conversation; return their names, oldest first.

        Args:
            conversation_id: The conversation.
            reason: Why, kept with the mark.
        """
        try:
            registry = self._versions.registry()
        except ModelNotFoundError:
            return []
        return Lineage(registry).mark_for_retraining(conversation_id, reason)

    def to_retrain(self) -> list[ModelVersion]:
        """Return the champions and challengers that learnt from what was forgotten since."""
        return Lineage(self._versions.registry()).to_retrain() if self._versions.versions() else []

    def _lineage(self, members: Mapping[str, Mapping[str, Sequence[str]]]) -> Lineage:
        """Open the lineage of the versions and of the workspace's data sets."""
        lineage = Lineage(
            ModelRegistry(self._workspace.models) if members else self._versions.registry()
        )
        known = lineage.known_datasets()
        for name, conversations in members.items():
            if name not in known:
                lineage.record_dataset(name, conversations)
        return lineage
