"""The journal of deployments: what is about to be served, what is, and what was undone.

A deployment is begun before anything is done to a runtime and ends finished or undone, so that what
a killed process left behind is known. Knows no runtime.
"""

from __future__ import annotations

import apsw

from fine_tuning.core.errors import DeploymentError
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.naming import canonical_json
from fine_tuning.model_management.name_ownership import disown_name, own_name
from fine_tuning.model_management.registry_file import RegistryFile
from fine_tuning.model_management.registry_rows import read_deployments
from fine_tuning.model_management.versions import Deployment


class Deployments:
    """The deployments of a registry.

    Args:
        file: The registry's file.
    """

    def __init__(self, file: RegistryFile) -> None:
        self._file = file

    def begin(
        self, name: str, runtime: str, served_as: str, details: JsonObject | None = None
    ) -> Deployment:
        """Say that a version is about to be deployed, before anything is done.

        The version cannot be pruned from now on. What was begun and neither finished nor undone
        was left by a process that died: see :meth:`unfinished`.

        Args:
            name: The version.
            runtime: Which runtime, such as ``embedded`` or ``ollama http://localhost:11434``.
            served_as: The name there.
            details: What undoing it needs, plain JSON values.

        Raises:
            ModelNotFoundError: if there is no such version.
            DeploymentError: if its adapter was pruned.
        """
        with self._file.database.writing() as connection:
            version = self._file.find_in(connection, name)
            if version.adapter_path is None:
                raise DeploymentError(
                    f"the adapter of {version.name} was pruned, expected one that is there",
                    next_command="fine-tuning train",
                )
            connection.execute(
                "INSERT INTO deployment (version_id, runtime, name, state, details, created_at) "
                "VALUES (?, ?, ?, 'begun', ?, ?)",
                (
                    version.id,
                    runtime,
                    served_as,
                    canonical_json(dict(details or {})),
                    self._file.now(),
                ),
            )
            return _by_id(connection, connection.last_insert_rowid())

    def finish(
        self, deployment_id: int, *, digest: str, proof: JsonObject | None = None
    ) -> Deployment:
        """Say that a deployment answers; one before it under the same name is retired.

        Raises:
            DeploymentError: if it is not one that was begun.
        """
        with self._file.database.writing() as connection:
            found = _begun(connection, deployment_id)
            now = self._file.now()
            connection.execute(
                "UPDATE deployment SET state = 'retired', ended_at = ? "
                "WHERE runtime = ? AND name = ? AND state = 'active'",
                (now, found.runtime, found.name),
            )
            connection.execute(
                "UPDATE deployment SET state = 'active', digest = ?, proof = ? WHERE id = ?",
                (digest, canonical_json(dict(proof or {})), deployment_id),
            )
            own_name(connection, found.runtime, found.name, digest, now)
            detail = f"{found.name} on {found.runtime}"
            self._file.tell(
                connection, self._file.find_in(connection, found.version).id, "deployed", detail
            )
            return _by_id(connection, deployment_id)

    def undo(self, deployment_id: int, reason: str, proof: JsonObject | None = None) -> Deployment:
        """Say that a deployment failed and that its traces on the runtime are gone.

        Raises:
            DeploymentError: if it is not one that was begun.
        """
        with self._file.database.writing() as connection:
            found = _begun(connection, deployment_id)
            connection.execute(
                "UPDATE deployment SET state = 'undone', reason = ?, proof = ?, ended_at = ? "
                "WHERE id = ?",
                (reason, canonical_json(dict(proof or {})), self._file.now(), deployment_id),
            )
            detail = f"{found.name} on {found.runtime}: {reason}"
            self._file.tell(
                connection, self._file.find_in(connection, found.version).id, "undone", detail
            )
            return _by_id(connection, deployment_id)

    def retire(self, runtime: str, served_as: str) -> None:
        """Say that a name was removed from a runtime; unknown names change nothing."""
        with self._file.database.writing() as connection:
            connection.execute(
                "UPDATE deployment SET state = 'retired', ended_at = ? "
                "WHERE runtime = ? AND name = ? AND state = 'active'",
                (self._file.now(), runtime, served_as),
            )
            disown_name(connection, runtime, served_as)

    def record(
        self,
        name: str,
        runtime: str,
        served_as: str,
        *,
        digest: str,
        proof: JsonObject | None = None,
    ) -> Deployment:
        """Begin and finish a deployment that was made already."""
        begun = self.begin(name, runtime, served_as)
        return self.finish(begun.id, digest=digest, proof=proof)

    def unfinished(self, runtime: str | None = None) -> list[Deployment]:
        """Return the deployments that were begun and neither finished nor undone."""
        with self._file.database.reading() as connection:
            return read_deployments(
                connection, "WHERE state = 'begun' AND (?1 IS NULL OR runtime = ?1)", (runtime,)
            )

    def success_rate(self) -> tuple[int, int]:
        """Return how many deployments succeeded, and how many were tried to the end."""
        with self._file.database.reading() as connection:
            ended = read_deployments(connection, "WHERE state <> 'begun'")
        return sum(one.state != "undone" for one in ended), len(ended)


def _by_id(connection: apsw.Connection, deployment_id: int) -> Deployment:
    (found,) = read_deployments(connection, "WHERE id = ?", (deployment_id,))
    return found


def _begun(connection: apsw.Connection, deployment_id: int) -> Deployment:
    found = read_deployments(connection, "WHERE id = ?", (deployment_id,))
    if not found or found[0].state != "begun":
        state = found[0].state if found else "unknown"
        raise DeploymentError(f"deployment {deployment_id} is {state}, expected one that was begun")
    return found[0]
