"""From a model to the conversations it learnt from and back, and what differs between two versions.

Membership is stored when a version is registered, so that it is known after its data set is gone. A
version that started from another one's weights has learnt from that one's conversations too; one
that only followed the version then in use has not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import apsw

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.model_management.registry_file import RegistryFile
from fine_tuning.model_management.registry_rows import read_versions
from fine_tuning.model_management.versions import ModelVersion

LEARNT = ("train", "validation")
"""Splits that shape the weights: learnt from, or used to choose when to stop."""

_ANCESTORS = """
    WITH RECURSIVE line (id) AS (
        VALUES (?) UNION
        SELECT parent_id FROM parent JOIN line ON version_id = line.id WHERE kind = 'weights'
    )
    SELECT conversation_id, dataset, split, family || ':' || number
    FROM line JOIN version ON version.id = line.id JOIN member ON dataset = snapshot
    ORDER BY version.id DESC, split = 'test', split, conversation_id
"""
_DESCENDANTS = """
    WITH RECURSIVE line (id, via, dataset, split) AS (
        SELECT version.id, family || ':' || number, dataset, split
        FROM member JOIN version ON snapshot = dataset WHERE conversation_id = ?
        UNION SELECT version_id, via, dataset, split
        FROM parent JOIN line ON parent_id = line.id WHERE kind = 'weights'
    )
    SELECT family || ':' || number, dataset, split, via
    FROM line JOIN version ON version.id = line.id ORDER BY version.id, line.via, split
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A conversation a version knows; ``via`` is the version whose data set ``dataset`` holds it.

    ``split`` is ``train``, ``validation`` or ``test``; nothing is learnt from ``test``.
    """

    conversation_id: str
    dataset: str
    split: str
    via: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A version that knows a conversation, and how; ``via`` is itself or one it started from."""

    version: str
    dataset: str
    split: str
    via: str

    @property
    def is_learnt(self) -> bool:
        """Whether the conversation shaped the weights."""
        return self.split in LEARNT


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDiff:
    """What differs between two versions; pairs are (of the first, of the second), None if absent.

    ``added`` and ``removed`` are the conversations only the second or only the first learnt from;
    ``base``, ``snapshot`` and ``parents`` are None when both are the same.
    """

    first: str
    second: str
    base: tuple[str, str] | None
    snapshot: tuple[str, str] | None
    parents: tuple[tuple[str, ...], tuple[str, ...]] | None
    num_shared: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    settings: Mapping[str, tuple[Any, Any]]
    metrics: Mapping[str, tuple[Any, Any]]

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return asdict(self)


class Lineage:
    """Where the versions of a registry come from.

    Args:
        file: The registry's file.
    """

    def __init__(self, file: RegistryFile) -> None:
        self._file = file

    def conversations(self, name: str) -> list[Origin]:
        """Return the conversations of a version, by any name :meth:`ModelRegistry.find` takes.

        Raises:
            ModelNotFoundError: if there is no such version.
        """
        with self._file.database.reading() as connection:
            version = self._file.find_in(connection, name)
            return [
                Origin(conversation_id=one, dataset=dataset, split=split, via=via)
                for one, dataset, split, via in connection.execute(_ANCESTORS, (version.id,))
            ]

    def uses(self, conversation_id: str) -> list[Use]:
        """Return the versions that know a conversation, oldest first; none if none does."""
        with self._file.database.reading() as connection:
            return _uses(connection, conversation_id)

    def datasets(self, conversation_id: str) -> dict[str, str]:
        """Return the data sets told of that hold a conversation: split by name."""
        with self._file.database.reading() as connection:
            found = connection.execute(
                "SELECT dataset, split FROM member WHERE conversation_id = ? ORDER BY dataset",
                (conversation_id,),
            )
            return {str(dataset): str(split) for dataset, split in found}

    def conversation_id(self, beginning: str) -> str:
        """Complete the beginning of a conversation's id.

        Raises:
            DataError: if no data set holds such a conversation, or several fit.
        """
        with self._file.database.reading() as connection:
            found = [
                str(row[0])
                for row in connection.execute(
                    "SELECT DISTINCT conversation_id FROM member "
                    "WHERE substr(conversation_id, 1, length(?1)) = ?1 "
                    "ORDER BY conversation_id <> ?1, conversation_id LIMIT 3",
                    (beginning,),
                )
            ]
        if found and (found[0] == beginning or len(found) == 1):
            return found[0]
        fitting = f"{', '.join(found)} and perhaps others fit" if found else "no data set holds"
        raise DataError(
            f"{fitting} conversation {beginning!r}, expected the id, or its beginning, of one",
            next_command=f"fine-tuning lineage {found[0]}" if found else "fine-tuning models",
        )

    def record_dataset(self, name: str, conversations: Mapping[str, Sequence[str]]) -> None:
        """Store which conversations a data set holds, by split; its name names its content."""
        with self._file.database.writing() as connection:
            put_members(connection, name, conversations)

    def known_datasets(self) -> set[str]:
        """Return the names of the data sets whose conversations are stored."""
        with self._file.database.reading() as connection:
            return {
                str(row[0]) for row in connection.execute("SELECT DISTINCT dataset FROM member")
            }

    def mark_for_retraining(self, conversation_id: str, reason: str) -> list[str]:
        """Mark every version that learnt from a conversation; return their names.

        A second time changes nothing. A version that only met it in its test split needs no new
        training, and is not marked.
        """
        with self._file.database.writing() as connection:
            learnt = [use for use in _uses(connection, conversation_id) if use.is_learnt]
            names = list(dict.fromkeys(use.version for use in learnt))
            for name in names:
                version = self._file.find_in(connection, name)
                connection.execute(
                    "INSERT OR IGNORE INTO retraining "
                    "(version_id, conversation_id, reason, created_at) VALUES (?, ?, ?, ?)",
                    (version.id, conversation_id, reason, self._file.now()),
                )
                if connection.changes():
                    self._file.tell(connection, version.id, "to retrain", reason)
            return names

    def to_retrain(self) -> list[ModelVersion]:
        """Return the versions that were marked and are not archived: champions, challengers."""
        with self._file.database.reading() as connection:
            return read_versions(
                connection,
                self._file.place,
                "WHERE stage <> 'archived' AND id IN (SELECT version_id FROM retraining)",
            )

    def diff(self, first: str, second: str) -> VersionDiff:
        """Compare two versions: base, data, settings, metrics.

        Raises:
            ModelNotFoundError: if one of them is unknown.
        """
        with self._file.database.reading() as connection:
            one, other = (self._file.find_in(connection, name) for name in (first, second))
        before, after = (_learnt(self.conversations(version.name)) for version in (one, other))
        bases = (f"{v.base_name} ({v.base_digest})" for v in (one, other))
        return VersionDiff(
            first=one.name,
            second=other.name,
            base=None if one.base_digest == other.base_digest else (next(bases), next(bases)),
            snapshot=None if one.snapshot == other.snapshot else (one.snapshot, other.snapshot),
            parents=None if one.parents == other.parents else (one.parents, other.parents),
            num_shared=len(before & after),
            added=tuple(sorted(after - before)),
            removed=tuple(sorted(before - after)),
            settings=_changes(one.settings, other.settings),
            metrics=_changes(one.metrics, other.metrics),
        )


def put_members(
    connection: apsw.Connection, dataset: str, conversations: Mapping[str, Sequence[str]]
) -> None:
    """Store which conversations a data set holds; one named by its content never changes."""
    connection.executemany(
        "INSERT OR IGNORE INTO member (dataset, conversation_id, split) VALUES (?, ?, ?)",
        [(dataset, one, split) for split, members in conversations.items() for one in members],
    )


def _uses(connection: apsw.Connection, conversation_id: str) -> list[Use]:
    found = connection.execute(_DESCENDANTS, (conversation_id,))
    return [
        Use(version=version, dataset=dataset, split=split, via=via)
        for version, dataset, split, via in found
    ]


def _learnt(origins: Sequence[Origin]) -> set[str]:
    return {origin.conversation_id for origin in origins if origin.split in LEARNT}


def _changes(first: JsonObject, second: JsonObject) -> dict[str, tuple[Any, Any]]:
    """Return what differs, by dotted key."""
    one, other = _flat(first), _flat(second)
    keys = [*one, *(key for key in other if key not in one)]
    return {key: (one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)}


def _flat(value: JsonObject, prefix: str = "") -> dict[str, JsonValue]:
    flat: dict[str, JsonValue] = {}
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            flat |= _flat(inner, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = inner
    return flat
