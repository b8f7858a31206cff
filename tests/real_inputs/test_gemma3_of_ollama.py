"""Gemma 3 as Ollama publishes it: trained on and served as what it is, whatever its keys are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fine_tuning.core.errors import UnsupportedModelError
from fine_tuning.engine.adapter_files import write_gguf_adapter
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.engine.step import next_token_logits
from fine_tuning.engine.trainable import check_trainable
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import TensorType
from fine_tuning.gguf.values import StringArray
from fine_tuning.gguf.writer import TensorSource, tensor_from_file, write_gguf
from fine_tuning.runtimes.base_model import resolve_base_model
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.runtimes.llama_cpp_file import llama_cpp_file, translations_folder
from fine_tuning.runtimes.load_check import check_adapter
from fine_tuning.runtimes.trial_load import trial_load
from tests.engine.test_parity import (
    CONTEXT,
    TOP,
    VOCABULARY,
    Agreement,
    random_ids,
    served,
    write_sized,
)
from tests.engine.tiny import MODELS
from tests.runtimes.vocabulary import first_tokens

pytestmark = pytest.mark.real_input("bases in Ollama's dialect of GGUF")

EPS, BASE = "attention.layer_norm_rms_epsilon", "rope.freq_base"
PATTERN = "attention.sliding_window_pattern"
VISION = {"v.blk.0.attn_q.weight": (8, 8), "mm.mm_input_projection.weight": (8, 8)}
# Changes of keys (None drops one), tensors added, and the keys of the same model by llama.cpp.
Form = tuple[Mapping[str, Any], Mapping[str, tuple[int, ...]], Mapping[str, Any]]
FORMS: dict[str, Form] = {
    "1b": (
        {EPS: None, BASE: None, "rope.global.freq_base": 1e6, "rope.local.freq_base": 1e4},
        {},
        {},
    ),
    "4b": (
        {EPS: None, BASE: None, "context_length": 131072, "mm.tokens_per_image": 256},
        VISION,
        {"context_length": 131072, "rope.scaling.type": "linear", "rope.scaling.factor": 8.0},
    ),
    "270m": ({PATTERN: [True] * 5 + [False], "rope.local.freq_base": 1e4}, {}, {PATTERN: 6}),
    "another period": ({PATTERN: [True, False] * 3}, {}, {PATTERN: 2}),
    "another local base": ({"rope.local.freq_base": 2e4}, {}, {"rope.freq_base_swa": 2e4}),
    "pictures alone": ({}, {"v.patch_embedding.weight": (4, 4)}, {}),
    "all windows": ({PATTERN: [True] * 6}, {}, {PATTERN: 0}),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def tokenizer() -> dict[str, Any]:
    return first_tokens(resolve_base_model("embedded").path, VOCABULARY)


def written(folder: Path, form: Form, tokenizer: Mapping[str, Any], extra: int = 0) -> Path:
    """Write the model by llama.cpp's keys, and beside it in the form of Ollama's converter."""
    changes, tensors, by_llama_cpp = form
    keys = {"attention.sliding_window": 6, BASE: 1e6, EPS: 1e-6}
    # The form without epsilon takes 1e-6, which the small models' default of 1e-5 is not.
    model = replace(MODELS["gemma3"], keys={**keys, **by_llama_cpp})
    plain = write_sized(folder / "plain.gguf", model, TensorType.F32, tokenizer)
    path = folder / "ollama.gguf"
    with GgufFile.open(plain) as file:
        metadata: dict[str, Any] = dict(file.typed_metadata)
        for key in by_llama_cpp:
            metadata.pop(f"gemma3.{key}")
        for key, value in changes.items():
            metadata.pop(f"gemma3.{key}", None)
            if value is not None:
                metadata[f"gemma3.{key}"] = np.array(value) if key == PATTERN else value
        if extra:
            tokens = list(file.get("tokenizer.ggml.tokens", StringArray))
            types = np.concatenate((file.metadata["tokenizer.ggml.token_type"], [3] * extra))
            metadata["tokenizer.ggml.tokens"] = tokens + [f"<image_{i}>" for i in range(extra)]
            metadata["tokenizer.ggml.token_type"] = types.astype(np.int32)
        more = [
            TensorSource(name, shape, TensorType.F32, np.ones(shape, np.float32))
            for name, shape in tensors.items()
        ]
        write_gguf(path, metadata, [*(tensor_from_file(file, n) for n in file.tensors), *more])
    return path


def predicted(path: Path, ids: tuple[int, ...]) -> torch.Tensor:
    with Decoder.open(path, dtype=torch.float32, served_context_tokens=CONTEXT) as decoder:
        return next_token_logits(decoder, None, ids).log_softmax(-1)


@pytest.mark.parametrize("name", FORMS)
def test_it_is_trained_on_and_served_as_llama_cpps_own_form_is(
    tmp_path: Path, tokenizer: Mapping[str, Any], name: str
) -> None:
    path, ids = written(tmp_path, FORMS[name], tokenizer), random_ids(32)
    check_trainable(path)
    assert torch.equal(predicted(path, ids), predicted(tmp_path / "plain.gguf", ids))
    assert trial_load(path) == ""
    with EmbeddedServer(path, context_tokens=CONTEXT, threads=1) as server:
        agreement = Agreement.of(predicted(path, ids), served(server, ids, TOP), ids)
    assert agreement.mean_kl < 1e-4, agreement


def test_tokens_of_pictures_behind_the_embedding_are_left_out(
    tmp_path: Path, tokenizer: Mapping[str, Any]
) -> None:
    path = written(tmp_path, FORMS["4b"], tokenizer, extra=3)
    assert trial_load(path) == ""
    with EmbeddedServer(path, context_tokens=CONTEXT, threads=1) as server:
        ids = server.tokenizer.encode("Hello", add_special=False, parse_special=False)
        assert server.tokenizer.decode(ids) == "Hello"


def test_an_adapter_of_the_part_that_sees_is_named(
    tmp_path: Path, tokenizer: Mapping[str, Any]
) -> None:
    path = written(tmp_path, FORMS["4b"], tokenizer)
    adapter = LoraAdapter.create({"v.blk.0.attn_q.weight": (8, 8)}, rank=2, alpha=2.0, seed=0)
    write_gguf_adapter(tmp_path / "a.gguf", adapter, architecture="gemma3")
    with pytest.raises(UnsupportedModelError, match=r"v\.blk.*not of the text model"):
        check_adapter(tmp_path / "a.gguf", path)


def test_layers_without_a_period_are_refused_with_what_to_pull(
    tmp_path: Path, tokenizer: Mapping[str, Any]
) -> None:
    path = written(tmp_path, ({PATTERN: [True, False, False] * 2}, {}, {}), tokenizer)
    with pytest.raises(UnsupportedModelError, match="follow no period") as caught:
        check_trainable(path)
    assert "ollama pull" in caught.value.next_command


def test_the_copy_is_told_made_once_and_goes_with_its_source(
    tmp_path: Path, tokenizer: Mapping[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, FORMS["1b"], tokenizer)
    assert llama_cpp_file(tmp_path / "plain.gguf") == tmp_path / "plain.gguf"
    copy = llama_cpp_file(path)
    assert copy.parent == translations_folder()
    assert "a translated copy of 0.0" in caplog.text
    before = copy.stat().st_mtime_ns
    assert llama_cpp_file(path) == copy
    assert copy.stat().st_mtime_ns == before
    other = tmp_path / "other.gguf"
    path.rename(other)
    assert llama_cpp_file(other) != copy
    assert not copy.exists()
