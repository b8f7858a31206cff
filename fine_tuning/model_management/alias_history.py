"""The history of aliases: what each points at, what it pointed at before, and what was begun.

An alias is a name a chatbot asks for at once and for all. Each row of ``switching`` knows the one
it replaced, so that rolling back is walking that chain. Knows no runtime: the switcher asks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import apsw

from fine_tuning.core.json_value import JsonObject, trusted
from fine_tuning.model_management.name_ownership import own_name
from fine_tuning.model_management.registry_file import RegistryFile
from fine_tuning.model_management.registry_rows import NAME, rows

Action = Literal["start", "switch", "rollback"]
ROLLBACK_STEPS = 2
"""How far back every alias can be rolled: so many versions before the current one are kept."""

_ALIAS = (
    "switching_id", "runtime", "alias", "family", "target", "digest", "before_id",
    f"coalesce({NAME.format('pointing.version_id')}, '') AS version",
)  # fmt: skip
_SWITCHING = (
    "id AS switching_id", "runtime", "alias", "family", "target", "digest", "before_id",
    f"coalesce({NAME.format('switching.version_id')}, '') AS version",
)  # fmt: skip
_TRAFFIC = (
    "runtime", "alias", "family", "target", "share", "salt", "created_at AS since",
    f"{NAME.format('traffic.version_id')} AS version",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """What an alias points at: ``target`` is a name on the runtime, ``version`` "" the base."""

    switching_id: int
    runtime: str
    alias: str
    family: str
    version: str
    target: str
    digest: str
    before_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """A share of an alias's sessions that another version answers, 0 < share < 1.

    ``since`` is when that version began to, ISO 8601 in UTC; "" before it does.
    """

    runtime: str
    alias: str
    family: str
    version: str
    target: str
    share: float
    salt: str
    since: str = ""


class AliasHistory:
    """The aliases of one runtime.

    Args:
        file: The registry's file.
        runtime: What the registry calls the runtime, such as ``embedded``.
    """

    def __init__(self, file: RegistryFile, runtime: str) -> None:
        self._file = file
        self.runtime = runtime

    def current(self, alias: str) -> Alias | None:
        """Return what an alias points at; None if it was never switched."""
        with self._file.database.reading() as connection:
            rest = "FROM pointing WHERE runtime = ? AND alias = ?"
            return _one(connection, _ALIAS, rest, self.runtime, alias)

    def before(self, alias: Alias) -> Alias | None:
        """Return what an alias pointed at before; None if that was nothing."""
        with self._file.database.reading() as connection:
            rest = "FROM switching WHERE id = ?"
            return _one(connection, _SWITCHING, rest, alias.before_id)

    def begun(self) -> list[Alias]:
        """Return the switchings that were neither finished nor undone, oldest first."""
        with self._file.database.reading() as connection:
            rest = "FROM switching WHERE state = 'begun' AND runtime = ? ORDER BY id"
            return [
                Alias(**trusted(row)) for row in rows(connection, _SWITCHING, rest, (self.runtime,))
            ]

    def begin(self, action: Action, wanted: Alias) -> int:
        """Write down what an alias shall point at, before anything is done; return its id."""
        with self._file.database.writing() as connection:
            before_id = wanted.before_id
            if before_id is None and action == "switch":
                # The first switching of an alias can be rolled back too: to the base model.
                start = replace(wanted, version="", target="", digest="")
                before_id = self._insert(connection, "start", start, "done")
            following = replace(wanted, before_id=before_id)
            return self._insert(connection, action, following, "begun")

    def finish(self, switching_id: int) -> None:
        """Say that the alias points there now; the version becomes its family's champion."""
        with self._file.database.writing() as connection:
            connection.execute(
                "UPDATE switching SET state = 'done', ended_at = ? WHERE id = ?",
                (self._file.now(), switching_id),
            )
            connection.execute(
                "INSERT OR REPLACE INTO pointer (runtime, alias, switching_id) "
                "SELECT runtime, alias, id FROM switching WHERE id = ?",
                (switching_id,),
            )
            (row,) = rows(
                connection,
                ("family", "version_id", "action", "alias", "runtime", "digest"),
                "FROM switching WHERE id = ?",
                (switching_id,),
            )
            if row["digest"]:
                runtime, alias, digest = (str(row[key]) for key in ("runtime", "alias", "digest"))
                own_name(connection, runtime, alias, digest, self._file.now())
            self._end_traffic(connection, str(row["alias"]))
            if row["version_id"] is None:
                connection.execute(
                    "UPDATE version SET stage = 'archived' WHERE family = ? AND stage = 'champion'",
                    (row["family"],),
                )
            else:
                version = self._file.by_id(connection, trusted(row["version_id"]))
                self._file.set_stage(connection, version, "champion")
            self._tell(connection, row, f"{row['alias']} on {row['runtime']}")

    def undo(self, switching_id: int, reason: str) -> None:
        """Say that a switching did not happen."""
        with self._file.database.writing() as connection:
            connection.execute(
                "UPDATE switching SET state = 'undone', ended_at = ? WHERE id = ?",
                (self._file.now(), switching_id),
            )
            (row,) = rows(
                connection, ("family", "version_id"), "FROM switching WHERE id = ?", (switching_id,)
            )
            self._tell(connection, {**row, "action": "switch undone"}, reason)

    def traffic(self, alias: str) -> Traffic | None:
        """Return how an alias's sessions are split; None if they are not."""
        rest = "FROM traffic WHERE runtime = ? AND alias = ?"
        with self._file.database.reading() as connection:
            found = rows(connection, _TRAFFIC, rest, (self.runtime, alias))
        return Traffic(**trusted(found[0])) if found else None

    def split(self, traffic: Traffic) -> None:
        """Let a version answer a share of an alias's sessions; one before it is replaced.

        Another share of the same version goes on from when that one began.
        """
        with self._file.database.writing() as connection:
            version = self._file.find_in(connection, traffic.version)
            connection.execute(
                "INSERT INTO traffic "
                "(runtime, alias, family, version_id, target, share, salt, created_at) "
                "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (runtime, alias) DO UPDATE "
                "SET target = ?5, share = ?6, salt = ?7, created_at = "
                "CASE WHEN version_id = ?4 THEN created_at ELSE ?8 END, version_id = ?4",
                (
                    self.runtime,
                    traffic.alias,
                    traffic.family,
                    version.id,
                    traffic.target,
                    traffic.share,
                    traffic.salt,
                    self._file.now(),
                ),
            )
            detail = f"{traffic.share:.0%} of {traffic.alias}"
            self._file.tell(connection, version.id, "traffic", detail)

    def end_split(self, alias: str) -> bool:
        """Let an alias answer all of its sessions again; False if it did already."""
        with self._file.database.writing() as connection:
            return self._end_traffic(connection, alias)

    def _end_traffic(self, connection: apsw.Connection, alias: str) -> bool:
        connection.execute(
            "DELETE FROM traffic WHERE runtime = ? AND alias = ?", (self.runtime, alias)
        )
        return bool(connection.changes())

    def _insert(self, connection: apsw.Connection, action: Action, alias: Alias, state: str) -> int:
        version = alias.version
        connection.execute(
            "INSERT INTO switching (family, runtime, alias, action, version_id, target, digest, "
            "before_id, state, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                alias.family,
                self.runtime,
                alias.alias,
                action,
                self._file.find_in(connection, version).id if version else None,
                alias.target,
                alias.digest,
                alias.before_id,
                state,
                self._file.now(),
            ),
        )
        return connection.last_insert_rowid()

    def _tell(self, connection: apsw.Connection, row: JsonObject, detail: str) -> None:
        connection.execute(
            "INSERT INTO event (family, version_id, kind, detail, created_at) "
            "VALUES (?, ?, ?, ?, ?)",
            (row["family"], row["version_id"], row["action"], detail, self._file.now()),
        )


def all_aliases(file: RegistryFile) -> list[Alias]:
    """Return what every alias of every runtime points at."""
    with file.database.reading() as connection:
        rest = "FROM pointing ORDER BY runtime, alias"
        return [Alias(**trusted(row)) for row in rows(connection, _ALIAS, rest)]


def splits(file: RegistryFile) -> list[Traffic]:
    """Return how the sessions of every alias of every runtime are split, where they are."""
    with file.database.reading() as connection:
        found = rows(connection, _TRAFFIC, "FROM traffic ORDER BY runtime, alias")
    return [Traffic(**trusted(row)) for row in found]


def needed_versions(connection: apsw.Connection, steps: int = ROLLBACK_STEPS) -> dict[int, str]:
    """Return the ids of the versions aliases need, each with the reason.

    Needed is what an alias points at, the ``steps`` versions before it, what is being switched to,
    and what answers a share of the sessions.
    """
    found: dict[int, str] = {}
    chain = connection.execute(
        """
        WITH RECURSIVE chain (id, before_id, version_id, alias, step) AS (
            SELECT switching_id, before_id, version_id, alias, 0 FROM pointing
            UNION ALL
            SELECT switching.id, switching.before_id, switching.version_id, chain.alias,
                step + (switching.version_id IS NOT chain.version_id)
            FROM switching JOIN chain ON switching.id = chain.before_id
            WHERE step < ? OR switching.version_id IS chain.version_id
        )
        SELECT version_id, alias, step FROM chain WHERE version_id IS NOT NULL ORDER BY step
        """,
        (steps,),
    )
    for version_id, alias, step in chain:
        found.setdefault(version_id, f"{alias} {'can be rolled back to' if step else 'is'} it")
    others = connection.execute(
        "SELECT version_id, alias || ' is being switched to it' FROM switching "
        "WHERE state = 'begun' AND version_id IS NOT NULL UNION ALL "
        "SELECT version_id, 'it answers a share of ' || alias FROM traffic"
    )
    for version_id, reason in others:
        found.setdefault(version_id, reason)
    return found


def _one(
    connection: apsw.Connection, columns: Sequence[str], rest: str, *values: object
) -> Alias | None:
    found = rows(connection, columns, rest, values)
    return Alias(**trusted(found[0])) if found else None
