"""The fingerprint of a model's tensors: what stays the same when a server rewrites the file.

Servers write files anew with other metadata, padding and order of tensors; the weights are the same
when names, types, shapes and bytes of all tensors are.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from fine_tuning.core.errors import StorageError
from fine_tuning.core.naming import canonical_json
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import TensorInfo

PREFIX = "tensors1:"
"""Versions the recipe of a fingerprint."""


def tensor_fingerprint(path: Path) -> str:
    """Return ``tensors1:<64 hex>``: the SHA-256 over a GGUF file's tensors, sorted by name.

    All of the file is read once, and again when its size or time changes.

    Args:
        path: A GGUF file of any kind.

    Raises:
        ModelNotFoundError: if there is no such file.
        StorageError: if it cannot be read.
        GgufError: if it is not sound GGUF.
    """
    place = path.resolve()
    try:
        status = place.stat()
    except FileNotFoundError:
        return _fingerprint(place, 0, 0)  # raises the sentence of a missing model
    except OSError as error:
        raise StorageError(f"{path} could not be read: {error.strerror}") from error
    return _fingerprint(place, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _fingerprint(path: Path, _size_bytes: int, _mtime_ns: int) -> str:
    digest = hashlib.sha256()
    with GgufFile.open(path) as model:
        for name in sorted(model.tensors):
            info = model.tensors[name]
            digest.update(_about(info).encode("utf-8", "surrogatepass") + b"\n")
            digest.update(model.stored_bytes(info).data)
    return f"{PREFIX}{digest.hexdigest()}"


def _about(info: TensorInfo) -> str:
    """Return what must be equal besides the bytes; their number keeps two tensors apart."""
    return canonical_json([info.name, info.type.name, list(info.shape), info.num_bytes])
