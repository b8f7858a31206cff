"""Adapters llama.cpp would die of, or silently not apply, are refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from fine_tuning.core.errors import GgufError, ModelNotFoundError, UnsupportedModelError
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.values import StringArray
from fine_tuning.runtimes.load_check import check_adapter, check_model, vocabulary_fingerprint
from fine_tuning.runtimes.trial_load import trial_load
from tests.runtimes.models import RANK, WIDTH, copy_model, finish, model_path, normal, write_adapter

Q = "blk.0.attn_q.weight"
ALPHA = "adapter.lora.alpha"


def pair(name: str, a: tuple[int, ...], b: tuple[int, ...]) -> dict[str, Any]:
    return {f"{name}.lora_a": normal(*a), f"{name}.lora_b": normal(*b)}


GOOD = pair(Q, (RANK, WIDTH), (WIDTH, RANK))
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": ({"architecture": "qwen2"}, "'qwen2', expected 'llama'"),
    "no type": ({"kind": ""}, "None, expected 'adapter'"),
    "model": ({"kind": "model"}, "'model', expected 'adapter'"),
    "other adapter": ({"adapter_type": "control_vector"}, "expected 'lora'"),
    "alpha u32": ({"alpha": lambda writer: writer.add_uint32(ALPHA, 16)}, "UINT32"),
    "alpha f64": ({"alpha": lambda writer: writer.add_float64(ALPHA, 16.0)}, "FLOAT64"),
    "alpha nan": ({"alpha": float("nan")}, "nan, expected a finite number"),
    "empty": ({"tensors": {}}, "no tensors"),
    "half": ({"tensors": {f"{Q}.lora_a": normal(RANK, WIDTH)}}, "alone, expected both"),
    "bias": ({"tensors": GOOD | {"blk.0.attn_q.bias": normal(WIDTH)}}, "'blk.0.attn_q.bias'"),
    "norm": (
        {"tensors": pair("blk.0.attn_norm.weight", (RANK, WIDTH), (1, RANK))},
        "applies no LoRA",
    ),
    "unknown tensor": (
        {"tensors": pair("blk.99.attn_q.weight", (RANK, WIDTH), (WIDTH, RANK))},
        "'blk.99.attn_q.weight', which is not in the model",
    ),
    "tied output": (
        {"tensors": pair("output.weight", (RANK, WIDTH), (49152, RANK))},
        "'output.weight', which is not in the model",
    ),
    "tied embedding": (
        {"tensors": pair("token_embd.weight", (49152, RANK), (WIDTH, RANK))},
        "also uses as its output",
    ),
    "width": ({"tensors": pair(Q, (RANK, 512), (WIDTH, RANK))}, "8 x 512"),
    "height": ({"tensors": pair(Q, (RANK, WIDTH), (192, RANK))}, "192 x 8"),
    "ranks differ": ({"tensors": pair(Q, (RANK, WIDTH), (WIDTH, 4))}, "576 x 4"),
    "swapped": ({"tensors": pair(Q, (WIDTH, RANK), (RANK, WIDTH))}, "576 x 8 and 8 x 576"),
    "float64": ({"tensors": {key: value.astype(np.float64) for key, value in GOOD.items()}}, "F64"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_an_adapter_that_does_not_fit_is_refused(tmp_path: Path, fault: str) -> None:
    settings, words = WRONG[fault]
    path = write_adapter(tmp_path / "adapter.gguf", **settings)
    with pytest.raises(UnsupportedModelError) as caught:
        check_adapter(path, model_path())
    assert words in caught.value.message
    assert str(path) in caught.value.message


@pytest.mark.parametrize("alpha", [16.0, 0.0, None], ids=lambda value: f"alpha {value}")
def test_an_adapter_that_fits_is_taken_and_loads(tmp_path: Path, alpha: float | None) -> None:
    tensors = GOOD | pair("blk.29.ffn_down.weight", (4, 1536), (WIDTH, 4))
    path = write_adapter(tmp_path / "adapter.gguf", tensors, alpha=alpha)
    check_adapter(path, model_path())
    assert trial_load(model_path(), path) == ""


@pytest.mark.parametrize("fault", ["alpha u32", "tied embedding"])
def test_a_child_may_die_of_an_adapter_and_the_program_lives(tmp_path: Path, fault: str) -> None:
    path = write_adapter(tmp_path / "adapter.gguf", **WRONG[fault][0])
    assert "GGML_ASSERT" in trial_load(model_path(), path)


@pytest.mark.parametrize("fault", ["architecture", "unknown tensor", "width"])
def test_llama_cpp_agrees_on_what_does_not_fit(tmp_path: Path, fault: str) -> None:
    path = write_adapter(tmp_path / "adapter.gguf", **WRONG[fault][0])
    assert trial_load(model_path(), path) != ""


def write_plain_model(path: Path, tensors: dict[str, Any]) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    finish(writer)
    return path


def test_embedding_and_experts_have_shapes_of_their_own(tmp_path: Path) -> None:
    model = write_plain_model(
        tmp_path / "model.gguf",
        {
            "token_embd.weight": normal(40, 8),
            "output.weight": normal(40, 8),
            "blk.0.ffn_up_exps.weight": normal(3, 16, 8),
        },
    )

    def taken(name: str, a: tuple[int, ...], b: tuple[int, ...]) -> bool:
        adapter = write_adapter(tmp_path / "adapter.gguf", pair(name, a, b))
        try:
            check_adapter(adapter, model)
        except UnsupportedModelError:
            return False
        return True

    assert taken("token_embd.weight", (40, 2), (8, 2))
    assert not taken("token_embd.weight", (2, 8), (40, 2))
    assert taken("output.weight", (2, 8), (40, 2))
    assert taken("blk.0.ffn_up_exps.weight", (3, 2, 8), (3, 16, 2))
    assert not taken("blk.0.ffn_up_exps.weight", (2, 2, 8), (2, 16, 2))
    assert not taken("blk.0.ffn_up_exps.weight", (2, 8), (16, 2))


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        check_adapter(tmp_path / "nowhere.gguf", model_path())
    (tmp_path / "text.gguf").write_text("hello " * 20)
    with pytest.raises(GgufError, match=r"text\.gguf"):
        check_adapter(tmp_path / "text.gguf", model_path())
    with pytest.raises(UnsupportedModelError, match="no tensors"):
        check_model(write_plain_model(tmp_path / "empty.gguf", {}))


def changed_tokens(values: StringArray) -> StringArray:
    return StringArray.encode([*values[:-1], "another token"])


def same_tokens(values: StringArray) -> StringArray:
    return StringArray.encode(list(values))


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"tokenizer__chat_template": "{{ messages }}"}, True),
        ({"general__name": "x"}, True),
        ({"tokenizer__ggml__tokens": same_tokens}, True),
        ({"tokenizer__ggml__pre": "qwen2"}, False),
        ({"tokenizer__ggml__add_bos_token": True}, False),
        ({"tokenizer__ggml__bos_token_id": 7}, False),
        ({"tokenizer__ggml__tokens": changed_tokens}, False),
        ({"tokenizer__ggml__token_type": lambda values: values[::-1]}, False),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else str(value),
)
def test_the_fingerprint_changes_with_what_changes_ids(
    changes: dict[str, object], same: bool
) -> None:
    with GgufFile.open(model_path()) as model:
        metadata: dict[str, Any] = dict(model.metadata)
        before = vocabulary_fingerprint(metadata)
        for key, value in changes.items():
            name = key.replace("__", ".")
            change: Callable[[Any], Any] | object = value
            metadata[name] = change(metadata[name]) if callable(change) else change
        assert (vocabulary_fingerprint(metadata) == before) is same


def test_facts_of_the_real_model(tmp_path: Path) -> None:
    facts = check_model(model_path())
    assert (facts.architecture, facts.context_tokens) == ("llama", 8192)
    assert facts.has_chat_template
    plain = check_model(copy_model(tmp_path / "plain.gguf", without="tokenizer.chat_template"))
    assert not plain.has_chat_template
    assert plain.vocabulary_fingerprint == facts.vocabulary_fingerprint
