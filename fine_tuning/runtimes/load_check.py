"""Looks at a model and its adapter before llama.cpp gets them.

llama.cpp ends the whole process on some adapters, and ignores parts of others without a word
(src/llama-adapter.cpp, llama_adapter_lora_init_impl; src/llama-graph.cpp, build_lora_mm): such
files never reach it. Whether an architecture is known is left to llama.cpp.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fine_tuning.core.errors import ModelNotFoundError, UnsupportedModelError
from fine_tuning.core.naming import content_name
from fine_tuning.gguf.ollama_dialect import translation_of
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import ValueType
from fine_tuning.gguf.values import StringArray

ALPHA_KEY = "adapter.lora.alpha"
TEMPLATE_KEY = "tokenizer.chat_template"
CONTROL = 3
"""The type of tokens such as the end of a turn (llama.cpp: include/llama.h)."""
EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"
HALVES = (".lora_a", ".lora_b")
ADAPTER_TYPES = ("F32", "F16", "BF16", "Q8_0")

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What must be known about a model before it is loaded."""

    architecture: str
    has_chat_template: bool
    context_tokens: int
    vocabulary_fingerprint: str


def check_model(path: Path) -> ModelFacts:
    """Check that a file is one whole model.

    Raises:
        ModelNotFoundError: if the file is missing.
        StorageError: if it may not be read.
        GgufError: if it is not sound GGUF.
        UnsupportedModelError: if it is an adapter, a vocabulary alone, or a part of a model.
    """
    with open_gguf(path) as model:
        return _model_facts(model)


def check_adapter(path: Path, model_path: Path) -> None:
    """Check that a LoRA adapter fits a model, tensor by tensor.

    Raises:
        ModelNotFoundError: if a file is missing.
        StorageError: if a file may not be read.
        GgufError: if a file is not sound GGUF.
        UnsupportedModelError: if the adapter is not a LoRA adapter of this model.
    """
    with open_gguf(path) as adapter, open_gguf(model_path) as model:
        _check_adapter_metadata(adapter, model)
        _check_adapter_tensors(adapter, model)


def open_gguf(path: Path) -> GgufFile:
    """Open a GGUF file; the caller closes it.

    Raises:
        ModelNotFoundError: if there is no such file, or a folder in its place.
        StorageError: if it may not be read.
        GgufError: if it is not sound GGUF.
    """
    if path.is_dir():
        raise ModelNotFoundError(f"{path} is a folder, expected a GGUF file")
    return GgufFile.open(path)


def _model_facts(model: GgufFile) -> ModelFacts:
    kind = model.get("general.type", str, "model")
    if kind != "model":
        raise UnsupportedModelError(f"{model.path} is of type {kind!r}, expected a whole model")
    parts = model.get("split.count", int, 1)
    if parts > 1:
        raise UnsupportedModelError(
            f"{model.path} is one of {parts} parts of a model, expected a model in one file",
            next_command="join the parts with llama.cpp's llama-gguf-split --merge",
        )
    if not model.tensors:
        raise UnsupportedModelError(f"{model.path} holds no tensors, expected a whole model")
    architecture = model.get("general.architecture", str)
    return ModelFacts(
        architecture=architecture,
        has_chat_template=TEMPLATE_KEY in model.metadata,
        context_tokens=model.get(f"{architecture}.context_length", int, 0),
        vocabulary_fingerprint=vocabulary_fingerprint(model.metadata),
    )


def is_control_token(path: Path, text: str) -> bool:
    """Tell whether a text is one of a model's tokens that stand for no text.

    Args:
        path: A GGUF model.
        text: The text.
    """
    with open_gguf(path) as model:
        tokens = model.metadata.get("tokenizer.ggml.tokens")
        kinds = model.metadata.get("tokenizer.ggml.token_type")
        if not isinstance(tokens, StringArray) or not isinstance(kinds, np.ndarray):
            return False
        return any(tokens[int(place)] == text for place in np.flatnonzero(kinds == CONTROL))


def vocabulary_fingerprint(metadata: Mapping[str, object]) -> str:
    """Return the content name of a model's tokens and tokenizer rules, chat templates left out."""
    rules = {
        key: _hashable(value)
        for key, value in metadata.items()
        if key.startswith("tokenizer.") and not key.startswith(TEMPLATE_KEY)
    }
    return content_name(["llama.cpp vocabulary", rules])


def _hashable(value: object) -> object:
    """Return a value JSON can express; large arrays become their hash."""
    if isinstance(value, StringArray):
        return ["strings", len(value), hashlib.blake2b(value.block).hexdigest()]
    if isinstance(value, np.ndarray):
        return [value.dtype.str, hashlib.blake2b(value.tobytes()).hexdigest()]
    return value if isinstance(value, (str, int)) else repr(value)


def _check_adapter_metadata(adapter: GgufFile, model: GgufFile) -> None:
    expected = {
        "general.type": "adapter",
        "adapter.type": "lora",
        "general.architecture": model.get("general.architecture", str),
    }
    for key, wanted in expected.items():
        found = adapter.metadata.get(key)
        if found != wanted:
            raise _unfit(adapter, f"has {key} {found!r}, expected {wanted!r}")
    alpha = adapter.typed_metadata.get(ALPHA_KEY)
    if alpha is None:
        return
    if alpha.type is not ValueType.FLOAT32:
        raise _unfit(adapter, f"has {ALPHA_KEY} as {alpha.type.name}, expected FLOAT32")
    if not math.isfinite(float(str(alpha.value))):
        raise _unfit(adapter, f"has {ALPHA_KEY} {alpha.value}, expected a finite number")


def _check_adapter_tensors(adapter: GgufFile, model: GgufFile) -> None:
    pairs: dict[str, dict[str, Shape]] = {}
    for name, info in adapter.tensors.items():
        base, half = name[: -len(HALVES[0])], name[-len(HALVES[0]) :]
        if half not in HALVES:
            raise _unfit(adapter, f"holds tensor {name!r}, expected names ending in .lora_a/_b")
        if info.type.name not in ADAPTER_TYPES:
            raise _unfit(
                adapter, f"holds {name!r} as {info.type.name}, expected {', '.join(ADAPTER_TYPES)}"
            )
        pairs.setdefault(base, {})[half] = info.shape
    if not pairs:
        raise _unfit(adapter, "holds no tensors, expected at least one pair")
    if others := sorted(translation_of(model).left_out & set(pairs)):
        raise _unfit(adapter, f"changes {others[0]!r}, which is not of the text model")
    for base, halves in pairs.items():
        _check_pair(adapter, model, base, halves)


def _check_pair(adapter: GgufFile, model: GgufFile, base: str, halves: Mapping[str, Shape]) -> None:
    if base not in model.tensors:
        raise _unfit(adapter, f"changes {base!r}, which is not in the model")
    if len(halves) != len(HALVES):
        raise _unfit(adapter, f"holds {next(iter(halves))!r} of {base!r} alone, expected both")
    if base.endswith("_norm.weight") or not base.endswith(".weight"):
        raise _unfit(adapter, f"changes {base!r}, where llama.cpp applies no LoRA")
    if base == EMBEDDING and OUTPUT not in model.tensors:
        raise _unfit(adapter, f"changes {base!r}, which this model also uses as its output")
    shape = model.tensors[base].shape
    a, b = (halves[half] for half in HALVES)
    if not _fits(a, b, shape[::-1] if base == EMBEDDING else shape, flipped=base == EMBEDDING):
        raise _unfit(
            adapter, f"holds {base!r} as {_times(a)} and {_times(b)}, the model as {_times(shape)}"
        )


def _fits(a: Shape, b: Shape, shape: Shape, *, flipped: bool) -> bool:
    """Return whether A (…, r, n_in) and B (…, n_out, r) make a W of shape (…, n_out, n_in).

    The token embedding is looked up, not multiplied: there A is (n_vocab, r), its transpose.
    """
    if not len(a) == len(b) == len(shape) or len(shape) not in {2, 3}:
        return False
    rank, n_in = a[-2:] if not flipped else a[:-3:-1]
    experts = a[:-2] == b[:-2] == shape[:-2]
    return rank > 0 and experts and (n_in, b[-2], b[-1]) == (shape[-1], shape[-2], rank)


def _times(shape: Shape) -> str:
    return " x ".join(str(size) for size in shape)


def _unfit(adapter: GgufFile, sentence: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"adapter {adapter.path} {sentence}")
