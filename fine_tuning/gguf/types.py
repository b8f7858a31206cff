"""The names and numbers of the GGUF format: value types, tensor types, block sizes, limits.

Knows ids and arithmetic only; it opens no file and unpacks no weight.
Sources: ggml/include/ggml.h (enum ggml_type), ggml/include/gguf.h (enum gguf_type) and
ggml/src/ggml-common.h (block structs) of llama.cpp; docs/gguf.md of ggml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fine_tuning.core.errors import GgufError

MAGIC: Final = b"GGUF"
DEFAULT_ALIGNMENT: Final = 32
MIN_ALIGNMENT: Final = 8
MAX_ALIGNMENT: Final = 1 << 16
MAX_DIMS: Final = 4
MAX_INT64: Final = (1 << 63) - 1
ALIGNMENT_KEY: Final = "general.alignment"

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


class ValueType(IntEnum):
    """Type of a metadata value, as numbered in the file."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


# struct code and numpy type of every value that has a fixed width; all little endian.
SCALAR_CODES: Final[Mapping[ValueType, str]] = MappingProxyType(
    {
        ValueType.UINT8: "<B",
        ValueType.INT8: "<b",
        ValueType.UINT16: "<H",
        ValueType.INT16: "<h",
        ValueType.UINT32: "<I",
        ValueType.INT32: "<i",
        ValueType.FLOAT32: "<f",
        ValueType.BOOL: "<B",
        ValueType.UINT64: "<Q",
        ValueType.INT64: "<q",
        ValueType.FLOAT64: "<d",
    }
)
ARRAY_DTYPES: Final[Mapping[ValueType, np.dtype[np.generic]]] = MappingProxyType(
    {
        kind: np.dtype(np.bool_) if kind is ValueType.BOOL else np.dtype(code)
        for kind, code in SCALAR_CODES.items()
    }
)


class TensorType(IntEnum):
    """Storage type of a tensor, with ggml's number."""

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q4_1 = 3
    Q5_0 = 6
    Q5_1 = 7
    Q8_0 = 8
    Q8_1 = 9
    Q2_K = 10
    Q3_K = 11
    Q4_K = 12
    Q5_K = 13
    Q6_K = 14
    Q8_K = 15
    IQ2_XXS = 16
    IQ2_XS = 17
    IQ3_XXS = 18
    IQ1_S = 19
    IQ4_NL = 20
    IQ3_S = 21
    IQ2_S = 22
    IQ4_XS = 23
    I8 = 24
    I16 = 25
    I32 = 26
    I64 = 27
    F64 = 28
    IQ1_M = 29
    BF16 = 30
    TQ1_0 = 34
    TQ2_0 = 35
    MXFP4 = 39
    NVFP4 = 40
    Q1_0 = 41


RETIRED_TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        4: "Q4_2 of 2023, or MXFP4 in Ollama's own layout of gpt-oss",
        5: "Q4_3 of 2023",
        31: "Q4_0_4_4, repacked for one processor",
        32: "Q4_0_4_8, repacked for one processor",
        33: "Q4_0_8_8, repacked for one processor",
        36: "IQ4_NL_4_4, repacked for one processor",
        37: "IQ4_NL_4_8, repacked for one processor",
        38: "IQ4_NL_8_8, repacked for one processor",
    }
)


class BlockFormat(NamedTuple):
    """How a tensor type packs weights: so many elements in so many bytes, along a row."""

    block_elements: int
    block_bytes: int


# Types that only live in memory while llama.cpp computes (Q8_1, Q8_K) have no entry.
BLOCK_FORMATS: Final[Mapping[TensorType, BlockFormat]] = MappingProxyType(
    {
        TensorType.F32: BlockFormat(1, 4),
        TensorType.F16: BlockFormat(1, 2),
        TensorType.BF16: BlockFormat(1, 2),
        TensorType.F64: BlockFormat(1, 8),
        TensorType.I8: BlockFormat(1, 1),
        TensorType.I16: BlockFormat(1, 2),
        TensorType.I32: BlockFormat(1, 4),
        TensorType.I64: BlockFormat(1, 8),
        TensorType.Q4_0: BlockFormat(32, 18),
        TensorType.Q4_1: BlockFormat(32, 20),
        TensorType.Q5_0: BlockFormat(32, 22),
        TensorType.Q5_1: BlockFormat(32, 24),
        TensorType.Q8_0: BlockFormat(32, 34),
        TensorType.Q2_K: BlockFormat(256, 84),
        TensorType.Q3_K: BlockFormat(256, 110),
        TensorType.Q4_K: BlockFormat(256, 144),
        TensorType.Q5_K: BlockFormat(256, 176),
        TensorType.Q6_K: BlockFormat(256, 210),
        TensorType.IQ1_S: BlockFormat(256, 50),
        TensorType.IQ1_M: BlockFormat(256, 56),
        TensorType.IQ2_XXS: BlockFormat(256, 66),
        TensorType.IQ2_XS: BlockFormat(256, 74),
        TensorType.IQ2_S: BlockFormat(256, 82),
        TensorType.IQ3_XXS: BlockFormat(256, 98),
        TensorType.IQ3_S: BlockFormat(256, 110),
        TensorType.IQ4_NL: BlockFormat(32, 18),
        TensorType.IQ4_XS: BlockFormat(256, 136),
        TensorType.TQ1_0: BlockFormat(256, 54),
        TensorType.TQ2_0: BlockFormat(256, 66),
        TensorType.MXFP4: BlockFormat(32, 17),
        TensorType.NVFP4: BlockFormat(64, 36),
        TensorType.Q1_0: BlockFormat(128, 18),
    }
)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies and what it is.

    Attributes:
        name: Its name in the file, e.g. ``blk.0.attn_q.weight``.
        shape: Row-major, the reverse of ggml's ``ne``: a linear layer is ``(n_out, n_in)``.
        type: Its storage type.
        offset: First byte of its data, counted from the start of the file.
        num_bytes: Length of its data in bytes.
    """

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int
    num_bytes: int

    @property
    def num_elements(self) -> int:
        """How many weights it holds."""
        return count_elements(self.shape)

    @property
    def row_bytes(self) -> int:
        """Length in bytes of one row (the last axis)."""
        row = self.shape[-1] if self.shape else 1
        return tensor_num_bytes(self.type, (row,))


def count_elements(shape: tuple[int, ...]) -> int:
    """Return the product of a shape; 1 for a scalar."""
    product = 1
    for length in shape:
        product *= length
    return product


def block_format(tensor_type: TensorType) -> BlockFormat:
    """Return the block format of a type.

    Raises:
        GgufError: if the type is never stored in files (Q8_1, Q8_K).
    """
    found = BLOCK_FORMATS.get(tensor_type)
    if found is None:
        raise GgufError(
            f"unsupported tensor type {tensor_type.name}: it is a scratch type of llama.cpp that "
            "no file may hold"
        )
    return found


def tensor_num_bytes(tensor_type: TensorType, shape: tuple[int, ...]) -> int:
    """Return the length in bytes of a tensor's packed data.

    Args:
        tensor_type: Its storage type.
        shape: Row-major shape; at most 4 lengths, each at least 1.

    Raises:
        GgufError: if the shape has more than four lengths, a length below 1 or a product of
            2^63 and more, if the row is no multiple of the block, or if the type is never stored.
    """
    if len(shape) > MAX_DIMS:
        raise GgufError(f"{len(shape)} dimensions were found, at most {MAX_DIMS} are allowed")
    if any(length < 1 for length in shape):
        raise GgufError(f"shape {list(shape)} has an empty dimension, at least 1 was expected")
    layout = block_format(tensor_type)
    row = shape[-1] if shape else 1
    if row % layout.block_elements:
        raise GgufError(
            f"a row of {row} weights was found, {tensor_type.name} packs multiples of "
            f"{layout.block_elements}"
        )
    num_bytes = count_elements(shape) // layout.block_elements * layout.block_bytes
    if max(num_bytes, count_elements(shape)) > MAX_INT64:
        raise GgufError(f"shape {list(shape)} has more weights than 63 bits can count")
    return num_bytes


def tensor_type_of(number: int) -> TensorType:
    """Return the tensor type with ggml's number.

    Raises:
        GgufError: if the number is retired or unknown.
    """
    try:
        return TensorType(number)
    except ValueError:
        known = RETIRED_TYPES.get(number, "unknown here, perhaps newer than this program")
        raise GgufError(f"unsupported tensor type number {number} ({known})") from None


def check_alignment(alignment: int) -> None:
    """Check that an alignment is a power of two from 8 to 65536 bytes.

    Raises:
        GgufError: if it is not.
    """
    if not MIN_ALIGNMENT <= alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
        raise GgufError(
            f"{ALIGNMENT_KEY} is {alignment}, a power of two from {MIN_ALIGNMENT} to "
            f"{MAX_ALIGNMENT} was expected"
        )


def align_up(position: int, alignment: int) -> int:
    """Return the first multiple of a power of two at or after a position."""
    return (position + alignment - 1) & -alignment
