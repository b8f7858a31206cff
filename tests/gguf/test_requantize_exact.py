"""A requantised tensor is the stored one: without loss from Q4_0 and Q5_0, to fp16 from K types."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.core.errors import GgufError
from fine_tuning.gguf.dequantize import dequantize
from fine_tuning.gguf.quantize import quantize
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.requantize_exact import (
    BLOCK,
    EXACT_TYPES,
    RequantizedFile,
    block_minima,
    requantize_exact,
    shift_minima,
)
from fine_tuning.gguf.types import TensorType, block_format
from fine_tuning.gguf.writer import TensorSource, write_gguf

ROWS, COLUMNS = 6, 512


def random_bytes(kind: TensorType, seed: int, *, size: float = 0.01) -> np.ndarray:
    """Random blocks of a type whose scales are of weights' size; every quant occurs."""
    layout = block_format(kind)
    generator = np.random.default_rng(seed)
    count = ROWS * COLUMNS // layout.block_elements
    blocks = generator.integers(0, 256, (count, layout.block_bytes), dtype=np.uint8)
    num_scales = 1 if kind.name.endswith("_0") else 2
    scales = (generator.standard_normal((count, num_scales)) * size).astype("<f2")
    blocks[:, : 2 * num_scales] = scales.view(np.uint8)
    return blocks.reshape(-1)


def unpacked(raw: np.ndarray, kind: TensorType) -> np.ndarray:
    return dequantize(raw.reshape(-1), kind, (ROWS, COLUMNS))


@pytest.mark.parametrize(
    "kind", [TensorType.Q4_0, TensorType.Q4_1, TensorType.Q5_0, TensorType.Q5_1]
)
@given(seed=st.integers(0, 2**32 - 1))
def test_simple_types_requantize_bit_for_bit(kind: TensorType, seed: int) -> None:
    raw = random_bytes(kind, seed)
    found = unpacked(requantize_exact(raw, kind), EXACT_TYPES[kind])
    assert np.array_equal(found, unpacked(raw, kind))


@pytest.mark.parametrize("kind", [TensorType.Q4_K, TensorType.Q5_K])
@given(seed=st.integers(0, 2**32 - 1))
def test_k_types_requantize_to_the_rounding_of_scale_and_minimum(
    kind: TensorType, seed: int
) -> None:
    raw = random_bytes(kind, seed)
    exact = unpacked(raw, kind)
    found = unpacked(requantize_exact(raw, kind), EXACT_TYPES[kind])
    # fp16 rounds d*scale and dmin*minimum by 2**-11 at most, each of which may exceed the weight.
    d, m = (np.abs(x) for x in products(raw, kind))
    quants = 15 if kind is TensorType.Q4_K else 31
    bound = (quants * d + m) * 2**-11 + 2**-24 * (quants + 1)
    assert (np.abs(found - exact).reshape(-1, BLOCK) <= bound).all()


def products(raw: np.ndarray, kind: TensorType) -> tuple[np.ndarray, np.ndarray]:
    """d * scale and dmin * minimum per 32 weights, from the packed scales, in plain Python."""
    scales, minima = [], []
    for block in raw.reshape(-1, block_format(kind).block_bytes):
        d, dmin = block[:4].view("<f2").astype(np.float32)
        q = block[4:16].astype(int)
        for j in range(8):  # get_scale_min_k4 of ggml-quants.c
            if j < 4:
                s, m = q[j] & 63, q[j + 4] & 63
            else:
                s = (q[j + 4] & 15) | ((q[j - 4] >> 6) << 4)
                m = (q[j + 4] >> 4) | ((q[j] >> 6) << 4)
            scales.append(d * s)
            minima.append(dmin * m)
    return np.array(scales)[:, None], np.array(minima)[:, None]


@pytest.mark.parametrize("kind", [TensorType.Q4_1, TensorType.Q5_1])
def test_a_shifted_minimum_moves_every_weight_of_its_block(kind: TensorType) -> None:
    raw = random_bytes(kind, 1)
    blocks = requantize_exact(raw, kind)
    delta = np.random.default_rng(2).standard_normal(len(blocks)).astype(np.float32) * 0.01
    before, minima = unpacked(blocks, kind), block_minima(blocks)
    shift_minima(blocks, delta)
    moved = (unpacked(blocks, kind) - before).reshape(-1, BLOCK)
    rounding = np.abs(minima + delta) * 2**-11 + 2**-24
    assert (np.abs(moved - delta[:, None]) <= rounding[:, None] * 1.01).all()
    assert np.array_equal(blocks[:, 4:], raw.reshape(len(blocks), -1)[:, 4:]), "a quant changed"


@pytest.mark.parametrize("kind", EXACT_TYPES)
def test_scales_that_are_no_numbers_are_refused(kind: TensorType) -> None:
    raw = random_bytes(kind, 3)
    raw[:2] = np.array([np.nan], "<f2").view(np.uint8)
    with pytest.raises(GgufError, match="NaN or infinite"):
        requantize_exact(raw, kind)


def test_numbers_beyond_fp16_are_refused() -> None:
    raw = random_bytes(TensorType.Q4_0, 3)
    raw[:2] = np.array([60000], "<f2").view(np.uint8)
    with pytest.raises(GgufError, match="fp16 holds at most"):
        requantize_exact(raw, TensorType.Q4_0)
    blocks = requantize_exact(random_bytes(TensorType.Q4_1, 3), TensorType.Q4_1)
    for delta, sentence in ((1e6, "fp16 holds at most"), (np.inf, "became NaN or infinite")):
        with pytest.raises(GgufError, match=sentence):
            shift_minima(blocks, np.full(len(blocks), delta, np.float32))


def test_types_without_a_minimum_are_refused() -> None:
    with pytest.raises(GgufError, match="Q8_0 has no block minimum"):
        requantize_exact(np.zeros(34, np.uint8), TensorType.Q8_0)


def test_a_file_shows_the_wanted_tensors_requantized(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    kinds = {"a": TensorType.Q4_0, "b": TensorType.Q4_0, "c": TensorType.Q8_0}
    sources = [TensorSource(n, values.shape, k, quantize(values, k)) for n, k in kinds.items()]
    write_gguf(tmp_path / "x.gguf", {"general.architecture": "llama"}, sources)
    with (
        RequantizedFile.open_with(tmp_path / "x.gguf", lambda name: name != "b") as file,
        GgufFile.open(tmp_path / "x.gguf") as stored,
    ):
        found = {name: info.type for name, info in file.tensors.items()}
        assert found == {"a": TensorType.Q4_1, "b": TensorType.Q4_0, "c": TensorType.Q8_0}
        for name in kinds:
            assert file.raw(name).nbytes == file.tensor(name).num_bytes
            assert np.array_equal(file.dequantize(name), stored.dequantize(name))
