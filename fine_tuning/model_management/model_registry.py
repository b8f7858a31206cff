"""The registry: versions of tuned models, where they came from and what became of them.

Knows nothing of runtimes and opens no model. Deployments are told to :attr:`deployments`; lineage,
pruning and switching stand beside it on the same file.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from fine_tuning.core.errors import DataError, DeploymentError
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.naming import canonical_json, file_sha256
from fine_tuning.core.ports import Clock
from fine_tuning.model_management.alias_history import needed_versions
from fine_tuning.model_management.deployments import Deployments
from fine_tuning.model_management.lineage import put_members
from fine_tuning.model_management.registry_file import RegistryFile
from fine_tuning.model_management.registry_rows import read_events, read_versions
from fine_tuning.model_management.versions import (
    ADAPTER,
    Artefact,
    Event,
    ModelVersion,
    NewVersion,
    check_family,
)
from fine_tuning.storage.atomic import storage_errors


class ModelRegistry(RegistryFile):
    """All versions of one workspace; see :class:`~.registry_file.RegistryFile` for arguments.

    Every change is in the file as a whole or not at all, whatever kills the process, and several
    processes may work with it at once. All methods raise ``StorageError`` when the file cannot be
    read or written.
    """

    def __init__(self, folder: Path, *, clock: Clock | None = None) -> None:
        super().__init__(folder, clock=clock)
        self.deployments = Deployments(self)

    def register(self, new: NewVersion) -> ModelVersion:
        """Add a version under the next number of its family; it begins as a challenger.

        Its parents are those it brings, and the champion of its family when it was trained.

        The same run with the same adapter is registered once: again, it is returned as it is.

        Raises:
            ConfigError: if the family's name cannot be part of a model's name.
            DataError: if there is no artefact of kind ``adapter``, or a file is missing.
            ModelNotFoundError: if a parent is unknown.
            StorageError: if the registry cannot be written; then nothing was.
        """
        family = check_family(new.family)
        if not any(kind == ADAPTER for kind, _ in new.artefacts):
            raise DataError(
                f"run {new.run_id} was to be registered without an adapter, expected a file of "
                f"kind {ADAPTER!r}"
            )
        artefacts = [_described(kind, path) for kind, path in new.artefacts]
        with self.database.writing() as connection:
            registered = read_versions(
                connection,
                self.place,
                "WHERE family = ? AND run_id = ? AND adapter_name = ?",
                (family, new.run_id, new.adapter_name),
            )
            if registered:
                return registered[0]
            identity = self._insert_version(connection, family, new)
            for artefact in artefacts:
                self._put_artefact(connection, identity, artefact)
            parents = [(self.find_in(connection, one).id, "weights") for one in new.parents]
            if in_use := _champion_at(connection, family, new.trained_at or self.now()):
                parents.append((in_use, "in use"))
            connection.executemany(
                "INSERT OR IGNORE INTO parent (version_id, parent_id, kind) VALUES (?, ?, ?)",
                [(identity, parent, kind) for parent, kind in parents],
            )
            put_members(connection, new.snapshot, new.conversations)
            self.tell(connection, identity, "registered", f"run {new.run_id} on {new.base_name}")
            return self.by_id(connection, identity)

    def versions(self, family: str | None = None) -> list[ModelVersion]:
        """Return all versions, or those of a family, oldest first."""
        with self.database.reading() as connection:
            wanted = family.lower() if family is not None else None
            return read_versions(
                connection, self.place, "WHERE ?1 IS NULL OR family = ?1", (wanted,)
            )

    def run_numbers(self) -> dict[str, int]:
        """Return the runs that are versions, each with its place in the order of registering."""
        with self.database.reading() as connection:
            return dict(connection.execute("SELECT run_id, max(id) FROM version GROUP BY run_id"))

    def find(self, name: str) -> ModelVersion:
        """Find a version by what a user calls it; case does not matter.

        Args:
            name: ``support:3``; ``support:champion``, ``support:challenger`` (the newest) or
                ``support:latest``; ``support`` (the champion, else the newest); ``latest``; a
                run's id; or a name a runtime serves it by, alias or not.

        Raises:
            ModelNotFoundError: if there is none; the message names the nearest.
        """
        with self.database.reading() as connection:
            return self.find_in(connection, name)

    def add_artefact(self, name: str, kind: str, path: Path) -> Artefact:
        """Add a file to a version, or tell the registry that it was written anew.

        Raises:
            ModelNotFoundError: if there is no such version.
            DataError: if the file is missing.
        """
        artefact = _described(kind, path)
        with self.database.writing() as connection:
            version = self.find_in(connection, name)
            # Asked again: while this waited for its turn, the file may have been pruned.
            if not path.is_file():
                raise DataError(f"{path} is gone, expected the {kind} of {version.name}")
            self._put_artefact(connection, version.id, artefact)
            self.tell(connection, version.id, "artefact", f"{kind} {artefact.digest}")
        return artefact

    def record_verdict(
        self, name: str, verdict: JsonObject, metrics: JsonObject | None = None
    ) -> ModelVersion:
        """Store what an evaluation found; ``metrics`` join those of training.

        Raises:
            ModelNotFoundError: if there is no such version.
        """
        with self.database.writing() as connection:
            version = self.find_in(connection, name)
            joined = {**version.metrics, **(metrics or {})}
            connection.execute(
                "UPDATE version SET verdict = ?, metrics = ? WHERE id = ?",
                (canonical_json(dict(verdict)), canonical_json(joined), version.id),
            )
            self.tell(connection, version.id, "judged", str(verdict.get("outcome", "")))
            return self.by_id(connection, version.id)

    def note(self, name: str, text: str) -> ModelVersion:
        """Leave a remark on a version.

        Raises:
            DataError: if the remark is empty.
            ModelNotFoundError: if there is no such version.
        """
        if not text.strip():
            raise DataError(
                "the note is empty, expected some words",
                next_command=f'fine-tuning models note {name} "what to remember about it"',
            )
        with self.database.writing() as connection:
            version = self.find_in(connection, name)
            connection.execute(
                "INSERT INTO note (version_id, text, created_at) VALUES (?, ?, ?)",
                (version.id, text.strip(), self.now()),
            )
            return self.by_id(connection, version.id)

    def promote(self, name: str, reason: str = "") -> ModelVersion:
        """Take up an archived version: it is a challenger again. Switching makes champions.

        Raises:
            ModelNotFoundError: if there is no such version.
        """
        with self.database.writing() as connection:
            version = self.find_in(connection, name)
            if version.stage == "archived":
                self.set_stage(connection, version, "challenger")
                self.tell(connection, version.id, "promoted", reason or "a challenger again")
            return self.by_id(connection, version.id)

    def archive(self, name: str, reason: str = "") -> ModelVersion:
        """Put a version aside; it can still be served, and be promoted again.

        Raises:
            ModelNotFoundError: if there is no such version.
            DeploymentError: if it answers somebody: an alias, or a share of its sessions.
        """
        with self.database.writing() as connection:
            version = self.find_in(connection, name)
            why = needed_versions(connection, steps=0).get(version.id, "")
            if why or version.stage == "champion":
                raise DeploymentError(
                    f"{version.name} cannot be archived: {why or 'it is the champion'}",
                    next_command=f"fine-tuning switch {version.family}:base"
                    if version.stage == "champion"
                    else f"fine-tuning switch {version.name} --share 0",
                )
            if version.stage != "archived":
                self.set_stage(connection, version, "archived")
                self.tell(connection, version.id, "archived", reason)
            return self.by_id(connection, version.id)

    def history(self, family: str | None = None) -> list[Event]:
        """Return what happened to a family's versions, or to all, oldest first."""
        with self.database.reading() as connection:
            return read_events(connection, family.lower() if family is not None else None)

    def verify(self, name: str) -> list[str]:
        """Read a version's files again and return what is wrong, a sentence each.

        Raises:
            ModelNotFoundError: if there is no such version.
        """
        found = []
        for artefact in self.find(name).present:
            if not artefact.path.is_file():
                found.append(f"{artefact.kind} {artefact.path} is missing")
                continue
            with storage_errors(artefact.path):
                digest = file_sha256(artefact.path)
            if digest != artefact.digest:
                found.append(
                    f"{artefact.kind} {artefact.path} is {digest}, expected {artefact.digest}"
                )
        return found

    def _insert_version(self, connection: apsw.Connection, family: str, new: NewVersion) -> int:
        columns = {
            "family": family,
            "stage": "challenger",
            "run_id": new.run_id,
            "run_folder": self.stored(new.run_folder),
            "method": new.method,
            "adapter_name": new.adapter_name,
            "base_name": new.base_name,
            "base_digest": new.base_digest,
            "snapshot": new.snapshot,
            "settings": canonical_json(dict(new.settings)),
            "metrics": canonical_json(dict(new.metrics)),
            "verdict": canonical_json(dict(new.verdict)),
            "created_at": self.now(),
        }
        marks = ", ".join("?" * len(columns))
        connection.execute(
            f"INSERT INTO version ({', '.join(columns)}, number) VALUES ({marks}, "  # noqa: S608 - ours
            "(SELECT coalesce(max(number), 0) + 1 FROM version WHERE family = ?))",
            (*columns.values(), family),
        )
        return connection.last_insert_rowid()

    def _put_artefact(
        self, connection: apsw.Connection, version_id: int, artefact: Artefact
    ) -> None:
        connection.execute(
            "INSERT INTO artefact (version_id, kind, path, digest, size_bytes, state, created_at) "
            "VALUES (?1, ?2, ?3, ?4, ?5, 'present', ?6) ON CONFLICT (version_id, path) "
            "DO UPDATE SET kind = ?2, digest = ?4, size_bytes = ?5, state = 'present'",
            (
                version_id,
                artefact.kind,
                self.stored(artefact.path),
                artefact.digest,
                artefact.size_bytes,
                self.now(),
            ),
        )


def _champion_at(connection: apsw.Connection, family: str, moment: str) -> int | None:
    """Return the id of the version that was in use at a moment; None for the base model."""
    found: int | None = connection.execute(
        "SELECT version_id FROM switching WHERE family = ? AND state = 'done' "
        "AND action <> 'start' AND ended_at <= ? ORDER BY ended_at DESC, id DESC LIMIT 1",
        (family, moment),
    ).get
    return found


def _described(kind: str, path: Path) -> Artefact:
    """Return an artefact with the digest and size of its file.

    Raises:
        DataError: if there is no such file.
    """
    if not path.is_file():
        raise DataError(
            f"{path} does not exist, expected the file of artefact {kind!r}",
            next_command="fine-tuning train",
        )
    with storage_errors(path):
        return Artefact(
            kind=kind, path=path, digest=file_sha256(path), size_bytes=path.stat().st_size
        )
