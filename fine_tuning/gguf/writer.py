"""Write a GGUF file, version 3, little endian, one tensor in memory at a time.

The file is written beside its place, synced and renamed, so readers see the old file or the new.
Tensor data lie in the order given, each padded to the alignment, as llama.cpp demands; a copy of a
file laid out so is byte-equal. Knows nothing of models: the caller names keys and tensors.
"""

from __future__ import annotations

import errno
import os
import struct
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from fine_tuning.core.errors import GgufError, StorageError
from fine_tuning.gguf.encode import Writable, typed_value, write_value
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import (
    ALIGNMENT_KEY,
    DEFAULT_ALIGNMENT,
    MAGIC,
    TensorType,
    ValueType,
    align_up,
    check_alignment,
    tensor_num_bytes,
)
from fine_tuning.gguf.values import TypedValue, encode_text, quote

VERSION: Final = 3
MAX_NAME_BYTES: Final = 63  # GGML_MAX_NAME less its terminating zero; llama.cpp refuses more
MAX_KEY_BYTES: Final = (1 << 16) - 1

Buffer = bytes | bytearray | memoryview | NDArray[Any]

_DTYPES: Final[Mapping[TensorType, np.dtype[Any]]] = {
    TensorType.F32: np.dtype("<f4"),
    TensorType.F16: np.dtype("<f2"),
    TensorType.F64: np.dtype("<f8"),
    TensorType.I8: np.dtype("<i1"),
    TensorType.I16: np.dtype("<i2"),
    TensorType.I32: np.dtype("<i4"),
    TensorType.I64: np.dtype("<i8"),
}


@dataclass(frozen=True, slots=True)
class TensorSource:
    """A tensor to be written.

    Attributes:
        name: At most 63 bytes of UTF-8.
        shape: Row-major: a linear layer is ``(n_out, n_in)``.
        type: Storage type.
        data: Its packed bytes (uint8, or the plain numpy type of F32, F16, F64 and integers), or
            a function that makes them; it is called once, when the tensor's turn comes.
    """

    name: str
    shape: tuple[int, ...]
    type: TensorType
    data: Buffer | Callable[[], Buffer]


def tensor_from_file(file: GgufFile, name: str, *, rename: str = "") -> TensorSource:
    """Return a tensor of an open file as a source; its bytes are copied unchanged.

    Raises:
        GgufError: if the file holds no tensor of that name.
    """
    info = file.tensor(name)
    return TensorSource(rename or name, info.shape, info.type, lambda: file.raw(name))


def write_gguf(
    path: str | Path, metadata: Mapping[str, Writable], tensors: Iterable[TensorSource]
) -> None:
    """Write a GGUF file, whole or not at all.

    Args:
        path: Where it shall stand; a file there is replaced, missing folders are made.
        metadata: Key to value. ``(value, ValueType)`` fixes a type, an array's by its numpy dtype.
            Otherwise: ``bool`` and ``str`` as such; ``int`` the first of u32, i32, i64, u64 that
            holds it; ``float`` f32; numpy scalars and arrays by dtype; sequences of ``str`` as
            strings, of ``int`` i32 or i64, of ``float`` f32. ``GgufFile.typed_metadata`` is taken
            as it is. ``general.alignment`` decides the padding.
        tensors: In the order of their data.

    Raises:
        GgufError: if a key, value, name, shape or the bytes of a tensor do not fit the format.
        StorageError: if the file cannot be written (disk full, permission).
            In every case the old file stands, and nothing is left beside it.
    """
    place = Path(path)
    typed = {key: typed_value(key, value) for key, value in metadata.items()}
    alignment = _alignment(typed)
    sources = list(tensors)
    _check_names(typed, sources)
    sizes = [_named(source, tensor_num_bytes, source.type, source.shape) for source in sources]
    temporary: Path | None = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "wb", buffering=1 << 16) as file:
            _write_head(file, typed, sources, sizes, alignment)
            for source, num_bytes in zip(sources, sizes, strict=True):
                file.write(_tensor_bytes(source, num_bytes))
                _pad(file, alignment)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(place)
        _sync_folder(place.parent)
    except OSError as error:
        raise _storage_error(place, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _storage_error(path: Path, error: OSError) -> StorageError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = "the disk is full" if full else os.strerror(error.errno or errno.EIO).lower()
    return StorageError(
        f"{path} could not be written: {reason}",
        next_command="free some space, then run the command again" if full else "",
    )


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _alignment(typed: Mapping[str, TypedValue]) -> int:
    found = typed.get(ALIGNMENT_KEY)
    if found is None:
        return DEFAULT_ALIGNMENT
    if found.type is not ValueType.UINT32 or not isinstance(found.value, int):
        raise GgufError(f"{ALIGNMENT_KEY} is of type {found.type.name}, UINT32 was expected")
    check_alignment(found.value)
    return found.value


def _check_names(typed: Mapping[str, TypedValue], sources: Sequence[TensorSource]) -> None:
    seen: set[str] = set()
    for source in sources:
        if source.name in seen:
            raise GgufError(f"the tensor name {quote(source.name)} was given twice")
        seen.add(source.name)
    for what, names, limit in (
        ("metadata key", typed, MAX_KEY_BYTES),
        ("tensor name", seen, MAX_NAME_BYTES),
    ):
        for name in names:
            num_bytes = len(_name_bytes(what, name)) - 8
            if not 0 < num_bytes <= limit:
                raise GgufError(
                    f"the {what} {quote(name)} has {num_bytes} bytes, 1 to {limit} were expected"
                )


def _name_bytes(what: str, name: str) -> bytes:
    """Encode a name, which unlike a value must be proper Unicode: readers refuse other bytes."""
    if any("\ud800" <= char <= "\udfff" for char in name):
        raise GgufError(f"the {what} {quote(name)} holds a lone surrogate, text was expected")
    return encode_text(name)


def _named(source: TensorSource, check: Callable[..., int], *values: object) -> int:
    try:
        return check(*values)
    except GgufError as error:
        raise GgufError(f"tensor {quote(source.name)}: {error.message}") from None


def _write_head(
    file: BinaryIO,
    typed: Mapping[str, TypedValue],
    sources: Sequence[TensorSource],
    sizes: Sequence[int],
    alignment: int,
) -> None:
    file.write(MAGIC + struct.pack("<IQQ", VERSION, len(sources), len(typed)))
    for key, value in typed.items():
        file.write(encode_text(key) + struct.pack("<I", value.type))
        write_value(file, key, value)
    offset = 0
    for source, num_bytes in zip(sources, sizes, strict=True):
        dims = source.shape[::-1]
        file.write(encode_text(source.name))
        file.write(struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, source.type, offset))
        offset = align_up(offset + num_bytes, alignment)
    _pad(file, alignment)


def _pad(file: BinaryIO, alignment: int) -> None:
    position = file.tell()
    file.write(bytes(align_up(position, alignment) - position))


def _tensor_bytes(source: TensorSource, num_bytes: int) -> memoryview:
    """Fetch a tensor's bytes and check that they are as many as the head announced."""
    data = source.data() if callable(source.data) else source.data
    values = data if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)
    expected = _DTYPES.get(source.type)
    if values.dtype not in (np.uint8, expected):
        plain = f" or {expected.name}" if expected is not None else ""
        raise GgufError(
            f"tensor {quote(source.name)} of type {source.type.name} was given as {values.dtype}, "
            f"packed uint8{plain} was expected"
        )
    if values.nbytes != num_bytes:
        raise GgufError(
            f"tensor {quote(source.name)} was given {values.nbytes} bytes, {source.type.name} "
            f"{list(source.shape)} has {num_bytes}"
        )
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
