"""Attachments of conversations: files named by the SHA-256 of their content, each kept once."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from fine_tuning.core.errors import DataError
from fine_tuning.storage.atomic import storage_errors, write_file

REFERENCE = "blob:sha256:"
_NAME = re.compile("[0-9a-f]{64}")


class BlobFolder:
    """A folder of attachments.

    Args:
        folder: Where they lie; made with the first one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes) -> str:
        """Keep some bytes; return their SHA-256, 64 hexadecimal digits.

        Raises:
            StorageError: if they cannot be written.
        """
        name = hashlib.sha256(data).hexdigest()
        path = self.path(name)
        if not path.exists():
            write_file(path, data)
        return name

    def path(self, name: str) -> Path:
        """Return the file of an attachment.

        Raises:
            DataError: if the name is no SHA-256.
        """
        if not _NAME.fullmatch(name):
            raise DataError(f"{name[:80]!r} names no attachment, expected 64 hexadecimal digits")
        return self.folder / name[:2] / name

    def remove(self, name: str) -> None:
        """Remove an attachment; one that is not there is no error.

        Raises:
            StorageError: if it cannot be removed.
        """
        path = self.path(name)
        with storage_errors(path):
            path.unlink(missing_ok=True)
