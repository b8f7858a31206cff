"""The arithmetic of merging one weight: into block minima, or unpacked, added to and packed again.

Works on packed bytes, some rows at a time, and measures what a type keeps of an update. Knows no
file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from fine_tuning.core.errors import GgufError
from fine_tuning.gguf.adapter import Factors
from fine_tuning.gguf.dequantize import dequantize
from fine_tuning.gguf.requantize_exact import (
    BLOCK,
    EXACT_TYPES,
    block_minima,
    requantize_exact,
    shift_minima,
)
from fine_tuning.gguf.types import Bytes, Floats, TensorType, tensor_num_bytes

Packer = Callable[[Floats, TensorType], Bytes]
"""Packs float32 rows (n, n_in) into a type, as ``quantize`` does."""

CHUNK_WEIGHTS: Final = 1 << 16  # 256 KiB of float32 fit the cache: 40 % faster


@dataclass(slots=True)
class UpdateLoss:
    """How a realised update compares with the one asked for; sums over weights, float64."""

    asked: float = 0.0
    along: float = 0.0
    found: float = 0.0

    def add(self, update: Floats, realised: Floats, *, times: int = 1) -> None:
        """Count weights in; ``times`` for numbers that stand for several weights each."""
        a, r = update.ravel().astype(np.float64), realised.ravel().astype(np.float64)
        self.asked += times * float(a @ a)
        self.along += times * float(a @ r)
        self.found += times * float(r @ r)

    @property
    def kept(self) -> float:
        """Share of the update that was realised: the projection on it, 1 for all of it."""
        return self.along / self.asked if self.asked else 1.0

    @property
    def noise(self) -> float:
        """Length of what was changed besides, relative to the length of the update."""
        if not self.asked:
            return 0.0
        return math.sqrt(max(self.found - self.along**2 / self.asked, 0.0) / self.asked)


@dataclass(frozen=True, slots=True)
class Weight:
    """A packed matrix (…, n_in): its bytes, type and shape."""

    raw: Bytes
    type: TensorType
    shape: tuple[int, ...]

    @property
    def n_in(self) -> int:
        """Length of a row."""
        return self.shape[-1]

    @property
    def num_rows(self) -> int:
        """Rows, whatever the axes before the last."""
        return math.prod(self.shape[:-1])

    def row_slices(self) -> Iterator[slice]:
        """Yield the rows in runs of about 65,000 weights."""
        step = max(1, CHUNK_WEIGHTS // self.n_in)
        for start in range(0, self.num_rows, step):
            yield slice(start, min(start + step, self.num_rows))

    def unpacked(self, rows: slice) -> Floats:
        """Return some rows as float32."""
        part = self.raw.reshape(self.num_rows, -1)[rows]
        return dequantize(part, self.type, (rows.stop - rows.start, self.n_in))


def fold(weight: Weight, factors: Factors) -> tuple[Bytes, UpdateLoss]:
    """Add a block-sum update to the minima of 4- or 5-bit blocks.

    Returns:
        The weight in its exact type, and the loss to fp16.

    Raises:
        GgufError: if the type has no exact form, or a minimum does not fit fp16.
    """
    blocks, loss = requantize_exact(weight.raw, weight.type), UpdateLoss()
    per_row = weight.n_in // BLOCK
    a_blocks = factors.a[:, ::BLOCK]
    for rows in weight.row_slices():
        part = blocks[rows.start * per_row : rows.stop * per_row]
        update = _product(factors, rows, a_blocks).ravel()
        before = block_minima(part)
        shift_minima(part, update)
        loss.add(update, block_minima(part) - before, times=BLOCK)
    return blocks.reshape(-1), loss


def repack(
    weight: Weight, factors: Factors | None, kind: TensorType, pack: Packer
) -> tuple[Bytes, UpdateLoss]:
    """Unpack a weight, add an update if there is one, and pack it in another type.

    Raises:
        GgufError: if a type cannot be unpacked or packed, or a weight does not fit it.
    """
    out = np.empty(tensor_num_bytes(kind, weight.shape), np.uint8)
    loss, lines = UpdateLoss(), out.reshape(weight.num_rows, -1)
    for rows in weight.row_slices():
        lines[rows] = repack_rows(weight, factors, kind, rows, (pack, loss))
    return out, loss


def repack_rows(
    weight: Weight,
    factors: Factors | None,
    kind: TensorType,
    rows: slice,
    how: tuple[Packer, UpdateLoss],
) -> Bytes:
    """Do some rows of :func:`repack`; counts what is lost."""
    pack, loss = how
    before = weight.unpacked(rows)
    if factors is None:
        return pack(before, kind).reshape(len(before), -1)
    update = _product(factors, rows, factors.a)
    with np.errstate(all="ignore"):  # what is not finite is refused next
        after = before + update
    if not np.isfinite(after).all():
        raise GgufError("a merged weight is NaN or infinite, finite weights were expected")
    packed = pack(after, kind).reshape(len(after), -1)
    loss.add(update, dequantize(packed, kind, after.shape) - before)
    return packed


def _product(factors: Factors, rows: slice, a: Floats) -> Floats:
    with np.errstate(all="ignore"):  # what is not finite is refused later
        return np.float32(factors.scale) * (factors.b[rows] @ a)


def can_fold(weight_type: TensorType, factors: Factors) -> bool:
    """Tell whether an update goes into block minima."""
    return factors.is_qalora and weight_type in EXACT_TYPES
