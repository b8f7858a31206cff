"""Pack float32 weights into the simple block types, bit for bit as gguf-py does.

A block function takes ``(n, 32)`` float32 and returns ``(n, block_bytes)`` uint8. Rounding follows
``quantize_row_*_ref`` in ggml/src/ggml-quants.c, as gguf-py/gguf/quants.py restates it. The K types
need a search for scales and are not written here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from fine_tuning.core.errors import GgufError
from fine_tuning.gguf.types import Bytes, Floats, TensorType, block_format, tensor_num_bytes

CHUNK_ELEMENTS: Final = 1 << 16
BLOCK: Final = 32


def quantize(values: Floats, tensor_type: TensorType) -> Bytes:
    """Pack a tensor.

    Args:
        values: Float32 weights, row-major; the last axis is a multiple of the type's block.
        tensor_type: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1 or Q8_0.

    Returns:
        The packed bytes, one-dimensional, as ``GgufFile.raw`` returns them.

    Raises:
        GgufError: if the type cannot be packed or does not fit the shape, if values are not
            float32, if a value is not finite (block types), or if a value or a block's scale
            exceeds the range of fp16 (F16 and block types).
    """
    pack = _PACK.get(tensor_type)
    if pack is None:
        names = ", ".join(kind.name for kind in QUANTIZABLE)
        raise GgufError(f"{tensor_type.name} cannot be written, one of {names} was expected")
    if values.dtype != np.float32:
        raise GgufError(f"weights of {values.dtype} were given, float32 was expected")
    num_bytes = tensor_num_bytes(tensor_type, values.shape)
    layout = block_format(tensor_type)
    blocks = values.reshape(-1, layout.block_elements)
    out = np.empty((len(blocks), layout.block_bytes), np.uint8)
    step = max(1, CHUNK_ELEMENTS // layout.block_elements)
    for start in range(0, len(blocks), step):
        out[start : start + step] = pack(np.ascontiguousarray(blocks[start : start + step]))
    return out.reshape(num_bytes)


def write_half(values: Floats) -> Bytes:
    """Round to fp16 and return its bytes along the last axis.

    Raises:
        GgufError: if a finite value becomes infinite.
    """
    with np.errstate(over="ignore", under="ignore"):
        half = values.astype("<f2")
    if (np.isinf(half) & np.isfinite(values)).any():
        largest = np.abs(values[np.isfinite(values)]).max()
        raise GgufError(f"{largest:g} was found, fp16 holds at most 65504")
    return half.view(np.uint8)


def _check_finite(blocks: Floats) -> None:
    if not np.isfinite(blocks).all():
        raise GgufError("a weight is NaN or infinite, finite weights were expected")


def _inverse(scale: Floats) -> Floats:
    """1/scale, and 0 where the scale is 0; an overflow to infinity is as in ggml."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.where(scale == 0, np.float32(0), 1 / scale).astype(np.float32, copy=False)


def _round_to(blocks: Floats, inverse: Floats, offset: float, largest: int) -> Bytes:
    with np.errstate(invalid="ignore", over="ignore"):
        rounded = np.trunc(blocks * inverse + np.float32(offset)).astype(np.uint8)
    clipped: Bytes = rounded.clip(0, largest).astype(np.uint8, copy=False)
    return clipped


def pack_nibbles(quants: Bytes) -> Bytes:
    """``(n, 32)`` numbers to ``(n, 16)`` bytes of their low four bits, first half low."""
    packed: Bytes = (quants[:, : BLOCK // 2] & np.uint8(15)) | (
        quants[:, BLOCK // 2 :] << np.uint8(4)
    )
    return packed


def pack_fifth_bits(quants: Bytes) -> Bytes:
    """``(n, 32)`` five-bit numbers to ``(n, 4)`` bytes of their fifth bits, lowest first."""
    return np.packbits(quants >> 4, axis=-1, bitorder="little")


def _symmetric(blocks: Floats, levels: int) -> tuple[Bytes, Bytes]:
    """Scale so that the value of largest magnitude becomes ``-levels``; return d and quants."""
    _check_finite(blocks)
    place = np.abs(blocks).argmax(axis=-1, keepdims=True)
    scale = np.take_along_axis(blocks, place, axis=-1) / np.float32(-levels)
    quants = _round_to(blocks, _inverse(scale), levels + 0.5, 2 * levels - 1)
    return write_half(scale), quants


def _affine(blocks: Floats, largest: int) -> tuple[Bytes, Bytes]:
    """Spread each block's range over 0 to ``largest``; return d and m side by side, and quants."""
    _check_finite(blocks)
    low = blocks.min(axis=-1, keepdims=True)
    with np.errstate(over="ignore"):
        scale = (blocks.max(axis=-1, keepdims=True) - low) / np.float32(largest)
        shifted = blocks - low
    quants = _round_to(shifted, _inverse(scale), 0.5, largest)
    return np.concatenate([write_half(scale), write_half(low)], axis=-1), quants


def quantize_q4_0(blocks: Floats) -> Bytes:
    """Pack ``(n, 32)`` float32 into ``(n, 18)`` bytes of Q4_0.

    Raises:
        GgufError: if a value is not finite or a scale exceeds fp16.
    """
    scale, quants = _symmetric(blocks, 8)
    return np.concatenate([scale, pack_nibbles(quants)], axis=-1)


def quantize_q4_1(blocks: Floats) -> Bytes:
    """Pack ``(n, 32)`` float32 into ``(n, 20)`` bytes of Q4_1.

    Raises:
        GgufError: if a value is not finite or a scale exceeds fp16.
    """
    scales, quants = _affine(blocks, 15)
    return np.concatenate([scales, pack_nibbles(quants)], axis=-1)


def quantize_q5_0(blocks: Floats) -> Bytes:
    """Pack ``(n, 32)`` float32 into ``(n, 22)`` bytes of Q5_0.

    Raises:
        GgufError: if a value is not finite or a scale exceeds fp16.
    """
    scale, quants = _symmetric(blocks, 16)
    return np.concatenate([scale, pack_fifth_bits(quants), pack_nibbles(quants)], axis=-1)


def quantize_q5_1(blocks: Floats) -> Bytes:
    """Pack ``(n, 32)`` float32 into ``(n, 24)`` bytes of Q5_1.

    Raises:
        GgufError: if a value is not finite or a scale exceeds fp16.
    """
    scales, quants = _affine(blocks, 31)
    return np.concatenate([scales, pack_fifth_bits(quants), pack_nibbles(quants)], axis=-1)


def quantize_q8_0(blocks: Floats) -> Bytes:
    """Pack ``(n, 32)`` float32 into ``(n, 34)`` bytes of Q8_0; halves round away from zero.

    Raises:
        GgufError: if a value is not finite or a scale exceeds fp16.
    """
    _check_finite(blocks)
    scale = np.abs(blocks).max(axis=-1, keepdims=True) / np.float32(127)
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = blocks * _inverse(scale)
        size = np.abs(scaled)
        whole = np.floor(size)
        rounded = np.sign(scaled) * (whole + np.floor(2 * (size - whole)))
        quants = rounded.astype(np.int8).view(np.uint8)
    return np.concatenate([write_half(scale), quants], axis=-1)


def _pack_f32(blocks: Floats) -> Bytes:
    return blocks.astype("<f4", copy=False).view(np.uint8)


def _pack_bf16(blocks: Floats) -> Bytes:
    """Round to nearest even; NaN is made quiet (``ggml_compute_fp32_to_bf16``)."""
    bits = blocks.view(np.uint32)
    quiet = np.where(np.isnan(blocks), (bits & 0xFFFF0000) | 0x400000, bits).astype(np.uint64)
    rounded = (quiet + (0x7FFF + ((quiet >> 16) & 1))) >> 16
    return rounded.astype("<u2").view(np.uint8)


_PACK: Final[Mapping[TensorType, Callable[[Floats], Bytes]]] = MappingProxyType(
    {
        TensorType.F32: _pack_f32,
        TensorType.F16: write_half,
        TensorType.BF16: _pack_bf16,
        TensorType.Q4_0: quantize_q4_0,
        TensorType.Q4_1: quantize_q4_1,
        TensorType.Q5_0: quantize_q5_0,
        TensorType.Q5_1: quantize_q5_1,
        TensorType.Q8_0: quantize_q8_0,
    }
)
QUANTIZABLE: Final = tuple(_PACK)
