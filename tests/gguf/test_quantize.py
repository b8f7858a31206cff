"""Every packer equals gguf-py's, bit for bit."""

from __future__ import annotations

import warnings

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fine_tuning.core.errors import GgufError
from fine_tuning.gguf.dequantize import dequantize
from fine_tuning.gguf.quantize import QUANTIZABLE, quantize
from fine_tuning.gguf.types import TensorType

BLOCK_TYPES = [kind for kind in QUANTIZABLE if kind.name.startswith("Q")]


def oracle(values: np.ndarray, kind: TensorType) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType(int(kind)))
    return packed.reshape(-1).view(np.uint8)


@pytest.mark.parametrize("kind", QUANTIZABLE, ids=lambda kind: kind.name)
@pytest.mark.parametrize("scale", [1e-12, 1e-6, 0.02, 1.0, 3e3])
def test_equals_the_oracle(kind: TensorType, scale: float) -> None:
    rng = np.random.default_rng(3)
    values = (rng.standard_normal((77, 1024)) * scale).astype(np.float32)
    values[0] = 0
    values[1, :32] = 5 * scale
    values[2, ::2] = 0
    packed = quantize(values, kind)
    np.testing.assert_array_equal(packed, oracle(values, kind))


@given(
    arrays(np.float32, (2, 32), elements=st.floats(-60000, 60000, width=32)),
    st.sampled_from(QUANTIZABLE),
)
def test_equals_the_oracle_on_odd_values(values: np.ndarray, kind: TensorType) -> None:
    np.testing.assert_array_equal(quantize(values, kind), oracle(values, kind))


@pytest.mark.parametrize(
    ("kind", "levels"), list(zip(BLOCK_TYPES, (8, 7.5, 16, 15.5, 127), strict=True))
)
def test_error_is_at_most_a_step(kind: TensorType, levels: float) -> None:
    values = np.random.default_rng(4).uniform(-1, 1, (50, 256)).astype(np.float32)
    back = dequantize(quantize(values, kind), kind, values.shape)
    assert 0 < np.abs(back - values).max() <= 1.02 / levels


@pytest.mark.parametrize("kind", [TensorType.F32, TensorType.BF16])
def test_floats_keep_nan_and_infinity(kind: TensorType) -> None:
    values = np.array([np.nan, -np.inf, np.inf, -0.0], np.float32)
    back = dequantize(quantize(values, kind), kind, (4,))
    np.testing.assert_array_equal(back, values)
    assert np.signbit(back[3])


@pytest.mark.parametrize("kind", BLOCK_TYPES, ids=lambda kind: kind.name)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_refuses_weights_that_are_not_finite(kind: TensorType, bad: float) -> None:
    values = np.ones((1, 32), np.float32)
    values[0, 5] = bad
    with pytest.raises(GgufError, match="NaN or infinite"):
        quantize(values, kind)


@pytest.mark.parametrize("kind", [*BLOCK_TYPES, TensorType.F16], ids=lambda kind: kind.name)
def test_refuses_what_fp16_cannot_hold(kind: TensorType) -> None:
    values = np.full((1, 32), 3e38, np.float32)
    values[0, ::2] = -3e38
    with pytest.raises(GgufError, match=r"fp16|finite"):
        quantize(values, kind)


def test_refuses_types_and_shapes_it_cannot_pack() -> None:
    with pytest.raises(GgufError, match="Q4_K cannot be written"):
        quantize(np.zeros((1, 256), np.float32), TensorType.Q4_K)
    with pytest.raises(GgufError, match="multiples of 32"):
        quantize(np.zeros((32, 31), np.float32), TensorType.Q8_0)
    with pytest.raises(GgufError, match="float32 was expected"):
        quantize(np.zeros((1, 32)), TensorType.Q8_0)  # type: ignore[arg-type]
