"""Which decoders this engine computes, and the numbers of one, read from GGUF metadata.

Adding an architecture is one row of ``ARCHITECTURES`` and one row of tests/engine/tiny.py, which
the parity tests against llama.cpp run through. Facts follow llama.cpp: src/llama-model.cpp
(load_hparams, llama_model_rope_type), src/models/*.cpp (the graphs).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from fine_tuning.core.errors import UnsupportedModelError
from fine_tuning.engine.kernels.interface import HeadShape
from fine_tuning.engine.rope import RopeShape, Yarn, yarn_magnitude
from fine_tuning.gguf.ollama_dialect import translation_of
from fine_tuning.gguf.reader import GgufFile

Gate = Literal["silu", "gelu"]
"""The activation of the gate: SiLU, or GELU in its tanh form."""

LINEAR, YARN = "linear", "yarn"
OTHER_BASE = "choose a base that can be trained, such as qwen3:8b, or --base embedded"

QKV_BIASES = ("attn_q", "attn_k", "attn_v")
ALL_BIASES = (*QKV_BIASES, "attn_output", "ffn_gate", "ffn_up", "ffn_down")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchitectureSpec:
    """What sets one family of decoders apart from another; the defaults are those of llama.

    A number here is what llama.cpp takes when the file lacks the key; None means that it does not
    read the key for this family.
    """

    is_neox_rope: bool
    """Rotated pairs are (i, i + n_rot/2) instead of (2i, 2i+1)."""
    biases: tuple[str, ...] = ()
    """Linear layers whose bias is added when the file has one."""
    is_fused: bool = False
    """One matrix attn_qkv holds q, k, v, and ffn_up holds [gate; up]."""
    has_head_norms: bool = False
    """Queries and keys are RMS-normed per head before rotation."""
    has_post_norms: bool = False
    """Outputs of attention and feed-forward are RMS-normed before they join the residual."""
    gate: Gate = "silu"
    scales_embedding: bool = False
    """Embeddings are multiplied by the root of the width."""
    has_multipliers: bool = False
    """Keys scale embeddings, attention scores, residual branches and logits (Granite)."""
    attention_soft_cap: float | None = None
    """Scores become cap * tanh(score / cap)."""
    logit_soft_cap: float | None = None
    """The same for logits; 0 is no cap."""
    window: int | None = None
    """How many tokens, itself included, a token of a windowed layer attends to; 0 is all."""
    window_period: int = 0
    """The last layer of each period attends to all tokens, the others to their window."""
    window_rope_base: float | None = None
    """Rope base of windowed layers, which then are not scaled; None is as in the others."""
    wide_query_layers: int = 0
    """With this many layers (27B) scores are scaled by the root of width / heads instead of d."""
    rope_tensors: tuple[str, ...] = ()
    """Tensors that divide rope's frequencies: one, or (long, short) chosen by context."""


ARCHITECTURES: Mapping[str, ArchitectureSpec] = MappingProxyType(
    {
        # Llama 2 and 3, Mistral, SmolLM
        "llama": ArchitectureSpec(
            is_neox_rope=False, biases=ALL_BIASES, rope_tensors=("rope_freqs.weight",)
        ),
        "granite": ArchitectureSpec(
            is_neox_rope=False,
            biases=ALL_BIASES,
            rope_tensors=("rope_freqs.weight",),
            has_multipliers=True,
        ),
        # Qwen 2 and 2.5
        "qwen2": ArchitectureSpec(is_neox_rope=True, biases=QKV_BIASES),
        "qwen3": ArchitectureSpec(is_neox_rope=True, has_head_norms=True),
        "gemma": ArchitectureSpec(is_neox_rope=True, gate="gelu", scales_embedding=True),
        "gemma2": ArchitectureSpec(
            is_neox_rope=True,
            gate="gelu",
            scales_embedding=True,
            has_post_norms=True,
            attention_soft_cap=50.0,
            logit_soft_cap=30.0,
            window=4096,
            window_period=2,
            wide_query_layers=46,
        ),
        "gemma3": ArchitectureSpec(
            is_neox_rope=True,
            gate="gelu",
            scales_embedding=True,
            has_head_norms=True,
            has_post_norms=True,
            logit_soft_cap=0.0,
            window=0,
            window_period=6,
            window_rope_base=10000.0,
            wide_query_layers=62,
        ),
        # Phi 3, 3.5 and 4; its sliding window is disabled in llama.cpp
        "phi3": ArchitectureSpec(
            is_neox_rope=True,
            is_fused=True,
            rope_tensors=("rope_factors_long.weight", "rope_factors_short.weight"),
        ),
    }
)


def product_names(spec: ArchitectureSpec) -> tuple[tuple[str, ...], ...]:
    """Return the linear layers of a block's four products, in the order of use."""
    if spec.is_fused:
        return ("attn_qkv",), ("attn_output",), ("ffn_up",), ("ffn_down",)
    return ("attn_q", "attn_k", "attn_v"), ("attn_output",), ("ffn_gate", "ffn_up"), ("ffn_down",)


def linear_names(spec: ArchitectureSpec) -> tuple[str, ...]:
    """Return the linear layers of a block, which an adapter may change."""
    return tuple(name for product in product_names(spec) for name in product)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionShape:
    """The numbers of one layer's attention; a cap or window of 0 is none."""

    heads: HeadShape
    scale: float
    soft_cap: float
    window: int
    rope: RopeShape


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The numbers of one decoder; widths and sizes in elements, contexts in tokens.

    ``attention`` has one entry per layer. Multipliers of 1 and caps of 0 change nothing.
    """

    architecture: str
    num_layers: int
    width: int
    ffn_width: int
    heads: HeadShape
    vocab_size: int
    context_tokens: int
    original_context_tokens: int
    norm_eps: float
    attention: tuple[AttentionShape, ...]
    embedding_scale: float
    residual_scale: float
    logit_scale: float
    logit_soft_cap: float

    @property
    def spec(self) -> ArchitectureSpec:
        """The row of the table."""
        return ARCHITECTURES[self.architecture]


class _Keys:
    """Numbers of one file by the architecture's key names."""

    def __init__(self, file: GgufFile) -> None:
        self.file = file
        self.metadata = translation_of(file).metadata
        self.architecture = str(self.metadata.get("general.architecture", ""))

    def number(self, key: str, default: float | None = None) -> float:
        value: Any = self.metadata.get(f"{self.architecture}.{key}", default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            found = "is missing" if value is None else f"is {type(value).__name__}"
            raise UnsupportedModelError(
                f"{self.file.path}: key {self.architecture}.{key} {found}, expected one number"
            )
        return value

    def integer(self, key: str, default: float | None = None) -> int:
        return int(self.number(key, default))

    def get(self, key: str, default: object) -> object:
        return self.metadata.get(f"{self.architecture}.{key}", default)


def _refuse_unsupported(keys: _Keys) -> None:
    name, path = keys.architecture, keys.file.path
    if name not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UnsupportedModelError(
            f"{path} has architecture {name!r}, which this engine cannot train yet; "
            f"it trains: {known}",
            next_command=OTHER_BASE,
        )
    if keys.number("expert_count", 0) > 0:
        raise UnsupportedModelError(
            f"{path} is a mixture of experts, expected a dense model", next_command=OTHER_BASE
        )
    scaling = keys.get("rope.scaling.type", LINEAR)
    known_scalings = ["none", LINEAR, YARN]
    if len(ARCHITECTURES[name].rope_tensors) > 1:
        known_scalings.append("longrope")
    if scaling not in known_scalings:
        raise UnsupportedModelError(
            f"{path} scales rope by {scaling!r}, expected {' or '.join(known_scalings)}",
            next_command=OTHER_BASE,
        )
    if keys.get("rope.scaling.finetuned", True) is False and ARCHITECTURES[name].has_multipliers:
        raise UnsupportedModelError(f"{path} does not rotate positions, expected rope")


def read_config(file: GgufFile) -> ModelConfig:
    """Read the numbers of a decoder.

    Returns:
        Widths in elements, contexts in tokens; the vocabulary is 0 without token embeddings.

    Raises:
        UnsupportedModelError: if the architecture is unknown, a mixture of experts, scales rope in
            an unknown way, or a needed key is missing or of the wrong type.
    """
    keys = _Keys(file)
    _refuse_unsupported(keys)
    spec = ARCHITECTURES[keys.architecture]
    width, num_layers = keys.integer("embedding_length"), keys.integer("block_count")
    heads = _heads(keys, width)
    embeddings = file.tensors.get("token_embd.weight")
    context = keys.integer("context_length", 2048)
    multiplied = spec.has_multipliers
    embedding_scale = keys.number("embedding_scale", 0) if multiplied else 0.0
    if spec.scales_embedding:
        embedding_scale = math.sqrt(width)
    return ModelConfig(
        architecture=keys.architecture,
        num_layers=num_layers,
        width=width,
        ffn_width=keys.integer("feed_forward_length"),
        heads=heads,
        vocab_size=embeddings.shape[0] if embeddings else 0,
        context_tokens=context,
        original_context_tokens=keys.integer("rope.scaling.original_context_length", context),
        norm_eps=keys.number("attention.layer_norm_rms_epsilon"),
        attention=_attention(keys, width, num_layers, heads),
        embedding_scale=embedding_scale or 1.0,
        residual_scale=(keys.number("residual_scale", 0) if multiplied else 0) or 1.0,
        logit_scale=(1 / keys.number("logit_scale")) if multiplied else 1.0,
        logit_soft_cap=_optional(keys, "final_logit_softcapping", spec.logit_soft_cap),
    )


def config_of(path: Path) -> ModelConfig:
    """Read the numbers of the decoder in a file; see :func:`read_config`.

    Returns:
        As :func:`read_shape` gives it.

    Raises:
        ModelNotFoundError: if there is none.
        GgufError: if it is not sound GGUF.
        UnsupportedModelError: if this engine does not compute it.
    """
    with GgufFile.open(path) as file:
        return read_config(file)


def _optional(keys: _Keys, key: str, default: float | None) -> float:
    return 0.0 if default is None else keys.number(key, default)


def _heads(keys: _Keys, width: int) -> HeadShape:
    n_q = keys.integer("attention.head_count")
    n_kv = keys.integer("attention.head_count_kv", n_q)
    d = keys.integer("attention.key_length", width // max(n_q, 1))
    if keys.integer("attention.value_length", d) != d:
        raise UnsupportedModelError(f"{keys.file.path} has values and keys of different sizes")
    n_rot = keys.integer("rope.dimension_count", d)
    if min(width, n_q, n_kv, d) < 1 or n_q % n_kv or not 0 <= n_rot <= d or n_rot % 2:
        raise UnsupportedModelError(
            f"{keys.file.path} has {n_q} query and {n_kv} key-value heads of {d} dimensions, "
            f"{n_rot} of them rotated, expected whole groups and pairs"
        )
    is_neox = ARCHITECTURES[keys.architecture].is_neox_rope
    return HeadShape(n_q=n_q, n_kv=n_kv, d=d, n_rot=n_rot, is_neox=is_neox)


def _attention(
    keys: _Keys, width: int, num_layers: int, heads: HeadShape
) -> tuple[AttentionShape, ...]:
    """Return each layer's attention (llama.cpp, llama_hparams::set_swa_pattern and is_swa)."""
    spec = ARCHITECTURES[keys.architecture]
    scale = 1 / math.sqrt(heads.d)
    if num_layers == spec.wide_query_layers:
        scale = 1 / math.sqrt(width // heads.n_q)
    if spec.has_multipliers:
        scale = keys.number("attention.scale", 0) or scale
    everywhere = AttentionShape(
        heads=heads,
        scale=scale,
        soft_cap=_optional(keys, "attn_logit_softcapping", spec.attention_soft_cap),
        window=0,
        rope=_rope(keys),
    )
    window = int(_optional(keys, "attention.sliding_window", spec.window))
    if not window:
        return (everywhere,) * num_layers
    base, scaled = everywhere.rope.base, everywhere.rope.scale
    if spec.window_rope_base is not None:
        base, scaled = spec.window_rope_base, 1.0
    rope = replace(everywhere.rope, base=keys.number("rope.freq_base_swa", base), scale=scaled)
    windowed = AttentionShape(
        heads=heads, scale=scale, soft_cap=everywhere.soft_cap, window=window, rope=rope
    )
    period = keys.integer("attention.sliding_window_pattern", spec.window_period)
    return tuple(
        windowed if period == 0 or i % period < period - 1 else everywhere
        for i in range(num_layers)
    )


def _rope(keys: _Keys) -> RopeShape:
    """Return how layers without a window rotate (llama.cpp, llama_model::load_hparams)."""
    factor = keys.number("rope.scaling.factor", keys.number("rope.scale_linear", 0.0))
    base = keys.number("rope.freq_base", 10000.0)
    scaling = keys.get("rope.scaling.type", LINEAR)
    if scaling == "none":
        factor = 0.0
    scale = 1.0 / factor if factor else 1.0
    magnitude = keys.number("rope.scaling.attn_factor", 1.0)
    if scaling != YARN:
        return RopeShape(base, scale, magnitude)
    context = keys.number("context_length", 2048)
    yarn = Yarn(
        original_context_tokens=keys.integer("rope.scaling.original_context_length", context),
    )
    return RopeShape(base, scale, magnitude * yarn_magnitude(scale), yarn)
