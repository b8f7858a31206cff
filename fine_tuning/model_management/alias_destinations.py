"""What an alias can point at: a version as it was deployed, or the base it was trained on.

Each is seen on the runtime to be what it is taken for. A base without a name there gets one.
"""

from __future__ import annotations

from fine_tuning.core.errors import DeploymentError
from fine_tuning.core.ports import AliasingRuntime, ModelInfo, ModelRecipe
from fine_tuning.model_management.alias_history import Alias, AliasHistory
from fine_tuning.model_management.name_ownership import NameOwnership
from fine_tuning.model_management.versions import Deployment, ModelVersion, served_name

BASE = "base"


class AliasDestinations:
    """The destinations of one runtime's aliases.

    Args:
        runtime: The runtime.
        journal: Its aliases.
        names: Which of its names are this workspace's.
    """

    def __init__(
        self, runtime: AliasingRuntime, journal: AliasHistory, names: NameOwnership
    ) -> None:
        self._runtime = runtime
        self._journal = journal
        self._names = names

    def deployed(self, version: ModelVersion) -> Deployment:
        """Return the deployment of a version on this runtime.

        Raises:
            DeploymentError: if there is none.
        """
        deployment = version.deployed_on(self._journal.runtime)
        if deployment is None:
            raise DeploymentError(
                f"{version.name} is not deployed on {self._journal.runtime}, expected it to be",
                next_command=f"fine-tuning deploy {version.name}",
            )
        return deployment

    def of_version(self, version: ModelVersion, alias: str) -> Alias:
        """Return where an alias shall point for a version, seen to be what was deployed.

        Raises:
            DeploymentError: if it is not deployed on this runtime, or is not what was deployed.
        """
        deployment = self.deployed(version)
        info = self._names.shown(deployment.name)
        again = f"fine-tuning deploy {version.name}"
        if info is None:
            raise DeploymentError(
                f"{deployment.name} is gone from {deployment.runtime}, expected it as "
                f"{version.name} was deployed",
                next_command=again,
            )
        if deployment.digest and info.digest != deployment.digest:
            raise DeploymentError(
                f"{deployment.name} is {info.digest}, expected {deployment.digest} as "
                f"{version.name} was deployed",
                next_command=again,
            )
        return self._alias(alias, version.family, version.name, info, deployment.name)

    def of_base(self, version: ModelVersion, alias: str, prefix: str) -> Alias:
        """Return where an alias shall point for a version's base, under a name of ours if need be.

        Raises:
            DeploymentError: if the base's name leads to other weights, or our name for it is a
                model of someone else.
        """
        own = served_name(prefix, version.family, BASE)
        info = self._names.shown(version.base_name)
        if info is not None and _base_digest(info) in ("", version.base_digest):
            return self._alias(alias, version.family, "", info, version.base_name)
        self._names.refuse_foreign(
            own, version.family, f"fine-tuning switch {version.family}:{BASE}"
        )
        info = self._names.shown(own)
        if info is not None and _base_digest(info) in ("", version.base_digest):
            return self._alias(alias, version.family, "", info, own)
        info = self._runtime.create(own, ModelRecipe(base=version.base_name))
        if _base_digest(info) not in ("", version.base_digest):
            self._runtime.delete(own)
            raise DeploymentError(
                f"{version.base_name} is {_base_digest(info)} by now, expected "
                f"{version.base_digest}, which {version.name} was trained on",
                next_command="fine-tuning train, or bring that base model back",
            )
        self._names.record(own, info.digest)
        return self._alias(alias, version.family, "", info, own)

    def before(self, now: Alias) -> Alias | None:
        """Return the newest destination before the current one that is another; None if none is."""
        earlier = self._journal.before(now)
        while earlier is not None and earlier.version == now.version:
            earlier = self._journal.before(earlier)
        return earlier

    def _alias(self, alias: str, family: str, version: str, info: ModelInfo, target: str) -> Alias:
        now = self._journal.current(alias)
        return Alias(
            switching_id=0,
            runtime=self._journal.runtime,
            alias=alias,
            family=family,
            version=version,
            target=target,
            digest=info.digest,
            before_id=now.switching_id if now else None,
        )


def _base_digest(info: ModelInfo) -> str:
    """Return which base a model has; "" if the runtime does not tell."""
    return str(info.details.get("base_digest", ""))
