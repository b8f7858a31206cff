"""Causal attention over flat tokens: sequences of similar length attend together, no block masks.

Legend: T flat tokens, B sequences of a group, S their padded length, d head size, G query heads
per key-value head; padded q is (B n_kv, G S, d), k and v are (B n_kv, S, d). Probabilities are
computed again in backward, so that memory grows with T and not with S squared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fine_tuning.engine.architecture import AttentionShape
from fine_tuning.engine.kernels.interface import Group, Kernels, Rope

# A group's longest sequence is at most this much longer than its shortest: at most a fifth of the
# attention's work (itself a tenth of a step) goes into padding.
MAX_LENGTH_RATIO = 1.25
# Groups are cut so that one matrix of scores stays around this many elements (bf16: 16 MiB).
MAX_SCORES = 1 << 23

Heads = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Attention:
    """One layer's attention, and the weights of its norms per query and key head, if it has any.

    ``head_norms`` is float32 (n_q + n_kv, d).
    """

    shape: AttentionShape
    norm_eps: float
    head_norms: Tensor | None = None


@dataclass(frozen=True, slots=True)
class SavedAttention:
    """What backward needs: the padded heads, or with head norms the rows they came from.

    Norms and rotation are cheap to repeat, so that norms cost no memory.
    """

    heads: tuple[Heads, ...]
    rows: Tensor | None

    def tensors(self) -> Iterator[Tensor]:
        """Yield every kept tensor, for counting."""
        if self.rows is not None:
            yield self.rows
        yield from (tensor for heads in self.heads for tensor in heads)


# The library behind matrix products compiles and keeps a kernel per shape: with every batch a new
# shape, two gigabytes of kernels pile up. Rounded sizes repeat.
TOKEN_MULTIPLE = 32
LENGTH_MULTIPLE = 16


def round_up(size: int, multiple: int) -> int:
    """Return the next multiple at or above a size."""
    return -(-size // multiple) * multiple


@dataclass(frozen=True, slots=True)
class TokenLayout:
    """Where each sequence lies among the flat tokens, and which attend together.

    ``num_tokens`` is ``num_real`` rounded up; the rows between belong to no sequence and their
    gradients are zero.
    """

    num_tokens: int
    num_real: int
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, lengths: Sequence[int], num_heads: int) -> TokenLayout:
        """Group sequences given by their lengths, in the order in which they lie."""
        first, starts = 0, []
        for length in lengths:
            starts.append(first)
            first += length
        by_length = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
        groups: list[list[int]] = []
        for index in by_length:
            size = lengths[index]
            scores = num_heads * size * size * (len(groups[-1]) + 1 if groups else 1)
            fits = groups and size <= MAX_LENGTH_RATIO * lengths[groups[-1][0]]
            if fits and scores <= MAX_SCORES:
                groups[-1].append(index)
            else:
                groups.append([index])
        num_tokens = round_up(first, TOKEN_MULTIPLE)
        return cls(num_tokens, first, tuple(_group(g, starts, lengths) for g in groups))


def _group(indices: list[int], starts: list[int], lengths: Sequence[int]) -> Group:
    return Group(
        torch.tensor([starts[i] for i in indices]),
        torch.tensor([lengths[i] for i in indices]),
        round_up(max(lengths[i] for i in indices), LENGTH_MULTIPLE),
    )


def attend(
    kernels: Kernels, qkv: Tensor, attention: Attention, layout: TokenLayout, rope: Rope
) -> tuple[Tensor, SavedAttention]:
    """Return the attention output (T, n_q d) and what backward needs.

    Args:
        kernels: Elementwise operations.
        qkv: Stacked projections (T, (n_q + 2 n_kv) d), before norms and rotation.
        attention: The layer's.
        layout: Which rows belong together.
        rope: The layer's tables; they cover the longest sequence.
    """
    heads = attention.shape.heads
    out = qkv.new_empty(layout.num_tokens, heads.n_q * heads.d)
    out[layout.num_real :] = 0
    normed, rstd = _normed(kernels, qkv, attention)
    saved = []
    for group in layout.groups:
        q, k, v = kernels.split_heads(normed, group, heads, rope)
        probabilities, _ = _probabilities(kernels, q, k, attention.shape)
        kernels.unfold(torch.bmm(probabilities, v), out, group, heads)
        if rstd is None:
            saved.append((q, k, v))
    return out, SavedAttention(tuple(saved), None if rstd is None else qkv)


def _normed(kernels: Kernels, rows: Tensor, attention: Attention) -> tuple[Tensor, Tensor | None]:
    """Return rows after the norms per head and the reciprocal roots; without norms, the rows."""
    if attention.head_norms is None:
        return rows, None
    return kernels.norm_heads(rows, attention.head_norms, attention.norm_eps)


def _probabilities(
    kernels: Kernels, q: Tensor, k: Tensor, shape: AttentionShape
) -> tuple[Tensor, Tensor]:
    """Return probabilities, and the scores they come from: capped where the model caps them."""
    scores, scale = torch.bmm(q, k.transpose(1, 2)), shape.scale
    if shape.soft_cap:
        kernels.soft_cap(scores, scale, shape.soft_cap)
        scale = 1.0
    return kernels.causal_softmax(scores, scale, shape.window), scores


def attend_backward(
    kernels: Kernels,
    d_out: Tensor,
    saved: SavedAttention,
    attention: Attention,
    layout: TokenLayout,
    rope: Rope,
) -> Tensor:
    """Return the gradient of the stacked projections, from that of the output (T, n_q d)."""
    shape, heads = attention.shape, attention.shape.heads
    rstd, saved_heads = None, iter(saved.heads)
    if saved.rows is not None:
        normed, rstd = _normed(kernels, saved.rows, attention)
        saved_heads = (kernels.split_heads(normed, g, heads, rope) for g in layout.groups)
    d_qkv = d_out.new_empty(layout.num_tokens, (heads.n_q + 2 * heads.n_kv) * heads.d)
    d_qkv[layout.num_real :] = 0
    for group, (q, k, v) in zip(layout.groups, saved_heads, strict=True):
        probabilities, scores = _probabilities(kernels, q, k, shape)
        d_attended = kernels.fold(d_out, group, heads)
        dv = torch.bmm(probabilities.transpose(1, 2), d_attended)
        d_scores = torch.bmm(d_attended, v.transpose(1, 2))
        kernels.softmax_backward(probabilities, d_scores, shape.scale)
        if shape.soft_cap:
            kernels.soft_cap_backward(scores, d_scores, shape.soft_cap)
        dq, dk = torch.bmm(d_scores, k), torch.bmm(d_scores.transpose(1, 2), q)
        kernels.merge_heads((dq, dk, dv), d_qkv, group, heads, rope)
    if saved.rows is not None and attention.head_norms is not None and rstd is not None:
        kernels.norm_heads_backward(d_qkv, saved.rows, attention.head_norms, rstd)
    return d_qkv
