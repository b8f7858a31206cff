"""Attention over flat tokens, by the groups of a layout; no masks over sequences.

Legend: T flat tokens, N rows of the output, B runs of a group, Sq and Sk their padded queries and
keys, d head size, G query heads per key-value head; q is (B n_kv, G Sq, d), k and v (B n_kv, Sk,
d). Probabilities are computed again in backward, so that memory grows with T, not its square.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fine_tuning.engine.architecture import AttentionShape
from fine_tuning.engine.kernels.interface import Group, Kernels, Rope
from fine_tuning.engine.layout import TokenLayout


@dataclass(frozen=True, slots=True)
class Attention:
    """One layer's attention, and the weights of its norms per query and key head, if it has any.

    ``head_norms`` is float32 (n_q + n_kv, d).
    """

    shape: AttentionShape
    norm_eps: float
    head_norms: Tensor | None = None


def attend(
    kernels: Kernels, qkv: Tensor, attention: Attention, layout: TokenLayout, rope: Rope
) -> tuple[Tensor, Tensor]:
    """Return the attention output (N, n_q d) and the rows backward needs (T, (n_q + 2 n_kv) d).

    Without head norms those are the rotated rows; with them the rows before, because norms and
    rotation are cheap to repeat and then cost no memory.

    Args:
        kernels: Elementwise operations.
        qkv: Stacked projections (T, (n_q + 2 n_kv) d), before norms and rotation; overwritten.
        attention: The layer's.
        layout: Which rows attend to which.
        rope: The layer's tables; they cover the longest sequence.
    """
    heads = attention.shape.heads
    out = qkv.new_empty(layout.num_out, heads.n_q * heads.d)
    out[layout.num_out_real :] = 0
    rows, _ = _normed(kernels, qkv, attention)
    kernels.rotate_heads(rows, layout.positions, heads, rope)
    for group in layout.groups:
        q, k, v = kernels.split_heads(rows, group, heads)
        probabilities, _ = _probabilities(kernels, q, k, group, attention.shape)
        kernels.unfold(torch.bmm(probabilities, v), out, group, heads)
    return out, qkv


def _normed(kernels: Kernels, rows: Tensor, attention: Attention) -> tuple[Tensor, Tensor | None]:
    """Return rows after the norms per head and the reciprocal roots; without norms, the rows."""
    if attention.head_norms is None:
        return rows, None
    return kernels.norm_heads(rows, attention.head_norms, attention.norm_eps)


def _probabilities(
    kernels: Kernels, q: Tensor, k: Tensor, group: Group, shape: AttentionShape
) -> tuple[Tensor, Tensor]:
    """Return probabilities, and the scores they come from: capped where the model caps them."""
    scores, scale = torch.bmm(q, k.transpose(1, 2)), shape.scale
    if shape.soft_cap:
        kernels.soft_cap(scores, scale, shape.soft_cap)
        scale = 1.0
    return kernels.causal_softmax(scores, group, scale, shape.window), scores


def attend_backward(
    kernels: Kernels,
    d_out: Tensor,
    saved: Tensor,
    attention: Attention,
    layout: TokenLayout,
    rope: Rope,
) -> Tensor:
    """Return the gradient of the stacked projections (T, ...), from that of the output (N, n_q d).

    Gradients of keys and values are summed in float32 over all who attended to them.

    Args:
        kernels: Elementwise operations.
        d_out: Gradient of the attention output (N, n_q d), compute dtype.
        saved: The rows that :func:`attend` kept (T, (n_q + 2 n_kv) d).
        attention: The layer's.
        layout: Which rows attend to which, as in :func:`attend`.
        rope: The layer's tables.
    """
    shape, heads = attention.shape, attention.shape.heads
    rows, rstd = _normed(kernels, saved, attention)
    if rstd is not None:
        kernels.rotate_heads(rows, layout.positions, heads, rope)
    split = heads.n_q * heads.d
    d_qkv = d_out.new_empty(layout.num_tokens, split + 2 * heads.n_kv * heads.d)
    d_qkv[layout.num_real if layout.kept is None else 0 :, :split] = 0
    sums = torch.zeros(layout.num_tokens, 2 * heads.n_kv * heads.d)
    for group in layout.groups:
        q, k, v = kernels.split_heads(rows, group, heads)
        probabilities, scores = _probabilities(kernels, q, k, group, shape)
        d_attended = kernels.fold(d_out, group, heads)
        dv = torch.bmm(probabilities.transpose(1, 2), d_attended)
        d_scores = torch.bmm(d_attended, v.transpose(1, 2))
        kernels.softmax_backward(probabilities, d_scores, group, shape.scale)
        if shape.soft_cap:
            kernels.soft_cap_backward(scores, d_scores, shape.soft_cap)
        dq, dk = torch.bmm(d_scores, k), torch.bmm(d_scores.transpose(1, 2), q)
        kernels.merge_heads((dq, dk, dv), d_qkv, sums, group, heads)
    d_qkv[:, split:] = sums
    kernels.rotate_heads(d_qkv, layout.positions, heads, rope, back=True)
    if attention.head_norms is not None and rstd is not None:
        kernels.norm_heads_backward(d_qkv, saved, attention.head_norms, rstd)
    return d_qkv
