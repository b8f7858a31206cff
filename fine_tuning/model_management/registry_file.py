"""The registry's file: one SQLite database, its clock, its paths, and how a version is found in it.

What all parts of the registry stand on. Whatever kills a process, a change is in the file as a
whole or not at all; several processes may work with it at once.
"""

from __future__ import annotations

import difflib
from contextlib import AbstractContextManager
from pathlib import Path

import apsw

from fine_tuning.core.clock import SystemClock, iso
from fine_tuning.core.errors import ModelNotFoundError
from fine_tuning.core.ports import Clock
from fine_tuning.model_management.registry_rows import read_versions
from fine_tuning.model_management.registry_schema import APPLICATION_ID, MIGRATIONS
from fine_tuning.model_management.versions import ModelVersion, Stage
from fine_tuning.storage.database import Database
from fine_tuning.storage.locking import locked

DATABASE_FILE = "registry.db"
LATEST = "latest"
NUM_HINTS = 5


class RegistryFile:
    """One workspace's registry.

    Args:
        folder: Where ``registry.db`` lies; made when it is not there. Paths inside the folder above
            it are stored relative to that one, so that a workspace can be moved.
        clock: Tells the time of what happens.

    Raises:
        StorageError: if the file cannot be opened, is damaged, or another program's.
    """

    def __init__(self, folder: Path, *, clock: Clock | None = None) -> None:
        self.folder = folder.absolute()
        self._clock = clock or SystemClock()
        self.database = Database(
            self.folder / DATABASE_FILE,
            migrations=MIGRATIONS,
            application_id=APPLICATION_ID,
            holds="model registry",
        )

    def now(self) -> str:
        """Return the time as it is stored."""
        return iso(self._clock.now())

    def mark(self) -> str:
        """Return eight digits that tell this workspace's drafts on a server from others'."""
        with self.database.reading() as connection:
            return str(connection.execute("SELECT mark FROM workspace").get)

    def locked(self, work: str, *, wait_s: float = 30.0) -> AbstractContextManager[None]:
        """Hold one kind of work, such as ``switch``, for one process and thread at a time.

        Raises:
            StorageError: if another holds it for longer than ``wait_s``.
        """
        return locked(self.folder / f".{work}.lock", wait_s=wait_s)

    def place(self, stored: str) -> Path:
        """Return the real path of a stored one."""
        return self.folder.parent / stored

    def stored(self, path: Path) -> str:
        """Return the form in which a path is stored."""
        real, home = path.absolute(), self.folder.parent
        return str(real.relative_to(home) if real.is_relative_to(home) else real)

    def tell(self, connection: apsw.Connection, version_id: int, kind: str, detail: str) -> None:
        """Add an event to the history of a version's family."""
        connection.execute(
            "INSERT INTO event (family, version_id, kind, detail, created_at) "
            "SELECT family, id, ?, ?, ? FROM version WHERE id = ?",
            (kind, detail, self.now(), version_id),
        )

    def by_id(self, connection: apsw.Connection, version_id: int) -> ModelVersion:
        """Return a version that is known to be there."""
        (version,) = read_versions(connection, self.place, "WHERE id = ?", (version_id,))
        return version

    def find_in(self, connection: apsw.Connection, name: str) -> ModelVersion:
        """Find a version within a transaction; see :meth:`ModelRegistry.find`.

        Raises:
            ModelNotFoundError: if there is none; the message names the nearest.
        """
        wanted = name.strip().lower()
        for query, values in _lookups(wanted):
            found = connection.execute(query, values).get
            if isinstance(found, int):
                return self.by_id(connection, found)
        raise _unknown(connection, name)

    def set_stage(self, connection: apsw.Connection, version: ModelVersion, stage: Stage) -> None:
        """Move a version to a stage; a new champion sends the one before to the archive."""
        if stage == "champion":
            connection.execute(
                "UPDATE version SET stage = 'archived' "
                "WHERE family = ? AND stage = 'champion' AND id <> ?",
                (version.family, version.id),
            )
        connection.execute("UPDATE version SET stage = ? WHERE id = ?", (stage, version.id))

    def close(self) -> None:
        """Close this thread's connection; the next use opens it again."""
        self.database.close()


_NEWEST = (  # of those that can be served, as where runs are asked for
    "SELECT id FROM version ORDER BY EXISTS (SELECT 1 FROM artefact WHERE version_id = version.id "
    "AND artefact.kind = 'adapter' AND artefact.state = 'present') DESC, id DESC LIMIT 1"
)
_BY_NUMBER = "SELECT id FROM version WHERE family = ? AND number = CAST(? AS INTEGER)"
_BY_STAGE = "SELECT id FROM version WHERE family = ? AND stage = ? ORDER BY id DESC LIMIT 1"
_NEWEST_OF = "SELECT id FROM version WHERE family = ? ORDER BY id DESC LIMIT 1"
_BY_FAMILY = (
    "SELECT id FROM version WHERE family = ? ORDER BY stage = 'champion' DESC, id DESC LIMIT 1"
)
_BY_RUN = "SELECT id FROM version WHERE lower(run_id) = ? ORDER BY id DESC LIMIT 1"
_BY_ALIAS = "SELECT version_id FROM pointing WHERE lower(alias) IN (?1, ?1 || ':latest') LIMIT 1"
_BY_SERVED_NAME = (
    "SELECT version_id FROM deployment WHERE state = 'active' "
    "AND lower(name) IN (?1, ?1 || ':latest') ORDER BY id DESC LIMIT 1"
)


def _lookups(wanted: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return the queries that may find a version, in the order in which they count."""
    family, _, tag = wanted.rpartition(":")
    first: list[tuple[str, tuple[str, ...]]] = []
    if wanted == LATEST:
        first = [(_NEWEST, ())]
    elif tag.isdecimal():
        first = [(_BY_NUMBER, (family, tag))]
    elif tag == LATEST:
        first = [(_NEWEST_OF, (family,))]
    elif family:
        first = [(_BY_STAGE, (family, tag))]
    then = (_BY_FAMILY, _BY_RUN, _BY_ALIAS, _BY_SERVED_NAME)
    return [*first, *((query, (wanted,)) for query in then)]


def _unknown(connection: apsw.Connection, name: str) -> ModelNotFoundError:
    base = connection.execute(
        "SELECT target FROM pointing WHERE lower(alias) = ? AND version_id IS NULL",
        (name.strip().lower(),),
    ).get
    if base is not None:
        return ModelNotFoundError(
            f"{name} answers as the base model {base}, expected a version",
            next_command="fine-tuning models",
        )
    names: list[str] = [
        row[0]
        for row in connection.execute(
            "SELECT family || ':' || number FROM version UNION SELECT family FROM version "
            "UNION SELECT name FROM deployment WHERE state = 'active' "
            "UNION SELECT alias FROM pointing"
        )
    ]
    if not names:
        return ModelNotFoundError(
            f"no version is called {name!r}: none was registered yet",
            next_command="fine-tuning train",
        )
    newest = [
        row[0]
        for row in connection.execute(
            "SELECT family || ':' || number FROM version ORDER BY id DESC LIMIT ?", (NUM_HINTS,)
        )
    ]
    near = difflib.get_close_matches(name.lower(), names, 1)
    hint = f"the nearest is {near[0]!r}" if near else f"the newest are: {', '.join(newest)}"
    return ModelNotFoundError(
        f"no version is called {name!r}; {hint}", next_command="fine-tuning models"
    )
