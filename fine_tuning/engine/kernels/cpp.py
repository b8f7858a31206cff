"""The C++ kernels through ctypes; the calls release the GIL. Sizes are checked here."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from fine_tuning.core.errors import UnsupportedModelError
from fine_tuning.engine.kernels.interface import Group, HeadShape, Raw, Rope
from fine_tuning.engine.kernels.torch_kernels import unpack_with_numpy

BLOCK_OF_PLAIN_TYPES = 32
MAX_HEAD_SIZE = 1024
_PLAIN_TYPES = frozenset({0, 1, 30})
# What unpack.inc knows; the other types the reader unpacks (integers, float64) are rare weights.
_UNPACKED_HERE = frozenset({0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 20, 23, 30})


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    if not tensor.is_contiguous():
        raise ValueError(f"a kernel was handed a tensor of strides {tensor.stride()}")
    return ctypes.c_void_p(tensor.data_ptr())


def _is_bf16(tensor: Tensor) -> int:
    if tensor.dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"a kernel was handed {tensor.dtype}, expected float32 or bfloat16")
    return int(tensor.dtype == torch.bfloat16)


def _require(tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tuple(tensor.shape) != shape or tensor.dtype != dtype:
        raise ValueError(
            f"a kernel was handed {tensor.dtype} {tuple(tensor.shape)}, expected {dtype} {shape}"
        )


def _size(value: int) -> ctypes.c_int64:
    return ctypes.c_int64(value)


def _head_sizes(shape: HeadShape, group: Group | None = None) -> ctypes.Array[ctypes.c_int64]:
    if shape.d > MAX_HEAD_SIZE:
        raise UnsupportedModelError(f"heads of {shape.d} dimensions, expected <= {MAX_HEAD_SIZE}")
    values = (shape.n_q, shape.n_kv, shape.d, shape.n_rot, int(shape.is_neox))
    sizes = (group.batch, group.queries, group.keys) if group else (0, 0, 0)
    return (ctypes.c_int64 * 8)(*values, *sizes)


class CppKernels:
    """See :class:`fine_tuning.engine.kernels.interface.Kernels`."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def unpack(self, raw: Raw, type_id: int, out: Tensor) -> None:
        """See the interface."""
        is_odd = type_id in _PLAIN_TYPES and out.numel() % BLOCK_OF_PLAIN_TYPES
        if is_odd or type_id not in _UNPACKED_HERE:
            unpack_with_numpy(raw, type_id, out)
            return
        source = ctypes.c_void_p(raw.__array_interface__["data"][0])
        failed = self._library.ft_unpack(
            type_id, source, _pointer(out), _size(out.numel()), _is_bf16(out)
        )
        if failed:
            raise UnsupportedModelError(f"tensor type {type_id} has no unpacker")

    def rmsnorm(
        self, x_TH: Tensor, weight_H: Tensor, eps: float, y_TH: Tensor, rstd_T: Tensor
    ) -> None:
        """See the interface."""
        rows, width = x_TH.shape
        self._library.ft_rmsnorm(
            _pointer(x_TH),
            _pointer(weight_H),
            ctypes.c_float(eps),
            _pointer(y_TH),
            _pointer(rstd_T),
            _size(rows),
            _size(width),
            _is_bf16(y_TH),
        )

    def rmsnorm_backward(
        self, g_TH: Tensor, x_TH: Tensor, weight_H: Tensor, rstd_T: Tensor, dx_TH: Tensor
    ) -> None:
        """See the interface."""
        rows, width = x_TH.shape
        self._library.ft_rmsnorm_backward(
            _pointer(g_TH),
            _pointer(x_TH),
            _pointer(weight_H),
            _pointer(rstd_T),
            _pointer(dx_TH),
            _size(rows),
            _size(width),
            _is_bf16(g_TH),
        )

    def _gated(self, name: str, gate_up_T2I: Tensor) -> Tensor:
        rows, width = gate_up_T2I.shape[0], gate_up_T2I.shape[1] // 2
        h_TI = gate_up_T2I.new_empty(rows, width)
        getattr(self._library, name)(
            _pointer(gate_up_T2I), _pointer(h_TI), _size(rows), _size(width), _is_bf16(h_TI)
        )
        return h_TI

    def _gated_backward(
        self, name: str, gate_up_T2I: Tensor, dh_TI: Tensor
    ) -> tuple[Tensor, Tensor]:
        rows, width = dh_TI.shape
        h_TI, d_gate_up = torch.empty_like(dh_TI), torch.empty_like(gate_up_T2I)
        getattr(self._library, name)(
            *map(_pointer, (gate_up_T2I, dh_TI, h_TI, d_gate_up)),
            _size(rows),
            _size(width),
            _is_bf16(h_TI),
        )
        return h_TI, d_gate_up

    def swiglu(self, gate_up_T2I: Tensor) -> Tensor:
        """See the interface."""
        return self._gated("ft_swiglu", gate_up_T2I)

    def swiglu_backward(self, gate_up_T2I: Tensor, dh_TI: Tensor) -> tuple[Tensor, Tensor]:
        """See the interface."""
        return self._gated_backward("ft_swiglu_backward", gate_up_T2I, dh_TI)

    def geglu(self, gate_up_T2I: Tensor) -> Tensor:
        """See the interface."""
        return self._gated("ft_geglu", gate_up_T2I)

    def geglu_backward(self, gate_up_T2I: Tensor, dh_TI: Tensor) -> tuple[Tensor, Tensor]:
        """See the interface."""
        return self._gated_backward("ft_geglu_backward", gate_up_T2I, dh_TI)

    def norm_heads(self, qkv: Tensor, weight_Nd: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """See the interface."""
        (rows, width), (heads, d) = qkv.shape, weight_Nd.shape
        out, rstd_TN = torch.empty_like(qkv), torch.empty(rows, heads, dtype=torch.float32)
        self._library.ft_norm_heads(
            _pointer(qkv),
            _pointer(weight_Nd),
            ctypes.c_float(eps),
            _pointer(out),
            _pointer(rstd_TN),
            *map(_size, (rows, width, heads, d)),
            _is_bf16(qkv),
        )
        return out, rstd_TN

    def norm_heads_backward(
        self, gradient: Tensor, qkv: Tensor, weight_Nd: Tensor, rstd_TN: Tensor
    ) -> None:
        """See the interface."""
        (rows, width), (heads, d) = qkv.shape, weight_Nd.shape
        self._library.ft_norm_heads_backward(
            *map(_pointer, (gradient, qkv, weight_Nd, rstd_TN)),
            *map(_size, (rows, width, heads, d)),
            _is_bf16(gradient),
        )

    def rotate_heads(
        self, rows: Tensor, positions: Tensor, shape: HeadShape, rope: Rope, *, back: bool = False
    ) -> None:
        """See the interface."""
        self._library.ft_rotate_heads(
            *map(_pointer, (rows, positions, rope.cosine, rope.sine)),
            ctypes.c_float(-1.0 if back else 1.0),
            _size(len(rows)),
            _head_sizes(shape),
            _is_bf16(rows),
        )

    def split_heads(
        self, qkv: Tensor, group: Group, shape: HeadShape
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See the interface."""
        n = group.batch * shape.n_kv
        q = qkv.new_empty(n, shape.n_q // shape.n_kv * group.queries, shape.d)
        k, v = (qkv.new_empty(n, group.keys, shape.d) for _ in range(2))
        self._library.ft_split_heads(
            *map(_pointer, (qkv, q, k, v, group.query_rows, group.key_rows)),
            _head_sizes(shape, group),
            _is_bf16(qkv),
        )
        return q, k, v

    def merge_heads(
        self,
        grads: tuple[Tensor, Tensor, Tensor],
        out: Tensor,
        sums: Tensor,
        group: Group,
        shape: HeadShape,
    ) -> None:
        """See the interface."""
        self._library.ft_merge_heads(
            *map(_pointer, (*grads, out, sums, group.query_rows, group.key_rows)),
            _head_sizes(shape, group),
            _is_bf16(out),
        )

    def _fold(
        self, padded: Tensor, flat: Tensor, group: Group, shape: HeadShape, to_flat: int
    ) -> None:
        self._library.ft_fold_heads(
            *map(_pointer, (padded, flat, group.out_rows)),
            _head_sizes(shape, group),
            to_flat,
            _is_bf16(flat),
        )

    def unfold(self, padded: Tensor, flat: Tensor, group: Group, shape: HeadShape) -> None:
        """See the interface."""
        self._fold(padded, flat, group, shape, 1)

    def fold(self, flat: Tensor, group: Group, shape: HeadShape) -> Tensor:
        """See the interface."""
        rows = shape.n_q // shape.n_kv * group.queries
        padded = flat.new_empty(group.batch * shape.n_kv, rows, shape.d)
        self._fold(padded, flat, group, shape, 0)
        return padded

    def causal_softmax(self, scores: Tensor, group: Group, scale: float, window: int = 0) -> Tensor:
        """See the interface."""
        out = torch.empty_like(scores)
        self._library.ft_causal_softmax(
            *map(_pointer, (scores, out, group.seen)),
            ctypes.c_float(scale),
            _size(scores.numel() // group.keys),
            *map(_size, (group.batch, group.queries, group.keys, window or group.keys)),
            _is_bf16(scores),
        )
        return out

    def softmax_backward(
        self, probabilities: Tensor, gradient: Tensor, group: Group, scale: float
    ) -> None:
        """See the interface."""
        self._library.ft_softmax_backward(
            *map(_pointer, (probabilities, gradient, group.seen)),
            ctypes.c_float(scale),
            _size(probabilities.numel() // group.keys),
            *map(_size, (group.batch, group.queries, group.keys)),
            _is_bf16(gradient),
        )

    def soft_cap(self, x: Tensor, scale: float, cap: float) -> None:
        """See the interface."""
        factors = ctypes.c_float(scale / cap), ctypes.c_float(cap)
        self._library.ft_soft_cap(_pointer(x), *factors, _size(x.numel()), _is_bf16(x))

    def soft_cap_backward(self, capped: Tensor, gradient: Tensor, cap: float) -> None:
        """See the interface."""
        self._library.ft_soft_cap_backward(
            _pointer(capped),
            _pointer(gradient),
            ctypes.c_float(1 / cap),
            _size(capped.numel()),
            _is_bf16(gradient),
        )

    def cross_entropy(
        self, logits_NV: Tensor, targets_N: Tensor, weights_N: Tensor, *, with_gradient: bool
    ) -> tuple[Tensor, Tensor]:
        """See the interface."""
        rows, width = logits_NV.shape
        _require(weights_N, (rows,), torch.float32)
        _require(targets_N, (rows,), torch.int64)
        log_probability = torch.empty(rows, dtype=torch.float32)
        is_top = torch.empty(rows, dtype=torch.uint8)
        self._library.ft_cross_entropy(
            *map(_pointer, (logits_NV, targets_N, log_probability, is_top, weights_N)),
            int(with_gradient),
            _size(rows),
            _size(width),
            _is_bf16(logits_NV),
        )
        return log_probability, is_top

    def soft_cross_entropy(
        self,
        logits_NV: Tensor,
        tokens_NK: Tensor | None,
        probabilities_NK: Tensor,
        weights_N: Tensor,
        *,
        with_gradient: bool,
    ) -> Tensor:
        """See the interface."""
        rows, width = logits_NV.shape
        count = width if tokens_NK is None else tokens_NK.shape[1]
        _require(weights_N, (rows,), torch.float32)
        _require(probabilities_NK, (rows, count), torch.float32)
        if tokens_NK is not None:
            _require(tokens_NK, (rows, count), torch.int64)
        cross_entropy = torch.empty(rows, dtype=torch.float32)
        self._library.ft_soft_cross_entropy(
            _pointer(logits_NV),
            None if tokens_NK is None else _pointer(tokens_NK),
            *map(_pointer, (probabilities_NK, weights_N, cross_entropy)),
            int(with_gradient),
            *map(_size, (rows, width, count)),
            _is_bf16(logits_NV),
        )
        return cross_entropy

    def add(self, x: Tensor, y: Tensor) -> None:
        """See the interface."""
        self._library.ft_add(_pointer(x), _pointer(y), _size(x.numel()), _is_bf16(y))
