"""Whether a file can be trained, found before anything is made of it; loads no torch."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from fine_tuning.core.errors import UnsupportedModelError
from fine_tuning.engine.architecture import (
    OTHER_BASE,
    ModelConfig,
    linear_names,
    read_config,
)
from fine_tuning.gguf.dequantize import DEQUANTIZABLE
from fine_tuning.gguf.finite import check_finite
from fine_tuning.gguf.ollama_dialect import translation_of
from fine_tuning.gguf.reader import GgufFile


def check_trainable(path: Path) -> ModelConfig:
    """Check that a base can be trained: its kind, its tensors, their types and their numbers.

    Each file is looked through once, and again when it changes.

    Args:
        path: A GGUF model.

    Returns:
        The numbers of its decoder.

    Raises:
        ModelNotFoundError: if there is none.
        GgufError: if it is not sound, or a weight is NaN or infinite.
        UnsupportedModelError: if this engine does not compute it.
    """
    status = path.stat() if path.exists() else None
    return _checked(path, *((status.st_size, status.st_mtime_ns) if status else (0, 0)))


@lru_cache(maxsize=16)
def _checked(path: Path, _size_bytes: int, _mtime_ns: int) -> ModelConfig:
    with GgufFile.open(path) as file:
        config = read_config(file)
        refuse_unknown_tensors(file, config)
        for name in sorted(_matrices(file, config)):
            kind = file.tensors[name].type
            if kind not in DEQUANTIZABLE:
                raise UnsupportedModelError(
                    f"{file.path}: {name} is of type {kind.name}, expected one of "
                    f"{', '.join(known.name for known in DEQUANTIZABLE)}",
                    next_command="ollama pull the model in another quantisation, such as q4_K_M",
                )
        check_finite(file)
        return config


def _matrices(file: GgufFile, config: ModelConfig) -> set[str]:
    return {
        f"blk.{i}.{name}.weight"
        for i in range(config.num_layers)
        for name in linear_names(config.spec)
    } & set(file.tensors)


def refuse_unknown_tensors(file: GgufFile, config: ModelConfig) -> None:
    """Refuse tensors the forward would ignore: they would change the model in serving.

    Args:
        file: The open file.
        config: Its numbers.

    Raises:
        UnsupportedModelError: if there are such.
    """
    spec = config.spec
    known = {"token_embd.weight", "output.weight", "output_norm.weight", *spec.rope_tensors}
    norms = ["attn_norm", "ffn_norm"]
    norms += ["attn_q_norm", "attn_k_norm"] if spec.has_head_norms else []
    norms += ["post_attention_norm", "post_ffw_norm"] if spec.has_post_norms else []
    for i in range(config.num_layers):
        known.update(f"blk.{i}.{name}.weight" for name in (*linear_names(spec), *norms))
        known.update(f"blk.{i}.{name}.bias" for name in spec.biases)
        known.add(f"blk.{i}.attn_rot_embd.weight")
    unknown = sorted(set(file.tensors) - known - translation_of(file).left_out)
    if unknown:
        raise UnsupportedModelError(
            f"{file.path} has tensor {unknown[0]} ({len(unknown)} such), which this "
            f"engine does not compute for architecture {config.architecture}",
            next_command=OTHER_BASE,
        )
