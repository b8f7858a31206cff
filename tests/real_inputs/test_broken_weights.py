"""Bases with a broken number: the tensor is named before anything is made of the base."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fine_tuning.core.errors import GgufError
from fine_tuning.engine.trainable import check_trainable
from fine_tuning.gguf.finite import check_finite
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import TensorType, block_format
from fine_tuning.gguf.writer import TensorSource, tensor_from_file, write_gguf
from tests.engine.tiny import LLAMA, write_tiny

pytestmark = pytest.mark.real_input("bases with NaN or infinity")

NAME = "blk.1.ffn_down.weight"
HALF_NAN, HALF_INFINITY = b"\x01\x7e", b"\x00\xfc"
# Where the last block's scales lie, and the bytes of a broken one.
BROKEN = {
    "Q8_0": (TensorType.Q8_0, 0, HALF_NAN, "NaN"),
    "Q4_0": (TensorType.Q4_0, 0, HALF_NAN, "NaN"),
    "Q4_1, the minimum": (TensorType.Q4_1, 2, HALF_INFINITY, "infinity"),
    "Q5_1": (TensorType.Q5_1, 0, HALF_INFINITY, "infinity"),
    "Q4_K, the minimum": (TensorType.Q4_K, 2, HALF_NAN, "NaN"),
    "Q6_K": (TensorType.Q6_K, 208, HALF_NAN, "NaN"),
    "Q2_K": (TensorType.Q2_K, 80, HALF_NAN, "NaN"),
    "Q3_K": (TensorType.Q3_K, 108, HALF_INFINITY, "infinity"),
    "IQ4_XS": (TensorType.IQ4_XS, 0, HALF_NAN, "NaN"),
    "F16": (TensorType.F16, 0, HALF_NAN, "NaN"),
    "BF16": (TensorType.BF16, 0, b"\xc1\x7f", "NaN"),
    "F32": (TensorType.F32, 0, b"\x00\x00\x80\xff", "infinity"),
}


def broken(folder: Path, case: str, *, is_sound: bool = False) -> Path:
    """Write a small model, one number of whose last block is broken."""
    kind, offset, content, _ = BROKEN[case]
    shape, block = (64, 256), block_format(kind)
    raw = np.zeros(64 * 256 // block.block_elements * block.block_bytes, np.uint8)
    if not is_sound:
        start = len(raw) - block.block_bytes + offset
        raw[start : start + len(content)] = np.frombuffer(content, np.uint8)
    path = write_tiny(folder / "whole.gguf", LLAMA)
    with GgufFile.open(path) as file:
        kept = [tensor_from_file(file, name) for name in file.tensors if name != NAME]
        write_gguf(
            folder / "broken.gguf",
            file.typed_metadata,
            [*kept, TensorSource(NAME, shape, kind, raw)],
        )
    return folder / "broken.gguf"


@pytest.mark.parametrize("case", BROKEN)
def test_the_tensor_is_named_with_what_helps(tmp_path: Path, case: str) -> None:
    path = broken(tmp_path, case)
    with pytest.raises(GgufError, match=rf"{NAME} holds {BROKEN[case][-1]}: download") as caught:
        check_trainable(path)
    assert "again" in caught.value.next_command
    with GgufFile.open(broken(tmp_path, case, is_sound=True)) as file:
        check_finite(file)


def test_a_file_is_looked_through_again_when_it_changed(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "model.gguf", LLAMA)
    check_trainable(path)
    broken(tmp_path, "Q8_0").replace(path)
    with pytest.raises(GgufError, match="holds NaN"):
        check_trainable(path)
