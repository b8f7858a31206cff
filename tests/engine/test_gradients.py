"""The hand-written backward equals autograd through a plain float32 reference."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import torch

from fine_tuning.core.errors import DataError, UnsupportedModelError
from fine_tuning.engine import head, step
from fine_tuning.engine.architecture import ARCHITECTURES, linear_names
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.gguf.dequantize import DEQUANTIZABLE
from fine_tuning.gguf.quantize import quantize
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import TensorType, block_format, tensor_num_bytes
from fine_tuning.gguf.writer import TensorSource, tensor_from_file, write_gguf
from tests.engine.plain import PlainDecoder
from tests.engine.tiny import (
    LLAMA,
    MODELS,
    TinyModel,
    example,
    ragged_batch,
    random_adapter,
    write_tiny,
    write_tiny_llama,
)

KERNELS = ("torch", "portable", "avx2", "avx512")
MIXED = {
    "attn_q": TensorType.Q4_0,
    "attn_k": TensorType.Q8_0,
    "attn_v": TensorType.F16,
    "ffn_up": TensorType.Q5_1,
    "ffn_down": TensorType.Q4_1,
    "token_embd": TensorType.Q8_0,
}


def reference_gradients(
    path: Path, adapter: LoraAdapter, scale: float, model: TinyModel = LLAMA
) -> dict[str, torch.Tensor]:
    leaves = [p.detach().clone().requires_grad_() for p in adapter.parameters()]
    copy = LoraAdapter.create(
        {n: (p.b.shape[0], p.a.shape[1]) for n, p in adapter.pairs.items()},
        rank=adapter.rank,
        alpha=adapter.alpha,
        seed=0,
    )
    copy.pairs = {
        name: type(pair)(leaves[2 * i], leaves[2 * i + 1])
        for i, (name, pair) in enumerate(adapter.pairs.items())
    }
    (PlainDecoder(path, copy, model).loss_sum(ragged_batch()) * scale).backward()
    return {n: t.grad for n, t in copy.state_dict().items() if t.grad is not None}


def own_gradients(adapter: LoraAdapter) -> dict[str, torch.Tensor]:
    return {n: t.grad for n, t in adapter.state_dict().items() if t.grad is not None}


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        error = (found[name] - gradient).norm() / gradient.norm()
        assert error < 1e-4, f"{name}: relative error {error:.2e}"


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    ("types", "is_tied", "factors"),
    [({}, True, False), (MIXED, True, True), (MIXED, False, False)],
    ids=["f32", "mixed-types-rope-factors", "mixed-types-untied"],
)
def test_gradients_of_every_adapted_layer(
    tmp_path: Path, kernels: str, types: dict[str, TensorType], is_tied: bool, factors: bool
) -> None:
    model = replace(MODELS["llama-factors"] if factors else LLAMA, is_tied=is_tied)
    path = write_tiny(tmp_path / "tiny.gguf", model, types=types)
    with Decoder.open(path, dtype=torch.float32, kernels=kernels) as decoder:
        adapter = random_adapter(decoder.linear_shapes)
        assert len(adapter.pairs) == 7 * len(decoder.blocks)
        result = step.accumulate_gradients(decoder, adapter, ragged_batch(), coefficients=0.05)
        with torch.no_grad():
            expected = float(PlainDecoder(path, adapter, model).loss_sum(ragged_batch()))
        assert result.loss_sum == pytest.approx(expected, rel=1e-5)
        assert result.num_targets == sum(s.num_targets for s in ragged_batch())
        assert_close(own_gradients(adapter), reference_gradients(path, adapter, 0.05, model))


@pytest.mark.parametrize("kernels", ["torch", "avx512"])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_every_architecture(tmp_path: Path, name: str, kernels: str) -> None:
    model = MODELS[name]
    path = write_tiny(tmp_path / "tiny.gguf", model)
    served = 4096 if name == "phi3" else 128
    with Decoder.open(
        path, dtype=torch.float32, kernels=kernels, served_context_tokens=served
    ) as decoder:
        adapter = random_adapter(decoder.linear_shapes)
        assert len(adapter.pairs) == (4 if model.is_fused else 7) * model.layers
        result = step.accumulate_gradients(decoder, adapter, ragged_batch(), coefficients=0.05)
        with torch.no_grad():
            expected = float(PlainDecoder(path, adapter, model).loss_sum(ragged_batch()))
        assert result.loss_sum == pytest.approx(expected, rel=1e-5)
        assert_close(own_gradients(adapter), reference_gradients(path, adapter, 0.05, model))


def test_every_architecture_has_a_small_model() -> None:
    assert {model.architecture for model in MODELS.values()} == set(ARCHITECTURES)


@pytest.mark.parametrize("name", linear_names(ARCHITECTURES["llama"]))
@pytest.mark.parametrize("layer", [0, 1])
def test_one_adapted_linear_alone(tmp_path: Path, name: str, layer: int) -> None:
    path = write_tiny_llama(tmp_path / "tiny.gguf")
    with Decoder.open(path, dtype=torch.float32) as decoder:
        target = f"blk.{layer}.{name}.weight"
        adapter = random_adapter({target: decoder.linear_shapes[target]})
        step.accumulate_gradients(decoder, adapter, ragged_batch(), coefficients=1.0)
        assert_close(own_gradients(adapter), reference_gradients(path, adapter, 1.0))


def test_unpacked_weights_give_the_same_gradients(tmp_path: Path) -> None:
    path = write_tiny_llama(tmp_path / "tiny.gguf", types=MIXED)
    gradients = []
    for residency in ("packed", "unpacked"):
        with Decoder.open(path, dtype=torch.float32, residency=residency) as decoder:
            adapter = random_adapter(decoder.linear_shapes)
            step.accumulate_gradients(decoder, adapter, ragged_batch(), coefficients=1.0)
            gradients.append(own_gradients(adapter))
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_every_type_the_reader_unpacks_can_be_trained_on(tmp_path: Path) -> None:
    """Each block has another type per product: twenty types in one file, dispatched per tensor."""
    path = write_tiny(tmp_path / "f32.gguf", replace(LLAMA, width=256, ffn=256, d=64, layers=5))
    generator = np.random.default_rng(0)
    kinds = cycle(DEQUANTIZABLE)
    with GgufFile.open(path) as file:
        model = replace(LLAMA, width=256, ffn=256, d=64, layers=5)
        sources, seen = [], set()
        for name, info in file.tensors.items():
            if len(info.shape) == 1 or name == "token_embd.weight":
                sources.append(tensor_from_file(file, name))
                continue
            kind = next(kinds)
            seen.add(kind)
            values = small_weights(kind, info.shape, generator)
            sources.append(TensorSource(name, info.shape, kind, values))
        write_gguf(tmp_path / "mixed.gguf", model.metadata, sources)
    assert seen == set(DEQUANTIZABLE)
    with Decoder.open(tmp_path / "mixed.gguf", dtype=torch.float32) as decoder:
        adapter = random_adapter(decoder.linear_shapes)
        step.accumulate_gradients(decoder, adapter, ragged_batch(), coefficients=1.0)
        expected = reference_gradients(tmp_path / "mixed.gguf", adapter, 1.0, model)
        assert_close(own_gradients(adapter), expected)


def small_weights(
    kind: TensorType, shape: tuple[int, ...], generator: np.random.Generator
) -> np.ndarray:
    """Random bytes whose half-precision scales are small; plain numbers for plain types."""
    dtypes = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I8": "<i1", "I16": "<i2"}
    dtypes |= {"I32": "<i4", "I64": "<i8"}
    if kind is TensorType.BF16:
        return quantize(generator.normal(0, 0.06, shape).astype(np.float32), kind)
    if kind.name in dtypes:
        is_whole = kind.name.startswith("I")
        draw = generator.integers(-1, 2, shape) if is_whole else generator.normal(0, 0.06, shape)
        return draw.astype(dtypes[kind.name]).reshape(-1).view(np.uint8)
    raw = generator.integers(0, 256, tensor_num_bytes(kind, shape), dtype=np.uint8)
    blocks = raw.reshape(-1, block_format(kind).block_bytes)
    half = np.frombuffer(np.float16(2e-4).tobytes(), np.uint8)
    for place in SCALES_AT[kind.name]:
        blocks[:, place : place + 2] = half
    return raw


SCALES_AT = {
    **dict.fromkeys(("Q4_0", "Q5_0", "Q8_0", "IQ4_NL", "IQ4_XS"), (0,)),
    **dict.fromkeys(("Q4_1", "Q5_1", "Q4_K", "Q5_K"), (0, 2)),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q6_K": (208,),
}


def test_micro_batches_add_up(tmp_path: Path) -> None:
    path = write_tiny_llama(tmp_path / "tiny.gguf")
    with Decoder.open(path, dtype=torch.float32) as decoder:
        whole, parts = (random_adapter(decoder.linear_shapes) for _ in range(2))
        step.accumulate_gradients(decoder, whole, ragged_batch(), coefficients=1.0)
        for sequence in ragged_batch():
            step.accumulate_gradients(decoder, parts, [sequence], coefficients=1.0)
        assert_close(own_gradients(parts), own_gradients(whole))


def test_vocabulary_blocks_and_row_chunks_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiny_llama(tmp_path / "tiny.gguf", types=MIXED)
    with Decoder.open(path, dtype=torch.float32) as decoder:
        whole, blocks = (random_adapter(decoder.linear_shapes) for _ in range(2))
        one = step.accumulate_gradients(decoder, whole, ragged_batch(), coefficients=1.0)
        scores = step.score_targets(decoder, whole, ragged_batch())
        monkeypatch.setattr(head, "BLOCK_BYTES", 30 * 64 * 4)
        monkeypatch.setattr(head, "ROWS_PER_CHUNK", 7)
        two = step.accumulate_gradients(decoder, blocks, ragged_batch(), coefficients=1.0)
        assert one.loss_sum == pytest.approx(two.loss_sum, rel=1e-6)
        assert_close(own_gradients(blocks), own_gradients(whole))
        for found, expected in zip(
            step.score_targets(decoder, whole, ragged_batch()), scores, strict=True
        ):
            assert found.log_probabilities == pytest.approx(expected.log_probabilities, abs=1e-5)


def test_scores_are_the_reference_log_probabilities(tmp_path: Path) -> None:
    path = write_tiny_llama(tmp_path / "tiny.gguf")
    nothing_to_learn = example(6, [], seed=9)
    batch = [*ragged_batch()[:2], nothing_to_learn, *ragged_batch()[2:]]
    with Decoder.open(path, dtype=torch.float32) as decoder:
        adapter = random_adapter(decoder.linear_shapes)
        scores = step.score_targets(decoder, adapter, batch)
    model = PlainDecoder(path, adapter)
    for sequence, score in zip(batch, scores, strict=True):
        with torch.no_grad():
            log_p = model.logits(sequence.ids).log_softmax(-1)
        wanted = [i for i, bit in enumerate(sequence.mask) if bit]
        expected = [float(log_p[i - 1, sequence.ids[i]]) for i in wanted]
        assert score.log_probabilities == pytest.approx(expected, abs=1e-4)
        assert list(score.correct) == [
            int(log_p[i - 1].argmax()) == sequence.ids[i] for i in wanted
        ]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_bfloat16_gradients_point_the_same_way(tmp_path: Path, name: str) -> None:
    path = write_tiny(tmp_path / "tiny.gguf", MODELS[name], types=MIXED)
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        with Decoder.open(path, dtype=dtype) as decoder:
            adapter = random_adapter(decoder.linear_shapes)
            step.accumulate_gradients(decoder, adapter, ragged_batch(), coefficients=1.0)
            gradients.append(own_gradients(adapter))
    for target, exact in gradients[0].items():
        cosine = torch.cosine_similarity(exact.flatten(), gradients[1][target].flatten(), dim=0)
        assert cosine > 0.995, target


def test_a_foreign_token_id_is_refused(tmp_path: Path) -> None:
    with Decoder.open(write_tiny_llama(tmp_path / "tiny.gguf")) as decoder:
        adapter = random_adapter(decoder.linear_shapes)
        foreign = ragged_batch()[0].from_dict(
            {"example_id": "x", "conversation_id": "c", "ids": [1, 80], "mask": "01"}
        )
        with pytest.raises(DataError, match="vocabulary of 80"):
            step.accumulate_gradients(decoder, adapter, [foreign], coefficients=1.0)


def test_a_foreign_adapter_is_refused(tmp_path: Path) -> None:
    with Decoder.open(write_tiny_llama(tmp_path / "tiny.gguf")) as decoder:
        adapter = random_adapter({"blk.7.attn_q.weight": (64, 64)})
        with pytest.raises(UnsupportedModelError, match=r"blk\.7\.attn_q\.weight"):
            step.score_targets(decoder, adapter, ragged_batch())


def test_rounded_sizes_and_shares_repeat_to_the_bit(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "tiny.gguf", MODELS["llama"])
    gradients = []
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with Decoder.open(path) as decoder:
            for _ in range(3):
                adapter = random_adapter(decoder.linear_shapes)
                step.accumulate_gradients(decoder, adapter, ragged_batch(), coefficients=1.0)
                gradients.append(own_gradients(adapter))
    finally:
        torch.set_num_threads(threads)
    for other in gradients[1:]:
        assert all(torch.equal(other[name], gradients[0][name]) for name in gradients[0])
