"""What a set of kernels must offer; shapes and meaning, for every implementation.

Legend: T tokens, H width, I feed-forward width, V vocabulary, d head size, G query heads per
key-value head, B runs of a group, Sq and Sk their padded queries and keys. *Compute dtype* is
float32 or bfloat16; the residual stream, norms' weights and rope tables are float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

Raw = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class HeadShape:
    """How a row of stacked q|k|v is cut: ``n_q`` query, ``n_kv`` key and value heads of size d.

    ``n_rot`` of the d dimensions are rotated: pairs (2i, 2i+1), or (i, i + n_rot/2) when
    ``is_neox`` (llama.cpp, llama_model_rope_type).
    """

    n_q: int
    n_kv: int
    d: int
    n_rot: int
    is_neox: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Runs of queries that attend together, each to keys of its own; int64 tensors.

    ``query_rows`` (B, Sq) and ``key_rows`` (B, Sk) are rows of the flat tokens, a run's keys in
    the order of their positions from 0 on; -1 is padding. ``out_rows`` (B, Sq) are the rows of the
    attention's output. A query sees the first ``seen`` (B, Sq) keys, at least 1.
    """

    query_rows: Tensor
    key_rows: Tensor
    out_rows: Tensor
    seen: Tensor

    @property
    def batch(self) -> int:
        """B."""
        return self.query_rows.shape[0]

    @property
    def queries(self) -> int:
        """Sq."""
        return self.query_rows.shape[1]

    @property
    def keys(self) -> int:
        """Sk."""
        return self.key_rows.shape[1]


@dataclass(frozen=True, slots=True)
class Rope:
    """Cosines and sines per position, float32 (max length, n_rot / 2)."""

    cosine: Tensor
    sine: Tensor


class Kernels(Protocol):
    """The operations between the matrix products.

    Inputs are contiguous; of a strided one an implementation MAY raise ``ValueError``, as of a
    tensor whose dtype is not the one said here.
    """

    def unpack(self, raw: Raw, type_id: int, out: Tensor) -> None:
        """Fill a tensor with the values of packed blocks.

        Args:
            raw: The blocks' bytes, uint8, as they lie in a file.
            type_id: The ggml type they are of.
            out: Compute dtype, as many numbers as the blocks hold.

        Raises:
            UnsupportedModelError: if nothing unpacks the type.
        """
        ...

    def rmsnorm(
        self, x_TH: Tensor, weight_H: Tensor, eps: float, y_TH: Tensor, rstd_T: Tensor
    ) -> None:
        """Write y = x / sqrt(mean(x^2) + eps) * weight, and the reciprocal root.

        Args:
            x_TH: Float32.
            weight_H: Float32.
            eps: More than 0.
            y_TH: Written, compute dtype.
            rstd_T: Written, float32: 1 / sqrt(mean(x^2) + eps).
        """
        ...

    def rmsnorm_backward(
        self, g_TH: Tensor, x_TH: Tensor, weight_H: Tensor, rstd_T: Tensor, dx_TH: Tensor
    ) -> None:
        """Add the norm's input gradient to ``dx``.

        Args:
            g_TH: Gradient of the norm's output, compute dtype.
            x_TH: The norm's input, float32.
            weight_H: Float32.
            rstd_T: As the forward wrote it, float32.
            dx_TH: Float32; added to.
        """
        ...

    def swiglu(self, gate_up_T2I: Tensor) -> Tensor:
        """Return silu(gate) * up (T, I) of gate|up (T, 2I), both in the compute dtype."""
        ...

    def swiglu_backward(self, gate_up_T2I: Tensor, dh_TI: Tensor) -> tuple[Tensor, Tensor]:
        """Return (silu(gate) * up, gradient of gate|up), in the dtype of both inputs.

        Args:
            gate_up_T2I: The forward's input, compute dtype.
            dh_TI: Gradient of its output, compute dtype.
        """
        ...

    def geglu(self, gate_up_T2I: Tensor) -> Tensor:
        """Return gelu(gate) * up (T, I) of gate|up (T, 2I), GELU in its tanh form."""
        ...

    def geglu_backward(self, gate_up_T2I: Tensor, dh_TI: Tensor) -> tuple[Tensor, Tensor]:
        """Return (gelu(gate) * up, gradient of gate|up), as :meth:`swiglu_backward` does.

        Args:
            gate_up_T2I: Gate and up projections (T, 2 I), compute dtype.
            dh_TI: Gradient of the gated product, compute dtype.
        """
        ...

    def norm_heads(self, qkv: Tensor, weight_Nd: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """Norm the first heads of flat rows, each for itself.

        Args:
            qkv: Rows (T, more than N d), compute dtype.
            weight_Nd: A weight per head, float32.
            eps: More than 0.

        Returns:
            New rows whose first N heads of size d are RMS-normed, the rest copied; and the
            reciprocal roots, float32 (T, N).
        """
        ...

    def norm_heads_backward(
        self, gradient: Tensor, qkv: Tensor, weight_Nd: Tensor, rstd_TN: Tensor
    ) -> None:
        """Overwrite the gradient of normed rows with that of the rows before.

        Args:
            gradient: Of the rows :meth:`norm_heads` returned, compute dtype; overwritten.
            qkv: The rows it was given, compute dtype.
            weight_Nd: As given there.
            rstd_TN: As returned there.
        """
        ...

    def rotate_heads(
        self, rows: Tensor, positions: Tensor, shape: HeadShape, rope: Rope, *, back: bool = False
    ) -> None:
        """Rotate the queries and keys of flat rows, in place.

        Args:
            rows: Stacked q|k|v (T, (n_q + 2 n_kv) d), compute dtype; values are left alone.
            positions: Of each row in its sequence, int64 (T,), within the tables.
            shape: How a row is cut.
            rope: The tables.
            back: Rotates by the negative angle: the transpose, for gradients.
        """
        ...

    def split_heads(
        self, qkv: Tensor, group: Group, shape: HeadShape
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gather the heads of the runs of a group.

        Args:
            qkv: Stacked q|k|v (T, (n_q + 2 n_kv) d), compute dtype.
            group: Which rows attend to which.
            shape: How a row is cut.

        Returns:
            q (B n_kv, G Sq, d), k and v (B n_kv, Sk, d), compute dtype; padding is zero.

        Raises:
            UnsupportedModelError: if heads are larger than an implementation takes.
        """
        ...

    def merge_heads(
        self,
        grads: tuple[Tensor, Tensor, Tensor],
        out: Tensor,
        sums: Tensor,
        group: Group,
        shape: HeadShape,
    ) -> None:
        """Scatter the gradients of :meth:`split_heads`' results.

        Keys and values are shared between runs, so their gradients add up; queries are not.

        Args:
            grads: dq (B n_kv, G Sq, d), dk and dv (B n_kv, Sk, d), compute dtype.
            out: Stacked q|k|v rows (T, (n_q + 2 n_kv) d), compute dtype; the queries' part is
                written where the group has queries.
            sums: k|v rows (T, 2 n_kv d), float32; added to.
            group: As given there.
            shape: As given there.
        """
        ...

    def unfold(self, padded: Tensor, flat: Tensor, group: Group, shape: HeadShape) -> None:
        """Copy heads into the group's output rows, dropping padding.

        Args:
            padded: (B n_kv, G Sq, d), compute dtype.
            flat: Output rows (N, n_q d), compute dtype; those the group names are written.
            group: Names the rows.
            shape: How a row is cut.
        """
        ...

    def fold(self, flat: Tensor, group: Group, shape: HeadShape) -> Tensor:
        """Return output rows (N, n_q d) as heads (B n_kv, G Sq, d), zero in padding.

        The reverse of :meth:`unfold`, in the same dtype.

        Args:
            flat: Output rows (N, n_q d).
            group: Which rows are read.
            shape: How many heads there are, and how wide.
        """
        ...

    def causal_softmax(self, scores: Tensor, group: Group, scale: float, window: int = 0) -> Tensor:
        """Return the softmax of scores over the keys a query sees; 0 for the others.

        Args:
            scores: (B n_kv, G Sq, Sk), compute dtype.
            group: Says how many keys each query sees.
            scale: Multiplies the scores first.
            window: Only so many of the last keys count, the query's own included; 0 takes all.

        Returns:
            Probabilities in the shape and dtype of the scores.
        """
        ...

    def softmax_backward(
        self, probabilities: Tensor, gradient: Tensor, group: Group, scale: float
    ) -> None:
        """Overwrite the gradient of probabilities with that of the scores before scaling.

        Args:
            probabilities: As :meth:`causal_softmax` returned them.
            gradient: Of them, in their shape and dtype; overwritten.
            group: As given there.
            scale: As given there.
        """
        ...

    def soft_cap(self, x: Tensor, scale: float, cap: float) -> None:
        """Overwrite x (any shape, compute dtype) with cap * tanh(scale * x / cap); cap above 0.

        Args:
            x: Overwritten.
            scale: Multiplies x first.
            cap: The bound, above 0.
        """
        ...

    def soft_cap_backward(self, capped: Tensor, gradient: Tensor, cap: float) -> None:
        """Multiply the gradient of capped values by 1 - (capped / cap)^2, the tanh's slope.

        Args:
            capped: What :meth:`soft_cap` left, compute dtype.
            gradient: Of it, in its shape and dtype; overwritten.
            cap: As given there.
        """
        ...

    def cross_entropy(
        self, logits_NV: Tensor, targets_N: Tensor, weights_N: Tensor, *, with_gradient: bool
    ) -> tuple[Tensor, Tensor]:
        """Score one target per row.

        Args:
            logits_NV: Compute dtype; overwritten by the gradient, or left as they are.
            targets_N: Token ids, int64, each below V.
            weights_N: Float32; row n of the gradient is weights_N[n] * (softmax - onehot), that
                of ``-weights_N[n] * ln p(target)``.
            with_gradient: Whether to overwrite the logits.

        Returns:
            Log-probability of each target, float32 (N,), whatever its weight; and whether it is the
            likeliest token, uint8 (N,).
        """
        ...

    def soft_cross_entropy(
        self,
        logits_NV: Tensor,
        tokens_NK: Tensor | None,
        probabilities_NK: Tensor,
        weights_N: Tensor,
        *,
        with_gradient: bool,
    ) -> Tensor:
        """Score a target distribution per row.

        Args:
            logits_NV: Compute dtype; overwritten by the gradient, or left as they are.
            tokens_NK: The tokens that have a probability, int64, each below V and once a row;
                None is the whole vocabulary in its order (K = V).
            probabilities_NK: Float32, each at least 0. Row n of the gradient is weights_N[n] *
                (sum(probabilities_NK[n]) * softmax - probabilities_NK[n]).
            weights_N: Float32.
            with_gradient: Whether to overwrite the logits.

        Returns:
            Cross-entropy of each row in nats, ``-sum(probability * ln p)``, float32 (N,), whatever
            its weight.
        """
        ...

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add y (compute dtype) to x (float32) of the same shape, in place.

        Args:
            x: Overwritten with the sum.
            y: Is added.
        """
        ...
