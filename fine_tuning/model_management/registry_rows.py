"""Reads versions and what belongs to them from the registry's tables; writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw
import orjson

from fine_tuning.core.json_value import JsonValue, trusted
from fine_tuning.model_management.versions import (
    Artefact,
    Deployment,
    Event,
    ModelVersion,
    Note,
    RetrainingMark,
)

NAME = "(SELECT family || ':' || number FROM version WHERE version.id = {})"
_VERSION = (
    "id", "family", "number", "stage", "run_id", "run_folder", "method", "adapter_name",
    "base_name", "base_digest", "snapshot", "settings", "metrics", "verdict", "created_at",
)  # fmt: skip
_JSON = ("settings", "metrics", "verdict", "details", "proof")
_DEPLOYMENT = (
    "id", "runtime", "name", "state", "digest", "details", "proof", "reason", "created_at",
    "ended_at",
)  # fmt: skip

Place = Callable[[str], Path]
"""Turns a stored path into a real one."""


def rows(
    connection: apsw.Connection, columns: Sequence[str], rest: str, values: Sequence[Any] = ()
) -> list[dict[str, JsonValue]]:
    """Return the rows of a query by column; JSON columns are decoded.

    Args:
        connection: The open transaction.
        columns: What to select; ``expression AS name`` is known by its name.
        rest: The query from ``FROM`` on; never made from what a user wrote.
        values: What its question marks stand for.
    """
    names = [column.rpartition(" AS ")[2] for column in columns]
    query = f"SELECT {', '.join(columns)} {rest}"
    found: list[tuple[Any, ...]] = connection.execute(query, tuple(values)).fetchall()
    return [
        {
            name: orjson.loads(value) if name in _JSON else value
            for name, value in zip(names, row, strict=True)
        }
        for row in found
    ]


def read_versions(
    connection: apsw.Connection, place: Place, where: str = "", values: Sequence[Any] = ()
) -> list[ModelVersion]:
    """Return the versions a condition fits, oldest first."""
    rest = f"FROM version {where} ORDER BY id"
    return [_version(connection, place, row) for row in rows(connection, _VERSION, rest, values)]


def read_artefacts(
    connection: apsw.Connection, place: Place, where: str, values: Sequence[Any]
) -> list[Artefact]:
    """Return the artefacts a condition fits, in the order in which they were added."""
    columns = ("kind", "path", "digest", "size_bytes", "state")
    found = rows(connection, columns, f"FROM artefact {where} ORDER BY id", values)
    return [Artefact(**{**trusted(row), "path": place(str(row["path"]))}) for row in found]


def read_deployments(
    connection: apsw.Connection, where: str, values: Sequence[Any] = ()
) -> list[Deployment]:
    """Return the deployments a condition fits, oldest first."""
    columns = (*_DEPLOYMENT, f"{NAME.format('deployment.version_id')} AS version")
    return [
        Deployment(**trusted(row))
        for row in rows(connection, columns, f"FROM deployment {where} ORDER BY id", values)
    ]


def read_events(connection: apsw.Connection, family: str | None) -> list[Event]:
    """Return what happened, oldest first; to one family or to all."""
    columns = (
        "family",
        f"coalesce({NAME.format('event.version_id')}, '') AS version",
        "kind",
        "detail",
        "created_at",
    )
    rest = "FROM event WHERE ?1 IS NULL OR family = ?1 ORDER BY id"
    return [Event(**trusted(row)) for row in rows(connection, columns, rest, (family,))]


def _version(connection: apsw.Connection, place: Place, row: dict[str, JsonValue]) -> ModelVersion:
    own = (row["id"],)
    parents = rows(
        connection,
        (f"{NAME.format('parent.parent_id')} AS name", "kind"),
        "FROM parent WHERE version_id = ? ORDER BY parent_id",
        own,
    )
    marks = ("conversation_id", "reason", "created_at")
    return ModelVersion(
        **{**trusted(row), "run_folder": place(str(row["run_folder"]))},
        parents=tuple(str(parent["name"]) for parent in parents),
        started_from=tuple(str(one["name"]) for one in parents if one["kind"] == "weights"),
        artefacts=tuple(read_artefacts(connection, place, "WHERE version_id = ?", own)),
        deployments=tuple(read_deployments(connection, "WHERE version_id = ?", own)),
        notes=tuple(
            Note(**trusted(note))
            for note in rows(
                connection,
                ("text", "created_at"),
                "FROM note WHERE version_id = ? ORDER BY id",
                own,
            )
        ),
        retraining=tuple(
            RetrainingMark(**trusted(mark))
            for mark in rows(
                connection,
                marks,
                "FROM retraining WHERE version_id = ? ORDER BY created_at, conversation_id",
                own,
            )
        ),
    )
