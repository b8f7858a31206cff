"""The same operations in plain torch: the oracle of the C++ kernels, and their stand-in.

Clarity before speed: every method is the textbook formula in float32.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fine_tuning.engine.kernels.interface import Group, HeadShape, Raw, Rope
from fine_tuning.gguf.dequantize import dequantize
from fine_tuning.gguf.types import TensorType


def unpack_with_numpy(raw: Raw, type_id: int, out: Tensor) -> None:
    """Fill ``out`` through the numpy dequantiser (any element count, any device, slow).

    Args:
        raw: Packed bytes, uint8.
        type_id: The number of a GGUF tensor type.
        out: Is filled; its element count says how many values are read.
    """
    values = dequantize(raw, TensorType(type_id), (out.numel(),))
    out.view(-1).copy_(torch.from_numpy(values).view(-1))


def _rotated(x: Tensor, cosine: Tensor, sine: Tensor, shape: HeadShape) -> Tensor:
    """Rotate the last dimension of x (T, heads, d) by the tables (T, n_rot / 2)."""
    turned, rest = x[..., : shape.n_rot], x[..., shape.n_rot :]
    c, s = cosine[:, None, :], sine[:, None, :]
    if shape.is_neox:
        a, b = turned.chunk(2, dim=-1)
        turned = torch.cat((a * c - b * s, a * s + b * c), dim=-1)
    else:
        a, b = turned.reshape(*turned.shape[:-1], -1, 2).unbind(-1)
        turned = torch.stack((a * c - b * s, a * s + b * c), dim=-1).flatten(-2)
    return torch.cat((turned, rest), dim=-1)


def _taken(flat: Tensor, rows: Tensor) -> Tensor:
    """Return rows (B, S) of flat rows (T, width) as (B, S, width); row -1 is zeros."""
    return flat[rows.clamp(min=0)] * (rows >= 0)[..., None]


class TorchKernels:
    """See :class:`fine_tuning.engine.kernels.interface.Kernels`."""

    def unpack(self, raw: Raw, type_id: int, out: Tensor) -> None:
        """See the interface."""
        unpack_with_numpy(raw, type_id, out)

    def rmsnorm(
        self, x_TH: Tensor, weight_H: Tensor, eps: float, y_TH: Tensor, rstd_T: Tensor
    ) -> None:
        """See the interface."""
        rstd_T.copy_(torch.rsqrt(x_TH.square().mean(-1) + eps))
        y_TH.copy_(x_TH * rstd_T[:, None] * weight_H)

    def rmsnorm_backward(
        self, g_TH: Tensor, x_TH: Tensor, weight_H: Tensor, rstd_T: Tensor, dx_TH: Tensor
    ) -> None:
        """See the interface."""
        xhat_TH, gw_TH = x_TH * rstd_T[:, None], g_TH.float() * weight_H
        mean_T1 = (gw_TH * xhat_TH).mean(-1, keepdim=True)
        dx_TH += rstd_T[:, None] * (gw_TH - xhat_TH * mean_T1)

    def swiglu(self, gate_up_T2I: Tensor) -> Tensor:
        """See the interface."""
        gate_TI, up_TI = gate_up_T2I.float().chunk(2, dim=-1)
        return (torch.nn.functional.silu(gate_TI) * up_TI).to(gate_up_T2I.dtype)

    def swiglu_backward(self, gate_up_T2I: Tensor, dh_TI: Tensor) -> tuple[Tensor, Tensor]:
        """See the interface."""
        gate_TI, up_TI = gate_up_T2I.float().chunk(2, dim=-1)
        dh, s = dh_TI.float(), torch.sigmoid(gate_TI)
        silu = gate_TI * s
        d_gate = dh * up_TI * (s + silu * (1 - s))
        d_gate_up = torch.cat((d_gate, dh * silu), dim=-1)
        return (silu * up_TI).to(dh_TI.dtype), d_gate_up.to(dh_TI.dtype)

    def geglu(self, gate_up_T2I: Tensor) -> Tensor:
        """See the interface."""
        gate_TI, up_TI = gate_up_T2I.float().chunk(2, dim=-1)
        gelu = torch.nn.functional.gelu(gate_TI, approximate="tanh")
        return (gelu * up_TI).to(gate_up_T2I.dtype)

    def geglu_backward(self, gate_up_T2I: Tensor, dh_TI: Tensor) -> tuple[Tensor, Tensor]:
        """See the interface."""
        x, up_TI = gate_up_T2I.float().chunk(2, dim=-1)
        dh, c = dh_TI.float(), math.sqrt(2 / math.pi)
        t = torch.tanh(c * (x + 0.044715 * x**3))
        gelu = 0.5 * x * (1 + t)
        slope = 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * c * (1 + 3 * 0.044715 * x**2)
        d_gate_up = torch.cat((dh * up_TI * slope, dh * gelu), dim=-1)
        return (gelu * up_TI).to(dh_TI.dtype), d_gate_up.to(dh_TI.dtype)

    def norm_heads(self, qkv: Tensor, weight_Nd: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """See the interface."""
        out, (n, d) = qkv.clone(), weight_Nd.shape
        x_TNd = qkv[:, : n * d].float().view(-1, n, d)
        rstd_TN = torch.rsqrt(x_TNd.square().mean(-1) + eps)
        out[:, : n * d] = (x_TNd * rstd_TN[..., None] * weight_Nd).flatten(1)
        return out, rstd_TN

    def norm_heads_backward(
        self, gradient: Tensor, qkv: Tensor, weight_Nd: Tensor, rstd_TN: Tensor
    ) -> None:
        """See the interface."""
        n, d = weight_Nd.shape
        xhat = qkv[:, : n * d].float().view(-1, n, d) * rstd_TN[..., None]
        gw = gradient[:, : n * d].float().view(-1, n, d) * weight_Nd
        mean = (gw * xhat).mean(-1, keepdim=True)
        gradient[:, : n * d] = (rstd_TN[..., None] * (gw - xhat * mean)).flatten(1)

    def rotate_heads(
        self, rows: Tensor, positions: Tensor, shape: HeadShape, rope: Rope, *, back: bool = False
    ) -> None:
        """See the interface."""
        heads = shape.n_q + shape.n_kv
        turning = rows[:, : heads * shape.d].float().view(-1, heads, shape.d)
        cosine, sine = rope.cosine[positions], rope.sine[positions]
        turned = _rotated(turning, cosine, -sine if back else sine, shape)
        rows[:, : heads * shape.d] = turned.flatten(1)

    def split_heads(
        self, qkv: Tensor, group: Group, shape: HeadShape
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See the interface."""
        batch, d = group.batch, shape.d
        q = _taken(qkv[:, : shape.n_q * d], group.query_rows)
        q = q.view(batch, group.queries, shape.n_q, d).transpose(1, 2)
        kv = _taken(qkv[:, shape.n_q * d :], group.key_rows)
        k, v = kv.view(batch, group.keys, 2, shape.n_kv, d).permute(2, 0, 3, 1, 4)
        return (
            q.reshape(batch * shape.n_kv, -1, d),
            k.reshape(batch * shape.n_kv, -1, d),
            v.reshape(batch * shape.n_kv, -1, d),
        )

    def merge_heads(
        self,
        grads: tuple[Tensor, Tensor, Tensor],
        out: Tensor,
        sums: Tensor,
        group: Group,
        shape: HeadShape,
    ) -> None:
        """See the interface."""
        batch, d = group.batch, shape.d
        dq = grads[0].view(batch, shape.n_q, group.queries, d).transpose(1, 2).flatten(2)
        kept = group.query_rows >= 0
        out[group.query_rows[kept], : shape.n_q * d] = dq[kept]
        kv = torch.stack(grads[1:]).view(2, batch, shape.n_kv, group.keys, d)
        kv = kv.permute(1, 3, 0, 2, 4).flatten(2).float()
        kept = group.key_rows >= 0
        sums.index_add_(0, group.key_rows[kept], kv[kept])

    def unfold(self, padded: Tensor, flat: Tensor, group: Group, shape: HeadShape) -> None:
        """See the interface."""
        heads = padded.view(group.batch, shape.n_q, group.queries, shape.d)
        kept = group.out_rows >= 0
        flat[group.out_rows[kept]] = heads.transpose(1, 2).flatten(2)[kept]

    def fold(self, flat: Tensor, group: Group, shape: HeadShape) -> Tensor:
        """See the interface."""
        heads = _taken(flat, group.out_rows).view(group.batch, group.queries, shape.n_q, shape.d)
        return heads.transpose(1, 2).reshape(group.batch * shape.n_kv, -1, shape.d)

    def causal_softmax(self, scores: Tensor, group: Group, scale: float, window: int = 0) -> Tensor:
        """See the interface."""
        key, seen = torch.arange(group.keys), group.seen[:, None, :, None]
        hidden = key >= seen
        if window:
            hidden = hidden | (key < seen - window)
        by_query = scores.float().view(group.batch, -1, group.queries, group.keys) * scale
        probabilities = by_query.masked_fill(hidden, float("-inf")).softmax(-1)
        return probabilities.view_as(scores).to(scores.dtype)

    def softmax_backward(
        self,
        probabilities: Tensor,
        gradient: Tensor,
        group: Group,  # noqa: ARG002 - hidden keys have probability 0 and drop out by themselves
        scale: float,
    ) -> None:
        """See the interface."""
        p, g = probabilities.float(), gradient.float()
        gradient.copy_(p * (g - (p * g).sum(-1, keepdim=True)) * scale)

    def soft_cap(self, x: Tensor, scale: float, cap: float) -> None:
        """See the interface."""
        x.copy_(cap * torch.tanh(x.float() * (scale / cap)))

    def soft_cap_backward(self, capped: Tensor, gradient: Tensor, cap: float) -> None:
        """See the interface."""
        gradient.copy_(gradient.float() * (1 - (capped.float() / cap) ** 2))

    def cross_entropy(
        self, logits_NV: Tensor, targets_N: Tensor, weights_N: Tensor, *, with_gradient: bool
    ) -> tuple[Tensor, Tensor]:
        """See the interface."""
        values = logits_NV.float()
        wanted = values.gather(1, targets_N[:, None])[:, 0]
        is_top = (wanted >= values.amax(1)).to(torch.uint8)
        log_probability = wanted - values.logsumexp(1)
        if with_gradient:
            gradient = values.softmax(1)
            gradient[torch.arange(len(values)), targets_N] -= 1
            logits_NV.copy_(gradient * weights_N[:, None])
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
        log_p = logits_NV.float().log_softmax(1)
        own = log_p if tokens_NK is None else log_p.gather(1, tokens_NK)
        if with_gradient:
            gradient = log_p.exp() * probabilities_NK.sum(1, keepdim=True)
            if tokens_NK is None:
                gradient -= probabilities_NK
            else:
                gradient.scatter_add_(1, tokens_NK, -probabilities_NK)
            logits_NV.copy_(gradient * weights_N[:, None])
        return -(probabilities_NK * own).sum(1)

    def add(self, x: Tensor, y: Tensor) -> None:
        """See the interface."""
        x += y
