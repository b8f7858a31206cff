"""Open a LoRA adapter in GGUF and check all of it that llama.cpp would trip over.

Knows files and numpy; what the factors are multiplied with is the caller's.
Layout: llama.cpp, src/llama-adapter.cpp (llama_adapter_lora_init_impl, get_scale).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np

from fine_tuning.core.closing import Closing
from fine_tuning.core.errors import GgufError
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.requantize_exact import BLOCK
from fine_tuning.gguf.types import Floats, TensorInfo, TensorType
from fine_tuning.gguf.values import StringArray, quote

ALPHA_KEY: Final = "adapter.lora.alpha"
BASE_DIGEST_KEY: Final = "fine_tuning.base_digest"
"""Says which base the adapter was trained on, ``sha256:<64 hex>``."""
BASE_NAME_KEY: Final = "fine_tuning.base_name"
"""Says by what name that base was asked for."""
BLOCK_SUM_KEY: Final = "fine_tuning.block_sum"
"""Names the weights whose A is constant within each block of 32 columns."""
SUFFIX_A: Final = ".lora_a"
SUFFIX_B: Final = ".lora_b"
ADAPTER_TYPES: Final = (TensorType.F32, TensorType.F16, TensorType.BF16, TensorType.Q8_0)


@dataclass(frozen=True, slots=True)
class Factors:
    """One weight's update ``scale * b @ a``: a (rank, n_in), b (n_out, rank), float32, finite.

    With ``is_qalora`` the columns of ``a`` are equal within each block of 32.
    """

    a: Floats
    b: Floats
    scale: float
    is_qalora: bool


class AdapterFile(Closing):
    """A LoRA adapter of dense weights; its factors are read one pair at a time.

    Attributes:
        path: Where it was opened.
        architecture: The base's, "" when the file does not say.
        shapes: (n_out, n_in) of each adapted weight, by name, in the file's order.
        ranks: Its rank, which may differ between weights.
        alpha: llama.cpp scales each pair by alpha / rank, or not at all when alpha is 0.
    """

    def __init__(self, file: GgufFile) -> None:
        self._file = file
        self.path = file.path
        _check_kind(file)
        self.architecture = file.get("general.architecture", str, "")
        self.alpha = _alpha(file)
        pairs = {name: _pair(file, name) for name in _names(file)}
        self.shapes: Mapping[str, tuple[int, int]] = {
            name: (b.shape[0], a.shape[1]) for name, (a, b) in pairs.items()
        }
        self.ranks: Mapping[str, int] = {name: a.shape[0] for name, (a, _) in pairs.items()}
        named = file.get(BLOCK_SUM_KEY, StringArray, StringArray.encode([]))
        self._qalora = frozenset(named)
        for name in self._qalora:
            if name not in pairs or self.shapes[name][1] % BLOCK:
                raise GgufError(
                    f"{self.path}: {BLOCK_SUM_KEY} names {quote(name)}, an adapted weight with a "
                    f"multiple of {BLOCK} columns was expected"
                )

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open and check an adapter; no factor is read.

        Raises:
            ModelNotFoundError: if nothing stands at the path.
            StorageError: if it may not be read.
            GgufError: if it is not a sound GGUF file or not a LoRA adapter of dense weights.
        """
        file = GgufFile.open(path)
        try:
            return cls(file)
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def factors(self, name: str) -> Factors:
        """Read the factors of a weight.

        Raises:
            GgufError: if a number is not finite, or a block's columns differ where the file says
                they are equal.
        """
        a, b = (self._file.dequantize(name + half) for half in (SUFFIX_A, SUFFIX_B))
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise GgufError(
                f"{self.path}: the factors of {quote(name)} hold NaN or infinity, numbers expected"
            )
        is_qalora = name in self._qalora
        if is_qalora and not is_constant_in_blocks(a):
            raise GgufError(
                f"{self.path}: {quote(name + SUFFIX_A)} differs within a block of {BLOCK} columns, "
                f"and {BLOCK_SUM_KEY} says it does not"
            )
        scale = self.alpha / self.ranks[name] if self.alpha else 1.0
        return Factors(a, b, scale, is_qalora)


def is_constant_in_blocks(a: Floats) -> bool:
    """Tell whether the columns (rank, n_in) are equal within each block of 32."""
    if a.shape[1] % BLOCK:
        return False
    blocks = a.reshape(a.shape[0], -1, BLOCK)
    return bool((blocks == blocks[:, :, :1]).all())


def _check_kind(file: GgufFile) -> None:
    for key, wanted in (("general.type", "adapter"), ("adapter.type", "lora")):
        found = file.metadata.get(key)
        if not isinstance(found, str) or found != wanted:
            shown = quote(found) if isinstance(found, str) else "nothing of the kind"
            raise GgufError(
                f"{file.path}: {key} is {shown}, {wanted!r} was expected of a LoRA adapter"
            )


def _alpha(file: GgufFile) -> float:
    if ALPHA_KEY not in file.metadata:
        return 0.0
    alpha = file.get(ALPHA_KEY, float)
    if not math.isfinite(alpha):
        raise GgufError(f"{file.path}: {ALPHA_KEY} is {alpha}, a finite number was expected")
    return alpha


def _names(file: GgufFile) -> list[str]:
    """Return the adapted weights' names; every tensor must be a half of a pair."""
    names = [name.removesuffix(SUFFIX_A) for name in file.tensors if name.endswith(SUFFIX_A)]
    halves = {name + half for name in names for half in (SUFFIX_A, SUFFIX_B)}
    odd = sorted(halves ^ set(file.tensors))
    if odd:
        raise GgufError(
            f"{file.path}: {quote(odd[0])} stands alone, pairs of {SUFFIX_A} and {SUFFIX_B} were "
            "expected"
        )
    if not names:
        raise GgufError(f"{file.path}: no tensor was found, at least one pair was expected")
    return names


def _pair(file: GgufFile, name: str) -> tuple[TensorInfo, TensorInfo]:
    a, b = file.tensor(name + SUFFIX_A), file.tensor(name + SUFFIX_B)
    for info in (a, b):
        if info.type not in ADAPTER_TYPES:
            known = ", ".join(kind.name for kind in ADAPTER_TYPES)
            raise GgufError(
                f"{file.path}: {quote(info.name)} is of type {info.type.name}, {known} expected"
            )
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[0] != b.shape[1]:  # noqa: PLR2004  # matrices
        raise GgufError(
            f"{file.path}: {quote(name)} has factors of shape {list(a.shape)} and "
            f"{list(b.shape)}, (rank, n_in) and (n_out, rank) were expected"
        )
    return a, b
