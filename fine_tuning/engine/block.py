"""One decoder block, forward and by hand backward, over packed weights.

    h1 = norm(x);  x2 = x + O(attention(QKV(h1)));  h2 = norm(x2);  y = x2 + D(gated(GU(h2)))

Some architectures norm or scale what O and D give before it joins the residual stream.

Legend: T tokens (behind attention N of them, where only N are needed), H width, I feed-forward
width, R stacked adapter ranks. The residual stream
(x, x2, y) and its gradient are float32; what enters products is in the compute dtype. Norm outputs
and the gated product are computed again in backward instead of kept; weights are unpacked again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fine_tuning.engine.architecture import Gate
from fine_tuning.engine.attention import Attention, attend, attend_backward
from fine_tuning.engine.kernels.interface import Kernels, Rope
from fine_tuning.engine.layout import TokenLayout
from fine_tuning.engine.lora import LoraAdapter, StackedAdapter
from fine_tuning.engine.packed import StackedLinear
from fine_tuning.engine.rope import RopeShape


@dataclass(frozen=True, slots=True)
class BlockWeights:
    """The frozen weights of one block; norms are float32 (H,)."""

    attn_norm: Tensor
    qkv: StackedLinear
    attention: Attention
    out: StackedLinear
    post_attn_norm: Tensor | None
    ffn_norm: Tensor
    gate_up: StackedLinear
    gate: Gate
    down: StackedLinear
    post_ffn_norm: Tensor | None

    @property
    def linears(self) -> tuple[StackedLinear, ...]:
        """The four stacked products, in the order of use."""
        return self.qkv, self.out, self.gate_up, self.down


class BlockAdapter:
    """The adapter's part in one block: one stack per product."""

    def __init__(self, adapter: LoraAdapter, weights: BlockWeights, dtype: torch.dtype) -> None:
        stacks = [StackedAdapter(adapter, linear, dtype) for linear in weights.linears]
        self.stacks = stacks
        self.qkv, self.out, self.gate_up, self.down = stacks
        self.is_empty = all(stack.is_empty for stack in stacks)


@dataclass(slots=True)
class Saved:
    """What one block keeps for backward; no tensor here has the shape of a weight."""

    x: Tensor
    x2: Tensor
    rstd1: Tensor
    rstd2: Tensor
    qkv: Tensor
    attended: Tensor
    gate_up: Tensor
    branches: tuple[Tensor | None, Tensor | None]
    inner: tuple[Tensor | None, ...]

    def tensors(self) -> Iterator[Tensor]:
        """Yield every kept tensor, for counting."""
        yield from (self.x, self.x2, self.rstd1, self.rstd2)
        yield from (self.qkv, self.attended, self.gate_up)
        yield from (tensor for tensor in (*self.branches, *self.inner) if tensor is not None)


@dataclass(frozen=True, slots=True)
class BlockContext:
    """What all blocks of a step share."""

    kernels: Kernels
    layout: TokenLayout
    ropes: Mapping[RopeShape, Rope]
    norm_eps: float
    residual_scale: float
    dtype: torch.dtype

    def norm(self, x_TH: Tensor, weight_H: Tensor) -> tuple[Tensor, Tensor]:
        """Return the RMS norm of x in the compute dtype, and its reciprocal roots (T,).

        Args:
            x_TH: Rows, float32.
            weight_H: Weight of the norm, float32.
        """
        h_TH = torch.empty(x_TH.shape, dtype=self.dtype)
        rstd_T = torch.empty(len(x_TH), dtype=torch.float32)
        self.kernels.rmsnorm(x_TH, weight_H, self.norm_eps, h_TH, rstd_T)
        return h_TH, rstd_T

    def rope(self, weights: BlockWeights) -> Rope:
        """Return a block's rotations."""
        return self.ropes[weights.attention.shape.rope]

    def gated(self, weights: BlockWeights, gate_up_T2I: Tensor) -> Tensor:
        """Return the gated product (T, I).

        Args:
            weights: The block's; their gate says SwiGLU or GEGLU.
            gate_up_T2I: Gate and up projections side by side (T, 2 I), compute dtype.
        """
        is_silu = weights.gate == "silu"
        return (self.kernels.swiglu if is_silu else self.kernels.geglu)(gate_up_T2I)

    def gated_backward(
        self, weights: BlockWeights, gate_up_T2I: Tensor, dh_TI: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the gated product once more, and the gradient of gate|up.

        Args:
            weights: The block's; their gate says SwiGLU or GEGLU.
            gate_up_T2I: What :meth:`gated` was given.
            dh_TI: Gradient of the gated product, compute dtype.
        """
        if weights.gate == "silu":
            return self.kernels.swiglu_backward(gate_up_T2I, dh_TI)
        return self.kernels.geglu_backward(gate_up_T2I, dh_TI)

    def join(
        self, x_TH: Tensor, branch_TH: Tensor, norm_H: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return x + branch, normed and scaled where the model does so, and what backward needs.

        Args:
            x_TH: The residual stream, float32; left as it is.
            branch_TH: What is added, compute dtype.
            norm_H: Weight of the norm behind the branch; None where the model has none.
        """
        kept = None
        if norm_H is not None:
            kept = branch_TH
            branch_TH, _ = self.norm(branch_TH.float(), norm_H)
        if self.residual_scale != 1:
            branch_TH = branch_TH * self.residual_scale
        y_TH = x_TH.clone()
        self.kernels.add(y_TH, branch_TH)
        return y_TH, kept

    def join_backward(self, dy_TH: Tensor, kept: Tensor | None, norm_H: Tensor | None) -> Tensor:
        """Return the gradient of the branch, in the compute dtype; dy is left as it is.

        Args:
            dy_TH: Gradient of the sum, float32.
            kept: What :meth:`join` kept.
            norm_H: Weight of the norm behind the branch, or None, as in :meth:`join`.
        """
        if self.residual_scale != 1:
            dy_TH = dy_TH * self.residual_scale
        d_branch = dy_TH.to(self.dtype)
        if kept is None or norm_H is None:
            return d_branch
        branch_TH = kept.float()
        _, rstd_T = self.norm(branch_TH, norm_H)
        d_normed = torch.zeros_like(branch_TH)
        self.kernels.rmsnorm_backward(d_branch, branch_TH, norm_H, rstd_T, d_normed)
        return d_normed.to(self.dtype)


def _product_backward(
    dy: Tensor, x: Tensor, inner: Tensor | None, linear: StackedLinear, adapter: StackedAdapter
) -> Tensor:
    """Accumulate the adapter's gradients; return dx."""
    dt = _adapter_backward(dy, x, inner, adapter)
    dx = torch.mm(dy, linear.weight())
    return dx if dt is None else dx.addmm_(dt, adapter.a_RI)


def _adapter_backward(
    dy: Tensor, x: Tensor, inner: Tensor | None, adapter: StackedAdapter
) -> Tensor | None:
    if inner is None:
        return None
    dt = adapter.inner_gradient(dy)
    adapter.accumulate(x, inner, dt, dy)
    return dt


def block_forward(
    x_TH: Tensor, weights: BlockWeights, stacks: BlockAdapter, context: BlockContext
) -> tuple[Tensor, Saved]:
    """Return y (N, H) float32 and what backward needs.

    Args:
        x_TH: The block's input, float32.
        weights: The block's weights.
        stacks: The block's adapter.
        context: Shared by the step; its layout says which N rows go on.
    """
    h1, rstd1 = context.norm(x_TH, weights.attn_norm)
    qkv, t_qkv = stacks.qkv.product(h1)
    attended, rows = attend(
        context.kernels, qkv, weights.attention, context.layout, context.rope(weights)
    )
    projected, t_out = stacks.out.product(attended)
    kept = context.layout.kept
    going_on = x_TH if kept is None else x_TH[kept]
    x2_NH, projected_kept = context.join(going_on, projected, weights.post_attn_norm)
    h2, rstd2 = context.norm(x2_NH, weights.ffn_norm)
    gate_up, t_gate_up = stacks.gate_up.product(h2)
    fed, t_down = stacks.down.product(context.gated(weights, gate_up))
    y_NH, fed_kept = context.join(x2_NH, fed, weights.post_ffn_norm)
    inner, branches = (t_qkv, t_out, t_gate_up, t_down), (projected_kept, fed_kept)
    return y_NH, Saved(x_TH, x2_NH, rstd1, rstd2, rows, attended, gate_up, branches, inner)


def block_backward(
    dy_NH: Tensor,
    saved: Saved,
    weights: BlockWeights,
    adapter: BlockAdapter,
    context: BlockContext,
    *,
    needs_dx: bool,
) -> Tensor:
    """Accumulate the block's adapter gradients.

    Args:
        dy_NH: Gradient of the block's output, float32, zero in padding; overwritten.
        saved: What :func:`block_forward` kept.
        weights: The block's weights.
        adapter: The block's adapter.
        context: Shared by the step.
        needs_dx: False in the lowest adapted block, where nothing below learns.

    Returns:
        The gradient of the block's input (T, H); meaningless unless ``needs_dx``.
    """
    kernels = context.kernels
    t_qkv, t_out, t_gate_up, t_down = saved.inner
    dy = context.join_backward(dy_NH, saved.branches[1], weights.post_ffn_norm)
    dt = None if t_down is None else adapter.down.inner_gradient(dy)
    dh = torch.mm(dy, weights.down.weight())
    if dt is not None:
        dh.addmm_(dt, adapter.down.a_RI)
    gated, d_gate_up = context.gated_backward(weights, saved.gate_up, dh)
    if dt is not None and t_down is not None:
        adapter.down.accumulate(gated, t_down, dt, dy)
    h2, _ = context.norm(saved.x2, weights.ffn_norm)
    dh2 = _product_backward(d_gate_up, h2, t_gate_up, weights.gate_up, adapter.gate_up)
    kernels.rmsnorm_backward(dh2, saved.x2, weights.ffn_norm, saved.rstd2, dy_NH)

    dx2 = context.join_backward(dy_NH, saved.branches[0], weights.post_attn_norm)
    d_attended = _product_backward(dx2, saved.attended, t_out, weights.out, adapter.out)
    attention, rope = weights.attention, context.rope(weights)
    d_qkv = attend_backward(kernels, d_attended, saved.qkv, attention, context.layout, rope)
    h1, _ = context.norm(saved.x, weights.attn_norm)
    if not needs_dx:
        _adapter_backward(d_qkv, h1, t_qkv, adapter.qkv)
        return dy_NH
    dx_TH, kept = dy_NH, context.layout.kept
    if kept is not None:
        dx_TH = torch.zeros_like(saved.x).index_add_(0, kept, dy_NH)
    dh1 = _product_backward(d_qkv, h1, t_qkv, weights.qkv, adapter.qkv)
    kernels.rmsnorm_backward(dh1, saved.x, weights.attn_norm, saved.rstd1, dx_TH)
    return dx_TH
