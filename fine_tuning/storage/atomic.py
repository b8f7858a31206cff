"""Files and folders that are whole or absent, whatever kills the process.

A file is written beside its place, synced, and renamed over it; a folder is filled beside its
place and renamed when all of it is on disk. A rename within one file system is atomic on POSIX;
syncing the parent folder makes the new name survive a power cut.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fine_tuning.core.errors import StorageError

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "a folder stands in its place",
}
_NEXT = {
    errno.ENOSPC: "free some space, then run the command again",
    errno.EDQUOT: "free some space, then run the command again",
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` on the way to a path into one sentence.

    Raises:
        StorageError: in place of any ``OSError`` the body raises.
    """
    try:
        yield
    except OSError as error:
        code = error.errno or 0
        reason = _REASONS.get(code, os.strerror(code) if code else str(error))
        raise StorageError(
            f"{path} could not be written or read: {reason}", next_command=_NEXT.get(code, "")
        ) from error


def file_stamp(*paths: Path) -> str:
    """Return what the file system says of some files; it changes when one is written or replaced.

    Raises:
        StorageError: if one exists and cannot be looked at.
    """
    stamps: list[str] = []
    for path in paths:
        with storage_errors(path):
            try:
                status = path.stat()
            except FileNotFoundError:
                stamps.append("-")
            else:
                stamps.append(f"{status.st_ino}/{status.st_size}/{status.st_mtime_ns}")
    return " ".join(stamps)


def sync_folder(path: Path) -> None:
    """Force a folder's entries to disk, so that a rename in it survives a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to fill; it takes its place at ``path`` only when the body succeeds.

    Raises:
        StorageError: if it cannot be written; the old file, if any, stands untouched.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part.

    Raises:
        StorageError: if it cannot be written; the old file, if any, stands untouched.
    """
    with whole_file(path) as file:
        file.write(content)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it takes its place at ``path`` only when the body succeeds.

    The body writes the manifest last, by habit: should the rename ever be copied around by other
    tools, a folder without a manifest is known to be torn. A folder already at ``path`` stays when
    the body fails, and is replaced when it succeeds.

    Raises:
        StorageError: if the folder cannot be written.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            beside.chmod(0o755)
            yield beside
            for entry in beside.rglob("*"):
                if entry.is_file():
                    with entry.open("rb") as file:
                        os.fsync(file.fileno())
                else:
                    sync_folder(entry)
            sync_folder(beside)
            _take_place(beside, path)
            sync_folder(path.parent)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _take_place(new: Path, path: Path) -> None:
    """Rename a folder to its place; a non-empty old one is moved aside first, then removed."""
    if not path.exists():
        new.rename(path)
        return
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
    path.rename(aside / path.name)
    new.rename(path)
    shutil.rmtree(aside, ignore_errors=True)
