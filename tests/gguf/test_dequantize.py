"""Every unpacker equals gguf-py's, bit for bit, on blocks of random bits."""

from __future__ import annotations

import warnings

import gguf
import numpy as np
import pytest

from fine_tuning.core.errors import GgufError
from fine_tuning.gguf.dequantize import DEQUANTIZABLE, dequantize
from fine_tuning.gguf.types import BLOCK_FORMATS, TensorType

BLOCK_TYPES = [kind for kind in DEQUANTIZABLE if kind.name[0] in "QB" or kind.name[:2] == "IQ"]
FLOAT_TYPES = [TensorType.F32, TensorType.F16]


def oracle(raw: np.ndarray, kind: TensorType) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(int(kind)))


def assert_same_bits(ours: np.ndarray, theirs: np.ndarray) -> None:
    nan = np.isnan(theirs)
    np.testing.assert_array_equal(np.isnan(ours), nan)
    np.testing.assert_array_equal(
        np.where(nan, 0, ours).view(np.uint32), np.where(nan, 0, theirs).view(np.uint32)
    )


def test_all_wanted_types_are_there() -> None:
    wanted = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS"
    assert {TensorType[name] for name in wanted.split()} <= set(DEQUANTIZABLE)


@pytest.mark.parametrize("kind", BLOCK_TYPES + FLOAT_TYPES, ids=lambda kind: kind.name)
def test_equals_the_oracle_on_random_bits(kind: TensorType) -> None:
    layout = BLOCK_FORMATS[kind]
    rows, columns = 37, 9 * layout.block_elements
    raw = np.random.default_rng(kind).integers(
        0, 256, (rows, 9 * layout.block_bytes), dtype=np.uint8
    )
    ours = dequantize(raw, kind, (rows, columns))
    assert ours.dtype == np.float32
    assert ours.shape == (rows, columns)
    assert_same_bits(ours, oracle(raw, kind).reshape(rows, columns))


@pytest.mark.parametrize("kind", BLOCK_TYPES, ids=lambda kind: kind.name)
def test_chunks_join_seamlessly_and_the_result_is_mostly_finite(kind: TensorType) -> None:
    layout = BLOCK_FORMATS[kind]
    num_blocks = 3 * (1 << 16) // layout.block_elements + 7
    raw = np.random.default_rng(1).integers(0, 256, num_blocks * layout.block_bytes, dtype=np.uint8)
    ours = dequantize(raw, kind, (num_blocks, layout.block_elements))
    assert np.isfinite(ours).mean() > 0.8
    assert_same_bits(ours, oracle(raw.reshape(num_blocks, -1), kind))


@pytest.mark.parametrize("kind", BLOCK_TYPES + FLOAT_TYPES, ids=lambda kind: kind.name)
def test_reads_unaligned_read_only_bytes(kind: TensorType) -> None:
    layout = BLOCK_FORMATS[kind]
    content = np.random.default_rng(2).bytes(1 + 4 * layout.block_bytes)
    raw = np.frombuffer(content, np.uint8, 4 * layout.block_bytes, 1)
    shape = (2, 2 * layout.block_elements)
    assert_same_bits(dequantize(raw, kind, shape), dequantize(raw.copy(), kind, shape))


@pytest.mark.parametrize("name", ["i1", "i2", "i4", "i8", "f8"])
def test_plain_numbers_become_float32(name: str) -> None:
    values = np.array([-3, 0, 7, 100], f"<{name}")
    kind = TensorType[name[0].upper() + str(8 * int(name[1]))]
    np.testing.assert_array_equal(dequantize(values.view(np.uint8), kind, (2, 2)).ravel(), values)


def test_block_formats_agree_with_gguf_py() -> None:
    for kind, layout in BLOCK_FORMATS.items():
        assert tuple(layout) == gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(int(kind))]


def test_type_numbers_agree_with_gguf_py() -> None:
    assert {kind.name: int(kind) for kind in TensorType} == {
        kind.name: int(kind) for kind in gguf.GGMLQuantizationType
    }


@pytest.mark.parametrize(
    ("num_bytes", "kind", "shape", "sentence"),
    [
        (18, TensorType.IQ2_XXS, (1, 32), "unsupported tensor type IQ2_XXS"),
        (17, TensorType.Q4_0, (1, 32), "17 bytes of uint8 were given"),
        (18, TensorType.Q4_0, (1, 16), "packs multiples of 32"),
        (18, TensorType.Q4_0, (2, 2, 2, 2, 32), "5 dimensions"),
        (0, TensorType.Q4_0, (0, 32), "empty dimension"),
        (18, TensorType.Q4_0, (1 << 40, 1 << 40), "63 bits"),
    ],
)
def test_refuses_what_does_not_fit(
    num_bytes: int, kind: TensorType, shape: tuple[int, ...], sentence: str
) -> None:
    with pytest.raises(GgufError, match=sentence):
        dequantize(np.zeros(num_bytes, np.uint8), kind, shape)


def test_refuses_other_array_types() -> None:
    with pytest.raises(GgufError, match="bytes of float32"):
        dequantize(np.zeros(4, np.float32), TensorType.F32, (4,))  # type: ignore[arg-type]
