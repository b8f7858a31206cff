"""Quantised weights as ``q * d + m`` per block of 32: what a mergeable adapter can fold into.

Q4_0 and Q5_0 become Q4_1 and Q5_1 without loss (m = -8 d, -16 d); Q4_K and Q5_K up to the rounding
of ``d * scale`` and ``dmin * minimum`` to fp16. The quants themselves are never touched.
Block layouts: ggml/src/ggml-common.h of llama.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

import numpy as np

from fine_tuning.core.errors import GgufError
from fine_tuning.gguf.dequantize import (
    CHUNK_ELEMENTS,
    read_half,
    unpack_bits,
    unpack_k_scales,
    unpack_nibbles,
)
from fine_tuning.gguf.quantize import pack_fifth_bits, pack_nibbles, write_half
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import (
    Bytes,
    Floats,
    TensorInfo,
    TensorType,
    block_format,
    tensor_num_bytes,
)

BLOCK: Final = 32
EXACT_TYPES: Final[Mapping[TensorType, TensorType]] = MappingProxyType(
    {
        TensorType.Q4_0: TensorType.Q4_1,
        TensorType.Q4_1: TensorType.Q4_1,
        TensorType.Q4_K: TensorType.Q4_1,
        TensorType.Q5_0: TensorType.Q5_1,
        TensorType.Q5_1: TensorType.Q5_1,
        TensorType.Q5_K: TensorType.Q5_1,
    }
)
"""Types a block sum folds into, and what each becomes."""
_MINIMUM: Final = slice(2, 4)


def requantize_exact(raw: Bytes, tensor_type: TensorType) -> Bytes:
    """Rewrite packed weights as Q4_1 or Q5_1.

    Args:
        raw: Packed bytes of whole blocks, in any shape.
        tensor_type: A key of ``EXACT_TYPES``.

    Returns:
        A new array (n, 20) or (n, 24) of uint8, a row per block of 32 weights.

    Raises:
        GgufError: if the type has no exact form, or a scale or minimum does not fit fp16.
    """
    if tensor_type not in EXACT_TYPES:
        known = ", ".join(kind.name for kind in EXACT_TYPES)
        raise GgufError(f"{tensor_type.name} has no block minimum, one of {known} was expected")
    stored = block_format(tensor_type)
    blocks = raw.reshape(-1, stored.block_bytes)
    ratio = stored.block_elements // BLOCK
    width = block_format(EXACT_TYPES[tensor_type]).block_bytes
    out = np.empty((len(blocks) * ratio, width), np.uint8)
    step = CHUNK_ELEMENTS // stored.block_elements
    with np.errstate(all="ignore"):  # scales that are not finite stay what they are, or are refused
        for start in range(0, len(blocks), step):
            part = blocks[start : start + step]
            out[start * ratio : (start + len(part)) * ratio] = _PROMOTE[tensor_type](part)
    return out


def shift_minima(blocks: Bytes, delta: Floats) -> None:
    """Add a number to every weight of each block, in place.

    Args:
        blocks: (n, 20) Q4_1 or (n, 24) Q5_1.
        delta: (n,); what is stored is the sum rounded to fp16.

    Raises:
        GgufError: if a sum is not finite or does not fit fp16.
    """
    with np.errstate(all="ignore"):
        minima = read_half(blocks[:, _MINIMUM])[:, 0] + delta
    if not np.isfinite(minima).all():
        raise GgufError("a block's minimum became NaN or infinite, finite numbers were expected")
    blocks[:, _MINIMUM] = write_half(minima[:, None])


def block_minima(blocks: Bytes) -> Floats:
    """Return the minima (n,) of Q4_1 or Q5_1 blocks."""
    return read_half(blocks[:, _MINIMUM])[:, 0]


class RequantizedFile(GgufFile):
    """A GGUF file in which some tensors are seen requantised exactly.

    ``raw`` makes a new array of a requantised tensor at each call; its ``offset`` in the file says
    where the stored form lies.
    """

    @classmethod
    def open_with(cls, path: str | Path, wanted: Callable[[str], bool]) -> Self:
        """Open a file; tensors whose name is wanted and whose type allows are requantised.

        Raises:
            FineTuningError: as :meth:`GgufFile.open` raises.
        """
        file = cls.open(path)
        file.stored = dict(file.tensors)
        file.tensors = MappingProxyType(
            {
                name: _requantized_info(info) if info.type in EXACT_TYPES and wanted(name) else info
                for name, info in file.stored.items()
            }
        )
        return file

    stored: Mapping[str, TensorInfo]

    def raw(self, name: str) -> Bytes:
        """Return a tensor's packed bytes in the type ``tensors`` gives it.

        Raises:
            GgufError: if there is no such tensor, the file was closed, or a number does not fit.
        """
        info, stored = self.tensor(name), self.stored[name]
        raw = self.stored_bytes(stored)
        return raw if info.type is stored.type else requantize_exact(raw, stored.type).reshape(-1)


def _requantized_info(info: TensorInfo) -> TensorInfo:
    kind = EXACT_TYPES[info.type]
    return TensorInfo(info.name, info.shape, kind, info.offset, tensor_num_bytes(kind, info.shape))


def _join(d: Floats, m: Floats, quants: Bytes, *, bits: int) -> Bytes:
    """Lay out scale and minimum (n, 1), fifth bits and nibbles of quants (n, 32)."""
    if not (np.isfinite(d).all() and np.isfinite(m).all()):
        raise GgufError("a block's scale is NaN or infinite, finite numbers were expected")
    fifth = [pack_fifth_bits(quants)] if bits == 5 else []  # noqa: PLR2004  # the fifth bit
    return np.concatenate([write_half(d), write_half(m), *fifth, pack_nibbles(quants)], axis=-1)


def _from_q4_0(blocks: Bytes) -> Bytes:
    d = read_half(blocks[:, :2])
    return _join(d, -8 * d, unpack_nibbles(blocks[:, 2:]), bits=4)


def _from_q5_0(blocks: Bytes) -> Bytes:
    d = read_half(blocks[:, :2])
    quants = unpack_nibbles(blocks[:, 6:]) | (unpack_bits(blocks[:, 2:6]) << np.uint8(4))
    return _join(d, -16 * d, quants, bits=5)


def _k_affine(blocks: Bytes) -> tuple[Floats, Floats]:
    """Return the products d * scale and -dmin * minimum, a row per 32 weights."""
    scales, minima = unpack_k_scales(blocks[:, 4:16])
    d, dmin = read_half(blocks[:, :2]), read_half(blocks[:, 2:4])
    with np.errstate(invalid="ignore"):
        return (d * scales).reshape(-1, 1), -(dmin * minima).reshape(-1, 1)


def _from_q4_k(blocks: Bytes) -> Bytes:
    quants = unpack_nibbles(blocks[:, 16:].reshape(-1, 4, BLOCK)).reshape(-1, BLOCK)
    return _join(*_k_affine(blocks), quants, bits=4)


def _from_q5_k(blocks: Bytes) -> Bytes:
    low = unpack_nibbles(blocks[:, 48:].reshape(-1, 4, BLOCK)).reshape(-1, 8, BLOCK)
    fifth = (
        blocks[:, 16:48].reshape(-1, 1, BLOCK) >> np.arange(8, dtype=np.uint8)[:, None]
    ) & np.uint8(1)
    return _join(*_k_affine(blocks), (low | (fifth << np.uint8(4))).reshape(-1, BLOCK), bits=5)


def _checked(blocks: Bytes) -> Bytes:
    if not np.isfinite(read_half(blocks[:, :4])).all():
        raise GgufError("a block's scale is NaN or infinite, finite numbers were expected")
    return blocks


_PROMOTE: Final[Mapping[TensorType, Callable[[Bytes], Bytes]]] = MappingProxyType(
    {
        TensorType.Q4_0: _from_q4_0,
        TensorType.Q4_1: _checked,
        TensorType.Q4_K: _from_q4_k,
        TensorType.Q5_0: _from_q5_0,
        TensorType.Q5_1: _checked,
        TensorType.Q5_K: _from_q5_k,
    }
)
