"""A frozen decoder-only transformer over the weights of one GGUF file.

It knows token ids and numbers; text, templates and training loops live elsewhere. Weights are read
through a memory map and stay packed unless asked otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from fine_tuning.core.errors import UnsupportedModelError
from fine_tuning.engine.architecture import read_shape
from fine_tuning.engine.attention import TokenLayout
from fine_tuning.engine.block import (
    BlockAdapter,
    BlockContext,
    BlockWeights,
    Saved,
    block_forward,
)
from fine_tuning.engine.compute import compute_dtype
from fine_tuning.engine.head import OutputHead
from fine_tuning.engine.kernels.library import load_kernels
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.engine.packed import PackedMatrix, Residency, Scratch, StackedLinear
from fine_tuning.gguf.reader import GgufFile

LINEAR_NAMES = (
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
)


class Decoder:
    """The frozen model; open one with :meth:`open`, close it when done.

    Attributes:
        shape: Its numbers.
        dtype: Compute dtype of products; ``dtype_reason`` says why.
        linear_shapes: (n_out, n_in) of each weight an adapter may change, by name.
        kernels: Operations between products; ``kernels_name`` and ``kernels_reason`` for users.
    """

    def __init__(
        self, file: GgufFile, dtype: torch.dtype | None, residency: Residency, kernels: str | None
    ) -> None:
        self._file = file
        self.shape = read_shape(file)
        self.residency = residency
        best, reason = compute_dtype()
        self.dtype = dtype or best
        self.dtype_reason = reason if dtype is None else "asked for"
        loaded = load_kernels(kernels)
        self.kernels, self.kernels_name = loaded.kernels, loaded.name
        self.kernels_reason = loaded.reason
        self._refuse_extra_tensors()
        self._scratch = Scratch(self.dtype)
        self.embedding = PackedMatrix.from_file(file, "token_embd.weight")
        tied = "output.weight" not in file.tensors
        self.head = OutputHead(
            self.embedding if tied else PackedMatrix.from_file(file, "output.weight"), self.kernels
        )
        self.output_norm = self._vector("output_norm.weight")
        factors = "rope_freqs.weight"
        self._rope_factors = self._vector(factors) if factors in file.tensors else None
        self.blocks = [self._block(f"blk.{i}.") for i in range(self.shape.num_layers)]
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
    ) -> Self:
        """Open a GGUF file.

        Args:
            path: The file; it must not change while the decoder is open.
            dtype: Compute dtype, float32 or bfloat16; None chooses by processor.
            residency: "packed" unpacks weights per use; "unpacked" once, for more memory.
            kernels: Kernel set by name; None takes the best.

        Raises:
            GgufError: if the file is not sound.
            UnsupportedModelError: if the architecture or a tensor is not supported.
        """
        file = GgufFile.open(path)
        try:
            return cls(file, dtype, residency, kernels)
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _refuse_extra_tensors(self) -> None:
        """Refuse tensors the forward would ignore: they would change the model in serving."""
        known = {"token_embd.weight", "output.weight", "output_norm.weight", "rope_freqs.weight"}
        names = (*LINEAR_NAMES, "attn_norm", "ffn_norm")
        for i in range(self.shape.num_layers):
            known.update(f"blk.{i}.{name}.weight" for name in names)
            known.add(f"blk.{i}.attn_rot_embd.weight")
        unknown = sorted(set(self._file.tensors) - known)
        if unknown:
            raise UnsupportedModelError(
                f"{self._file.path} has tensor {unknown[0]} ({len(unknown)} such), which this "
                f"engine does not compute for architecture {self.shape.architecture}"
            )

    def _vector(self, name: str) -> Tensor:
        if name not in self._file.tensors:
            raise UnsupportedModelError(f"{self._file.path} has no tensor {name}")
        return torch.from_numpy(self._file.dequantize(name).copy())

    def _stack(self, prefix: str, *names: str) -> StackedLinear:
        members = tuple(
            PackedMatrix.from_file(self._file, f"{prefix}{name}.weight") for name in names
        )
        return StackedLinear(members, self.kernels, self._scratch, self.residency)

    def _block(self, prefix: str) -> BlockWeights:
        return BlockWeights(
            attn_norm=self._vector(prefix + "attn_norm.weight"),
            qkv=self._stack(prefix, "attn_q", "attn_k", "attn_v"),
            out=self._stack(prefix, "attn_output"),
            ffn_norm=self._vector(prefix + "ffn_norm.weight"),
            gate_up=self._stack(prefix, "ffn_gate", "ffn_up"),
            down=self._stack(prefix, "ffn_down"),
        )

    def context(self, lengths: Sequence[int]) -> BlockContext:
        """Lay out sequences of the given lengths for one step."""
        rope = self.shape.rope(max(lengths), self._rope_factors)
        layout = TokenLayout.of(lengths, self.shape.heads, rope)
        return BlockContext(self.kernels, layout, self.shape.norm_eps, self.dtype)

    def stack_adapter(self, adapter: LoraAdapter | None) -> list[BlockAdapter]:
        """Prepare an adapter for one step, one stack per block; None is the bare base.

        Raises:
            UnsupportedModelError: if the adapter names a weight this decoder has not.
        """
        adapter = adapter or LoraAdapter({}, rank=1, alpha=1.0)
        unknown = sorted(set(adapter.targets) - set(self.linear_shapes))
        if unknown:
            raise UnsupportedModelError(f"the adapter adapts {unknown[0]}, which the base has not")
        return [BlockAdapter(adapter, block, self.dtype) for block in self.blocks]

    def hidden(
        self,
        ids: Tensor,
        adapters: Sequence[BlockAdapter],
        context: BlockContext,
        *,
        save_from: int | None,
    ) -> tuple[Tensor, list[Saved]]:
        """Run all blocks.

        Args:
            ids: Flat token ids (T,), int64.
            adapters: From :meth:`stack_adapter`.
            context: From :meth:`context`.
            save_from: First block whose activations are kept for backward; None keeps none.

        Returns:
            The last hidden state before the output norm, float32 (T, H), and what was kept.
        """
        x_TH = self.embedding.gather(self.kernels, ids)
        kept = []
        for index, (block, adapter) in enumerate(zip(self.blocks, adapters, strict=True)):
            x_TH, saved = block_forward(x_TH, block, adapter, context)
            if save_from is not None and index >= save_from:
                kept.append(saved)
        return x_TH, kept
