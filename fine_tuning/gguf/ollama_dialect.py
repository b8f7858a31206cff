"""Ollama's dialect of GGUF in llama.cpp's terms: keys renamed and added, foreign tensors named.

Ollama's own converter writes Gemma 3 with keys and tensors llama.cpp does not take; its server
translates them while loading. Engine, tokenizer and embedded runtime read a file through this one
translation. Facts follow ollama: llama/compat/llama-ollama-compat.cpp, convert/convert_gemma3.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fine_tuning.core.errors import UnsupportedModelError
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import ValueType
from fine_tuning.gguf.values import MetadataValue, StringArray, TypedValue

GEMMA3: Final = "gemma3"
VISION_PREFIXES: Final = ("v.", "mm.")
"""Tensors of the part that sees pictures, which take no part in text."""
SCALED_CONTEXT_TOKENS: Final = 131072
"""From this context on the converter left out that positions are scaled, by 8 (4b, 12b, 27b)."""
PATTERN_KEY: Final = f"{GEMMA3}.attention.sliding_window_pattern"
EPS_KEY: Final = f"{GEMMA3}.attention.layer_norm_rms_epsilon"
EMBEDDING: Final = "token_embd.weight"
_RENAMED: Final = {
    f"{GEMMA3}.rope.global.freq_base": f"{GEMMA3}.rope.freq_base",
    f"{GEMMA3}.rope.local.freq_base": f"{GEMMA3}.rope.freq_base_swa",
}
_OWN_KEYS: Final = (
    f"{GEMMA3}.mm.tokens_per_image",
    *_RENAMED,
    "tokenizer.ggml.add_padding_token",
    "tokenizer.ggml.add_unknown_token",
)
_TOKEN_ARRAYS: Final = tuple(
    f"tokenizer.ggml.{name}" for name in ("tokens", "scores", "token_type")
)
_DEFAULTS: Final[Mapping[str, float]] = {
    EPS_KEY: 1e-6,
    f"{GEMMA3}.rope.freq_base": 1e6,
    f"{GEMMA3}.rope.freq_base_swa": 1e4,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """A file in llama.cpp's terms.

    Attributes:
        typed: All metadata; values that need no translation are the file's own.
        left_out: Tensors that are not the text model's.
        is_needed: Whether llama.cpp would not take, or would misread, the file as it is.
    """

    typed: Mapping[str, TypedValue]
    left_out: frozenset[str]
    is_needed: bool

    @property
    def metadata(self) -> dict[str, MetadataValue]:
        """The values alone, by key."""
        return {key: typed.value for key, typed in self.typed.items()}


def translation_of(file: GgufFile) -> Translation:
    """Return what a file says in llama.cpp's terms; a file of llama.cpp's own is left as it is.

    Raises:
        UnsupportedModelError: if its windowed layers follow no period, which llama.cpp cannot take.
    """
    typed = dict(file.typed_metadata)
    if not _is_ollamas_gemma3(file):
        return Translation(typed=typed, left_out=frozenset(), is_needed=False)
    left_out = frozenset(name for name in file.tensors if name.startswith(VISION_PREFIXES))
    for own, name in _RENAMED.items():
        if own in typed:
            typed.setdefault(name, typed[own])
    for key, default in _DEFAULTS.items():
        typed.setdefault(key, TypedValue(default, ValueType.FLOAT32))
    if _context_tokens(file) >= SCALED_CONTEXT_TOKENS:
        typed.setdefault(f"{GEMMA3}.rope.scaling.type", TypedValue("linear", ValueType.STRING))
        typed.setdefault(f"{GEMMA3}.rope.scaling.factor", TypedValue(8.0, ValueType.FLOAT32))
    _translate_pattern(file, typed)
    _cut_vocabulary(file, typed)
    return Translation(
        typed=typed,
        left_out=left_out,
        is_needed=bool(left_out)
        or any(file.typed_metadata.get(key) is not value for key, value in typed.items()),
    )


def _is_ollamas_gemma3(file: GgufFile) -> bool:
    """Return whether Ollama's converter wrote the file (detect_ollama_gemma3)."""
    metadata = file.metadata
    if metadata.get("general.architecture") != GEMMA3:
        return False
    return (
        EPS_KEY not in metadata
        or isinstance(metadata.get(PATTERN_KEY), np.ndarray)
        or any(key in metadata for key in _OWN_KEYS)
        or any(name.startswith(VISION_PREFIXES) for name in file.tensors)
    )


def _context_tokens(file: GgufFile) -> int:
    found = file.metadata.get(f"{GEMMA3}.context_length", 0)
    return int(found) if isinstance(found, int | float) else 0


def _translate_pattern(file: GgufFile, typed: dict[str, TypedValue]) -> None:
    """Put the period of windowed layers in the place of a list of booleans, one per layer."""
    value = file.metadata.get(PATTERN_KEY)
    if not isinstance(value, np.ndarray):
        return
    layers = [bool(flag) for flag in value]
    period = window_period(layers)
    if period is None:
        shown = "".join("w" if flag else "a" for flag in layers[:24])
        raise UnsupportedModelError(
            f"{file.path}: the layers {shown} (w: a window, a: all tokens) follow no period, "
            "expected every n-th layer to attend to all tokens",
            next_command="ollama pull gemma3, or use --base embedded",
        )
    typed[PATTERN_KEY] = TypedValue(period, ValueType.UINT32)


def window_period(layers: Sequence[bool]) -> int | None:
    """Return the period whose last layer attends to all tokens; None when there is none.

    Args:
        layers: Whether each layer attends to a window only. When all do, the period is 0.
    """
    if all(layers):
        return 0
    period = layers.index(False) + 1
    is_periodic = all(flag == (index % period < period - 1) for index, flag in enumerate(layers))
    return period if is_periodic else None


def _cut_vocabulary(file: GgufFile, typed: dict[str, TypedValue]) -> None:
    """Leave out tokens behind the last row of the embedding (those of pictures)."""
    embedding = file.tensors.get(EMBEDDING)
    if embedding is None:
        return
    rows = embedding.shape[0]
    for key in _TOKEN_ARRAYS:
        if key not in typed:
            continue
        value: Any = typed[key].value
        if isinstance(value, StringArray | np.ndarray) and len(value) > rows:
            cut = (
                StringArray.encode(value[:rows]) if isinstance(value, StringArray) else value[:rows]
            )
            typed[key] = TypedValue(cut, typed[key].type)
