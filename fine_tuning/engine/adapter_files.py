"""Adapters on disk as llama.cpp reads them (GGUF); PEFT's form stands in ``peft_files``.

Layout: llama.cpp, src/llama-adapter.cpp and convert_lora_to_gguf.py. llama.cpp computes
``alpha / rank`` itself, so rsLoRA's scale is folded into the alpha that is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from fine_tuning.core.errors import TrainingError
from fine_tuning.core.naming import content_name
from fine_tuning.engine.lora import Form, LoraAdapter, LoraPair
from fine_tuning.gguf.adapter import ALPHA_KEY, BLOCK_SUM_KEY, SUFFIX_A, SUFFIX_B, AdapterFile
from fine_tuning.gguf.encode import Writable
from fine_tuning.gguf.types import TensorType, ValueType
from fine_tuning.gguf.writer import TensorSource, write_gguf

SAME_UPDATE = 1e-5
"""How far two float32 forms of one adapter may be apart, relative to its largest number."""


def write_gguf_adapter(
    path: Path,
    adapter: LoraAdapter,
    *,
    architecture: str,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write an adapter in float32, whole or not at all, so that every runtime applies it right.

    A of a block-sum pair is written as it acts on the input itself, and the file names such pairs.

    Args:
        path: Where.
        adapter: What.
        architecture: The base's ``general.architecture``; llama.cpp refuses another.
        metadata: Further string keys, such as where it came from.

    Raises:
        StorageError: if the file cannot be written.
    """
    sources = []
    for name, pair in adapter.pairs.items():
        # One alpha serves all pairs, and llama.cpp divides it by each one's own rank.
        own = pair.gain * (pair.rank / adapter.rank)
        b = pair.b if own == 1 else pair.b * own
        for suffix, factor in ((SUFFIX_A, pair.expanded_a()), (SUFFIX_B, b)):
            values = factor.detach().contiguous().numpy()
            sources.append(TensorSource(name + suffix, values.shape, TensorType.F32, values))
    keys: dict[str, Writable] = {
        "general.type": "adapter",
        "general.architecture": architecture,
        "adapter.type": "lora",
        # Anything but a 32-bit float here makes llama.cpp abort the whole process.
        ALPHA_KEY: (float(adapter.scale * adapter.rank), ValueType.FLOAT32),
        **(metadata or {}),
    }
    if adapter.qalora:
        keys[BLOCK_SUM_KEY] = list(adapter.qalora)
    write_gguf(path, keys, sources)


def read_gguf_adapter(path: Path) -> LoraAdapter:
    """Read an adapter GGUF file.

    Pairs of another scale than the first one's (mixed ranks) get the difference folded into B.

    Returns:
        The factors, expanded A and B of each weight, with the rank and scale of the first pair.

    Raises:
        GgufError: if it is not a sound file, not a LoRA adapter, or a factor lacks its other half.
    """
    pairs: dict[str, LoraPair] = {}
    with AdapterFile.open(path) as file:
        rank = next(iter(file.ranks.values()))
        alpha = file.alpha or float(rank)
        for name in file.shapes:
            found = file.factors(name)
            a, b = torch.from_numpy(found.a), torch.from_numpy(found.b)
            if found.scale != alpha / rank:
                b = b * (found.scale * rank / alpha)
            form: Form = "qalora" if found.is_qalora else "plain"
            pairs[name] = LoraPair.from_expanded(a, b, form)
    return LoraAdapter(pairs, rank=rank, alpha=alpha)


def adapter_name(state: Mapping[str, Tensor], *, base_digest: str, scale: Sequence[object]) -> str:
    """Name an adapter by its numbers and what they mean, whatever file they lie in.

    Args:
        state: The factors by name.
        base_digest: ``sha256:<64 hex>`` of the base.
        scale: What its scale is computed from: rank, alpha, whether it is rsLoRA.

    Returns:
        ``b2:<hex>``; see :func:`content_name`.
    """
    digests = {}
    for name, tensor in state.items():
        content = tensor.detach().cpu().contiguous().numpy().tobytes()
        digests[name] = [list(tensor.shape), hashlib.blake2b(content).hexdigest()]
    return content_name({"base": base_digest, "scale": list(scale), "tensors": digests})


def check_same_update(found: LoraAdapter, expected: LoraAdapter, place: Path) -> None:
    """Check that two adapters change a model in the same way.

    Args:
        found: The adapter that was read.
        expected: The adapter it is to equal.
        place: The file it was read from, for the message.

    Raises:
        TrainingError: if they adapt other weights, or a factor of one is not the other's.
    """
    for name in sorted({*found.targets, *expected.targets}):
        pairs = [adapter.pairs.get(name) for adapter in (found, expected)]
        scales = (found.scale, expected.scale)
        halves = [
            (pair.expanded_a(), pair.b * (scale * pair.gain))
            for pair, scale in zip(pairs, scales, strict=True)
            if pair is not None
        ]
        if len(halves) != len(pairs) or not all(map(_is_near, *halves)):
            raise TrainingError(
                f"{place} holds {name} otherwise than the adapter it was made from",
                next_command="fine-tuning models verify, with the name of the version",
            )


def _is_near(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    return bool((one - other).abs().max() <= SAME_UPDATE * other.abs().max())
