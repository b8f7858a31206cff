"""Look for NaN and infinity in a file's weights: in whole numbers, and in the scales of blocks.

A block's quantised numbers are always finite; what can be broken is its scale and its minimum, so
that a few bytes of each block are looked at. Types without such are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from numpy.typing import NDArray

from fine_tuning.core.errors import GgufError
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import Bytes, TensorInfo, TensorType, block_format

CHUNK_BYTES: Final = 1 << 20
# Where the 16-bit scales of a block lie (ggml/src/ggml-common.h).
_SCALES: Final[Mapping[TensorType, tuple[int, ...]]] = MappingProxyType(
    {
        TensorType.Q4_0: (0,),
        TensorType.Q4_1: (0, 2),
        TensorType.Q5_0: (0,),
        TensorType.Q5_1: (0, 2),
        TensorType.Q8_0: (0,),
        TensorType.Q2_K: (80, 82),
        TensorType.Q3_K: (108,),
        TensorType.Q4_K: (0, 2),
        TensorType.Q5_K: (0, 2),
        TensorType.Q6_K: (208,),
        TensorType.IQ4_NL: (0,),
        TensorType.IQ4_XS: (0,),
    }
)


class _Number(NamedTuple):
    """How a floating-point number lies in its bits; a full exponent is NaN or infinity."""

    dtype: str
    exponent: int
    fraction: int


_WHOLE: Final[Mapping[TensorType, _Number]] = MappingProxyType(
    {
        TensorType.F32: _Number("<u4", 0x7F800000, 0x007FFFFF),
        TensorType.F16: _Number("<u2", 0x7C00, 0x03FF),
        TensorType.BF16: _Number("<u2", 0x7F80, 0x007F),
        TensorType.F64: _Number("<u8", 0x7FF << 52, (1 << 52) - 1),
    }
)


def check_finite(file: GgufFile) -> None:
    """Check that no weight of a file is NaN or infinite.

    Raises:
        GgufError: if one is; the sentence names its tensor.
    """
    for name, info in file.tensors.items():
        found = _not_finite(file.raw(name), info)
        if found:
            raise GgufError(
                f"{file.path}: {name} holds {found}: download the file again",
                next_command="ollama pull the model again (or copy the file again), or "
                "--base embedded",
            )


def _not_finite(raw: Bytes, info: TensorInfo) -> str:
    """Return "NaN" or "infinity" when a tensor holds it, else ""."""
    for start in range(0, len(raw), chunk := _chunk_bytes(info.type)):
        found = _in_chunk(raw[start : start + chunk], info.type)
        if found:
            return found
    return ""


def _chunk_bytes(kind: TensorType) -> int:
    """Return a number of bytes that holds whole blocks."""
    size = block_format(kind).block_bytes
    return max(1, CHUNK_BYTES // size) * size


def _in_chunk(raw: Bytes, kind: TensorType) -> str:
    if whole := _WHOLE.get(kind):
        return _broken(raw.view(whole.dtype), whole)
    if kind not in _SCALES:
        return ""
    half = _WHOLE[TensorType.F16]
    blocks = raw.view(half.dtype).reshape(-1, block_format(kind).block_bytes // 2)
    scales = (blocks[:, at // 2] for at in _SCALES[kind])
    return next(filter(None, (_broken(bits, half) for bits in scales)), "")


def _broken(bits: NDArray[Any], number: _Number) -> str:
    if (bits & number.exponent).max(initial=0) < number.exponent:
        return ""
    broken = bits[(bits & number.exponent) == number.exponent]
    return "NaN" if (broken & number.fraction).any() else "infinity"
