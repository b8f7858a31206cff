"""Frees disk space: removes files of versions nobody needs, and never one that is needed.

Needed is what is deployed or being deployed, what an alias points at or can be rolled back to, what
answers a share of the sessions, the champion, and the newest versions of a family. Versions
themselves are never removed, only their files: lineage stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw

from fine_tuning.core.errors import ConfigError
from fine_tuning.core.json_value import JsonValue
from fine_tuning.model_management.alias_history import ROLLBACK_STEPS, needed_versions
from fine_tuning.model_management.registry_file import RegistryFile
from fine_tuning.model_management.registry_rows import read_versions, rows
from fine_tuning.model_management.versions import Artefact, ModelVersion
from fine_tuning.storage.atomic import storage_errors

KEEP_NEWEST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Prunable:
    """A version nobody needs and its files that can be removed."""

    version: str
    artefacts: tuple[Artefact, ...]

    @property
    def size_bytes(self) -> int:
        """The disk space they take."""
        return sum(artefact.size_bytes for artefact in self.artefacts)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlan:
    """What can be removed, and why the rest stays: the reason by version.

    ``unused_bytes`` are copies in a runtime's store that belong to no model.
    """

    prunable: tuple[Prunable, ...]
    kept: dict[str, str]
    unused_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        """The disk space that is freed; a file of two versions counts once."""
        sizes = {a.path: a.size_bytes for item in self.prunable for a in item.artefacts}
        return sum(sizes.values()) + self.unused_bytes

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        removed = {
            item.version: [str(artefact.path) for artefact in item.artefacts]
            for item in self.prunable
        }
        return {
            "size_bytes": self.size_bytes,
            "unused_bytes": self.unused_bytes,
            "removed": removed,
            "kept": self.kept,
        }


class Pruner:
    """Removes files of a registry's versions.

    Args:
        file: The registry's file.
        roots: Only files in these folders are ever removed; None takes the workspace of the
            registry. A version whose files all lie elsewhere is kept.
    """

    def __init__(self, file: RegistryFile, roots: Sequence[Path] | None = None) -> None:
        self._file = file
        self._roots = [root.absolute() for root in roots or (file.folder.parent,)]

    def plan(self, *, keep: int = KEEP_NEWEST, steps: int = ROLLBACK_STEPS) -> PrunePlan:
        """Return what :meth:`prune` would remove; removes nothing.

        Args:
            keep: How many of the newest versions of every family stay, 1 or more.
            steps: How far back every alias can be rolled, 1 or more.

        Raises:
            ConfigError: if a number is below 1.
        """
        with self._file.database.reading() as connection:
            return self._plan(connection, keep, steps)

    def prune(self, *, keep: int = KEEP_NEWEST, steps: int = ROLLBACK_STEPS) -> PrunePlan:
        """Remove the files of versions nobody needs; see :meth:`plan`.

        What is to go is written down first, so that a prune that was killed is finished by the
        next one; a version being deployed meanwhile is not touched.

        Raises:
            ConfigError: if a number is below 1.
            StorageError: if a file cannot be removed.
        """
        with self._file.database.writing() as connection:
            plan = self._plan(connection, keep, steps)
            for item in plan.prunable:
                version = self._file.find_in(connection, item.version)
                connection.executemany(
                    "UPDATE artefact SET state = 'removing' WHERE version_id = ? AND path = ?",
                    [(version.id, self._file.stored(a.path)) for a in item.artefacts],
                )
                detail = f"{len(item.artefacts)} files, {item.size_bytes} bytes"
                self._file.tell(connection, version.id, "pruned", detail)
        self._finish()
        return plan

    def _finish(self) -> None:
        """Remove what is marked, this time's and what a killed prune left."""
        with self._file.database.reading() as connection:
            marked = rows(connection, ("id", "path"), "FROM artefact WHERE state = 'removing'")
        for row in marked:
            identity, stored = row["id"], str(row["path"])
            with self._file.database.writing() as connection:
                # Asked again under the lock: the file may have been written anew meanwhile.
                still = connection.execute(
                    "SELECT count(*) FROM artefact WHERE id = ? AND state = 'removing'", (identity,)
                ).get
                if not still:
                    continue
                if not _used_elsewhere(connection, stored):
                    path = self._file.place(stored)
                    with storage_errors(path):
                        path.unlink(missing_ok=True)
                connection.execute(
                    "UPDATE artefact SET state = 'removed' WHERE id = ?", (identity,)
                )

    def _plan(self, connection: apsw.Connection, keep: int, steps: int) -> PrunePlan:
        if keep < 1 or steps < 1:
            raise ConfigError(
                f"prune was told to keep {keep} newest versions and {steps} steps back, expected "
                "1 or more of both",
                next_command=f"fine-tuning models prune --keep {KEEP_NEWEST} --dry-run",
            )
        versions = read_versions(connection, self._file.place)
        kept = _reasons(connection, versions, keep, steps)
        prunable = []
        for version in versions:
            if version.id in kept or not version.present:
                continue
            own = tuple(artefact for artefact in version.present if self._is_ours(artefact.path))
            shared = {a.path for v in versions if v.id in kept for a in v.present}
            free = tuple(artefact for artefact in own if artefact.path not in shared)
            if free:
                prunable.append(Prunable(version=version.name, artefacts=free))
            else:
                kept[version.id] = "its files are another version's, or not in the workspace"
        names = {version.id: version.name for version in versions}
        return PrunePlan(
            prunable=tuple(prunable), kept={names[one]: why for one, why in kept.items()}
        )

    def _is_ours(self, path: Path) -> bool:
        real = path.parent.resolve() / path.name
        return any(real.is_relative_to(root.resolve()) for root in self._roots)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUse:
    """The disk space of versions; ``served_bytes`` is by version what a runtime here keeps of it.

    ``unused_bytes`` is what a runtime keeps besides and no model has.
    """

    size_bytes: int
    served_bytes: Mapping[str, int]
    unused_bytes: int = 0


def disk_use(
    versions: Sequence[ModelVersion], copies: Mapping[str, str], sizes_bytes: Mapping[str, int]
) -> DiskUse:
    """Return the disk space of versions; a file of several counts once.

    Args:
        versions: All there are.
        copies: The digest of the adapter that each model of the runtime has, by the model's name.
        sizes_bytes: The sizes of the runtime's copies by digest.
    """
    files = {a.path: a.size_bytes for version in versions for a in version.present}
    served = {
        version.name: sum(
            sizes_bytes.get(digest, 0)
            for digest in {
                copies[deployment.name]
                for deployment in version.deployments
                if deployment.state == "active" and deployment.name in copies
            }
        )
        for version in versions
    }
    return DiskUse(
        size_bytes=sum(files.values()) + sum(served.values()),
        served_bytes=served,
        unused_bytes=sum(
            size for digest, size in sizes_bytes.items() if digest not in copies.values()
        ),
    )


def _reasons(
    connection: apsw.Connection, versions: Sequence[ModelVersion], keep: int, steps: int
) -> dict[int, str]:
    """Return the versions that stay, each with the reason."""
    kept = needed_versions(connection, steps)
    left: dict[str, int] = {}
    for version in reversed(versions):
        left[version.family] = left.get(version.family, keep) - 1
        served = next((d for d in version.deployments if d.state in ("begun", "active")), None)
        if version.id in kept:
            continue
        if served is not None:
            doing = "deployed" if served.state == "active" else "being deployed"
            kept[version.id] = f"it is {doing} as {served.name} on {served.runtime}"
        elif version.stage == "champion":
            kept[version.id] = "it is the champion"
        elif left[version.family] >= 0:
            kept[version.id] = f"it is among the newest of {version.family} ({keep} stay)"
    return kept


def _used_elsewhere(connection: apsw.Connection, stored: str) -> bool:
    """Whether a version that keeps its files has this one too."""
    return bool(
        connection.execute(
            "SELECT count(*) FROM artefact WHERE path = ? AND state = 'present'", (stored,)
        ).get
    )
