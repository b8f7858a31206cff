"""Causal attention over flat tokens: sequences of similar length attend together, no block masks.

Legend: T flat tokens, B sequences of a group, S their padded length, d head size, G query heads
per key-value head; padded q is (B n_kv, G S, d), k and v are (B n_kv, S, d). Probabilities are
computed again in backward, so that memory grows with T and not with S squared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fine_tuning.engine.kernels.interface import Group, HeadShape, Kernels, Rope

# A group's longest sequence is at most this much longer than its shortest: at most a fifth of the
# attention's work (itself a tenth of a step) goes into padding.
MAX_LENGTH_RATIO = 1.25
# Groups are cut so that one matrix of scores stays around this many elements (bf16: 16 MiB).
MAX_SCORES = 1 << 23

Heads = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class TokenLayout:
    """Where each sequence lies among the flat tokens, and which attend together."""

    num_tokens: int
    groups: tuple[Group, ...]
    rope: Rope
    heads: HeadShape

    @classmethod
    def of(cls, lengths: Sequence[int], heads: HeadShape, rope: Rope) -> TokenLayout:
        """Group sequences given by their lengths, in the order in which they lie.

        ``rope`` must cover the longest sequence.
        """
        first, starts = 0, []
        for length in lengths:
            starts.append(first)
            first += length
        by_length = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
        groups: list[list[int]] = []
        for index in by_length:
            size = lengths[index]
            scores = heads.n_q * size * size * (len(groups[-1]) + 1 if groups else 1)
            fits = groups and size <= MAX_LENGTH_RATIO * lengths[groups[-1][0]]
            if fits and scores <= MAX_SCORES:
                groups[-1].append(index)
            else:
                groups.append([index])
        return cls(first, tuple(_group(g, starts, lengths) for g in groups), rope, heads)


def _group(indices: list[int], starts: list[int], lengths: Sequence[int]) -> Group:
    return Group(
        torch.tensor([starts[i] for i in indices]),
        torch.tensor([lengths[i] for i in indices]),
        max(lengths[i] for i in indices),
    )


def attend(kernels: Kernels, qkv: Tensor, layout: TokenLayout) -> tuple[Tensor, list[Heads]]:
    """Return the attention output (T, n_q d) and the padded heads that backward needs.

    Args:
        kernels: Elementwise operations.
        qkv: Stacked projections (T, (n_q + 2 n_kv) d), before rotation.
        layout: Which rows belong together.
    """
    heads = layout.heads
    out = qkv.new_empty(layout.num_tokens, heads.n_q * heads.d)
    saved = []
    for group in layout.groups:
        q, k, v = kernels.split_heads(qkv, group, heads, layout.rope)
        probabilities = _probabilities(kernels, q, k)
        kernels.unfold(torch.bmm(probabilities, v), out, group, heads)
        saved.append((q, k, v))
    return out, saved


def _probabilities(kernels: Kernels, q: Tensor, k: Tensor) -> Tensor:
    return kernels.causal_softmax(torch.bmm(q, k.transpose(1, 2)), 1 / math.sqrt(q.shape[-1]))


def attend_backward(
    kernels: Kernels, d_out: Tensor, saved: list[Heads], layout: TokenLayout
) -> Tensor:
    """Return the gradient of the stacked projections, from that of the output (T, n_q d)."""
    heads = layout.heads
    d_qkv = d_out.new_empty(layout.num_tokens, (heads.n_q + 2 * heads.n_kv) * heads.d)
    for group, (q, k, v) in zip(layout.groups, saved, strict=True):
        probabilities = _probabilities(kernels, q, k)
        d_attended = kernels.fold(d_out, group, heads)
        dv = torch.bmm(probabilities.transpose(1, 2), d_attended)
        d_scores = torch.bmm(d_attended, v.transpose(1, 2))
        kernels.softmax_backward(probabilities, d_scores, 1 / math.sqrt(heads.d))
        dq, dk = torch.bmm(d_scores, k), torch.bmm(d_scores.transpose(1, 2), q)
        kernels.merge_heads((dq, dk, dv), d_qkv, group, heads, layout.rope)
    return d_qkv
