"""Switches a chatbot's model by moving an alias, and back again, whatever kills the process.

A chatbot asks for one name for ever, such as ``fine_tuned_support:champion``. What the alias shall
become is written down first, then the runtime is told, then asked; a switching that was killed is
finished or undone by the next one, by what the runtime answers.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, replace

from fine_tuning.core.errors import DeploymentError, FineTuningError
from fine_tuning.core.json_value import JsonValue
from fine_tuning.core.ports import AliasingRuntime, ModelInfo
from fine_tuning.model_management.alias_destinations import BASE, AliasDestinations
from fine_tuning.model_management.alias_history import (
    Action,
    Alias,
    AliasHistory,
    Traffic,
    needed_versions,
)
from fine_tuning.model_management.model_registry import ModelRegistry
from fine_tuning.model_management.name_ownership import (
    DEFAULT_PREFIX,
    NameOwnership,
    family_prefix,
)
from fine_tuning.model_management.versions import ModelVersion, served_name

logger = logging.getLogger(__name__)
CHAMPION_TAG = "champion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """What a switching did: names of versions, ``support:base`` for the base model.

    ``target`` is the name the alias answers as. ``warm_up_s`` is the time to load it, before the
    alias was moved; ``switch_s`` the time to move it and to ask.
    """

    alias: str
    version: str
    before: str
    target: str
    changed: bool
    warm_up_s: float = 0.0
    switch_s: float = 0.0

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return asdict(self)


class ModelSwitcher:
    """Moves the aliases of one runtime.

    Args:
        registry: Where versions and their deployments are known.
        runtime: The runtime that serves.
        runtime_name: What the registry calls it.
        prefix: Put before a family to name it on the runtime, as the deployer does; where it is
            the default, a family keeps the one it was deployed with.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        runtime: AliasingRuntime,
        *,
        runtime_name: str,
        prefix: str = DEFAULT_PREFIX,
    ) -> None:
        self._registry = registry
        self._runtime = runtime
        self._prefix = prefix
        self.journal = AliasHistory(registry, runtime_name)
        self._names = NameOwnership(registry, runtime, runtime_name)
        self._destinations = AliasDestinations(runtime, self.journal, self._names)

    def alias_of(self, family: str) -> str:
        """Return the name a chatbot asks for to get a family's champion."""
        return served_name(self._prefix_of(family), family.lower(), CHAMPION_TAG)

    def check_free(self, family: str, command: str) -> None:
        """Refuse, before any work, to move an alias that is a model of someone else.

        Args:
            family: The family.
            command: What was asked for.

        Raises:
            DeploymentError: if it is; the next command takes another name.
        """
        self._names.refuse_foreign(self.alias_of(family), family, command)

    def _prefix_of(self, family: str) -> str:
        return family_prefix(self._registry, self.journal.runtime, family, self._prefix)

    def switch(self, name: str) -> Switched:
        """Let the alias of a version's family answer as that version; it becomes the champion.

        The version is loaded before the alias moves, so that no request waits for it.

        Args:
            name: Any name :meth:`ModelRegistry.find` takes; ``support:base`` for the base model
                of the family.

        Raises:
            ModelNotFoundError: if there is no such version.
            DeploymentError: if it is not deployed on this runtime, is not what was deployed, or the
                alias is a model this registry did not make; then nothing has changed.
            RuntimeFailedError: if it does not load; then nothing has changed.
        """
        with self._registry.locked("switch"):
            self._recover()
            version, family = self._wanted(name)
            self.check_free(family, f"fine-tuning switch {name}")
            wanted = (
                self._to_version(version) if version else self._to_base(self._registry.find(family))
            )
            begun_s = time.monotonic()
            self._runtime.warm_up(wanted.target)
            return self._move("switch", wanted, warm_up_s=time.monotonic() - begun_s)

    def rollback(self, family: str) -> Switched:
        """Let a family's alias answer as it did before the last switch; at once, without loading.

        Rolling back again goes one further, at last to the base model. A rollback that was killed
        when the alias had moved is finished, and that is all.

        Raises:
            DeploymentError: if there is nothing before, or it is not on the runtime any more; then
                nothing has changed.
        """
        with self._registry.locked("switch"):
            alias = self.alias_of(family)
            was = self.journal.current(alias)
            self._recover()
            now = self.journal.current(alias)
            if was and now and now.switching_id != was.switching_id != now.before_id:
                return _finished(now, was)
            earlier = self._destinations.before(now) if now else None
            if now is None or earlier is None:
                state = f"is {now.version or 'the base'} from its start" if now else "is nothing"
                raise DeploymentError(
                    f"{alias} {state}, expected a version to roll back to",
                    next_command=self._way_to_another(family, now.version if now else ""),
                )
            self.check_free(now.family, f"fine-tuning rollback {now.family}")
            if earlier.version:
                restored = self._to_version(self._registry.find(earlier.version))
            else:
                restored = self._to_base(self._registry.find(now.family))
            return self._move("rollback", replace(restored, before_id=earlier.before_id))

    def split(self, name: str, share: float) -> Traffic:
        """Let a version answer a share of its family's sessions, beside the champion.

        A session stays with its version while the share stays, and when it grows; see
        :class:`~fine_tuning.model_management.router.Router`.

        Raises:
            DeploymentError: if ``share`` is not between 0 and 1, the version is not deployed, the
                family has no champion on this runtime, or the version is the champion.
            RuntimeFailedError: if it does not load; then nothing has changed.
        """
        version = self._registry.find(name)
        alias = self.alias_of(version.family)
        if not 0 < share < 1:
            raise DeploymentError(
                f"share {share:g} is not a share, expected one between 0 and 1",
                next_command=f"fine-tuning switch {version.name} --share 0.2",
            )
        with self._registry.locked("switch"):
            self._recover()
            champion = self.journal.current(alias)
            if champion is None or champion.version == version.name:
                problem = "is nothing yet" if champion is None else f"is {version.name} itself"
                raise DeploymentError(
                    f"{alias} {problem}, expected a champion to compare {version.name} with",
                    next_command=self._way_to_another(version.family, version.name),
                )
            challenger = self._to_version(version)
            self._runtime.warm_up(challenger.target)
            traffic = Traffic(
                runtime=self.journal.runtime,
                alias=alias,
                family=version.family,
                version=version.name,
                target=challenger.target,
                share=share,
                salt=f"{alias} {version.name}",
            )
            self.journal.split(traffic)
            return self.journal.traffic(alias) or traffic

    def end_split(self, family: str) -> bool:
        """Let the champion answer every session again; False if it did already."""
        return self.journal.end_split(self.alias_of(family))

    def withdraw(self, name: str, *, force: bool = False) -> str:
        """Remove a version from the runtime, and return the name it had; its files stay.

        What someone else put under that name by now stays, too.

        Args:
            name: The version.
            force: Give up that an alias can be rolled back to it. What answers now always stays.

        Raises:
            DeploymentError: if it is not deployed there, or an alias needs it.
        """
        with self._registry.locked("switch"):
            self._recover()
            version = self._registry.find(name)
            deployed = self._destinations.deployed(version)
            target = deployed.name
            with self._registry.database.reading() as connection:
                reason = needed_versions(connection).get(version.id)
            way_out = self._way_out(version)
            if reason and (way_out or not force):
                raise DeploymentError(
                    f"{version.name} stays on {self.journal.runtime}: {reason}",
                    next_command=way_out or f"fine-tuning withdraw {version.name} --force",
                )
            info = self._names.shown(target)
            if info is not None and self._names.is_ours(target, info.digest):
                self._runtime.delete(target)
            self._registry.deployments.retire(self.journal.runtime, target)
            return target

    def _way_out(self, version: ModelVersion) -> str:
        """Return the command after which a version answers no one; "" if it answers no one now."""
        alias = self.alias_of(version.family)
        now, traffic = self.journal.current(alias), self.journal.traffic(alias)
        if now is not None and now.version == version.name:
            return self._way_to_another(version.family, version.name, f"{version.family}:{BASE}")
        if traffic is not None and traffic.version == version.name:
            return f"fine-tuning switch {version.name} --share 0"
        return ""

    def _way_to_another(self, family: str, version: str, otherwise: str = "") -> str:
        """Return the command that lets the alias answer as a version other than this one."""
        found = self._registry.versions(family)
        names = [one.name for one in found if one.deployed_on(self.journal.runtime)]
        others = [name for name in names if name != version]
        wanted = others[-1] if others else otherwise
        return f"fine-tuning switch {wanted}" if wanted else "fine-tuning deploy latest"

    def served_as(self, version: ModelVersion, *, base: bool = False) -> Alias:
        """Return where a version answers, or its base, seen to be what it is taken for.

        Raises:
            DeploymentError: if it is not deployed on this runtime, or is not what was deployed.
        """
        with self._registry.locked("switch"):
            return self._to_base(version) if base else self._to_version(version)

    def recover(self) -> None:
        """Finish or undo what a killed process left; every other method does so first."""
        with self._registry.locked("switch"):
            self._recover()

    def _recover(self) -> None:
        for left in self.journal.begun():
            info = self._names.shown(left.alias)
            if info is not None and left.digest and info.digest == left.digest:
                self.journal.finish(left.switching_id)
            else:
                self.journal.undo(left.switching_id, "the process ended before the alias moved")

    def _wanted(self, name: str) -> tuple[ModelVersion | None, str]:
        """Return the version, or None for the base, and the family."""
        family, _, tag = name.rpartition(":")
        if tag.lower() == BASE and family:
            return None, self._registry.find(family).family
        version = self._registry.find(name)
        return version, version.family

    def _to_version(self, version: ModelVersion) -> Alias:
        return self._destinations.of_version(version, self.alias_of(version.family))

    def _to_base(self, version: ModelVersion) -> Alias:
        family = version.family
        return self._destinations.of_base(version, self.alias_of(family), self._prefix_of(family))

    def _move(self, action: Action, destination: Alias, *, warm_up_s: float = 0.0) -> Switched:
        version = destination.version or f"{destination.family}:{BASE}"
        # Asked again: loading takes its time, and others use the server meanwhile.
        self.check_free(destination.family, f"fine-tuning switch {version}")
        now, alias = self.journal.current(destination.alias), self._names.shown(destination.alias)
        stays = now is not None and alias is not None and now.version == destination.version
        done = Switched(
            alias=destination.alias,
            version=version,
            before=(now.version if now else "") or f"{destination.family}:{BASE}",
            target=destination.target,
            changed=not (stays and alias is not None and alias.digest == destination.digest),
            warm_up_s=warm_up_s,
        )
        if not done.changed:
            return done
        begun_s = time.monotonic()
        switching_id = self.journal.begin(action, destination)
        try:
            self._runtime.point_alias(destination.alias, destination.target)
            self._ask(destination)
        except BaseException as error:
            # What cannot be put back now, because the runtime died, stays in the journal.
            if self._is_put_back(destination, now, alias):
                self.journal.undo(switching_id, str(error).partition("\n")[0])
            raise
        self.journal.finish(switching_id)
        return replace(done, switch_s=time.monotonic() - begun_s)

    def _ask(self, wanted: Alias) -> None:
        """Ask the runtime whether the alias is what it shall be."""
        info = self._runtime.show(wanted.alias)
        if info.digest != wanted.digest:
            raise DeploymentError(
                f"{wanted.alias} answers as {info.digest} after it was pointed at "
                f"{wanted.target}, expected {wanted.digest}; it was put back",
                next_command="fine-tuning doctor",
            )

    def _is_put_back(self, moved: Alias, now: Alias | None, before: ModelInfo | None) -> bool:
        """Let an alias answer as before a failed move; False if the runtime does not let us.

        What someone else put there meanwhile is left to them.
        """
        name = moved.alias
        try:
            info = self._names.shown(name)
            is_own = info is not None and (
                info.digest == moved.digest or self._names.is_own_model(info.digest)
            )
            if before is None and is_own:
                self._runtime.delete(name)
            elif before and now and info != before and (is_own or info is None):
                self._runtime.point_alias(name, now.target)
        except FineTuningError as error:
            logger.warning("%s could not be put back: %s", name, error.message)
            return False
        return True


def _finished(now: Alias, was: Alias) -> Switched:
    """Return what a rollback did that a killed process left to be written down."""
    base = f"{now.family}:{BASE}"
    return Switched(
        alias=now.alias,
        version=now.version or base,
        before=was.version or base,
        target=now.target,
        changed=True,
    )
