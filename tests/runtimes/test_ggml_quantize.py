"""llama.cpp's quantisers, called from here, write what our reader unpacks."""

from __future__ import annotations

import numpy as np
import pytest

from fine_tuning.core.errors import GgufError
from fine_tuning.gguf.dequantize import dequantize
from fine_tuning.gguf.quantize import QUANTIZABLE, quantize
from fine_tuning.gguf.requantize_exact import EXACT_TYPES, requantize_exact
from fine_tuning.gguf.types import TensorType
from fine_tuning.runtimes import ggml_quantize
from fine_tuning.runtimes.ggml_quantize import K_TYPES, pack

SHAPE = (8, 512)
# Root mean square error relative to that of the weights, of normal weights, with some room.
ERRORS = {"Q2_K": 0.35, "Q3_K": 0.2, "Q4_K": 0.09, "Q5_K": 0.05, "Q6_K": 0.03}
ERRORS |= {"IQ4_NL": 0.11, "IQ4_XS": 0.11}


def weights() -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(SHAPE) * 0.05).astype(np.float32)


def error_of(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("kind", K_TYPES)
def test_k_types_come_back(kind: TensorType) -> None:
    found = dequantize(pack(weights(), kind), kind, SHAPE)
    assert 0.001 < error_of(found, weights()) < ERRORS[kind.name]


@pytest.mark.parametrize("kind", QUANTIZABLE)
def test_simple_types_are_ours(kind: TensorType) -> None:
    assert np.array_equal(pack(weights(), kind), quantize(weights(), kind))


@pytest.mark.parametrize("kind", [TensorType.Q4_K, TensorType.Q5_K])
def test_real_k_weights_promote_far_below_their_own_step(kind: TensorType) -> None:
    packed = pack(weights(), kind)
    stored = dequantize(packed, kind, SHAPE)
    requantized = dequantize(requantize_exact(packed, kind).reshape(-1), EXACT_TYPES[kind], SHAPE)
    assert error_of(requantized, stored) < 1e-3 < error_of(stored, weights()) / 20


def test_weights_that_are_no_numbers_are_refused() -> None:
    values = weights()
    values[3, 7] = np.nan
    with pytest.raises(GgufError, match="NaN or infinite"):
        pack(values, TensorType.Q4_K)
    with pytest.raises(GgufError, match="IQ2_XXS cannot be written"):
        pack(weights(), TensorType.IQ2_XXS)
    with pytest.raises(GgufError, match="multiples of 256"):
        pack(weights()[:, :288], TensorType.Q4_K)


def test_a_threefold_axis_is_rows_too() -> None:
    values = weights().reshape(2, 4, 512)
    assert np.array_equal(
        pack(values, TensorType.Q4_K), ggml_quantize.pack(weights(), TensorType.Q4_K)
    )
