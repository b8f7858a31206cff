"""Which decoders this engine computes, and the numbers of one, read from GGUF metadata.

Adding an architecture is one row of ``ARCHITECTURES`` and one parity test against llama.cpp
(tests/engine/test_parity.py). Facts follow llama.cpp: src/llama-model.cpp (load_hparams),
src/models/*.cpp (graphs), llama_model_rope_type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from fine_tuning.core.errors import UnsupportedModelError
from fine_tuning.engine.kernels.interface import HeadShape, Rope
from fine_tuning.gguf.reader import GgufFile


@dataclass(frozen=True, slots=True)
class Architecture:
    """What sets one family of decoders apart from another."""

    is_neox_rope: bool
    """Rotated pairs are (i, i + n_rot/2) instead of (2i, 2i+1)."""


ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture(is_neox_rope=False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderShape:
    """The numbers of one decoder; widths and sizes in elements, context in tokens."""

    architecture: str
    num_layers: int
    width: int
    ffn_width: int
    heads: HeadShape
    vocab_size: int
    context_tokens: int
    norm_eps: float
    rope_base: float
    rope_scale: float

    def rope(self, num_positions: int, factors: torch.Tensor | None) -> Rope:
        """Return cosines and sines of positions 0 ... num_positions - 1.

        Angle i of position p is ``p * rope_scale * base^(-2i / n_rot) / factors[i]`` (RoFormer,
        arXiv 2104.09864, section 3.2.2; ggml_rope_ext for the factors).
        """
        n_rot = self.heads.n_rot
        exponent = torch.arange(0, n_rot, 2, dtype=torch.float64) / n_rot
        frequency = self.rope_scale * self.rope_base**-exponent
        if factors is not None:
            frequency = frequency / factors.double()
        angle = torch.arange(num_positions, dtype=torch.float64)[:, None] * frequency
        return Rope(angle.cos().float(), angle.sin().float())


def _number(file: GgufFile, key: str, default: float | None = None) -> float:
    value: Any = file.metadata.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        found = "is missing" if value is None else f"is {type(value).__name__}"
        raise UnsupportedModelError(f"{file.path}: key {key} {found}, expected one number")
    return value


def _refuse_unsupported(file: GgufFile, name: str) -> None:
    if name not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UnsupportedModelError(
            f"{file.path} has architecture {name!r}, which this engine cannot train yet; "
            f"it trains: {known}",
            next_command="choose a model of a supported architecture, or --base embedded",
        )
    if _number(file, f"{name}.expert_count", 0) > 0:
        raise UnsupportedModelError(f"{file.path} is a mixture of experts, expected a dense model")
    scaling = file.metadata.get(f"{name}.rope.scaling.type", "none")
    if scaling not in ("none", "linear"):
        raise UnsupportedModelError(
            f"{file.path} scales rope by {scaling!r}, expected none or linear"
        )


def read_shape(file: GgufFile) -> DecoderShape:
    """Read the numbers of a decoder.

    Raises:
        UnsupportedModelError: if the architecture is unknown, a mixture of experts, scales rope in
            an unknown way, or a needed key is missing or of the wrong type.
    """
    name = str(file.metadata.get("general.architecture", ""))
    _refuse_unsupported(file, name)

    def integer(key: str, default: float | None = None) -> int:
        return int(_number(file, f"{name}.{key}", default))

    width, n_q = integer("embedding_length"), integer("attention.head_count")
    d = integer("attention.key_length", width // max(n_q, 1))
    if integer("attention.value_length", d) != d:
        raise UnsupportedModelError(f"{file.path} has values and keys of different sizes")
    n_kv = integer("attention.head_count_kv", n_q)
    if min(width, n_q, n_kv, d) < 1 or n_q % n_kv:
        raise UnsupportedModelError(
            f"{file.path} has {n_q} query and {n_kv} key-value heads of {d} dimensions, expected "
            "whole groups"
        )
    scale = _number(file, f"{name}.rope.scaling.factor", 0.0)
    return DecoderShape(
        architecture=name,
        num_layers=integer("block_count"),
        width=width,
        ffn_width=integer("feed_forward_length"),
        heads=HeadShape(
            n_q=n_q,
            n_kv=n_kv,
            d=d,
            n_rot=integer("rope.dimension_count", d),
            is_neox=ARCHITECTURES[name].is_neox_rope,
        ),
        vocab_size=file.tensors["token_embd.weight"].shape[0]
        if "token_embd.weight" in file.tensors
        else 0,
        context_tokens=integer("context_length", 2048),
        norm_eps=_number(file, f"{name}.attention.layer_norm_rms_epsilon"),
        rope_base=_number(file, f"{name}.rope.freq_base", 10000.0),
        rope_scale=1.0 / scale if scale else 1.0,
    )
