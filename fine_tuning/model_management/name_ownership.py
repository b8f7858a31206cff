"""Names on a runtime belong to whoever gave them: a foreign model is never replaced or removed.

Several workspaces and people may share one server. A name is this workspace's while it answers with
the digest the workspace gave it, or with that of another of its models; the registry remembers.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from fine_tuning.core.errors import DeploymentError, ModelNotFoundError
from fine_tuning.core.ports import AliasingRuntime, ModelInfo
from fine_tuning.model_management.registry_file import RegistryFile

DEFAULT_PREFIX = "fine_tuned_"
"""The default of ``deployment.model_name_prefix``."""


class NameOwnership:
    """The names one workspace gave on one runtime.

    Args:
        file: The workspace's registry.
        runtime: The runtime.
        runtime_name: What the registry calls it.
    """

    def __init__(self, file: RegistryFile, runtime: AliasingRuntime, runtime_name: str) -> None:
        self._file = file
        self._runtime = runtime
        self._runtime_name = runtime_name

    def is_ours(self, name: str, digest: str) -> bool:
        """Tell whether a name is this workspace's while it has a digest."""
        with self._file.database.reading() as connection:
            return digest in _digests(connection, self._runtime_name, name)

    def is_own_model(self, digest: str) -> bool:
        """Tell whether a digest is that of a model this workspace made, under whichever name."""
        with self._file.database.reading() as connection:
            return digest in _digests(connection, self._runtime_name)

    def record(self, name: str, digest: str) -> None:
        """Say that this workspace gave a name to a model."""
        with self._file.database.writing() as connection:
            own_name(connection, self._runtime_name, name, digest, self._file.now())

    def refuse_foreign(self, name: str, family: str, command: str) -> None:
        """Refuse to take a name that answers with a model of someone else.

        Args:
            name: The name that is wanted.
            family: The family of models it is of.
            command: What was asked for; works when another prefix is given with it.

        Raises:
            DeploymentError: if it is foreign; the next command takes a prefix that is free.
        """
        info = self.shown(name)
        if info is None or self.is_ours(name, info.digest):
            return
        prefix = free_prefix(name, family, [one.name for one in self._runtime.list()])
        raise DeploymentError(
            f"{name} on {self._runtime_name} is {info.digest[:12]}, a model this workspace did not "
            "make or someone changed since; it stays as it is",
            next_command=f"{command} --set deployment.model_name_prefix={prefix}",
        )

    def shown(self, name: str) -> ModelInfo | None:
        """Return the model that answers under a name; None if there is none."""
        try:
            return self._runtime.show(name)
        except ModelNotFoundError:
            return None


def own_name(connection: apsw.Connection, runtime: str, name: str, digest: str, now: str) -> None:
    """Write down, within a transaction, that a name was given to a model."""
    connection.execute(
        "INSERT OR REPLACE INTO owned_name (runtime, name, digest, created_at) VALUES (?, ?, ?, ?)",
        (runtime, name.lower(), digest, now),
    )


def disown_name(connection: apsw.Connection, runtime: str, name: str) -> None:
    """Write down, within a transaction, that a name was given up."""
    connection.execute(
        "DELETE FROM owned_name WHERE runtime = ? AND name = ?", (runtime, name.lower())
    )


def family_prefix(file: RegistryFile, runtime: str, family: str, configured: str) -> str:
    """Return what is put before a family to name it on a runtime.

    A prefix other than the default is taken as it is. Where the settings say none, a family keeps
    the prefix it was last deployed with: one that was chosen because names were taken.

    Args:
        file: The registry.
        runtime: What the registry calls the runtime.
        family: The family.
        configured: ``deployment.model_name_prefix``.
    """
    if configured != DEFAULT_PREFIX:
        return configured
    with file.database.reading() as connection:
        name: str | None = connection.execute(
            "SELECT deployment.name FROM deployment JOIN version ON version.id = version_id "
            "WHERE runtime = ? AND family = ? AND state = 'active' "
            "ORDER BY deployment.id DESC LIMIT 1",
            (runtime, family.lower()),
        ).get
    head, _, _ = (name or "").rpartition(":")
    found = head.lower().endswith(family.lower())
    return head[: len(head) - len(family)] if found else configured


def free_prefix(name: str, family: str, names: Sequence[str]) -> str:
    """Return a prefix under which nobody has a model of a family, made from that of a taken name.

    Args:
        name: The name that is taken, ``fine_tuned_support:3``.
        family: Its family.
        names: All names of the runtime.
    """
    head = name.rpartition(":")[0]
    stem = head[: len(head) - len(family)].rstrip("_") or "own"
    taken = {one.rpartition(":")[0].lower() for one in names}
    number = 2
    while f"{stem}_{number}_{family}".lower() in taken:
        number += 1
    return f"{stem}_{number}_"


def _digests(connection: apsw.Connection, runtime: str, name: str = "") -> set[str]:
    """Return the digests of a workspace's models on a runtime; none for a name it did not give."""
    digests = {
        str(known): str(digest)
        for known, digest in connection.execute(
            "SELECT name, digest FROM owned_name WHERE runtime = ?", (runtime,)
        )
    }
    return set() if name and name.lower() not in digests else set(digests.values())
