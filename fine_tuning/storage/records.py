"""What was done with conversations: runs, why each one left, data sets, attachments.

Kept in one database, which is the conversations' own when they are in one. Holds no words of a
conversation but the few that a drop quotes, and :meth:`Records.forget` removes those too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import apsw
import orjson
import uuid_utils

from fine_tuning.core.clock import SystemClock, iso
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.ports import Clock
from fine_tuning.storage.database import Database
from fine_tuning.storage.json_lines import encode, sound_text
from fine_tuning.storage.migrations import APPLICATION_ID, MIGRATIONS

RunKind = Literal["import", "clean", "prepare"]
KEPT_RUNS = 50
"""Runs of a kind that are remembered; those a data set was made by are kept beyond that."""


class StepRecord(NamedTuple):
    """What one step of a run did, in conversations and processor seconds."""

    name: str
    num_in: int
    num_changed: int
    num_dropped: int
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessingRun:
    """One import, cleaning or preparation; ``finished_at`` is "" for one that was broken off."""

    id: str
    kind: str
    settings: JsonObject
    stats: JsonObject
    started_at: str
    finished_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRecord:
    """A data set; ``replaced_by`` names the one made of it when a conversation was forgotten."""

    name: str
    base_model: str
    run_id: str
    created_at: str
    replaced_by: str


class DropRecord(NamedTuple):
    """Why a conversation left a run."""

    conversation_id: str
    reason: str
    detail: str


class Records:
    """The records of a workspace.

    Args:
        path: The database; it and its folder are created.
        clock: Tells the time of what happens.

    Raises:
        StorageError: if the file is no database, or another program's.
    """

    def __init__(self, path: Path, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._database = Database(path, migrations=MIGRATIONS, application_id=APPLICATION_ID)

    def begin(self, kind: RunKind, settings: JsonObject) -> str:
        """Note that a run begins; return its id. The oldest runs of its kind are forgotten."""
        run_id = str(uuid_utils.uuid7())
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO run (id, kind, settings, started_at) VALUES (?, ?, ?, ?)",
                (run_id, kind, _json(settings), self._now()),
            )
            connection.execute(
                "DELETE FROM run WHERE kind = ?1 AND id NOT IN (SELECT run_id FROM dataset) "
                "AND seq NOT IN (SELECT seq FROM run WHERE kind = ?1 ORDER BY seq DESC LIMIT ?2)",
                (kind, KEPT_RUNS),
            )
        return run_id

    def drop(self, run_id: str, drops: Iterable[tuple[str, str, str]]) -> None:
        """Note conversations that left a run: id, reason and detail of each."""
        rows = [(run_id, *(sound_text(text) for text in drop)) for drop in drops]
        with self._database.writing() as connection:
            connection.executemany(
                "INSERT INTO drop_entry (run_id, conversation_id, reason, detail) "
                "VALUES (?, ?, ?, ?)",
                rows,
            )

    def finish(
        self, run_id: str, stats: Mapping[str, object], steps: Sequence[StepRecord] = ()
    ) -> None:
        """Note that a run is done, and what its steps did."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE run SET stats = ?, finished_at = ? WHERE id = ?",
                (_json(stats), self._now(), run_id),
            )
            connection.executemany(
                "INSERT INTO step (run_id, number, name, num_in, num_changed, num_dropped, cpu_s) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(run_id, number, *step) for number, step in enumerate(steps)],
            )

    def runs(self, kind: RunKind | None = None) -> list[ProcessingRun]:
        """Return the runs that are remembered, oldest first."""
        query = (
            "SELECT id, kind, settings, stats, started_at, finished_at FROM run "
            "WHERE kind = ?1 OR ?1 IS NULL ORDER BY seq"
        )
        return [
            ProcessingRun(
                id=name,
                kind=found,
                settings=orjson.loads(settings),
                stats=orjson.loads(stats),
                started_at=started,
                finished_at=finished,
            )
            for name, found, settings, stats, started, finished in self._rows(query, kind)
        ]

    def steps(self, run_id: str) -> list[StepRecord]:
        """Return what the steps of a run did, in their order."""
        query = (
            "SELECT name, num_in, num_changed, num_dropped, cpu_s FROM step "
            "WHERE run_id = ? ORDER BY number"
        )
        return [StepRecord(*row) for row in self._rows(query, run_id)]

    def drops(self, run_id: str) -> list[DropRecord]:
        """Return the conversations that left a run, in the order in which they did."""
        query = (
            "SELECT conversation_id, reason, detail FROM drop_entry WHERE run_id = ? ORDER BY seq"
        )
        return [DropRecord(*row) for row in self._rows(query, run_id)]

    def add_dataset(self, name: str, *, base_model: str, run_id: str, replaces: str = "") -> None:
        """Note a data set; one that is known stays as it is.

        Args:
            name: Its content name.
            base_model: The model it was tokenized for.
            run_id: The run that made it, "" for none.
            replaces: The data set in whose place it stands.
        """
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO dataset (name, base_model, run_id, created_at) "
                "VALUES (?, ?, ?, ?)",
                (name, base_model, run_id, self._now()),
            )
            if replaces and replaces != name:
                connection.execute(
                    "INSERT OR IGNORE INTO dataset (name, base_model, created_at) VALUES (?, ?, ?)",
                    (replaces, base_model, self._now()),
                )
                connection.execute(
                    "UPDATE dataset SET replaced_by = ?1 WHERE name = ?2 OR replaced_by = ?2",
                    (name, replaces),
                )

    def datasets(self) -> list[DatasetRecord]:
        """Return the data sets, oldest first."""
        columns = ("name", "base_model", "run_id", "created_at", "replaced_by")
        with self._database.reading() as connection:
            rows: Any = connection.execute(f"SELECT {', '.join(columns)} FROM dataset ORDER BY seq")  # noqa: S608
            return [DatasetRecord(**dict(zip(columns, row, strict=True))) for row in rows]

    def successor(self, dataset: str) -> str:
        """Return the data set that stands in the place of one; itself when none does."""
        with self._database.reading() as connection:
            found = connection.execute(
                "SELECT replaced_by FROM dataset WHERE name = ?", (dataset,)
            ).get
        return found if isinstance(found, str) and found else dataset

    def use_blob(self, sha256: str, mime: str, size_bytes: int, conversation_id: str) -> None:
        """Note that a conversation refers to an attachment."""
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO blob (sha256, mime, size_bytes) VALUES (?, ?, ?)",
                (sha256, mime, size_bytes),
            )
            connection.execute(
                "INSERT OR IGNORE INTO blob_use (sha256, conversation_id) VALUES (?, ?)",
                (sha256, sound_text(conversation_id)),
            )

    def forget(self, conversation_id: str) -> list[str]:
        """Remove all that is noted about a conversation, from free pages and the log too.

        Returns:
            The attachments that no conversation refers to any more.
        """
        name = (sound_text(conversation_id),)
        with self._database.writing() as connection:
            connection.execute("DELETE FROM drop_entry WHERE conversation_id = ?", name)
            orphans = _orphans(connection, name)
        self._database.compact()
        return orphans

    def close(self) -> None:
        """Close this thread's connection; the next use opens it again."""
        self._database.close()

    def _rows(self, query: str, *values: str | None) -> list[Any]:
        with self._database.reading() as connection:
            return list(connection.execute(query, values))

    def _now(self) -> str:
        return iso(self._clock.now())


def _orphans(connection: apsw.Connection, conversation: tuple[str]) -> list[str]:
    """Remove a conversation's uses of attachments; return those that have no other, removed too."""
    used = [
        str(row[0])
        for row in connection.execute(
            "SELECT sha256 FROM blob_use WHERE conversation_id = ?", conversation
        )
    ]
    connection.execute("DELETE FROM blob_use WHERE conversation_id = ?", conversation)
    orphans = [
        one
        for one in used
        if not connection.execute("SELECT count(*) FROM blob_use WHERE sha256 = ?", (one,)).get
    ]
    connection.executemany("DELETE FROM blob WHERE sha256 = ?", [(one,) for one in orphans])
    return orphans


def _json(value: Mapping[str, object]) -> str:
    return encode(dict(value)).decode()
