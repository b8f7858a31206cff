"""Open a GGUF file: its metadata, its tensors, and their bytes without a copy.

The file is mapped, not read; opening costs the head of the file only. Soundness is decided in
``header``, unpacking in ``dequantize``; this module knows files, and what the first bytes of other
kinds of file look like.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self, TypeVar, overload

import numpy as np

from fine_tuning.core.closing import Closing
from fine_tuning.core.errors import GgufError, ModelNotFoundError, StorageError
from fine_tuning.gguf.dequantize import dequantize
from fine_tuning.gguf.header import HEADER_BYTES, Header, parse_header
from fine_tuning.gguf.types import MAGIC, Bytes, Floats, TensorInfo, ValueType
from fine_tuning.gguf.values import MetadataValue, TypedValue, quote

T = TypeVar("T")
D = TypeVar("D")

_NO_DEFAULT: Final = object()

_GET_GGUF = "download the GGUF file of this model (its name ends in .gguf)"
_CONVERT = "convert the model with llama.cpp's convert_hf_to_gguf.py, or download its GGUF file"

# First bytes in lower case, what such a file is, and what helps; the most exact first.
_OTHER_FILES: Final[tuple[tuple[bytes, str, str], ...]] = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the model itself",
        "run `git lfs pull` in the folder it came from",
    ),
    (b"pk\x03\x04", "a zip archive (PyTorch .bin and .pt files are such)", _CONVERT),
    (b"<!doctype", "a web page, probably an error page saved by a download", _GET_GGUF),
    (b"<html", "a web page, probably an error page saved by a download", _GET_GGUF),
    (b"<?xml", "an XML document, probably an error saved by a download", _GET_GGUF),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"fugg", "a big-endian GGUF file, which is not supported", _GET_GGUF),
    (b"lmgg", "a GGML file older than GGUF", _GET_GGUF),
    (b"fmgg", "a GGMF file older than GGUF", _GET_GGUF),
    (b"tjgg", "a GGJT file older than GGUF", _GET_GGUF),
    (b"algg", "a GGLA adapter older than GGUF", _GET_GGUF),
    (b"\x80", "a Python pickle (an old PyTorch checkpoint)", _CONVERT),
    (b"{", "a JSON text", _GET_GGUF),
)


class GgufFile(Closing):
    """A GGUF file of version 2 or 3, little endian, mapped into memory.

    The law of mapped files: while it is open, or any array taken from it is alive, nobody may
    shorten or overwrite the file in place. The operating system answers a read past a shrunken
    end with SIGBUS, which ends the process; no check here can prevent that. Replacing it by
    rename (as ``write_gguf`` and Ollama do) is safe: the mapping keeps the old file.

    Attributes:
        path: Where it was opened.
        version: 2 or 3.
        alignment: Tensor data begins at multiples of so many bytes.
        metadata: Key to value, in the file's order. Numbers, booleans and text are Python values;
            numeric arrays are read-only numpy views (perhaps unaligned: copy before giving them to
            C code); arrays of strings are ``StringArray``. Bytes that are not UTF-8 are kept as
            lone surrogates.
        typed_metadata: The same, each value with its type; ``write_gguf`` takes it unchanged.
        tensors: Name to description, in the file's order.
    """

    def __init__(self, path: Path, buffer: mmap.mmap, header: Header) -> None:
        self.path = path
        self.version = header.version
        self.alignment = header.alignment
        self.typed_metadata: Mapping[str, TypedValue] = MappingProxyType(header.values)
        self.metadata: Mapping[str, MetadataValue] = MappingProxyType(
            {key: typed.value for key, typed in header.values.items()}
        )
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(header.tensors)
        self._bytes: Bytes | None = np.frombuffer(buffer, np.uint8)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open and check a file; no tensor is touched.

        Raises:
            ModelNotFoundError: if nothing stands at the path.
            StorageError: if the operating system refuses to open or map it.
            GgufError: if it is no regular file, another kind of file, or not a sound GGUF file.
        """
        place = Path(path)
        buffer = _map_file(place)
        return cls(place, buffer, parse_header(buffer, str(place)))

    def close(self) -> None:
        """Let go of the mapping; it ends when the last array taken from it is gone."""
        self._bytes = None

    def tensor(self, name: str) -> TensorInfo:
        """Return the description of a tensor.

        Raises:
            GgufError: if the file holds no tensor of that name.
        """
        info = self.tensors.get(name)
        if info is None:
            raise GgufError(
                f"{self.path}: no tensor {quote(name)} was found among {len(self.tensors)}"
            )
        return info

    def raw(self, name: str) -> Bytes:
        """Return a tensor's packed bytes: a read-only view of the file, of ``num_bytes`` length.

        Raises:
            GgufError: if there is no such tensor, or the file was closed.
        """
        return self.stored_bytes(self.tensor(name))

    def stored_bytes(self, info: TensorInfo) -> Bytes:
        """Return the bytes where a description says a tensor lies, as :meth:`raw` does.

        Raises:
            GgufError: if the file was closed.
        """
        if self._bytes is None:
            raise GgufError(f"{self.path}: tensor {quote(info.name)} was asked of a closed file")
        return self._bytes[info.offset : info.offset + info.num_bytes]

    def dequantize(self, name: str) -> Floats:
        """Return a tensor as a new float32 array in its row-major shape.

        Raises:
            GgufError: if there is no such tensor, its type cannot be unpacked, or the file was
                closed.
        """
        info = self.tensor(name)
        return dequantize(self.raw(name), info.type, info.shape)

    def value_type(self, key: str) -> ValueType:
        """Return the type a metadata value has in the file.

        Raises:
            GgufError: if there is no such key.
        """
        return self._typed(key).type

    @overload
    def get(self, key: str, kind: type[T]) -> T: ...
    @overload
    def get(self, key: str, kind: type[T], default: D) -> T | D: ...
    def get(self, key: str, kind: type[T], default: object = _NO_DEFAULT) -> object:
        """Return a metadata value of a known Python type.

        Args:
            key: For example ``llama.block_count``.
            kind: ``bool``, ``int``, ``float`` (an integer is converted), ``str`` (must be UTF-8),
                ``numpy.ndarray`` or ``StringArray``.
            default: Returned when the key is absent; without one, an absent key is an error.

        Raises:
            GgufError: if the key is absent and there is no default, or the value is of another
                type, or a text is not UTF-8.
        """
        if key not in self.metadata and default is not _NO_DEFAULT:
            return default
        value: object = self._typed(key).value
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise GgufError(
                f"{self.path}: the metadata value {quote(key)} is a {type(value).__name__}, "
                f"{kind.__name__} was expected"
            )
        if isinstance(value, str) and not _is_utf8(value):
            raise GgufError(
                f"{self.path}: the metadata value {quote(key)} is {quote(value)}, UTF-8 text was "
                "expected"
            )
        return value

    def _typed(self, key: str) -> TypedValue:
        typed = self.typed_metadata.get(key)
        if typed is None:
            raise GgufError(
                f"{self.path}: no metadata key {quote(key)} was found among {len(self.metadata)}"
            )
        return typed


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _map_file(path: Path) -> mmap.mmap:
    """Map a regular file that begins like a GGUF file.

    Raises:
        ModelNotFoundError: if nothing stands at the path.
        StorageError: if the operating system refuses.
        GgufError: if it is no regular file, or its first bytes are another format's.
    """
    try:
        # O_NONBLOCK: opening a pipe must not wait for its writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelNotFoundError(
            f"no file was found at {path}, a GGUF file was expected"
        ) from error
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} could not be opened: {_reason(error)}") from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise GgufError(f"{path} is {kind}, a GGUF file was expected")
        _check_first_bytes(path, os.pread(handle, 64, 0), status.st_size)
        return mmap.mmap(handle, status.st_size, access=mmap.ACCESS_READ)
    except (OSError, ValueError, OverflowError) as error:
        raise StorageError(f"{path} could not be mapped: {_reason(error)}") from error
    finally:
        os.close(handle)


def _reason(error: Exception) -> str:
    code = error.errno if isinstance(error, OSError) else None
    if code in (errno.EACCES, errno.EPERM):
        return "permission is denied"
    return os.strerror(code).lower() if code else str(error)


def _check_first_bytes(path: Path, first: bytes, size_bytes: int) -> None:
    """Say what a file is when it is not GGUF.

    Raises:
        GgufError: if the file is empty, too short, or does not begin with the magic.
    """
    if not first:
        raise GgufError(f"{path} is empty, a GGUF file was expected", next_command=_GET_GGUF)
    if first.startswith(MAGIC) or MAGIC.startswith(first):
        if size_bytes >= HEADER_BYTES:
            return
        raise GgufError(
            f"{path} ends after {size_bytes} bytes, the head of a GGUF file alone has "
            f"{HEADER_BYTES}",
            next_command=_GET_GGUF,
        )
    if first[8:9] == b"{" and int.from_bytes(first[:8], "little") <= size_bytes - 8:
        raise GgufError(
            f"{path} is a safetensors file, a GGUF file was expected", next_command=_CONVERT
        )
    start = first.lstrip().lower()
    for magic, what, next_command in _OTHER_FILES:
        if start.startswith(magic):
            raise GgufError(
                f"{path} is {what}; a GGUF file was expected", next_command=next_command
            )
    raise GgufError(
        f"{path} begins with {quote(first[:4])}, a GGUF file begins with {MAGIC!r}",
        next_command=_GET_GGUF,
    )
