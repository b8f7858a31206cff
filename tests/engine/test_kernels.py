"""Every C++ kernel on every instruction set equals its torch oracle."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch

from fine_tuning.core.errors import ConfigError
from fine_tuning.engine.kernels.interface import Group, HeadShape, Kernels, Rope
from fine_tuning.engine.kernels.library import LEVELS, library_path, load_kernels
from fine_tuning.engine.kernels.torch_kernels import TorchKernels
from fine_tuning.gguf.dequantize import DEQUANTIZABLE, dequantize
from fine_tuning.gguf.types import TensorType, tensor_num_bytes

BLOCK_TYPES = [
    kind for kind in DEQUANTIZABLE if not kind.name.startswith(("I8", "I16", "I32", "I64", "F64"))
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


@pytest.mark.parametrize("kind", BLOCK_TYPES, ids=lambda kind: kind.name)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_unpack_is_bit_exact(kernels: Kernels, kind: TensorType, dtype: torch.dtype) -> None:
    elements = 256 * 41
    raw = random_blocks(kind, elements)
    out = torch.empty(elements, dtype=dtype)
    kernels.unpack(raw, int(kind), out)
    expected = torch.from_numpy(dequantize(raw, kind, (elements,)).copy()).to(dtype)
    assert torch.equal(out, expected)


@pytest.mark.parametrize("dtype", ["<i1", "<i2", "<i4", "<i8", "<f8"])
def test_rare_types_go_through_numpy(kernels: Kernels, dtype: str) -> None:
    kind = {"<i1": "I8", "<i2": "I16", "<i4": "I32", "<i8": "I64", "<f8": "F64"}[dtype]
    values = np.arange(-30, 30).astype(dtype)
    out = torch.empty(60)
    kernels.unpack(values.view(np.uint8), int(TensorType[kind]), out)
    assert torch.equal(out, torch.arange(-30.0, 30.0))


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


GATES = {
    "swiglu": torch.nn.functional.silu,
    "geglu": partial(torch.nn.functional.gelu, approximate="tanh"),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("gate", GATES)
def test_gates_and_their_backward(kernels: Kernels, dtype: torch.dtype, gate: str) -> None:
    gate_up, dh = 8 * random(5, 2 * 90, dtype=dtype), random(5, 90, dtype=dtype, seed=1)
    close(getattr(kernels, gate)(gate_up), getattr(ORACLE, gate)(gate_up))
    backward = f"{gate}_backward"
    for found, expected in zip(
        getattr(kernels, backward)(gate_up, dh), getattr(ORACLE, backward)(gate_up, dh), strict=True
    ):
        close(found, expected)


@pytest.mark.parametrize("gate", GATES)
def test_gates_backward_is_the_derivative(gate: str) -> None:
    gate_up = random(3, 20).double().requires_grad_()
    x, up = gate_up.chunk(2, -1)
    dh = random(3, 10, seed=1).double()
    (GATES[gate](x) * up * dh).sum().backward()
    _, found = getattr(ORACLE, f"{gate}_backward")(gate_up.detach().float(), dh.float())
    assert gate_up.grad is not None
    close(found, gate_up.grad.float())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("d", [64, 24, 2])
def test_norm_of_heads_and_its_backward(kernels: Kernels, dtype: torch.dtype, d: int) -> None:
    rows, weight = random(7, 8 * d, dtype=dtype), random(6, d, seed=1)
    normed, rstd = kernels.norm_heads(rows, weight, 1e-5)
    for found, expected in zip((normed, rstd), ORACLE.norm_heads(rows, weight, 1e-5), strict=True):
        close(found, expected)
    assert torch.equal(normed[:, 6 * d :], rows[:, 6 * d :])
    found, expected = (random(7, 8 * d, dtype=dtype, seed=2) for _ in range(2))
    kernels.norm_heads_backward(found, rows, weight, rstd)
    ORACLE.norm_heads_backward(expected, rows, weight, rstd)
    close(found, expected)


def test_norm_of_heads_backward_is_the_derivative() -> None:
    rows, weight, g = random(3, 20).double().requires_grad_(), random(4, 4, seed=1), random(3, 20)
    heads = rows[:, :16].view(3, 4, 4)
    normed = heads * torch.rsqrt(heads.square().mean(-1, keepdim=True) + 1e-5) * weight
    (torch.cat((normed.flatten(1), rows[:, 16:]), 1) * g).sum().backward()
    plain, found = rows.detach().float(), g.clone()
    _, rstd = ORACLE.norm_heads(plain, weight, 1e-5)
    ORACLE.norm_heads_backward(found, plain, weight, rstd)
    assert rows.grad is not None
    close(found, rows.grad.float())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cap", [50.0, 0.5])
def test_soft_cap_and_its_backward(kernels: Kernels, dtype: torch.dtype, cap: float) -> None:
    x = 40 * random(3, 5000, dtype=dtype)
    found, expected = x.clone(), x.clone()
    kernels.soft_cap(found, 0.25, cap)
    ORACLE.soft_cap(expected, 0.25, cap)
    close(found, expected)
    assert found.abs().max() <= cap
    gradients = [random(3, 5000, dtype=dtype, seed=1) for _ in range(2)]
    kernels.soft_cap_backward(expected, gradients[0], cap)
    ORACLE.soft_cap_backward(expected, gradients[1], cap)
    close(*gradients)


def test_soft_cap_backward_is_the_derivative() -> None:
    x, g = (3 * random(100)).double().requires_grad_(), random(100, seed=1)
    (2 * torch.tanh(x / 2) * g).sum().backward()
    capped, found = x.detach().float(), g.clone()
    ORACLE.soft_cap(capped, 1.0, 2.0)
    ORACLE.soft_cap_backward(capped, found, 2.0)
    assert x.grad is not None
    close(found, x.grad.float())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("is_neox", [False, True])
@pytest.mark.parametrize("n_rot", [16, 8])
def test_rotation_there_and_back(
    kernels: Kernels, dtype: torch.dtype, is_neox: bool, n_rot: int
) -> None:
    shape = HeadShape(n_q=6, n_kv=2, d=16, n_rot=n_rot, is_neox=is_neox)
    angle = torch.arange(7)[:, None] * 0.3 ** torch.arange(n_rot // 2)
    rope, positions = Rope(angle.cos(), angle.sin()), torch.tensor([3, 0, 6, 6, 1])
    rows = random(5, 10 * 16, dtype=dtype)
    found, expected = rows.clone(), rows.clone()
    kernels.rotate_heads(found, positions, shape, rope)
    ORACLE.rotate_heads(expected, positions, shape, rope)
    close(found, expected)
    assert torch.equal(found[:, 8 * 16 :], rows[:, 8 * 16 :])  # values do not turn
    kernels.rotate_heads(found, positions, shape, rope, back=True)
    close(found, rows)  # a rotation's transpose is its inverse


# Two runs behind a common beginning of rows 1 and 2, which both have as keys; -1 is padding.
SHARED = Group(
    query_rows=torch.tensor([[3, 4, -1], [5, 6, 7]]),
    key_rows=torch.tensor([[1, 2, 3, 4, -1], [1, 2, 5, 6, 7]]),
    out_rows=torch.tensor([[0, 1, -1], [2, 4, 3]]),
    seen=torch.tensor([[3, 4, 1], [3, 4, 5]]),
)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_heads_there_and_back(kernels: Kernels, dtype: torch.dtype) -> None:
    shape = HeadShape(n_q=6, n_kv=2, d=16, n_rot=16, is_neox=False)
    qkv = random(9, 10 * 16, dtype=dtype)
    parts = kernels.split_heads(qkv, SHARED, shape)
    for found, expected in zip(parts, ORACLE.split_heads(qkv, SHARED, shape), strict=True):
        assert torch.equal(found, expected)
    merged, sums = torch.zeros_like(qkv), torch.zeros(9, 4 * 16)
    kernels.merge_heads(parts, merged, sums, SHARED, shape)
    assert torch.equal(merged[3:8, : 6 * 16], qkv[3:8, : 6 * 16])
    assert not merged[:3].any()
    twice = qkv[:, 6 * 16 :].float() * torch.tensor([0, 2, 2, 1, 1, 1, 1, 1, 0])[:, None]
    close(sums, twice)
    flat = torch.zeros(5, 96, dtype=dtype)
    kernels.unfold(parts[0], flat, SHARED, shape)
    assert torch.equal(flat, qkv[[3, 4, 5, 7, 6], :96])
    assert torch.equal(kernels.fold(flat, SHARED, shape), parts[0])
    assert torch.equal(ORACLE.fold(flat, SHARED, shape), parts[0])


def group_of(queries: int, keys: int, past: int) -> Group:
    """Three runs of causal queries behind ``past`` keys."""
    nothing = torch.zeros(3, queries, dtype=torch.int64)
    seen = past + 1 + torch.arange(queries).repeat(3, 1)
    seen[1] -= past  # this one has none before it
    return Group(nothing, torch.zeros(3, keys, dtype=torch.int64), nothing, seen)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("queries", "past"), [(1, 0), (17, 0), (64, 0), (5, 30)])
@pytest.mark.parametrize("window", [0, 1, 5, 64])
def test_causal_softmax_and_its_backward(
    kernels: Kernels, dtype: torch.dtype, queries: int, past: int, window: int
) -> None:
    keys = past + queries + 3
    group = group_of(queries, keys, past)
    scores = 5 * random(6, 2 * queries, keys, dtype=dtype)
    gradient = random(6, 2 * queries, keys, dtype=dtype, seed=1)
    probabilities = ORACLE.causal_softmax(scores, group, 0.25, window)
    close(kernels.causal_softmax(scores, group, 0.25, window), probabilities)
    counted = (probabilities > 0).view(3, -1, queries, keys).sum(-1)
    assert (counted <= group.seen[:, None].clamp(max=window or keys)).all()
    found, expected = gradient.clone(), gradient.clone()
    kernels.softmax_backward(probabilities, found, group, 0.25)
    ORACLE.softmax_backward(probabilities, expected, group, 0.25)
    close(found, expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("with_gradient", [False, True])
def test_cross_entropy(kernels: Kernels, dtype: torch.dtype, with_gradient: bool) -> None:
    logits, targets = 6 * random(9, 333, dtype=dtype), torch.arange(9) * 30
    logits[3, targets[3]] = 40
    weights = torch.tensor([0.125, 0.5, -1.0, 2.0, 0.0, 0.25, -0.125, 1.0, 0.3])
    found, expected = logits.clone(), logits.clone()
    for a, b in zip(
        kernels.cross_entropy(found, targets, weights, with_gradient=with_gradient),
        ORACLE.cross_entropy(expected, targets, weights, with_gradient=with_gradient),
        strict=True,
    ):
        close(a, b)
    close(found, expected)
    assert torch.equal(found, logits) == (not with_gradient)
    assert not (with_gradient and found[4].any())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("top", [0, 7])
@pytest.mark.parametrize("with_gradient", [False, True])
def test_soft_cross_entropy(
    kernels: Kernels, dtype: torch.dtype, top: int, with_gradient: bool
) -> None:
    logits, weights = 6 * random(9, 333, dtype=dtype), random(9, seed=2)
    teacher, tokens = (3 * random(9, 333, seed=1)).softmax(1), None
    if top:
        teacher, tokens = teacher.topk(top)
    found, expected = logits.clone(), logits.clone()
    close(
        kernels.soft_cross_entropy(found, tokens, teacher, weights, with_gradient=with_gradient),
        ORACLE.soft_cross_entropy(expected, tokens, teacher, weights, with_gradient=with_gradient),
    )
    close(found, expected)
    assert torch.equal(found, logits) == (not with_gradient)


def test_weights_of_another_type_are_refused(kernels: Kernels) -> None:
    with pytest.raises(ValueError, match=r"float64 \(2,\), expected torch.float32 \(2,\)"):
        kernels.cross_entropy(
            random(2, 9), torch.arange(2), torch.ones(2).double(), with_gradient=True
        )


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
