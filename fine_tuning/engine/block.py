"""One decoder block, forward and by hand backward, over packed weights.

    h1 = norm(x);  x2 = x + O(attention(QKV(h1)));  h2 = norm(x2);  y = x2 + D(swiglu(GU(h2)))

Legend: T tokens, H width, I feed-forward width, R stacked adapter ranks. The residual stream
(x, x2, y) and its gradient are float32; what enters products is in the compute dtype. Norm outputs
and the SwiGLU product are computed again in backward instead of kept; weights are unpacked again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fine_tuning.engine.attention import Heads, TokenLayout, attend, attend_backward
from fine_tuning.engine.kernels.interface import Kernels
from fine_tuning.engine.lora import LoraAdapter, StackedAdapter
from fine_tuning.engine.packed import StackedLinear


@dataclass(frozen=True, slots=True)
class BlockWeights:
    """The frozen weights of one block; norms are float32 (H,)."""

    attn_norm: Tensor
    qkv: StackedLinear
    out: StackedLinear
    ffn_norm: Tensor
    gate_up: StackedLinear
    down: StackedLinear

    @property
    def linears(self) -> tuple[StackedLinear, ...]:
        """The four stacked products, in the order of use."""
        return self.qkv, self.out, self.gate_up, self.down


class BlockAdapter:
    """The adapter's part in one block: one stack per product."""

    def __init__(self, adapter: LoraAdapter, weights: BlockWeights, dtype: torch.dtype) -> None:
        stacks = [StackedAdapter(adapter, linear, dtype) for linear in weights.linears]
        self.qkv, self.out, self.gate_up, self.down = stacks
        self.is_empty = all(stack.is_empty for stack in stacks)


@dataclass(slots=True)
class Saved:
    """What one block keeps for backward; no tensor here has the shape of a weight."""

    x: Tensor
    x2: Tensor
    rstd1: Tensor
    rstd2: Tensor
    heads: list[Heads]
    attended: Tensor
    gate_up: Tensor
    inner: tuple[Tensor | None, ...]

    def tensors(self) -> Iterator[Tensor]:
        """Yield every kept tensor, for counting."""
        yield from (self.x, self.x2, self.rstd1, self.rstd2, self.attended, self.gate_up)
        yield from (tensor for heads in self.heads for tensor in heads)
        yield from (tensor for tensor in self.inner if tensor is not None)


@dataclass(frozen=True, slots=True)
class BlockContext:
    """What all blocks of a step share."""

    kernels: Kernels
    layout: TokenLayout
    norm_eps: float
    dtype: torch.dtype

    def norm(self, x_TH: Tensor, weight_H: Tensor) -> tuple[Tensor, Tensor]:
        """Return the RMS norm of x in the compute dtype, and its reciprocal roots (T,)."""
        h_TH = torch.empty(x_TH.shape, dtype=self.dtype)
        rstd_T = torch.empty(len(x_TH), dtype=torch.float32)
        self.kernels.rmsnorm(x_TH, weight_H, self.norm_eps, h_TH, rstd_T)
        return h_TH, rstd_T


def _product(
    x: Tensor, linear: StackedLinear, adapter: StackedAdapter
) -> tuple[Tensor, Tensor | None]:
    y = torch.nn.functional.linear(x, linear.weight())
    if adapter.is_empty:
        return y, None
    return y, adapter.forward(x, y)


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
    """Return y (T, H) float32 and what backward needs."""
    kernels = context.kernels
    h1, rstd1 = context.norm(x_TH, weights.attn_norm)
    qkv, t_qkv = _product(h1, weights.qkv, stacks.qkv)
    attended, heads = attend(kernels, qkv, context.layout)
    projected, t_out = _product(attended, weights.out, stacks.out)
    x2_TH = x_TH.clone()
    kernels.add(x2_TH, projected)
    h2, rstd2 = context.norm(x2_TH, weights.ffn_norm)
    gate_up, t_gate_up = _product(h2, weights.gate_up, stacks.gate_up)
    fed, t_down = _product(kernels.swiglu(gate_up), weights.down, stacks.down)
    y_TH = x2_TH.clone()
    kernels.add(y_TH, fed)
    inner = (t_qkv, t_out, t_gate_up, t_down)
    return y_TH, Saved(x_TH, x2_TH, rstd1, rstd2, heads, attended, gate_up, inner)


def block_backward(
    dy_TH: Tensor,
    saved: Saved,
    weights: BlockWeights,
    adapter: BlockAdapter,
    context: BlockContext,
    *,
    needs_dx: bool,
) -> Tensor:
    """Accumulate the block's adapter gradients.

    Args:
        dy_TH: Gradient of the block's output, float32; overwritten.
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
    dy = dy_TH.to(context.dtype)
    dt = None if t_down is None else adapter.down.inner_gradient(dy)
    dh = torch.mm(dy, weights.down.weight())
    if dt is not None:
        dh.addmm_(dt, adapter.down.a_RI)
    fed, d_gate_up = kernels.swiglu_backward(saved.gate_up, dh)
    if dt is not None and t_down is not None:
        adapter.down.accumulate(fed, t_down, dt, dy)
    h2, _ = context.norm(saved.x2, weights.ffn_norm)
    dh2 = _product_backward(d_gate_up, h2, t_gate_up, weights.gate_up, adapter.gate_up)
    kernels.rmsnorm_backward(dh2, saved.x2, weights.ffn_norm, saved.rstd2, dy_TH)

    dx2 = dy_TH.to(context.dtype)
    d_attended = _product_backward(dx2, saved.attended, t_out, weights.out, adapter.out)
    d_qkv = attend_backward(kernels, d_attended, saved.heads, context.layout)
    h1, _ = context.norm(saved.x, weights.attn_norm)
    if not needs_dx:
        _adapter_backward(d_qkv, h1, t_qkv, adapter.qkv)
        return dy_TH
    dh1 = _product_backward(d_qkv, h1, t_qkv, weights.qkv, adapter.qkv)
    kernels.rmsnorm_backward(dh1, saved.x, weights.attn_norm, saved.rstd1, dy_TH)
    return dy_TH
