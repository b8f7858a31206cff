"""A frozen decoder-only transformer over the weights of one GGUF file.

It knows token ids and numbers; text, templates and training loops live elsewhere. Weights are read
through a memory map and stay packed unless asked otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor

from fine_tuning.core.closing import Closing
from fine_tuning.core.errors import UnsupportedModelError
from fine_tuning.core.run import SERVED_CONTEXT_TOKENS
from fine_tuning.engine.architecture import product_names, read_config
from fine_tuning.engine.attention import Attention
from fine_tuning.engine.block import (
    BlockAdapter,
    BlockContext,
    BlockWeights,
    Saved,
    block_backward,
    block_forward,
)
from fine_tuning.engine.compute import compute_dtype
from fine_tuning.engine.head import OutputHead
from fine_tuning.engine.kernels.interface import Rope
from fine_tuning.engine.kernels.library import load_kernels
from fine_tuning.engine.layout import LENGTH_MULTIPLE, Segment, TokenLayout, round_up
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.engine.packed import PackedMatrix, Residency, Scratch, StackedLinear
from fine_tuning.engine.rope import RopeShape
from fine_tuning.engine.trainable import refuse_unknown_tensors
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.requantize_exact import RequantizedFile

# With larger weights every thread works on every product: they scale well over threads, and one
# thread per share would unpack each weight once per thread, into a buffer of its own.
MAX_SCRATCH_BYTES = 64 << 20
# llama.cpp rounds the context of a conversation up.
CONTEXT_MULTIPLE = 256


class StepContext(NamedTuple):
    """What the blocks of a step share; the last of them has its own rows to compute."""

    every: BlockContext
    last: BlockContext
    num_blocks: int

    def at(self, index: int) -> BlockContext:
        """Return a block's context."""
        return self.last if index == self.num_blocks - 1 else self.every


class Decoder(Closing):
    """The frozen model; open one with :meth:`open`, close it when done.

    Attributes:
        shape: Its numbers.
        dtype: Compute dtype of products; ``dtype_reason`` says why.
        linear_shapes: (n_out, n_in) of each weight an adapter may change, by name.
        kernels: Operations between products; ``kernels_name`` and ``kernels_reason`` for users.
        shares_steps: Whether a step's sequences are shared out over threads.
        served_context_tokens: The context room it is served with.
        recomputed: Blocks that keep only their input and are computed again in backward.
    """

    def __init__(
        self,
        file: GgufFile,
        dtype: torch.dtype | None,
        residency: Residency,
        kernels: str | None,
        served_context_tokens: int,
    ) -> None:
        self._file = file
        self.shape = read_config(file)
        self.served_context_tokens = served_context_tokens
        self.residency = residency
        best, reason = compute_dtype()
        self.dtype = dtype or best
        self.dtype_reason = reason if dtype is None else "asked for"
        loaded = load_kernels(kernels)
        self.kernels, self.kernels_name = loaded.kernels, loaded.name
        self.kernels_reason = loaded.reason
        refuse_unknown_tensors(file, self.shape)
        self._scratch = Scratch(self.dtype)
        self.embedding = PackedMatrix.from_file(file, "token_embd.weight")
        tied = "output.weight" not in file.tensors
        self.head = OutputHead(
            self.embedding if tied else PackedMatrix.from_file(file, "output.weight"),
            self.kernels,
            self.shape.logit_soft_cap,
        )
        # Logits are linear in the norm's weight, so a factor on them costs nothing here.
        self.output_norm = self._norm("output_norm.weight") * self.shape.logit_scale
        self._rope_factors = {
            name: self._vector(name, self.shape.heads.n_rot // 2)
            for name in self.shape.spec.rope_tensors
            if name in file.tensors
        }
        self.path = file.path
        self.recomputed: frozenset[int] = frozenset()
        self.requantized: frozenset[str] = frozenset()
        self.blocks = [self._block(i) for i in range(self.shape.num_layers)]
        linears = [linear for block in self.blocks for linear in block.linears]
        largest_bytes = max(linear.n_out * linear.n_in for linear in linears) * self.dtype.itemsize
        self.shares_steps = largest_bytes <= MAX_SCRATCH_BYTES
        self.linear_shapes: Mapping[str, tuple[int, int]] = {
            member.name: (member.n_out, member.n_in)
            for block in self.blocks
            for linear in block.linears
            for member in linear.members
        }

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        dtype: torch.dtype | None = None,
        residency: Residency = "packed",
        kernels: str | None = None,
        served_context_tokens: int = SERVED_CONTEXT_TOKENS,
        requantized: Callable[[str], bool] | None = None,
    ) -> Self:
        """Open a GGUF file.

        Args:
            path: The file; it must not change while the decoder is open.
            dtype: Compute dtype, float32 or bfloat16; None chooses by processor.
            residency: "packed" unpacks weights per use; "unpacked" once, for more memory.
            kernels: Kernel set by name; None takes the best.
            served_context_tokens: Context the model will be served with; llama.cpp chooses
                between Phi 3's two sets of rope factors by it.
            requantized: Names tensors to be seen as the merge of a mergeable adapter writes them.

        Returns:
            The decoder; closing it closes the file.

        Raises:
            GgufError: if the file is not sound.
            UnsupportedModelError: if the architecture or a tensor is not supported.
        """
        file = RequantizedFile.open_with(path, requantized) if requantized else GgufFile.open(path)
        try:
            decoder = cls(file, dtype, residency, kernels, served_context_tokens)
        except BaseException:
            file.close()
            raise
        if requantized:
            decoder.requantized = frozenset(filter(requantized, decoder.linear_shapes))
        return decoder

    def unpack(self, blocks: Iterable[int]) -> None:
        """Keep the weights of some blocks unpacked from now on."""
        for index in blocks:
            for linear in self.blocks[index].linears:
                linear.unpack()

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _vector(self, name: str, size: int) -> Tensor:
        if name not in self._file.tensors:
            raise UnsupportedModelError(f"{self._file.path} has no tensor {name}")
        if self._file.tensors[name].shape != (size,):
            found = self._file.tensors[name].shape
            raise UnsupportedModelError(
                f"{self._file.path}: {name} has shape {found}, expected ({size},)"
            )
        return torch.from_numpy(self._file.dequantize(name).copy())

    def _norm(self, name: str) -> Tensor:
        return self._vector(name, self.shape.width)

    def _stack(self, prefix: str, names: Sequence[str], n_out: int, n_in: int) -> StackedLinear:
        members = tuple(
            PackedMatrix.from_file(self._file, f"{prefix}{name}.weight") for name in names
        )
        found = sum(member.n_out for member in members), members[0].n_in
        if found != (n_out, n_in):
            raise UnsupportedModelError(
                f"{self._file.path}: {prefix}{' + '.join(names)} has shape {found}, "
                f"expected ({n_out}, {n_in})"
            )
        bias = self._bias(prefix, names, members)
        return StackedLinear(members, self.kernels, self._scratch, self.residency, bias)

    def _bias(
        self, prefix: str, names: Sequence[str], members: Sequence[PackedMatrix]
    ) -> Tensor | None:
        """Return the stacked bias, zero where a member has none; None when no member has one."""
        biases = [f"{prefix}{name}.bias" for name in names]
        if not any(bias in self._file.tensors for bias in biases):
            return None
        return torch.cat(
            [
                self._vector(bias, member.n_out)
                if bias in self._file.tensors
                else torch.zeros(member.n_out)
                for bias, member in zip(biases, members, strict=True)
            ]
        )

    def _attention(self, prefix: str, index: int) -> Attention:
        shape, norms = self.shape.attention[index], None
        if self.shape.spec.has_head_norms:
            q, k = (
                self._vector(f"{prefix}attn_{n}_norm.weight", shape.heads.d) for n in ("q", "k")
            )
            norms = torch.cat((q.repeat(shape.heads.n_q, 1), k.repeat(shape.heads.n_kv, 1)))
        return Attention(shape, self.shape.norm_eps, norms)

    def _block(self, index: int) -> BlockWeights:
        shape, spec, prefix = self.shape, self.shape.spec, f"blk.{index}."
        qkv, out, gate_up, down = product_names(spec)
        heads, width, ffn = shape.heads, shape.width, shape.ffn_width
        post: list[Tensor | None] = [None, None]
        if spec.has_post_norms:
            post = [self._norm(f"{prefix}post_{n}_norm.weight") for n in ("attention", "ffw")]
        return BlockWeights(
            attn_norm=self._norm(prefix + "attn_norm.weight"),
            qkv=self._stack(prefix, qkv, (heads.n_q + 2 * heads.n_kv) * heads.d, width),
            attention=self._attention(prefix, index),
            out=self._stack(prefix, out, width, heads.n_q * heads.d),
            post_attn_norm=post[0],
            ffn_norm=self._norm(prefix + "ffn_norm.weight"),
            gate_up=self._stack(prefix, gate_up, 2 * ffn, width),
            gate=spec.gate,
            down=self._stack(prefix, down, width, ffn),
            post_ffn_norm=post[1],
        )

    def _ropes(self, num_positions: int) -> dict[RopeShape, Rope]:
        """Return each kind of layer's rotations (llama.cpp, llama_model::get_rope_factors)."""
        names = self.shape.spec.rope_tensors
        context = max(self.served_context_tokens, num_positions)
        context = round_up(context, CONTEXT_MULTIPLE)
        is_long = context > self.shape.original_context_tokens
        factors = self._rope_factors.get(names[0 if is_long else -1]) if names else None
        n_rot = self.shape.heads.n_rot
        return {
            rope: rope.table(n_rot, round_up(num_positions, LENGTH_MULTIPLE), factors)
            for rope in {layer.rope for layer in self.shape.attention}
        }

    def context(
        self, segments: Sequence[Segment], wanted: Sequence[int] | None = None
    ) -> StepContext:
        """Lay out segments for one step; the last block needs the ``wanted`` rows only.

        Args:
            segments: What is computed, in the order of its rows.
            wanted: Rows that the last block has to give; None means all.

        Returns:
            The layout of every block, and that of the last.
        """
        longest = max(len(segment.past) + segment.size for segment in segments)
        num_heads = self.shape.heads.n_q
        every = BlockContext(
            self.kernels,
            TokenLayout.of(segments, num_heads),
            self._ropes(longest),
            self.shape.norm_eps,
            self.shape.residual_scale,
            self.dtype,
        )
        last = every
        if wanted is not None:
            last = replace(every, layout=TokenLayout.of(segments, num_heads, wanted))
        return StepContext(every, last, len(self.blocks))

    def stack_adapter(self, adapter: LoraAdapter | None) -> list[BlockAdapter]:
        """Prepare an adapter for one step, one stack per block; None is the bare base.

        Returns:
            One per block, lowest first.

        Raises:
            UnsupportedModelError: if the adapter names a weight this decoder has not, or has in
                another shape.
        """
        adapter = adapter or LoraAdapter({}, rank=1, alpha=1.0)
        unknown = sorted(set(adapter.targets) - set(self.linear_shapes))
        if unknown:
            raise UnsupportedModelError(f"the adapter adapts {unknown[0]}, which the base has not")
        for name, shape in adapter.shapes.items():
            if shape != self.linear_shapes[name]:
                raise UnsupportedModelError(
                    f"the adapter adapts {name} as {shape}, the base has it as "
                    f"{self.linear_shapes[name]}"
                )
        return [BlockAdapter(adapter, block, self.dtype) for block in self.blocks]

    def embed(self, ids: Tensor, context: StepContext) -> Tensor:
        """Return the embeddings of flat ids (T,), float32, with rows that round T up.

        Args:
            ids: Token ids (n,), int64.
            context: The step's; its layout says how many rows T there are, n or more.
        """
        num_tokens = context.every.layout.num_tokens
        ids = torch.nn.functional.pad(ids, (0, num_tokens - len(ids)))
        x_TH = self.embedding.gather(self.kernels, ids)
        if self.shape.embedding_scale != 1:
            x_TH *= self.shape.embedding_scale
        return x_TH

    def hidden(
        self,
        x_TH: Tensor,
        adapters: Sequence[BlockAdapter],
        context: StepContext,
        *,
        save_from: int | None,
        first: int = 0,
        end: int | None = None,
    ) -> tuple[Tensor, list[Saved | Tensor]]:
        """Run blocks.

        Args:
            x_TH: What enters block ``first``, float32.
            adapters: From :meth:`stack_adapter`.
            context: From :meth:`context`.
            save_from: First block whose activations are kept for backward; None keeps none.
            first: First block to run.
            end: Block to stop before; None runs to the last.

        Returns:
            What leaves the last block run, before the output norm, float32 (the wanted rows, if
            the context names some), and what was kept: of ``recomputed`` blocks their input alone.
        """
        kept: list[Saved | Tensor] = []
        for index in range(first, len(self.blocks) if end is None else end):
            block, entered = self.blocks[index], x_TH
            x_TH, saved = block_forward(x_TH, block, adapters[index], context.at(index))
            if save_from is not None and index >= save_from:
                kept.append(entered if index in self.recomputed else saved)
            del saved, entered  # not two blocks' at once
        return x_TH, kept

    def backward(
        self,
        dy: Tensor,
        kept: list[Saved | Tensor],
        adapters: Sequence[BlockAdapter],
        context: StepContext,
        *,
        lowest: int,
    ) -> None:
        """Accumulate the gradients of the adapters of blocks ``lowest`` and above.

        Args:
            dy: Gradient of what :meth:`hidden` returned, zero in padding; overwritten.
            kept: What it kept from ``lowest`` on; emptied, so that memory is freed on the way.
            adapters: As given there.
            context: As given there.
            lowest: The lowest block with an adapter.
        """
        for index in range(len(self.blocks) - 1, lowest - 1, -1):
            block, adapter, around = self.blocks[index], adapters[index], context.at(index)
            saved = kept.pop()
            if isinstance(saved, Tensor):
                _, saved = block_forward(saved, block, adapter, around)
            dy = block_backward(dy, saved, block, adapter, around, needs_dx=index != lowest)
            del saved
