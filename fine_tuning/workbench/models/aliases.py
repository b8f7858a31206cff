"""Aliases: the name a chatbot asks for, and which version answers to it, or which two.

Moving an alias is the :class:`~fine_tuning.model_management.model_switcher.ModelSwitcher`'s.
"""

from __future__ import annotations

from dataclasses import replace

from fine_tuning.core.errors import DeploymentError, FineTuningError
from fine_tuning.model_management.alias_destinations import BASE
from fine_tuning.model_management.alias_history import Alias, Traffic, all_aliases, splits
from fine_tuning.model_management.deployment_target import DeploymentTarget
from fine_tuning.model_management.model_registry import ModelRegistry
from fine_tuning.model_management.model_switcher import (
    CHAMPION_TAG,
    ModelSwitcher,
    Switched,
)
from fine_tuning.model_management.proof_terms import proven_on
from fine_tuning.model_management.router import Route, Router, deployed_as
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.models.targets import open_target
from fine_tuning.workbench.register import VersionRegister


class Aliases:
    """The aliases of a workspace's families.

    Args:
        context: Settings and workspace.
        register: The versions aliases point at.
    """

    def __init__(self, context: Context, register: VersionRegister) -> None:
        self._context = context
        self._versions = register

    def all_aliases(self) -> list[Alias]:
        """Return what every alias points at."""
        return (
            all_aliases(ModelRegistry(self._context.workspace.models))
            if self._versions.exists
            else []
        )

    def base_behind(self, name: str) -> Alias | None:
        """Return what an alias, ``support:champion`` or ``support:base`` points at if the base.

        None for any other name, and while a version answers.
        """
        family, _, tag = name.lower().rpartition(":")
        for one in self.all_aliases():
            is_family = family == one.family and tag in {CHAMPION_TAG, BASE}
            if not one.version and (name.lower() == one.alias.lower() or is_family):
                return one
        return None

    def target(self) -> DeploymentTarget:
        """Return the runtime tuned models are deployed to, by the settings and what answers.

        Raises:
            RuntimeUnavailableError: if Ollama was asked for or is in use, and does not answer.
        """
        used = {one.runtime for one in self.all_aliases()}
        return open_target(
            self._context.settings.deployment,
            self._context.workspace.models,
            used=used,
            context_tokens=self._context.settings.serving.context_tokens,
        )

    def not_proven(self) -> dict[str, str]:
        """Return in a few words, by version, what is served by another server than it is proven on.

        Nothing is said of versions deployed elsewhere, nor where no server answers.
        """
        if not self._versions.exists:
            return {}
        active = [
            (version.name, one)
            for version in self._versions.versions()
            for one in version.deployments
            if one.state == "active" and proven_on(one.proof)
        ]
        if not active:
            return {}
        try:
            target = self.target()
            server = target.server()
        except FineTuningError:
            return {}
        return {
            name: f"not proven on {server}"
            for name, one in active
            if one.runtime == target.name and proven_on(one.proof) != server
        }

    def switcher(self) -> ModelSwitcher:
        """Return what moves the aliases of that runtime."""
        target = self.target()
        return ModelSwitcher(
            self._versions.registry(),
            target.runtime,
            runtime_name=target.name,
            prefix=self._context.settings.deployment.model_name_prefix,
        )

    def rollback(self, family: str | None = None) -> Switched:
        """Let the alias of a family, or of the only one there is, answer as it did before.

        Returns:
            What the alias answers as now.

        Raises:
            DeploymentError: if there is nothing to roll back to, or several families could be
                meant; then nothing has changed.
        """
        return self.switcher().rollback(family or self._only_family())

    def end_split(self, family: str | None = None) -> bool:
        """Let the champion answer every session again; returns False if it did already."""
        return self.switcher().end_split(family or self._only_family())

    def traffic(self) -> list[Traffic]:
        """Return how the sessions of aliases are split between two versions, where they are."""
        return (
            splits(ModelRegistry(self._context.workspace.models)) if self._versions.exists else []
        )

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
        found = [one for one in self.all_aliases() if one.alias.lower() == name.lower()]
        if len(found) > 1:  # the same name on several runtimes
            used = self.target().name
            found = [one for one in found if one.runtime == used]
        if not found:
            return Route(model=name, version=self._deployed_as(name))
        (alias,) = found
        route = Route(model=name, version=alias.version)
        if session_id:
            file = ModelRegistry(self._context.workspace.models)
            route = Router(file, runtime=alias.runtime, alias=alias.alias).route(session_id)
        return replace(route, version=route.version or f"{alias.family}:{BASE}")

    def _deployed_as(self, name: str) -> str:
        return (
            deployed_as(ModelRegistry(self._context.workspace.models), name)
            if self._versions.exists
            else ""
        )

    def router(self, family: str | None = None) -> Router:
        """Return what tells a chatbot which model answers which session."""
        switcher = self.switcher()
        alias = switcher.alias_of(family or self._only_family())
        return Router(self._versions.registry(), runtime=switcher.journal.runtime, alias=alias)

    def _only_family(self) -> str:
        families = sorted({one.family for one in self.all_aliases()})
        if len(families) != 1:
            found = f"aliases of {', '.join(families)}" if families else "no alias yet"
            raise DeploymentError(
                f"there are {found}, expected the name of one family",
                next_command="fine-tuning models",
            )
        return families[0]
