"""The embedded runtime's copies of adapters, each named by the SHA-256 of its bytes and kept once.

Knows no recipes: who keeps a copy tells which digests are in use.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from fine_tuning.core.naming import file_sha256
from fine_tuning.storage.atomic import storage_errors, whole_file

DIGEST = "sha256:"


class AdapterCopies:
    """A folder of copies.

    Args:
        folder: Where they lie; made with the first one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, digest: str) -> Path:
        """Return the file of a copy, ``digest`` being ``sha256:<64 hex>``."""
        return self._folder / f"{digest.removeprefix(DIGEST)}.gguf"

    def keep(self, adapter: Path, digest: str) -> None:
        """Copy an adapter, unless a sound copy is there.

        Raises:
            StorageError: if it cannot be written; then nothing has changed.
        """
        place = self.place(digest)
        if place.is_file() and file_sha256(place) == digest:
            return
        with whole_file(place) as copy, adapter.open("rb") as source:
            shutil.copyfileobj(source, copy)

    def sizes_bytes(self) -> dict[str, int]:
        """Return the size of every copy by its digest."""
        with storage_errors(self._folder):
            return {
                f"{DIGEST}{path.stem}": path.stat().st_size for path in self._folder.glob("*.gguf")
            }

    def drop_unused(self, used: Collection[str]) -> None:
        """Remove the copies whose digest is not in use.

        Raises:
            StorageError: if one cannot be removed.
        """
        for digest in self.sizes_bytes().keys() - set(used):
            with storage_errors(self._folder):
                self.place(digest).unlink(missing_ok=True)
