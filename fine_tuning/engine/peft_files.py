"""Adapters on disk as PEFT reads and writes them: safetensors and a configuration.

Where ggml rotates neighbouring rows of queries and keys, their factors are reordered on the way in
and out. Nothing but low-rank factors of linear layers is taken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from fine_tuning.core.errors import TrainingError
from fine_tuning.core.run import PEFT_CONFIG, PEFT_WEIGHTS
from fine_tuning.engine.architecture import ModelConfig
from fine_tuning.engine.lora import Form, LoraAdapter, LoraPair
from fine_tuning.engine.peft_config import (
    MERGE_FIRST,
    PeftScales,
    refuse_more_than_factors,
    refuse_other_parts,
)
from fine_tuning.gguf.adapter import BASE_DIGEST_KEY, is_constant_in_blocks

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
PICKLES = ("adapter_model.bin", "adapter_model.pt", "adapter_model.pth")
_SAVE_AGAIN = (
    "in Python, load it with PEFT and call save_pretrained(folder, safe_serialization=True)"
)
_OTHER_BASE = "name the base it was trained on with --base"


def _permuted(rows: Tensor, num_heads: int, *, undo: bool) -> Tensor:
    """Reorder the rows of a q or k factor between ggml's and Hugging Face's rotary layouts.

    ggml rotates neighbours (2i, 2i+1), Hugging Face halves (i, i + d/2); llama.cpp's converter
    (conversion/llama.py, permute) reorders the rows accordingly, and ``undo`` reverses it.
    """
    d, rank = rows.shape[0] // num_heads, rows.shape[1]
    split = (num_heads, d // 2, 2, rank) if undo else (num_heads, 2, d // 2, rank)
    return rows.reshape(split).transpose(1, 2).reshape(rows.shape).contiguous()


def peft_modules(shape: ModelConfig) -> Mapping[str, str]:
    """Return PEFT's module names by llama.cpp's names of linear layers."""
    return FUSED_PEFT_MODULES if shape.spec.is_fused else PEFT_MODULES


def _peft_name(name: str, shape: ModelConfig) -> tuple[str, str]:
    found, modules = _TARGET.fullmatch(name), peft_modules(shape)
    if found is None or found[2] not in modules:
        raise TrainingError(
            f"{name} has no counterpart in a PEFT adapter",
            next_command="fine-tuning models export with --as adapter",
        )
    return f"base_model.model.model.layers.{found[1]}.{modules[found[2]]}", found[2]


def peft_state(
    adapter: LoraAdapter, shape: ModelConfig, *, permute: bool = True
) -> dict[str, Tensor]:
    """Return the factors by PEFT's names, with the row order of Hugging Face's weights.

    Args:
        adapter: The adapter.
        shape: The model's, which says the names and the heads.
        permute: False leaves the rows in GGUF's order.
    """
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
    folder: Path,
    adapter: LoraAdapter,
    shape: ModelConfig,
    base_name: str,
    *,
    base_digest: str = "",
) -> None:
    """Write ``adapter_model.safetensors`` and ``adapter_config.json``.

    Args:
        folder: Where; must exist. The caller makes the folder whole or absent.
        adapter: What.
        shape: The base's numbers; q and k rows are put into Hugging Face's order.
        base_name: Recorded as ``base_model_name_or_path``.
        base_digest: Recorded with the weights, so that another base is noticed; "" is not.

    Raises:
        TrainingError: if it changes weights PEFT has no name for.
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
    about = {"format": "pt"} | ({BASE_DIGEST_KEY: base_digest} if base_digest else {})
    (folder / PEFT_WEIGHTS).write_bytes(_safetensors(peft_state(adapter, shape), about))
    (folder / PEFT_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _safetensors(state: Mapping[str, Tensor], about: dict[str, str]) -> bytes:
    """Return a file's bytes, the same each time: the library shuffles what is said about it."""
    content = save(dict(state), metadata=about)
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]) | {"__metadata__": about}).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[end:]


def _patterns(adapter: LoraAdapter, shape: ModelConfig) -> dict[str, dict[str, float]]:
    """Return what the config says of pairs whose rank or scale is not the common one."""
    own = {
        _peft_name(name, shape)[0].removeprefix("base_model.model."): pair
        for name, pair in adapter.pairs.items()
        if pair.rank != adapter.rank or pair.gain != 1
    }
    power = 0.5 if adapter.use_rslora else 1.0
    ranks = {name: pair.rank for name, pair in own.items() if pair.rank != adapter.rank}
    alphas = {
        name: adapter.alpha * (pair.rank / adapter.rank) ** power * pair.gain
        for name, pair in own.items()
    }
    patterns = {"rank_pattern": dict[str, float](ranks), "alpha_pattern": alphas}
    return {name: pattern for name, pattern in patterns.items() if pattern}


def read_peft_adapter(
    folder: Path, shape: ModelConfig, *, foldable: Collection[str] = ()
) -> LoraAdapter:
    """Read what :func:`write_peft_adapter`, or PEFT itself, wrote for the same base.

    Pairs of another scale than the config's (``rank_pattern``, ``alpha_pattern``) get the
    difference folded into B.

    Args:
        folder: Where.
        shape: The base's numbers.
        foldable: Weights a block sum folds into; a pair of theirs whose A is constant within
            blocks takes that form, as mergeable adapters had it before they were written.

    Returns:
        The adapter, factors in float32.

    Raises:
        TrainingError: if a file is missing or damaged, the tensors do not belong to this base, or
            the adapter is more than low-rank factors (DoRA, biases, whole modules).
    """
    _check_files(folder)
    try:
        config = json.loads((folder / PEFT_CONFIG).read_text(encoding="utf-8"))
        state = load_file(folder / PEFT_WEIGHTS)
        scales = PeftScales.of(config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise TrainingError(
            f"{folder} is not a sound PEFT adapter: {str(error) or type(error).__name__}",
            next_command=f"copy it again, or {_SAVE_AGAIN}",
        ) from error
    refuse_more_than_factors(folder, config)
    refuse_other_parts(folder, list(state))
    pairs = {}
    factors = list(_peft_factors(folder, state, shape))
    own = scales.of_modules({module: a.shape[0] for module, _, a, _ in factors})
    for module, target, a, b in factors:
        factor = own[module] / scales.common
        expanded = a.float().contiguous()
        is_qalora = target in foldable and is_constant_in_blocks(expanded.numpy())
        form: Form = "qalora" if is_qalora else "plain"
        pairs[target] = LoraPair.from_expanded(expanded, b.float() * factor, form)
    if not pairs:
        raise TrainingError(
            f"{folder} holds no factors, expected at least one pair", next_command=_SAVE_AGAIN
        )
    return LoraAdapter(pairs, rank=scales.rank, alpha=scales.alpha, use_rslora=scales.use_rslora)


def peft_base(folder: Path) -> tuple[str, str]:
    """Return the name and the digest of the base a PEFT adapter says it is of; "" if it does not.

    Raises:
        TrainingError: if a file is missing or damaged.
    """
    _check_files(folder)
    try:
        config = json.loads((folder / PEFT_CONFIG).read_text(encoding="utf-8"))
        name = config.get("base_model_name_or_path") or ""
        with safe_open(folder / PEFT_WEIGHTS, framework="pt") as file:
            about = file.metadata() or {}
    except (OSError, ValueError, AttributeError, SafetensorError) as error:
        raise TrainingError(
            f"{folder} is not a sound PEFT adapter: {str(error) or type(error).__name__}",
            next_command=f"copy it again, or {_SAVE_AGAIN}",
        ) from error
    return str(name), about.get(BASE_DIGEST_KEY, "")


def _check_files(folder: Path) -> None:
    pickles = [name for name in PICKLES if (folder / name).exists()]
    if pickles and not (folder / PEFT_WEIGHTS).exists():
        raise TrainingError(
            f"{folder} has its weights in {pickles[0]}, a pickle, which can run any program when "
            f"it is opened; expected {PEFT_WEIGHTS}",
            next_command=_SAVE_AGAIN,
        )
    for name in (PEFT_CONFIG, PEFT_WEIGHTS):
        if not (folder / name).is_file():
            raise TrainingError(
                f"{folder} has no {name}, expected it beside "
                f"{PEFT_WEIGHTS if name == PEFT_CONFIG else PEFT_CONFIG}",
                next_command="name the folder PEFT's save_pretrained wrote",
            )


def _peft_factors(
    folder: Path, state: Mapping[str, Tensor], shape: ModelConfig
) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """Yield PEFT's module name, ggml's tensor name, A, and B in ggml's row order."""
    kinds = {module: kind for kind, module in peft_modules(shape).items()}
    for name in state:
        found = _PEFT_FACTOR.fullmatch(name)
        if found is None:
            raise TrainingError(
                f"{folder} holds {name}, expected factors of linear layers only",
                next_command=MERGE_FIRST,
            )
        kind = kinds.get(found[3], "")
        a, b = (state.get(f"{found[1]}.lora_{half}.weight") for half in "AB")
        if a is None or b is None or not kind:
            known = ", ".join(module.rpartition(".")[2] for module in kinds)
            lacks = (
                f"which this base has not; it has {known}" if not kind else "and not its other half"
            )
            raise TrainingError(f"{folder} holds {name}, {lacks}", next_command=_OTHER_BASE)
        if a.ndim != b.ndim or a.ndim != 2 or a.shape[0] != b.shape[1]:  # noqa: PLR2004  # matrices
            raise TrainingError(
                f"{folder}: {name} and its counterpart are no factors of a matrix",
                next_command=_SAVE_AGAIN,
            )
        if not (a.isfinite().all() and b.isfinite().all()):
            raise TrainingError(
                f"{folder}: {name} or its counterpart holds NaN or infinity, numbers were expected",
                next_command="train it again, at a lower learning rate",
            )
        if found[4] == "A":
            module = found[1].removeprefix("base_model.model.")
            yield module, f"blk.{found[2]}.{kind}.weight", a, _ggml_rows(folder, b, kind, shape)


def _ggml_rows(folder: Path, b: Tensor, kind: str, shape: ModelConfig) -> Tensor:
    if shape.heads.is_neox or kind not in ("attn_q", "attn_k"):
        return b
    num_heads = shape.heads.n_q if kind == "attn_q" else shape.heads.n_kv
    if b.shape[0] % (2 * num_heads):
        raise TrainingError(
            f"{folder}: {kind} has {b.shape[0]} rows, expected {num_heads} heads",
            next_command=_OTHER_BASE,
        )
    return _permuted(b, num_heads, undo=False)
