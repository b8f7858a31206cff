"""Results kept by content: what was answered or scored once is not computed again.

A result is named by everything that decides it (model, template, sampling, text), so it never
grows stale; another model has other names. Each is on disk before the next is asked for, and
several processes may share one file. What this does not know: what the results are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from fine_tuning.core.json_value import JsonValue
from fine_tuning.core.naming import canonical_json
from fine_tuning.storage.database import Database

_APPLICATION_ID = 0x46544556  # "FTEV"
_MIGRATIONS = (
    "CREATE TABLE result (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
)
_NAMES_AT_ONCE = 500  # of one question; SQLite's limit of variables is far above


class ResultCache:
    """Results by name, in one SQLite file.

    Args:
        path: The file; it and its folder are created.

    Raises:
        StorageError: if the file cannot be opened, or is another program's.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, migrations=_MIGRATIONS, application_id=_APPLICATION_ID)

    def find(self, names: Sequence[str]) -> dict[str, JsonValue]:
        """Return the results that are there, by name.

        Raises:
            StorageError: if the file cannot be read.
        """
        found: dict[str, JsonValue] = {}
        with self._database.reading() as connection:
            for start in range(0, len(names), _NAMES_AT_ONCE):
                part = list(names[start : start + _NAMES_AT_ONCE])
                marks = ",".join("?" * len(part))
                rows = connection.execute(
                    f"SELECT name, value FROM result WHERE name IN ({marks})",  # noqa: S608 - marks
                    part,
                )
                found.update({str(name): json.loads(str(value)) for name, value in rows})
        return found

    def keep(self, results: dict[str, JsonValue]) -> None:
        """Write results, all or none; a name that is there keeps its first result.

        Raises:
            StorageError: if the file cannot be written.
        """
        rows = [(name, canonical_json(value)) for name, value in results.items()]
        with self._database.writing() as connection:
            connection.executemany("INSERT OR IGNORE INTO result VALUES (?, ?)", rows)
