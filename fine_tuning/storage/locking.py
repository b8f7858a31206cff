"""A lock file held by one process at a time; the system frees it when the process dies, however."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fine_tuning.core.errors import StorageError
from fine_tuning.core.unix_only import fcntl
from fine_tuning.storage.atomic import storage_errors

_RETRY_S = 0.01


class LockedError(StorageError):
    """Another process, or another thread of this one, holds a lock; ``owner`` is its id."""

    def __init__(self, path: Path, owner: str, wait_s: float) -> None:
        super().__init__(
            f"{path} stayed locked by process {owner} for {wait_s:g} s",
            next_command="wait until it ends, then try again",
        )
        self.owner = owner


@contextmanager
def locked(path: Path, *, wait_s: float = 30.0) -> Iterator[None]:
    """Hold a lock file; it and its folder are made, and stay.

    Two threads of one process keep each other out as well. The file says who holds it.

    Args:
        path: The lock file.
        wait_s: How long to wait for another holder.

    Raises:
        LockedError: if another holds it for longer.
        StorageError: if the file cannot be written.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        give_up_s = time.monotonic() + wait_s
        while not try_lock(handle):
            if time.monotonic() >= give_up_s:
                owner = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise LockedError(path, owner, wait_s)
            time.sleep(_RETRY_S)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(handle)


def try_lock(handle: int) -> bool:
    """Take the lock of an open file without waiting; return whether it was free."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
