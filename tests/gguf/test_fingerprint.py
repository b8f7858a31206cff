"""A model's fingerprint is that of its tensors, however the file lays them out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fine_tuning.core.errors import GgufError, ModelNotFoundError
from fine_tuning.gguf.fingerprint import tensor_fingerprint
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import ValueType
from fine_tuning.gguf.values import TypedValue
from fine_tuning.gguf.writer import tensor_from_file, write_gguf
from tests.engine.tiny import LLAMA, write_tiny


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "model.gguf", LLAMA)


def rewritten(path: Path, out: Path, **metadata: Any) -> Path:
    """Write a model anew: tensors in reverse, metadata sorted and some of it changed."""
    with GgufFile.open(path) as file:
        values = dict(sorted(file.typed_metadata.items())) | metadata
        tensors = [tensor_from_file(file, name) for name in reversed(list(file.tensors))]
        write_gguf(out, values, tensors)
    return out


def test_a_file_written_anew_has_the_same_fingerprint(model: Path, tmp_path: Path) -> None:
    name = TypedValue("another name", ValueType.STRING)
    other = rewritten(model, tmp_path / "other.gguf", **{"general.name": name})
    assert other.read_bytes() != model.read_bytes()
    assert tensor_fingerprint(other) == tensor_fingerprint(model)
    assert tensor_fingerprint(model).startswith("tensors1:")


def test_a_name_a_shape_and_a_byte_count(model: Path, tmp_path: Path) -> None:
    seen = {tensor_fingerprint(model)}
    for number, seed in enumerate((1, 2)):
        seen.add(tensor_fingerprint(write_tiny(tmp_path / f"{number}.gguf", LLAMA, seed=seed)))
    assert len(seen) == 3
    content = bytearray(model.read_bytes())
    content[-40] ^= 1
    (tmp_path / "flipped.gguf").write_bytes(content)
    assert tensor_fingerprint(tmp_path / "flipped.gguf") not in seen


def test_a_changed_file_is_read_again(model: Path) -> None:
    before = tensor_fingerprint(model)
    content = bytearray(model.read_bytes())
    content[-40] ^= 1
    model.write_bytes(content)
    os.utime(model, ns=(1, 1))
    assert tensor_fingerprint(model) != before


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        tensor_fingerprint(tmp_path / "missing.gguf")
    (tmp_path / "page.gguf").write_bytes(b"<html>")
    with pytest.raises(GgufError, match="web page"):
        tensor_fingerprint(tmp_path / "page.gguf")
