"""Unpack quantised weights to float32, bit for bit as llama.cpp does.

A block function takes ``(n, block_bytes)`` uint8 and returns ``(n, block_elements)`` float32; the
order of its float operations is the order of ``dequantize_row_*`` in ggml/src/ggml-quants.c.
Knows packed bytes only, nothing of files. Nibbles: the low halves of a byte run come first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fine_tuning.core.errors import GgufError
from fine_tuning.gguf.types import (
    Bytes,
    Floats,
    TensorType,
    block_format,
    count_elements,
    tensor_num_bytes,
)

# Weights unpacked at a time: the temporaries stay in the processor's cache.
CHUNK_ELEMENTS: Final = 1 << 16

_IQ4_VALUES: Final = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32
)
_BITS: Final = np.arange(8, dtype=np.uint8)
_PAIRS: Final = np.array([0, 2, 4, 6], np.uint8)
_HALVES: Final = np.array([0, 4], np.uint8)


def dequantize(raw: Bytes, tensor_type: TensorType, shape: tuple[int, ...]) -> Floats:
    """Unpack a tensor.

    Args:
        raw: Its packed bytes, as ``GgufFile.raw`` gives them; any shape, C order.
        tensor_type: Its storage type.
        shape: Row-major shape; the last axis is a multiple of the type's block.

    Returns:
        A new float32 array of that shape. Integer and F64 types are rounded to float32.

    Raises:
        GgufError: if the type cannot be unpacked, or bytes and shape do not belong together.
    """
    unpack = _UNPACK.get(tensor_type)
    if unpack is None:
        names = ", ".join(kind.name for kind in DEQUANTIZABLE)
        raise GgufError(f"unsupported tensor type {tensor_type.name}, one of {names} was expected")
    num_bytes = tensor_num_bytes(tensor_type, shape)
    if raw.dtype != np.uint8 or raw.nbytes != num_bytes:
        raise GgufError(
            f"{raw.nbytes} bytes of {raw.dtype} were given, {tensor_type.name} {list(shape)} has "
            f"{num_bytes} bytes of uint8"
        )
    layout = block_format(tensor_type)
    blocks = raw.reshape(-1, layout.block_bytes)
    out = np.empty((len(blocks), layout.block_elements), np.float32)
    step = max(1, CHUNK_ELEMENTS // layout.block_elements)
    # Scales are arbitrary bits: infinities and NaN are results here, not accidents.
    with np.errstate(all="ignore"):
        for start in range(0, len(blocks), step):
            out[start : start + step] = unpack(blocks[start : start + step])
    assert out.size == count_elements(shape)  # noqa: S101  # by tensor_num_bytes
    return out.reshape(shape)


def _as(blocks: Bytes, dtype: str) -> NDArray[Any]:
    """Read bytes as little-endian values of another type along the last axis."""
    return np.ascontiguousarray(blocks).view(dtype)


def read_half(blocks: Bytes) -> Floats:
    """``(n, 2k)`` bytes to ``(n, k)`` float32 of little-endian fp16."""
    return _as(blocks, "<f2").astype(np.float32)


def unpack_nibbles(packed: Bytes) -> Bytes:
    """``(..., k)`` bytes to ``(..., 2k)`` numbers 0 to 15, low halves first."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1)


def unpack_bits(packed: Bytes) -> Bytes:
    """``(n, 4)`` bytes to ``(n, 32)`` bits, lowest first."""
    bits: Bytes = (packed[:, :, None] >> _BITS) & np.uint8(1)
    return bits.reshape(-1, 32)


def _f32(blocks: Bytes) -> Floats:
    return _as(blocks, "<f4").astype(np.float32, copy=False)


def _f64(blocks: Bytes) -> Floats:
    return _as(blocks, "<f8").astype(np.float32)


def _bf16(blocks: Bytes) -> Floats:
    return (_as(blocks, "<u2").astype(np.uint32) << 16).view(np.float32)


def _integer(dtype: str) -> Callable[[Bytes], Floats]:
    def unpack(blocks: Bytes) -> Floats:
        return _as(blocks, dtype).astype(np.float32)

    return unpack


def _q4_0(blocks: Bytes) -> Floats:
    quants = unpack_nibbles(blocks[:, 2:]).astype(np.float32)
    quants -= 8
    quants *= read_half(blocks[:, :2])
    return quants


def _q4_1(blocks: Bytes) -> Floats:
    quants = unpack_nibbles(blocks[:, 4:]).astype(np.float32)
    quants *= read_half(blocks[:, :2])
    quants += read_half(blocks[:, 2:4])
    return quants


def _q5_0(blocks: Bytes) -> Floats:
    quants = (unpack_nibbles(blocks[:, 6:]) | (unpack_bits(blocks[:, 2:6]) << 4)).astype(np.float32)
    quants -= 16
    quants *= read_half(blocks[:, :2])
    return quants


def _q5_1(blocks: Bytes) -> Floats:
    quants = (unpack_nibbles(blocks[:, 8:]) | (unpack_bits(blocks[:, 4:8]) << 4)).astype(np.float32)
    quants *= read_half(blocks[:, :2])
    quants += read_half(blocks[:, 2:4])
    return quants


def _q8_0(blocks: Bytes) -> Floats:
    quants = blocks[:, 2:].view(np.int8).astype(np.float32)
    quants *= read_half(blocks[:, :2])
    return quants


def _q2_k(blocks: Bytes) -> Floats:
    """Scales and minima (4 bits each, 16 of 16 weights), 64 bytes of 2-bit quants, d, dmin."""
    n = len(blocks)
    packed_scales, d, dmin = (
        blocks[:, :16],
        read_half(blocks[:, 80:82]),
        read_half(blocks[:, 82:84]),
    )
    packed = blocks[:, 16:80].reshape(n, 2, 1, 32)
    quants = ((packed >> _PAIRS[:, None]) & 3).reshape(n, 16, 16).astype(np.float32)
    quants *= (d * (packed_scales & 15))[:, :, None]
    quants -= (dmin * (packed_scales >> 4))[:, :, None]
    return quants.reshape(n, 256)


def _q3_k(blocks: Bytes) -> Floats:
    """32 bytes of high bits, 64 of low pairs, 12 of 6-bit scales, d; the high bit means +4."""
    n = len(blocks)
    packed = blocks[:, 32:96].reshape(n, 2, 1, 32)
    low = ((packed >> _PAIRS[:, None]) & 3).reshape(n, 8, 32)
    high = (blocks[:, :32].reshape(n, 1, 32) >> _BITS[:, None]) & 1
    quants = (low | (high << 2)).reshape(n, 16, 16).astype(np.float32)
    quants -= 4
    low_scales = unpack_nibbles(blocks[:, 96:104])
    high_scales = (blocks[:, 104:108].reshape(n, 1, 4) >> _PAIRS[:, None]) & 3
    scales = (low_scales | (high_scales.reshape(n, 16) << 4)).astype(np.float32)
    scales -= 32
    quants *= (read_half(blocks[:, 108:110]) * scales)[:, :, None]
    return quants.reshape(n, 256)


def unpack_k_scales(packed: Bytes) -> tuple[Bytes, Bytes]:
    """12 bytes to 8 six-bit scales and 8 six-bit minima (``get_scale_min_k4``)."""
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([first & 63, (third & 15) | ((first >> 2) & 48)], axis=1)
    minima = np.concatenate([second & 63, (third >> 4) | ((second >> 2) & 48)], axis=1)
    return scales, minima


def _scale_k(blocks: Bytes, quants: Floats) -> Floats:
    """Apply d, dmin and the packed scales of Q4_K and Q5_K to ``(n, 8, 32)`` quants."""
    d, dmin = read_half(blocks[:, :2]), read_half(blocks[:, 2:4])
    scales, minima = unpack_k_scales(blocks[:, 4:16])
    quants *= (d * scales)[:, :, None]
    quants -= (dmin * minima)[:, :, None]
    return quants.reshape(-1, 256)


def _q4_k(blocks: Bytes) -> Floats:
    quants = unpack_nibbles(blocks[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    return _scale_k(blocks, quants.astype(np.float32))


def _q5_k(blocks: Bytes) -> Floats:
    low = unpack_nibbles(blocks[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    high = (blocks[:, 16:48].reshape(-1, 1, 32) >> _BITS[:, None]) & 1
    return _scale_k(blocks, (low | (high << 4)).astype(np.float32))


def _q6_k(blocks: Bytes) -> Floats:
    """128 bytes of low nibbles, 64 of high pairs, 16 signed scales, d."""
    n = len(blocks)
    packed = blocks[:, :128].reshape(n, 2, 1, 64)
    low = ((packed >> _HALVES[:, None]) & 15).reshape(n, 8, 32)
    high = ((blocks[:, 128:192].reshape(n, 2, 1, 32) >> _PAIRS[:, None]) & 3).reshape(n, 8, 32)
    quants = (low | (high << 4)).reshape(n, 16, 16).astype(np.float32)
    quants -= 32
    scales = blocks[:, 192:208].view(np.int8).astype(np.float32)
    quants *= (read_half(blocks[:, 208:210]) * scales)[:, :, None]
    return quants.reshape(n, 256)


def _iq4_nl(blocks: Bytes) -> Floats:
    values: Floats = _IQ4_VALUES[unpack_nibbles(blocks[:, 2:])]
    values *= read_half(blocks[:, :2])
    return values


def _iq4_xs(blocks: Bytes) -> Floats:
    """d, 8 high scale pairs in 16 bits, 8 low scale nibbles, 128 bytes of nibbles."""
    n = len(blocks)
    low = ((blocks[:, 4:8, None] >> _HALVES) & 15).reshape(n, 8)
    high = ((blocks[:, 2:4, None] >> _PAIRS) & 3).reshape(n, 8)
    scales = (low | (high << 4)).astype(np.float32)
    scales -= 32
    values: Floats = _IQ4_VALUES[unpack_nibbles(blocks[:, 8:].reshape(n, 8, 16))]
    values *= (read_half(blocks[:, :2]) * scales)[:, :, None]
    return values.reshape(n, 256)


_UNPACK: Final[Mapping[TensorType, Callable[[Bytes], Floats]]] = MappingProxyType(
    {
        TensorType.F32: _f32,
        TensorType.F16: read_half,
        TensorType.BF16: _bf16,
        TensorType.F64: _f64,
        TensorType.I8: _integer("<i1"),
        TensorType.I16: _integer("<i2"),
        TensorType.I32: _integer("<i4"),
        TensorType.I64: _integer("<i8"),
        TensorType.Q4_0: _q4_0,
        TensorType.Q4_1: _q4_1,
        TensorType.Q5_0: _q5_0,
        TensorType.Q5_1: _q5_1,
        TensorType.Q8_0: _q8_0,
        TensorType.Q2_K: _q2_k,
        TensorType.Q3_K: _q3_k,
        TensorType.Q4_K: _q4_k,
        TensorType.Q5_K: _q5_k,
        TensorType.Q6_K: _q6_k,
        TensorType.IQ4_NL: _iq4_nl,
        TensorType.IQ4_XS: _iq4_xs,
    }
)
DEQUANTIZABLE: Final = tuple(_UNPACK)
