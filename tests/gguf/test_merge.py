"""Merged files: what must not change is the same to the byte, what must is measured."""

from __future__ import annotations

import errno
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fine_tuning.core.errors import GgufError, StorageError, UnsupportedModelError
from fine_tuning.gguf import folding
from fine_tuning.gguf.adapter import BLOCK_SUM_KEY
from fine_tuning.gguf.merge import MergeTypes, convert_model, fitting_type, merge_adapter
from fine_tuning.gguf.quantize import quantize
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import TensorType, ValueType
from fine_tuning.gguf.writer import TensorSource, write_gguf

N_OUT, N_IN, RANK = 48, 256, 3
TYPES = {
    "q4_0": TensorType.Q4_0,
    "q4_1": TensorType.Q4_1,
    "q5_0": TensorType.Q5_0,
    "q5_1": TensorType.Q5_1,
    "q8_0": TensorType.Q8_0,
    "f16": TensorType.F16,
    "bf16": TensorType.BF16,
    "f32": TensorType.F32,
}
AFTER = {
    "q4_0": TensorType.Q4_1,
    "q4_1": TensorType.Q4_1,
    "q5_0": TensorType.Q5_1,
    "q5_1": TensorType.Q5_1,
    "q8_0": TensorType.Q8_0,
    "f16": TensorType.F16,
    "bf16": TensorType.F16,
    "f32": TensorType.F32,
}
METADATA = {
    "general.architecture": "llama",
    "general.file_type": (2, ValueType.UINT32),
    "tokenizer.ggml.tokens": ["a", "b\n", "é"],
    "tokenizer.ggml.scores": np.array([0.5, 1, 2], np.float32),
    "tokenizer.chat_template": "{{ messages }}",
}


def normal(*shape: int, seed: int, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def name_of(kind: str) -> str:
    return f"blk.0.{kind}.weight"


def write_base(path: Path, types: dict[str, TensorType] | None = None) -> Path:
    sources = [
        TensorSource(
            "token_embd.weight",
            (8, 64),
            TensorType.Q8_0,
            quantize(normal(8, 64, seed=9), TensorType.Q8_0),
        )
    ]
    for seed, (kind, tensor_type) in enumerate((types or TYPES).items()):
        values = quantize(normal(N_OUT, N_IN, seed=seed, scale=0.05), tensor_type)
        sources.append(TensorSource(name_of(kind), (N_OUT, N_IN), tensor_type, values))
    sources.append(TensorSource("blk.0.norm.weight", (7,), TensorType.F32, normal(7, seed=5)))
    write_gguf(path, METADATA, sources)
    return path


def write_adapter(
    path: Path,
    kinds: list[str],
    *,
    qalora: bool = True,
    size: float = 0.01,
    changes: dict[str, Any] | None = None,
    n_in: int = N_IN,
) -> Path:
    sources = []
    for seed, kind in enumerate(kinds):
        a = normal(RANK, n_in // 32, seed=seed).repeat(32, axis=1)
        a = a if qalora else normal(RANK, n_in, seed=seed)
        b = normal(N_OUT, RANK, seed=seed + 50, scale=size)
        sources.append(TensorSource(name_of(kind) + ".lora_a", a.shape, TensorType.F32, a))
        sources.append(TensorSource(name_of(kind) + ".lora_b", b.shape, TensorType.F32, b))
    keys = {
        "general.type": "adapter",
        "general.architecture": "llama",
        "adapter.type": "lora",
        "adapter.lora.alpha": (6.0, ValueType.FLOAT32),
    }
    if qalora:
        keys[BLOCK_SUM_KEY] = [name_of(kind) for kind in kinds]
    write_gguf(path, keys | (changes or {}), sources)
    return path


def update(path: Path, kind: str) -> np.ndarray:
    with GgufFile.open(path) as file:
        a, b = (file.dequantize(name_of(kind) + half) for half in (".lora_a", ".lora_b"))
    return 6.0 / RANK * (b @ a)


@pytest.mark.parametrize("qalora", [True, False])
def test_every_type_takes_its_update(tmp_path: Path, qalora: bool) -> None:
    base = write_base(tmp_path / "base.gguf")
    adapter = write_adapter(tmp_path / "a.gguf", list(TYPES), qalora=qalora)
    told: list[tuple[int, int]] = []
    report = merge_adapter(
        base, adapter, tmp_path / "out.gguf", progress=lambda _, done, of: told.append((done, of))
    )
    assert told == [(i + 1, len(TYPES) + 2) for i in range(len(TYPES) + 2)]
    with GgufFile.open(base) as before, GgufFile.open(tmp_path / "out.gguf") as after:
        for found in report.tensors:
            kind = found.name.split(".")[1 + 1]
            realised = after.dequantize(found.name) - before.dequantize(found.name)
            asked = update(adapter, kind)
            error = np.linalg.norm(realised - asked) / np.linalg.norm(asked)
            # The report is what can be measured on the files.
            assert found.kept == pytest.approx(
                (realised * asked).sum() / (asked**2).sum(), rel=1e-3
            )
            assert found.noise == pytest.approx(error, rel=0.05, abs=1e-3)
            folds = qalora and kind.startswith(("q4", "q5"))
            assert found.is_exact == folds
            assert after.tensors[found.name].type == (
                AFTER[kind] if folds or kind[0] in "bf" else TensorType.Q8_0
            )
            assert error < (0.01 if folds or kind[0] in "bf" else 0.2)
    assert report.is_exact is False
    assert (report.base_bytes, report.num_bytes) == (
        base.stat().st_size,
        (tmp_path / "out.gguf").stat().st_size,
    )


def test_what_is_not_adapted_is_copied_byte_for_byte(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.gguf")
    adapter = write_adapter(tmp_path / "a.gguf", ["q4_1"])
    report = merge_adapter(base, adapter, tmp_path / "out.gguf")
    assert report.is_exact
    assert report.num_bytes == report.base_bytes, "Q4_1 keeps its size"
    with GgufFile.open(base) as before, GgufFile.open(tmp_path / "out.gguf") as after:
        assert before.typed_metadata.keys() == after.typed_metadata.keys()
        for key, (value, kind) in before.typed_metadata.items():
            found = after.typed_metadata[key]
            assert found.type is kind
            assert (
                np.array_equal(list(found.value), list(value))
                if kind is ValueType.ARRAY
                else (found.value == value)
            )
        for name, info in before.tensors.items():
            assert after.tensors[name].shape == info.shape
            assert after.tensors[name].type is info.type
            same = np.array_equal(before.raw(name), after.raw(name))
            assert same == (name != name_of("q4_1"))


def test_an_adapter_that_changes_nothing_gives_the_same_file(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.gguf", {"q4_1": TensorType.Q4_1, "f32": TensorType.F32})
    adapter = write_adapter(tmp_path / "a.gguf", ["q4_1", "f32"], size=0.0)
    merge_adapter(base, adapter, tmp_path / "out.gguf")
    assert (tmp_path / "out.gguf").read_bytes() == base.read_bytes()


def test_file_type_follows_the_weights(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.gguf", {"q4_0": TensorType.Q4_0})
    adapter = write_adapter(tmp_path / "a.gguf", ["q4_0"])
    merge_adapter(base, adapter, tmp_path / "out.gguf", metadata={"general.name": "tuned"})
    with GgufFile.open(tmp_path / "out.gguf") as file:
        assert file.typed_metadata["general.file_type"] == (3, ValueType.UINT32)
        assert file.get("general.quantization_version", int) == 2
        assert file.get("general.name", str) == "tuned"


@pytest.mark.parametrize(
    ("kind", "number"), [(TensorType.F16, 1), (TensorType.Q8_0, 7), (TensorType.Q4_0, 2)]
)
def test_one_type_for_all_matrices(tmp_path: Path, kind: TensorType, number: int) -> None:
    base = write_base(tmp_path / "base.gguf")
    adapter = write_adapter(tmp_path / "a.gguf", list(TYPES), qalora=False, size=2e-4)
    types = MergeTypes(adapted=kind, others=kind)
    report = merge_adapter(base, adapter, tmp_path / "out.gguf", types=types)
    with GgufFile.open(tmp_path / "out.gguf") as file:
        found = {n: info.type for n, info in file.tensors.items() if len(info.shape) > 1}
        embedding = found.pop("token_embd.weight")
        assert set(found.values()) == {kind}
        assert embedding is (TensorType.Q8_0 if kind is TensorType.Q4_0 else kind)
        assert file.tensors["blk.0.norm.weight"].type is TensorType.F32
        assert file.get("general.file_type", int) == number
    if kind is TensorType.Q4_0:
        q4_0 = next(t for t in report.tensors if t.before is TensorType.Q4_0)
        assert q4_0.kept < 0.5, "a requantised update drowns, and the report says so"


def test_converting_alone(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.gguf")
    report = convert_model(base, tmp_path / "out.gguf", types=MergeTypes(others=TensorType.Q5_1))
    assert report.tensors == ()
    with GgufFile.open(base) as before, GgufFile.open(tmp_path / "out.gguf") as after:
        name = name_of("f32")
        expected = quantize(before.dequantize(name), TensorType.Q5_1)
        assert np.array_equal(after.raw(name), expected)


def test_stored_types_are_kept_on_demand(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.gguf")
    adapter = write_adapter(tmp_path / "a.gguf", list(TYPES), qalora=False)
    merge_adapter(base, adapter, tmp_path / "out.gguf", types=MergeTypes(adapted="stored"))
    with GgufFile.open(base) as before, GgufFile.open(tmp_path / "out.gguf") as after:
        for name, info in before.tensors.items():
            assert after.tensors[name].type is info.type
        assert before.metadata["general.file_type"] == after.metadata["general.file_type"]


def test_a_faint_update_gets_sixteen_bits(tmp_path: Path) -> None:
    """Eight bits round an update away that is a hundredth of their step."""
    base = write_base(tmp_path / "base.gguf", {"q8_0": TensorType.Q8_0})
    adapter = write_adapter(tmp_path / "a.gguf", ["q8_0"], size=2e-6)
    report = merge_adapter(base, adapter, tmp_path / "out.gguf")
    assert report.tensors[0].after is TensorType.F16
    # What is faint for 16 bits as well is reported, not hidden.
    assert report.tensors[0].kept != 1


def test_rows_that_blocks_do_not_fit() -> None:
    assert fitting_type(TensorType.Q4_K, 576) is TensorType.Q5_0
    assert fitting_type(TensorType.Q6_K, 576) is TensorType.Q8_0
    assert fitting_type(TensorType.Q4_K, 512) is TensorType.Q4_K
    assert fitting_type(TensorType.Q8_0, 20) is TensorType.F16


def test_types_that_cannot_be_packed_say_so(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.gguf")
    with pytest.raises(GgufError, match="Q4_K cannot be written"):
        convert_model(base, tmp_path / "out.gguf", types=MergeTypes(others=TensorType.Q4_K))
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"general.architecture": "qwen2"}, "architecture 'qwen2'"),
        ({"general.type": "model"}, "'adapter' was expected"),
        ({"adapter.type": "control_vector"}, "'lora' was expected"),
        ({"adapter.lora.alpha": (float("nan"), ValueType.FLOAT32)}, "a finite number"),
        ({BLOCK_SUM_KEY: ["blk.9.q4_1.weight"]}, "names 'blk.9.q4_1.weight'"),
    ],
)
def test_foreign_adapters_are_refused(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    base = write_base(tmp_path / "base.gguf")
    adapter = write_adapter(tmp_path / "a.gguf", ["q4_1"], changes=changes)
    with pytest.raises((GgufError, UnsupportedModelError), match=sentence):
        merge_adapter(base, adapter, tmp_path / "out.gguf")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.gguf", "base.gguf"]


def test_adapters_of_other_shapes_or_weights_are_refused(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.gguf", {"q4_1": TensorType.Q4_1})
    narrow = write_adapter(tmp_path / "narrow.gguf", ["q4_1"], n_in=128)
    with pytest.raises(UnsupportedModelError, match=r"\[48, 128\].*it is \[48, 256\]"):
        merge_adapter(base, narrow, tmp_path / "out.gguf")
    absent = write_adapter(tmp_path / "absent.gguf", ["q5_1"])
    with pytest.raises(UnsupportedModelError, match="it is not there"):
        merge_adapter(base, absent, tmp_path / "out.gguf")


def test_updates_beyond_all_numbers_are_refused(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.gguf")
    for kinds in (["q4_1"], ["q8_0"], ["f32"]):
        adapter = write_adapter(tmp_path / "a.gguf", kinds, size=1e38)
        with pytest.raises(GgufError, match=f"base.gguf: 'blk.0.{kinds[0]}.weight'"):
            merge_adapter(base, adapter, tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()


def test_the_base_is_never_overwritten(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.gguf")
    adapter = write_adapter(tmp_path / "a.gguf", ["q4_1"])
    (tmp_path / "link.gguf").symlink_to(base)
    for out in (base, tmp_path / "link.gguf"):
        with pytest.raises(GgufError, match="is the base itself"):
            merge_adapter(base, adapter, out)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write_base(tmp_path / "base.gguf")
    adapter = write_adapter(tmp_path / "a.gguf", ["q4_1"])
    out = tmp_path / "out.gguf"
    out.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="the disk is full"):
        merge_adapter(base, adapter, out)
    assert out.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.gguf", "base.gguf", "out.gguf"]


@pytest.mark.parametrize("qalora", [True, False])
def test_memory_stays_near_one_tensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qalora: bool
) -> None:
    monkeypatch.setattr(folding, "CHUNK_WEIGHTS", 1 << 14)
    n_out, n_in, count = 512, 1024, 12
    packed = quantize(normal(n_out, n_in, seed=1, scale=0.05), TensorType.Q4_0)
    names = [f"blk.{i}.w.weight" for i in range(count)]
    sources = [TensorSource(n, (n_out, n_in), TensorType.Q4_0, packed) for n in names]
    write_gguf(tmp_path / "base.gguf", METADATA, sources)
    a = normal(2, n_in // 32, seed=2).repeat(32, axis=1)
    b = normal(n_out, 2, seed=3, scale=0.01)
    keys = {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora"}
    keys |= {BLOCK_SUM_KEY: names} if qalora else {}
    halves = [
        TensorSource(name + end, value.shape, TensorType.F32, value)
        for name in names
        for end, value in ((".lora_a", a), (".lora_b", b))
    ]
    write_gguf(tmp_path / "a.gguf", keys, halves)
    tracemalloc.start()
    merge_adapter(tmp_path / "base.gguf", tmp_path / "a.gguf", tmp_path / "out.gguf")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    one_tensor = n_out * n_in * 34 // 32  # as Q8_0, the largest it becomes
    assert peak < 5 * one_tensor, "a third of the file at most, whatever its length"
    assert peak < (tmp_path / "out.gguf").stat().st_size
