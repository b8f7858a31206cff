"""Adapters on disk: GGUF as llama.cpp reads it, and PEFT-style safetensors.

GGUF layout: llama.cpp, src/llama-adapter.cpp and convert_lora_to_gguf.py. llama.cpp computes
``alpha / rank`` itself, so rsLoRA's scale is folded into the alpha that is written.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import re2
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fine_tuning.core.errors import TrainingError
from fine_tuning.engine.architecture import DecoderShape
from fine_tuning.engine.lora import Form, LoraAdapter, LoraPair
from fine_tuning.gguf.adapter import ALPHA_KEY, BLOCK_SUM_KEY, SUFFIX_A, SUFFIX_B, AdapterFile
from fine_tuning.gguf.encode import Writable
from fine_tuning.gguf.types import TensorType, ValueType
from fine_tuning.gguf.writer import TensorSource, write_gguf

PEFT_WEIGHTS = "adapter_model.safetensors"
PEFT_CONFIG = "adapter_config.json"

PEFT_MODULES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# Where one matrix holds q, k, v and another gate and up (Phi 3), in Hugging Face's row order too.
FUSED_PEFT_MODULES = {
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_up": "mlp.gate_up_proj",
    "ffn_down": "mlp.down_proj",
}
_PEFT_FACTOR = re.compile(
    r"(base_model\.model\.(?:\w+\.)*layers\.(\d+)\.(\w+\.\w+))\.lora_([AB])\.weight"
)
_TARGET = re.compile(r"blk\.(\d+)\.(\w+)\.weight")


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
        b = pair.b if pair.rank == adapter.rank else pair.b * (pair.rank / adapter.rank)
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
    if adapter.block_sum:
        keys[BLOCK_SUM_KEY] = list(adapter.block_sum)
    write_gguf(path, keys, sources)


def read_gguf_adapter(path: Path) -> LoraAdapter:
    """Read an adapter GGUF file.

    Pairs of another scale than the first one's (mixed ranks) get the difference folded into B.

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
            form: Form = "block_sum" if found.is_block_sum else "plain"
            pairs[name] = LoraPair.from_expanded(a, b, form)
    return LoraAdapter(pairs, rank=rank, alpha=alpha)


def _permuted(rows: Tensor, num_heads: int, *, undo: bool) -> Tensor:
    """Reorder the rows of a q or k factor between ggml's and Hugging Face's rotary layouts.

    ggml rotates neighbours (2i, 2i+1), Hugging Face halves (i, i + d/2); llama.cpp's converter
    (conversion/llama.py, permute) reorders the rows accordingly, and ``undo`` reverses it.
    """
    d, rank = rows.shape[0] // num_heads, rows.shape[1]
    split = (num_heads, d // 2, 2, rank) if undo else (num_heads, 2, d // 2, rank)
    return rows.reshape(split).transpose(1, 2).reshape(rows.shape).contiguous()


def peft_modules(shape: DecoderShape) -> Mapping[str, str]:
    """Return PEFT's module names by llama.cpp's names of linear layers."""
    return FUSED_PEFT_MODULES if shape.traits.is_fused else PEFT_MODULES


def _peft_name(name: str, shape: DecoderShape) -> tuple[str, str]:
    found, modules = _TARGET.fullmatch(name), peft_modules(shape)
    if found is None or found[2] not in modules:
        raise TrainingError(f"{name} has no counterpart in a PEFT adapter")
    return f"base_model.model.model.layers.{found[1]}.{modules[found[2]]}", found[2]


def peft_state(
    adapter: LoraAdapter, shape: DecoderShape, *, permute: bool = True
) -> dict[str, Tensor]:
    """Return the factors by PEFT's names, with the row order of Hugging Face's weights."""
    state = {}
    for name, pair in adapter.pairs.items():
        module, kind = _peft_name(name, shape)
        b = pair.b
        if permute and not shape.heads.is_neox and kind in ("attn_q", "attn_k"):
            num_heads = shape.heads.n_q if kind == "attn_q" else shape.heads.n_kv
            b = _permuted(b, num_heads, undo=True)
        state[f"{module}.lora_A.weight"] = pair.expanded_a().contiguous()
        state[f"{module}.lora_B.weight"] = b.contiguous()
    return state


def write_peft_adapter(
    folder: Path, adapter: LoraAdapter, shape: DecoderShape, base_name: str
) -> None:
    """Write ``adapter_model.safetensors`` and ``adapter_config.json``.

    Args:
        folder: Where; must exist. The caller makes the folder whole or absent.
        adapter: What.
        shape: The base's numbers; q and k rows are put into Hugging Face's order.
        base_name: Recorded as ``base_model_name_or_path``.
    """
    modules = peft_modules(shape)
    found = {_peft_name(name, shape)[1] for name in adapter.targets}
    kinds = [kind for kind in modules if kind in found]
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "use_rslora": adapter.use_rslora,
        "target_modules": [modules[kind].rpartition(".")[2] for kind in kinds],
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        **_patterns(adapter, shape),
    }
    save_file(peft_state(adapter, shape), folder / PEFT_WEIGHTS, metadata={"format": "pt"})
    (folder / PEFT_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _patterns(adapter: LoraAdapter, shape: DecoderShape) -> dict[str, dict[str, float]]:
    """Return what the config says of pairs whose rank is not the common one."""
    ranks = {
        _peft_name(name, shape)[0].removeprefix("base_model.model."): pair.rank
        for name, pair in adapter.pairs.items()
        if pair.rank != adapter.rank
    }
    power = 0.5 if adapter.use_rslora else 1.0
    alphas = {name: adapter.alpha * (r / adapter.rank) ** power for name, r in ranks.items()}
    return {"rank_pattern": dict(ranks), "alpha_pattern": alphas} if ranks else {}


def read_peft_adapter(folder: Path, shape: DecoderShape) -> LoraAdapter:
    """Read what :func:`write_peft_adapter`, or PEFT itself, wrote for the same base.

    Pairs of another scale than the config's (``rank_pattern``, ``alpha_pattern``) get the
    difference folded into B.

    Raises:
        TrainingError: if a file is missing or damaged, the tensors do not belong to this base, or
            the adapter is more than low-rank factors (DoRA, biases, whole modules).
    """
    try:
        config = json.loads((folder / PEFT_CONFIG).read_text(encoding="utf-8"))
        state = load_file(folder / PEFT_WEIGHTS)
        scales = _PeftScales.of(config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise TrainingError(f"{folder} is not a PEFT adapter: {error}") from error
    _refuse_more_than_factors(folder, config)
    pairs = {}
    for module, target, a, b in _peft_factors(folder, state, shape):
        factor = scales.of_module(module, a.shape[0]) / scales.common
        pairs[target] = LoraPair(a.float(), b.float() * factor)
    if not pairs:
        raise TrainingError(f"{folder} holds no factors, expected at least one pair")
    return LoraAdapter(pairs, rank=scales.rank, alpha=scales.alpha, use_rslora=scales.use_rslora)


def _peft_factors(
    folder: Path, state: Mapping[str, Tensor], shape: DecoderShape
) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """Yield PEFT's module name, ggml's tensor name, A, and B in ggml's row order."""
    kinds = {module: kind for kind, module in peft_modules(shape).items()}
    for name in state:
        found = _PEFT_FACTOR.fullmatch(name)
        if found is None:
            raise TrainingError(f"{folder} holds {name}, expected factors of linear layers only")
        kind = kinds.get(found[3], "")
        a, b = (state.get(f"{found[1]}.lora_{half}.weight") for half in "AB")
        if a is None or b is None or not kind:
            raise TrainingError(f"{folder}: {name} has no counterpart")
        if a.ndim != b.ndim or a.ndim != 2 or a.shape[0] != b.shape[1]:  # noqa: PLR2004  # matrices
            raise TrainingError(f"{folder}: {name} and its counterpart are no factors of a matrix")
        if found[4] == "A":
            module = found[1].removeprefix("base_model.model.")
            yield module, f"blk.{found[2]}.{kind}.weight", a, _ggml_rows(folder, b, kind, shape)


def _ggml_rows(folder: Path, b: Tensor, kind: str, shape: DecoderShape) -> Tensor:
    if shape.heads.is_neox or kind not in ("attn_q", "attn_k"):
        return b
    num_heads = shape.heads.n_q if kind == "attn_q" else shape.heads.n_kv
    if b.shape[0] % (2 * num_heads):
        raise TrainingError(f"{folder}: {kind} has {b.shape[0]} rows, expected {num_heads} heads")
    return _permuted(b, num_heads, undo=False)


@dataclass(frozen=True, slots=True)
class _PeftScales:
    """The numbers of a PEFT config that scale pairs (peft, tuners/lora/layer.py, update_layer)."""

    rank: int
    alpha: float
    use_rslora: bool
    alphas: Mapping[str, float]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """Read them; raises KeyError, TypeError or ValueError where they are not numbers."""
        alphas = {str(k): float(v) for k, v in dict(config.get("alpha_pattern") or {}).items()}
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
        if rank < 1 or not all(math.isfinite(x) and x for x in (alpha, *alphas.values())):
            raise ValueError(f"its rank is {rank} and its alpha {alpha}, expected more than 0")
        return cls(rank, alpha, bool(config.get("use_rslora", False)), alphas)

    @property
    def common(self) -> float:
        """The scale of pairs that no pattern names."""
        return self._scale(self.alpha, self.rank)

    def of_module(self, module: str, rank: int) -> float:
        """Return a pair's scale; a pattern is a regular expression for the end of its name."""
        for pattern, alpha in self.alphas.items():
            if re2.fullmatch(rf"(.*\.)?({pattern})", module):
                return self._scale(alpha, rank)
        return self._scale(self.alpha, rank)

    def _scale(self, alpha: float, rank: int) -> float:
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def _refuse_more_than_factors(folder: Path, config: Mapping[str, Any]) -> None:
    usual = {"peft_type": "LORA", "bias": "none", "use_dora": False, "fan_in_fan_out": False}
    usual |= {"modules_to_save": None, "lora_bias": False}
    for key, expected in usual.items():
        found = config.get(key, expected)
        if found != expected and found:
            raise TrainingError(
                f"{folder} has {key} {found!r}, expected {expected!r}: nothing but factors of "
                "linear layers can be served beside a GGUF model"
            )
