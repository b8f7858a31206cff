"""Frozen weights that stay packed: unpacked per use into one shared scratch buffer, then forgotten.

Rows of a weight are output features (n_out, n_in), as ggml stores them; the unpacked matrix serves
``x @ W.T`` and ``dy @ W`` alike, so no transposed copy is ever made.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fine_tuning.core.errors import UnsupportedModelError
from fine_tuning.engine.kernels.interface import Kernels, Raw
from fine_tuning.gguf.dequantize import DEQUANTIZABLE
from fine_tuning.gguf.reader import GgufFile

MATRIX_DIMENSIONS = 2

Residency = Literal["packed", "unpacked"]
"""Where weights live: packed as in the file, or unpacked once into the compute dtype."""


class Scratch(threading.local):
    """One buffer per thread for the weight in use; asking again overwrites it."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._buffer = torch.empty(0, dtype=dtype)

    def take(self, rows: int, columns: int) -> Tensor:
        """Return an uninitialised (rows, columns) view, valid until the next call.

        Args:
            rows: How many rows.
            columns: How many columns.
        """
        if self._buffer.numel() < rows * columns:
            self._buffer = torch.empty(rows * columns, dtype=self.dtype)
        return self._buffer[: rows * columns].view(rows, columns)


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    """One weight as it lies in the file: blocks along n_in, row after row."""

    name: str
    raw: Raw
    type_id: int
    n_out: int
    n_in: int

    @classmethod
    def from_file(cls, file: GgufFile, name: str) -> PackedMatrix:
        """Take a two-dimensional tensor of a file, without copying.

        Args:
            file: An open GGUF file.
            name: The tensor's name ("blk.0.attn_q.weight").

        Returns:
            The matrix, its bytes a view of the file.

        Raises:
            UnsupportedModelError: if the tensor is missing, not a matrix, or of a type that
                cannot be unpacked.
        """
        info = file.tensors.get(name)
        if info is None:
            raise UnsupportedModelError(f"{file.path} has no tensor {name}")
        if len(info.shape) != MATRIX_DIMENSIONS:
            raise UnsupportedModelError(
                f"{file.path}: {name} has shape {info.shape}, expected a matrix"
            )
        if info.type not in DEQUANTIZABLE:
            raise UnsupportedModelError(
                f"{file.path}: {name} is of type {info.type.name}, expected one of "
                f"{', '.join(kind.name for kind in DEQUANTIZABLE)}"
            )
        return cls(name, file.raw(name), int(info.type), info.shape[0], info.shape[1])

    @property
    def row_bytes(self) -> int:
        """Bytes of one row; blocks never cross rows."""
        return self.raw.nbytes // self.n_out

    def unpack(self, kernels: Kernels, out: Tensor, first_row: int = 0) -> None:
        """Fill ``out`` (rows, n_in) with the rows from ``first_row`` on.

        Args:
            kernels: What unpacks.
            out: Is filled; (rows, n_in), float32 or bfloat16.
            first_row: The first row of the matrix that is wanted.
        """
        start = first_row * self.row_bytes
        part = self.raw[start : start + out.shape[0] * self.row_bytes]
        kernels.unpack(part, self.type_id, out)

    def gather(self, kernels: Kernels, ids: Tensor) -> Tensor:
        """Return rows ``ids`` as float32 (len(ids), n_in): the embedding look-up.

        Args:
            kernels: What unpacks.
            ids: Row numbers, int64, each below ``n_out``.
        """
        rows = self.raw.reshape(self.n_out, self.row_bytes)[ids.numpy()]
        out = torch.empty(len(ids), self.n_in, dtype=torch.float32)
        kernels.unpack(rows.reshape(-1), self.type_id, out)
        return out


class StackedLinear:
    """Weights that read the same input, stacked along n_out into one product.

    Args:
        members: The stacked matrices, all of the same n_in; types may differ.
        kernels: What unpacks them.
        scratch: Where they are unpacked when they stay packed.
        residency: "unpacked" keeps the unpacked stack for good.
        bias: Added to the product (n_out,); None is none.

    Raises:
        UnsupportedModelError: if the members' n_in differ.
    """

    def __init__(
        self,
        members: tuple[PackedMatrix, ...],
        kernels: Kernels,
        scratch: Scratch,
        residency: Residency,
        bias: Tensor | None = None,
    ) -> None:
        self.bias = None if bias is None else bias.to(scratch.dtype)
        self.members = members
        self.n_in = members[0].n_in
        self.n_out = sum(member.n_out for member in members)
        if any(member.n_in != self.n_in for member in members):
            raise UnsupportedModelError(
                f"{members[0].name} and its siblings read inputs of different width"
            )
        self._kernels = kernels
        self._scratch = scratch
        self._kept: Tensor | None = None
        if residency == "unpacked":
            self.unpack()

    def unpack(self) -> None:
        """Keep the unpacked stack from now on."""
        if self._kept is None:
            self._kept = self._fill(torch.empty(self.n_out, self.n_in, dtype=self._scratch.dtype))

    def _fill(self, out: Tensor) -> Tensor:
        row = 0
        for member in self.members:
            member.unpack(self._kernels, out[row : row + member.n_out])
            row += member.n_out
        return out

    def weight(self) -> Tensor:
        """Return the stacked weight (n_out, n_in); in scratch, it lives until the next call."""
        if self._kept is not None:
            return self._kept
        return self._fill(self._scratch.take(self.n_out, self.n_in))
