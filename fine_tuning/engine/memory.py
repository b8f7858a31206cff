"""What a step needs of memory, counted before it runs, and how to fit it into a budget.

Two choices are made per block, and neither changes a number of the result: its weights stay packed
or are unpacked once (saves unpacking), and its activations are stored or only its input is kept and
the block computed again in backward (costs a third of its work).

Legend: T tokens at work at once, H width, I feed-forward width, V vocabulary, R stacked ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from fine_tuning.engine.block import BlockAdapter
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.head import BLOCK_BYTES, ROWS_PER_CHUNK
from fine_tuning.engine.layout import MAX_SCORES
from fine_tuning.engine.lora import LoraAdapter

GIB = 1 << 30
FLOAT_BYTES = 4
# Parameter, gradient, and AdamW's two moments, in float32.
ADAPTER_COPIES = 4
# Compiled kernels of the matrix library, one per shape, and what the allocator holds back, measured
# over a hundred steps of ragged chats (docs/LOG.md).
SLACK_BYTES = 350 << 20
# Where a container's limit and use stand (control groups of version 2, then 1).
CGROUP_FILES = tuple(
    (Path("/sys/fs/cgroup") / limit, Path("/sys/fs/cgroup") / used)
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    )
)


@dataclass(frozen=True, slots=True)
class StepSize:
    """How large a run's largest step is.

    ``num_tokens`` are at work at once, in ``num_shares`` shares, of sequences of at most
    ``longest_tokens``. ``evaluates`` adds the float32 head of evaluations, ``keeps_best`` a second
    adapter.
    """

    num_tokens: int
    num_shares: int
    longest_tokens: int
    evaluates: bool = False
    keeps_best: bool = False


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Which blocks are unpacked and which computed again, what that needs, and why it was chosen.

    ``fits`` is False when even the leanest choice needs more than the budget.
    """

    unpacked: frozenset[int]
    recomputed: frozenset[int]
    needed_bytes: int
    budget_bytes: int
    fits: bool
    reason: str


def kept_bytes_per_token(decoder: Decoder, adapter: BlockAdapter) -> int:
    """Return the bytes one stored block keeps for backward, per token.

    Args:
        decoder: The frozen model.
        adapter: The block's adapter.
    """
    shape, heads = decoder.shape, decoder.shape.heads
    floats = 2 * shape.width + 2  # x, x2 and the norms' reciprocals
    halves = 2 * (heads.n_q + heads.n_kv) * heads.d + 2 * shape.ffn_width  # qkv, attended, gate|up
    halves += sum(len(stack.a_RI) for stack in adapter.stacks)
    halves += 2 * shape.width if shape.spec.has_post_norms else 0
    return FLOAT_BYTES * floats + decoder.dtype.itemsize * halves


def unpacked_bytes(decoder: Decoder, index: int) -> int:
    """Return the bytes of a block's weights, unpacked.

    Args:
        decoder: The frozen model.
        index: The block's, from 0.
    """
    return decoder.dtype.itemsize * sum(
        linear.n_out * linear.n_in for linear in decoder.blocks[index].linears
    )


class MemoryNeeds:
    """What parts of a run need, in bytes; sums of them are forecasts.

    Args:
        decoder: The frozen model, all packed.
        adapter: What is trained.
        size: Of the largest step.
        resident_bytes: What the process occupies before the first step.
    """

    def __init__(
        self, decoder: Decoder, adapter: LoraAdapter, size: StepSize, resident_bytes: int
    ) -> None:
        stacks = decoder.stack_adapter(adapter)
        self._decoder, self._size = decoder, size
        self.num_layers = len(decoder.blocks)
        self.lowest = next(i for i, stack in enumerate(stacks) if not stack.is_empty)
        self.kept_per_token = {
            i: kept_bytes_per_token(decoder, stacks[i])
            for i in range(self.lowest, len(decoder.blocks))
        }
        self.fixed_bytes = (
            resident_bytes
            + self._weight_bytes()
            + size.num_shares * (self._scratch_bytes() + self._head_bytes())
            + self._adapter_bytes(adapter, stacks)
            + self._passing_bytes()
        )

    def total_bytes(self, unpacked: frozenset[int], recomputed: frozenset[int]) -> int:
        """Return the peak with the blocks given.

        Args:
            unpacked: Indices of the blocks whose weights are kept unpacked.
            recomputed: Indices of the blocks whose activations are computed again.
        """
        tokens, width = self._size.num_tokens, self._decoder.shape.width
        stored = sum(n for i, n in self.kept_per_token.items() if i not in recomputed)
        again = FLOAT_BYTES * width * len(recomputed)
        transient = max((self.kept_per_token[i] for i in recomputed), default=0)
        kept = tokens * (stored + again + transient)
        weights = sum(unpacked_bytes(self._decoder, i) for i in unpacked)
        return self.fixed_bytes + kept + weights + SLACK_BYTES

    def _weight_bytes(self) -> int:
        decoder = self._decoder
        members = [m for block in decoder.blocks for li in block.linears for m in li.members]
        return sum(m.raw.nbytes for m in members) + decoder.head.matrix.raw.nbytes

    def _scratch_bytes(self) -> int:
        linears = [linear for block in self._decoder.blocks for linear in block.linears]
        return self._decoder.dtype.itemsize * max(li.n_out * li.n_in for li in linears)

    def _head_bytes(self) -> int:
        head, vocabulary = self._decoder.head, self._decoder.shape.vocab_size
        total = 0
        for dtype in {self._decoder.dtype, *((torch.float32,) if self._size.evaluates else ())}:
            weight = min(BLOCK_BYTES, vocabulary * head.matrix.n_in * dtype.itemsize)
            copies = 2 if head.soft_cap else 1
            total += weight + copies * ROWS_PER_CHUNK * vocabulary * dtype.itemsize
        return total

    def _adapter_bytes(self, adapter: LoraAdapter, stacks: list[BlockAdapter]) -> int:
        shares = self._size.num_shares
        copies = ADAPTER_COPIES + self._size.keeps_best + (shares if shares > 1 else 0)
        parts = [part for stack in stacks for part in stack.stacks]
        stacked = sum(part.a_RI.nbytes + part.b_OR.nbytes for part in parts)
        return copies * FLOAT_BYTES * adapter.num_parameters + shares * stacked

    def _passing_bytes(self) -> int:
        """Return what one block's backward holds for the moment."""
        shape, size = self._decoder.shape, self._size
        heads, itemsize = shape.heads, self._decoder.dtype.itemsize
        per_token = itemsize * (4 * shape.ffn_width + 4 * shape.width)
        per_token += 4 * FLOAT_BYTES * shape.width
        per_token += (itemsize + FLOAT_BYTES) * (heads.n_q + 2 * heads.n_kv) * heads.d
        scores = min(MAX_SCORES, heads.n_q * size.num_tokens * size.longest_tokens)
        return per_token * size.num_tokens + 3 * itemsize * scores * size.num_shares


def plan_memory(needs: MemoryNeeds, budget_bytes: int, *, wants_unpacked: bool) -> MemoryPlan:
    """Fit a run into a budget.

    Blocks are computed again only as far as the budget demands, lowest first: backward comes to
    them last, when what the others stored is free. What is left is spent on unpacked weights.

    Args:
        needs: Of the run.
        budget_bytes: The most the process may occupy.
        wants_unpacked: Whether weights are to be unpacked where memory allows.

    Returns:
        The plan, also where it does not fit: then the one of least memory.
    """
    nothing: frozenset[int] = frozenset()
    blocks = list(needs.kept_per_token)
    counts = range(len(blocks) + 1)
    again = next(
        (n for n in counts if needs.total_bytes(nothing, frozenset(blocks[:n])) <= budget_bytes),
        len(blocks),
    )
    recomputed = frozenset(blocks[:again])
    num_layers = needs.num_layers
    unpacked = nothing
    if wants_unpacked:
        fitting = [
            frozenset(range(num_layers - n, num_layers))
            for n in range(num_layers + 1)
            if needs.total_bytes(frozenset(range(num_layers - n, num_layers)), recomputed)
            <= budget_bytes
        ]
        unpacked = fitting[-1] if fitting else nothing
    needed = needs.total_bytes(unpacked, recomputed)
    return MemoryPlan(
        unpacked,
        recomputed,
        needed,
        budget_bytes,
        needed <= budget_bytes,
        _reason(needs, len(unpacked), again, budget_bytes, wants_unpacked=wants_unpacked),
    )


def _reason(
    needs: MemoryNeeds, unpacked: int, again: int, budget_bytes: int, *, wants_unpacked: bool
) -> str:
    full = needs.total_bytes(frozenset(), frozenset()) / GIB
    budget = f"budget {budget_bytes / GIB:.1f} GiB"
    weights = "weights stay packed"
    if wants_unpacked:
        weights = f"weights of {unpacked} of {needs.num_layers} layers unpacked"
    if not again:
        return f"{weights}; activations stored: {full:.1f} GiB needed for that, {budget}"
    return (
        f"{weights}; activations of {again} of {len(needs.kept_per_token)} layers computed again: "
        f"storing all needs {full:.1f} GiB, {budget}"
    )


def available_bytes() -> int:
    """Return the memory this process could still take, a container's limit respected."""
    free = int(psutil.virtual_memory().available)
    for limit, used in CGROUP_FILES:
        try:
            allowed = limit.read_text(encoding="ascii").strip()
            taken = int(used.read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        if allowed.isdecimal():
            free = min(free, max(0, int(allowed) - taken))
    return free
