"""One SQLite file, opened safely: settings, migrations, and every failure as one sentence.

Uses the SQLite of the apsw wheel: releases before 3.51.3 can lose committed pages when two
connections write and checkpoint at once (sqlite.org/wal.html, "WAL-reset bug"). The tables are
not known here.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import apsw

from fine_tuning.core.errors import StorageError
from fine_tuning.storage.atomic import storage_errors, sync_folder

OLDEST_SAFE_SQLITE = (3, 51, 3)
BUSY_TIMEOUT_MS = 30_000
_RETRY_S = 0.005
_NAP_S = 0.0003
_PRAGMAS = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA secure_delete = ON;
"""
_inherited: list[apsw.Connection] = []
"""Connections of a parent process: closing them in a fork would break the parent's locks."""


class Database:
    """A SQLite file with a schema of numbered steps; a connection per thread and process.

    Args:
        path: The file; it and its folder are created.
        migrations: Step ``n`` takes the file from version ``n - 1`` to ``n``.
        application_id: The mark that tells our files from others'.
        busy_timeout_ms: How long to wait for another writer.
        holds: What the file is, for messages.

    Raises:
        StorageError: if the file cannot be opened, is no database, is another program's, or was
            written by a newer version of this program.
    """

    def __init__(
        self,
        path: Path,
        *,
        migrations: Sequence[str],
        application_id: int,
        busy_timeout_ms: int = BUSY_TIMEOUT_MS,
        holds: str = "conversation store",
    ) -> None:
        check_sqlite()
        self.path = path
        self._holds = holds
        self._busy_timeout_ms = busy_timeout_ms
        self._migrations = tuple(migrations)
        self._application_id = application_id
        self._local = threading.local()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"folder {path.parent} cannot be made: {error.strerror}") from error
        self._migrate()

    @contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """Yield a connection that sees one state of the file until the body ends.

        Raises:
            StorageError: in place of any error of SQLite.
        """
        with self._transaction("BEGIN DEFERRED") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """Yield a connection that alone may write; the body is on disk afterwards, or undone.

        Raises:
            StorageError: in place of any error of SQLite; then nothing was written.
        """
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    def compact(self) -> None:
        """Take what was deleted out of the file, its log and its free pages.

        Raises:
            StorageError: if another process keeps reading what was there before.
        """
        with self._errors():
            connection = self._connection()
            connection.execute("VACUUM")
            give_up_s = time.monotonic() + self._busy_timeout_ms / 1000
            # The answer's first column says whether someone still reads from the log.
            while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]:
                if time.monotonic() > give_up_s:
                    raise StorageError(
                        f"{self.path} still holds what was deleted: another process reads it",
                        next_command="end that process, then run the command again",
                    )
                time.sleep(_RETRY_S)

    def back_up(self, target: Path) -> None:
        """Copy one state of the file, while others read and write it; ``target`` is replaced.

        Raises:
            StorageError: if the copy cannot be written.
        """
        with storage_errors(target), self._errors():
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".backup.") as folder:
                beside = Path(folder) / target.name
                copy = apsw.Connection(str(beside))
                try:
                    with copy.backup("main", self._connection(), "main") as backup:
                        backup.step()
                    copy.execute("PRAGMA journal_mode = DELETE").fetchall()
                finally:
                    copy.close()
                beside.replace(target)  # SQLite has synced it
            sync_folder(target.parent)

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[apsw.Connection]:
        with self._errors():
            connection = self._connection()
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _connection(self) -> apsw.Connection:
        """Return this thread's connection; one inherited by a fork is put aside, not used."""
        held: tuple[int, apsw.Connection] | None = getattr(self._local, "held", None)
        if held is not None and held[0] == os.getpid():
            return held[1]
        if held is not None:
            _inherited.append(held[1])
        connection = self._open()
        self._local.held = (os.getpid(), connection)
        return connection

    def _open(self) -> apsw.Connection:
        """Open and set up a connection.

        Turning a new file's write-ahead log on answers "busy" at once when another process does
        the same, whatever the timeout: so this is tried until the timeout is over.
        """
        give_up_s = time.monotonic() + self._busy_timeout_ms / 1000
        while True:
            connection = apsw.Connection(str(self.path))
            try:
                connection.set_busy_handler(_Patience(self._busy_timeout_ms / 1000))
                connection.execute("BEGIN")  # what is asked three times must be one state
                self._check_ours(connection)  # before a setting could change a foreign file
                connection.execute("COMMIT")
                connection.execute(
                    _PRAGMAS
                ).fetchall()  # a statement runs when the one before is read
            except apsw.BusyError:
                connection.close()
                if time.monotonic() > give_up_s:
                    raise
                time.sleep(_RETRY_S)
            except BaseException:
                connection.close()
                raise
            else:
                return connection

    def _migrate(self) -> None:
        """Apply the steps that are missing, all or none."""
        with self.reading() as connection:
            if self._check_ours(connection) == len(self._migrations):
                return
        with self.writing() as connection:
            # Asked again: another process may have done it while this one waited for its turn.
            done = self._check_ours(connection)
            for step in self._migrations[done:]:
                connection.execute(step).fetchall()
            connection.execute(f"PRAGMA application_id = {self._application_id}")
            connection.execute(f"PRAGMA user_version = {len(self._migrations)}")

    def _check_ours(self, connection: apsw.Connection) -> int:
        """Return the schema's version; 0 for a new file.

        Raises:
            StorageError: if the file is another program's, or of a newer version of this one.
        """
        version = _number(connection, "user_version")
        mark = _number(connection, "application_id")
        has_tables = bool(connection.execute("SELECT count(*) FROM sqlite_schema").get)
        if mark != self._application_id and (has_tables or version or mark):
            raise StorageError(
                f"{self.path} is a database of another program, expected a {self._holds}",
                next_command="choose another file name",
            )
        if version > len(self._migrations):
            raise StorageError(
                f"{self.path} has schema version {version}, and this program knows only "
                f"{len(self._migrations)}: a newer version of it wrote the file",
                next_command="pip install --upgrade fine-tuning",
            )
        return version

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except apsw.Error as error:
            raise self._explain(error) from error

    def _explain(self, error: apsw.Error) -> StorageError:
        seconds = self._busy_timeout_ms / 1000
        broken = f"bring a backup of it back, or move {self.path.name} away to start anew"
        known: dict[type[apsw.Error], tuple[str, str]] = {
            apsw.NotADBError: ("is no SQLite database, or is damaged", broken),
            apsw.CorruptError: ("is damaged", broken),
            apsw.BusyError: (
                f"stayed locked by another process for {seconds:g} s",
                "end the program that holds it, then try again",
            ),
            apsw.FullError: ("cannot grow: the disk is full", "free some space, then try again"),
            apsw.ReadOnlyError: ("is read-only", "allow writing to the file and its folder"),
            apsw.CantOpenError: ("cannot be opened", "check the path and its permissions"),
        }
        what, next_command = known.get(type(error), (f"cannot be used: {error}", ""))
        return StorageError(f"{self.path} {what}", next_command=next_command)

    def close(self) -> None:
        """Close this thread's connection; the next use opens a new one."""
        held: tuple[int, apsw.Connection] | None = getattr(self._local, "held", None)
        if held is not None and held[0] == os.getpid():
            held[1].close()
            del self._local.held


class _Patience:
    """Answers SQLite, which asks whether to go on waiting for another writer.

    SQLite's own waiting lengthens its naps up to a tenth of a second, so that busy writers starve
    each other for seconds. A commit takes about a millisecond, and naps here stay below that.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._since_s = 0.0

    def __call__(self, num_asked: int) -> bool:
        """Nap, and tell whether to try again; ``num_asked`` is 0 when a wait begins."""
        now_s = time.monotonic()
        if num_asked == 0:
            self._since_s = now_s
        if now_s - self._since_s > self._limit_s:
            return False
        time.sleep(_NAP_S)
        return True


def check_sqlite() -> None:
    """Refuse a SQLite that can lose committed writes.

    Raises:
        StorageError: if the library is older than 3.51.3.
    """
    found = apsw.sqlite_lib_version()
    if tuple(int(part) for part in found.split(".")[:3]) < OLDEST_SAFE_SQLITE:
        needed = ".".join(map(str, OLDEST_SAFE_SQLITE))
        raise StorageError(
            f"the SQLite library is {found}, expected {needed} or newer: older ones can lose data",
            next_command="pip install --upgrade apsw",
        )


def _number(connection: apsw.Connection, pragma: str) -> int:
    value = connection.pragma(pragma)
    return value if isinstance(value, int) else 0
