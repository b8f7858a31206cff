"""The output head: logits and loss of the rows that are asked for, a chunk at a time.

Legend: N rows, H width, V vocabulary. The head's weight is as large as a whole small model, so it
is unpacked in blocks of vocabulary rows that fit a budget; the usual small vocabulary is one block,
unpacked once per call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from fine_tuning.engine.kernels.interface import Kernels
from fine_tuning.engine.layout import TOKEN_MULTIPLE, round_up
from fine_tuning.engine.packed import PackedMatrix, Scratch

ROWS_PER_CHUNK = 256
BLOCK_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class SoftTargets:
    """Distributions to come near to, one per target: a teacher's.

    ``probabilities`` (N, K) float32, each at least 0. ``tokens`` (N, K) int64 names the tokens they
    are of, each once a row; None is the whole vocabulary. Tokens not named have probability 0.
    """

    probabilities: Tensor
    tokens: Tensor | None = None

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of several, one after the other; all of one K, all sparse or all dense.

        Raises:
            RuntimeError: if the parts' K differ.
        """
        tokens = [part.tokens for part in parts if part.tokens is not None]
        probabilities = torch.cat([part.probabilities for part in parts])
        return cls(probabilities, torch.cat(tokens) if tokens else None)

    def rows(self, rows: slice) -> tuple[Tensor | None, Tensor]:
        """Return the tokens and probabilities of some rows."""
        return None if self.tokens is None else self.tokens[rows], self.probabilities[rows]


def weighted_sum(losses_N: Tensor, weights_N: Tensor) -> float:
    """Return the weighted sum in float64, chunk by chunk, so that it repeats to the bit.

    Args:
        losses_N: Losses in nats, float32.
        weights_N: One weight per loss.
    """
    total, products_N = 0.0, losses_N.double() * weights_N
    for chunk in torch.split(products_N, ROWS_PER_CHUNK):
        total += float(chunk.sum())
    return total


class OutputHead:
    """Logits of normed hidden rows.

    Args:
        matrix: Packed weight (V, H); the token embedding when tied.
        kernels: Unpacking and cross-entropy.
        soft_cap: Logits become cap * tanh(logit / cap); 0 leaves them.
    """

    def __init__(self, matrix: PackedMatrix, kernels: Kernels, soft_cap: float = 0.0) -> None:
        self.matrix = matrix
        self.soft_cap = soft_cap
        self._kernels = kernels
        self._scratch: dict[torch.dtype, Scratch] = {}

    def _blocks(self, dtype: torch.dtype) -> list[tuple[int, int]]:
        """Return (first row, rows) of the vocabulary blocks."""
        row_bytes = self.matrix.n_in * dtype.itemsize
        rows = min(self.matrix.n_out, max(1, BLOCK_BYTES // row_bytes))
        return [
            (first, min(rows, self.matrix.n_out - first))
            for first in range(0, self.matrix.n_out, rows)
        ]

    def _unpacked(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """Yield each block's columns of the logits and its weight (rows, H), in turn."""
        scratch = self._scratch.setdefault(dtype, Scratch(dtype))
        for first, rows in self._blocks(dtype):
            weight = scratch.take(rows, self.matrix.n_in)
            self.matrix.unpack(self._kernels, weight, first)
            yield slice(first, first + rows), weight

    def _chunks(
        self, num_rows: int, dtype: torch.dtype
    ) -> Iterator[tuple[slice, list[tuple[slice, Tensor]] | None]]:
        """Yield row chunks, with the blocks when one unpacking serves all chunks."""
        blocks = list(self._unpacked(dtype)) if len(self._blocks(dtype)) == 1 else None
        for first in range(0, num_rows, ROWS_PER_CHUNK):
            yield slice(first, min(first + ROWS_PER_CHUNK, num_rows)), blocks

    def _logits(self, h: Tensor, blocks: list[tuple[slice, Tensor]] | None) -> Tensor:
        logits = h.new_empty(len(h), self.matrix.n_out)
        for columns, weight in blocks or self._unpacked(h.dtype):
            logits[:, columns] = torch.nn.functional.linear(h, weight)
        if self.soft_cap:
            self._kernels.soft_cap(logits, 1.0, self.soft_cap)
        return logits

    def logits(self, h_NH: Tensor) -> Tensor:
        """Return logits (N, V) in the dtype of h; the caller bounds N."""
        return self._logits(h_NH, None)

    def log_probabilities(self, h_NH: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities float32 (N,) of targets and whether each is the likeliest.

        Args:
            h_NH: Normed hidden rows, compute dtype or float32.
            targets_N: Token ids, int64.
        """
        found = [
            self._kernels.cross_entropy(
                self._logits(_with_whole_rows(h_NH[rows]), blocks)[: len(targets_N[rows])],
                targets_N[rows],
                torch.ones(len(targets_N[rows])),
                with_gradient=False,
            )
            for rows, blocks in self._chunks(len(h_NH), h_NH.dtype)
        ]
        return torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found]).bool()

    def loss_and_gradient(
        self,
        h_NH: Tensor,
        targets_N: Tensor,
        weights_N: Tensor,
        soft: SoftTargets | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of each target and the gradient of their weighted sum.

        Args:
            h_NH: Normed hidden rows, compute dtype.
            targets_N: Token ids, int64.
            weights_N: Float32, any sign; a weight of 0 takes a target out of the gradient.
            soft: Distributions in place of the targets; the loss is the cross-entropy with them.

        Returns:
            The losses in nats, float32 (N,), unweighted; the gradient by h (N, H), compute dtype.
        """
        gradient = torch.empty_like(h_NH)
        losses_N = torch.empty(len(h_NH), dtype=torch.float32)
        for rows, blocks in self._chunks(len(h_NH), h_NH.dtype):
            targets = targets_N[rows]
            padded = _with_whole_rows(h_NH[rows])
            logits = self._logits(padded, blocks)
            capped = logits.clone() if self.soft_cap else None
            real = logits[: len(targets)]
            taught = None if soft is None else soft.rows(rows)
            losses_N[rows] = self._losses(real, targets, weights_N[rows], taught)
            logits[len(targets) :] = 0
            if capped is not None:
                self._kernels.soft_cap_backward(capped, logits, self.soft_cap)
            part = torch.zeros_like(padded)
            for columns, weight in blocks or self._unpacked(h_NH.dtype):
                part.addmm_(logits[:, columns], weight)
            gradient[rows] = part[: len(targets)]
        return losses_N, gradient

    def _losses(
        self,
        logits_NV: Tensor,
        targets_N: Tensor,
        weights_N: Tensor,
        soft: tuple[Tensor | None, Tensor] | None,
    ) -> Tensor:
        """Return the losses of rows (N,); the logits become the gradient."""
        if soft is not None:
            return self._kernels.soft_cross_entropy(logits_NV, *soft, weights_N, with_gradient=True)
        log_probability_N, _ = self._kernels.cross_entropy(
            logits_NV, targets_N, weights_N, with_gradient=True
        )
        return log_probability_N.neg_()


def _with_whole_rows(h_NH: Tensor) -> Tensor:
    """Return rows with zero rows behind them, up to a size that repeats (layout.py says why)."""
    missing = round_up(len(h_NH), TOKEN_MULTIPLE) - len(h_NH)
    return torch.nn.functional.pad(h_NH, (0, 0, 0, missing)) if missing else h_NH
