"""Every C++ kernel on every instruction set equals its torch oracle."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from fine_tuning.core.errors import ConfigError
from fine_tuning.engine.kernels.interface import Group, HeadShape, Kernels, Rope
from fine_tuning.engine.kernels.library import LEVELS, library_path, load_kernels
from fine_tuning.engine.kernels.torch_kernels import TorchKernels
from fine_tuning.gguf.dequantize import dequantize
from fine_tuning.gguf.types import TensorType, tensor_num_bytes

TYPES = [
    TensorType[name]
    for name in (
        [
            "F32",
            "F16",
            "BF16",
            "Q4_0",
            "Q4_1",
            "Q5_0",
            "Q5_1",
            "Q8_0",
            "Q2_K",
            "Q3_K",
            "Q4_K",
            "Q5_K",
            "Q6_K",
            "IQ4_NL",
            "IQ4_XS",
        ]
    )
]
DTYPES = (torch.float32, torch.bfloat16)
ORACLE = TorchKernels()


@pytest.fixture(params=LEVELS)
def kernels(request: pytest.FixtureRequest) -> Iterator[Kernels]:
    if library_path() is None:
        pytest.skip("the C++ kernels were not built here (no compiler)")
    load_kernels.cache_clear()
    yield load_kernels(request.param).kernels
    load_kernels.cache_clear()


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    tolerance = 2e-2 if found.dtype == torch.bfloat16 else 2e-5
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(dtype)


def random_blocks(kind: TensorType, elements: int) -> np.ndarray:
    """Random bytes, with half-precision scales kept finite by clearing their top exponent bit."""
    generator = np.random.default_rng(int(kind))
    raw = generator.integers(0, 256, tensor_num_bytes(kind, (elements,)), dtype=np.uint8)
    if kind in (TensorType.F32, TensorType.F16, TensorType.BF16):
        raw[:] = np.frombuffer(
            {
                TensorType.F32: generator.standard_normal(elements).astype("<f4").tobytes(),
                TensorType.F16: generator.standard_normal(elements).astype("<f2").tobytes(),
                TensorType.BF16: (
                    generator.standard_normal(elements).astype("<f4").view("<u4") >> 16
                )
                .astype("<u2")
                .tobytes(),
            }[kind],
            dtype=np.uint8,
        )
    else:
        raw &= 0xBF
    return raw


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_unpack_is_bit_exact(kernels: Kernels, kind: TensorType, dtype: torch.dtype) -> None:
    elements = 256 * 41
    raw = random_blocks(kind, elements)
    out = torch.empty(elements, dtype=dtype)
    kernels.unpack(raw, int(kind), out)
    expected = torch.from_numpy(dequantize(raw, kind, (elements,)).copy()).to(dtype)
    assert torch.equal(out, expected)


@pytest.mark.parametrize("bits", [0x0001, 0x03FF, 0x0400, 0x7BFF, 0x8001, 0x3C00, 0x0000, 0x8000])
def test_half_precision_edges(kernels: Kernels, bits: int) -> None:
    raw = np.full(32, bits, dtype="<u2").view(np.uint8)
    out = torch.empty(32)
    kernels.unpack(raw, int(TensorType.F16), out)
    expected = raw.view("<f2").astype(np.float32)
    assert np.array_equal(out.numpy().view("<u4"), expected.view("<u4"))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [576, 100, 1])
def test_rmsnorm_and_its_backward(kernels: Kernels, dtype: torch.dtype, width: int) -> None:
    x, weight, g = random(7, width), random(width, seed=1), random(7, width, dtype=dtype, seed=2)
    results = []
    for implementation in (kernels, ORACLE):
        y, rstd, dx = torch.empty(7, width, dtype=dtype), torch.empty(7), random(7, width, seed=3)
        implementation.rmsnorm(x, weight, 1e-5, y, rstd)
        implementation.rmsnorm_backward(g, x, weight, rstd, dx)
        results.append((y, rstd, dx))
    for found, expected in zip(*results, strict=True):
        close(found, expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_swiglu_and_its_backward(kernels: Kernels, dtype: torch.dtype) -> None:
    gate_up, dh = 8 * random(5, 2 * 90, dtype=dtype), random(5, 90, dtype=dtype, seed=1)
    close(kernels.swiglu(gate_up), ORACLE.swiglu(gate_up))
    for found, expected in zip(
        kernels.swiglu_backward(gate_up, dh), ORACLE.swiglu_backward(gate_up, dh), strict=True
    ):
        close(found, expected)


def test_swiglu_backward_is_the_derivative() -> None:
    gate_up = random(3, 20).double().requires_grad_()
    gate, up = gate_up.chunk(2, -1)
    dh = random(3, 10, seed=1).double()
    (torch.nn.functional.silu(gate) * up * dh).sum().backward()
    _, found = ORACLE.swiglu_backward(gate_up.detach().float(), dh.float())
    assert gate_up.grad is not None
    close(found, gate_up.grad.float())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("is_neox", [False, True])
@pytest.mark.parametrize("n_rot", [16, 8])
def test_heads_there_and_back(
    kernels: Kernels, dtype: torch.dtype, is_neox: bool, n_rot: int
) -> None:
    shape = HeadShape(n_q=6, n_kv=2, d=16, n_rot=n_rot, is_neox=is_neox)
    group = Group(torch.tensor([2, 9]), torch.tensor([5, 7]), 7)
    angle = torch.arange(7)[:, None] * 0.3 ** torch.arange(n_rot // 2)
    rope = Rope(angle.cos(), angle.sin())
    qkv = random(16, 10 * 16, dtype=dtype)
    parts = kernels.split_heads(qkv, group, shape, rope)
    for found, expected in zip(parts, ORACLE.split_heads(qkv, group, shape, rope), strict=True):
        close(found, expected)
    merged = torch.zeros_like(qkv)
    kernels.merge_heads(parts, merged, group, shape, rope)
    close(merged[2:7], qkv[2:7])  # a rotation's transpose is its inverse
    close(merged[9:16], qkv[9:16])
    assert not merged[:2].any()
    flat = torch.zeros(16, 96, dtype=dtype)
    kernels.unfold(parts[0], flat, group, shape)
    assert torch.equal(kernels.fold(flat, group, shape), parts[0])
    assert torch.equal(ORACLE.fold(flat, group, shape), parts[0])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("length", [1, 17, 64])
def test_causal_softmax_and_its_backward(kernels: Kernels, dtype: torch.dtype, length: int) -> None:
    scores = 5 * random(3, 2 * length, length, dtype=dtype)
    gradient = random(3, 2 * length, length, dtype=dtype, seed=1)
    probabilities = ORACLE.causal_softmax(scores, 0.25)
    close(kernels.causal_softmax(scores, 0.25), probabilities)
    found, expected = gradient.clone(), gradient.clone()
    kernels.softmax_backward(probabilities, found, 0.25)
    ORACLE.softmax_backward(probabilities, expected, 0.25)
    close(found.tril(), expected.tril())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scale", [0.0, 0.125])
def test_cross_entropy(kernels: Kernels, dtype: torch.dtype, scale: float) -> None:
    logits, targets = 6 * random(9, 333, dtype=dtype), torch.arange(9) * 30
    logits[3, targets[3]] = 40
    found, expected = logits.clone(), logits.clone()
    for a, b in zip(
        kernels.cross_entropy(found, targets, scale),
        ORACLE.cross_entropy(expected, targets, scale),
        strict=True,
    ):
        close(a, b)
    close(found, expected)
    assert torch.equal(found, logits) == (scale == 0)


def test_add(kernels: Kernels) -> None:
    for dtype in DTYPES:
        x, y = random(3, 5000), random(3, 5000, dtype=dtype, seed=1)
        expected = x + y
        kernels.add(x, y)
        assert torch.equal(x, expected)


def test_a_strided_tensor_is_refused(kernels: Kernels) -> None:
    with pytest.raises(ValueError, match="strides"):
        kernels.swiglu(random(8, 6).T)


def test_unknown_kernels_are_refused() -> None:
    with pytest.raises(ConfigError, match="'sse'"):
        load_kernels("sse")
