"""Sound files are read as gguf-py reads them; text arrays are lazy; getters are typed."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from fine_tuning.core.errors import GgufError, ModelNotFoundError
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import TensorType, ValueType
from fine_tuning.gguf.values import StringArray
from tests.runtimes.models import finish

Build = Callable[..., bytes]
Put = Callable[[bytes], Path]


def text(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def write_with_gguf_py(path: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    weights = {
        "f32": rng.standard_normal((3, 64)).astype(np.float32),
        "f16": rng.standard_normal((2, 5, 7)).astype(np.float16),
        "norm": rng.standard_normal(33).astype(np.float32),
    }
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_uint8("n.u8", 250)
    writer.add_int8("n.i8", -3)
    writer.add_uint16("n.u16", 65535)
    writer.add_int16("n.i16", -300)
    writer.add_uint32("n.u32", 1 << 31)
    writer.add_int32("n.i32", -(1 << 31))
    writer.add_uint64("n.u64", (1 << 64) - 1)
    writer.add_int64("n.i64", -(1 << 63))
    writer.add_float32("n.f32", 0.1)
    writer.add_float64("n.f64", 0.1)
    writer.add_bool("n.bool", True)
    writer.add_string("text", "naïve 雪")
    writer.add_array("tokens", ["<s>", "", "雪", "a b"])
    writer.add_array("scores", [0.5, -1.5])
    writer.add_array("types", [3, 1, -1])
    writer.add_array("flags", [True, False, True])
    for name, values in weights.items():
        writer.add_tensor(name, values)
    packed = gguf.quants.quantize(weights["f32"], gguf.GGMLQuantizationType.Q4_1)
    writer.add_tensor("q4_1", packed, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    weights["q4_1"] = gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q4_1)
    finish(writer)
    return weights


def test_reads_what_gguf_py_wrote(tmp_path: Path) -> None:
    weights = write_with_gguf_py(tmp_path / "x.gguf")
    with GgufFile.open(str(tmp_path / "x.gguf")) as file:
        meta = file.metadata
        assert (file.version, file.alignment) == (3, 32)
        assert meta["general.architecture"] == "llama"
        assert [meta[f"n.{kind}"] for kind in ("u8", "i8", "u16", "i16")] == [250, -3, 65535, -300]
        assert (meta["n.u32"], meta["n.i32"]) == (1 << 31, -(1 << 31))
        assert (meta["n.u64"], meta["n.i64"]) == ((1 << 64) - 1, -(1 << 63))
        assert (meta["n.f32"], meta["n.f64"]) == (float(np.float32(0.1)), 0.1)
        assert meta["n.bool"] is True
        assert meta["text"] == "naïve 雪"
        assert meta["tokens"] == ["<s>", "", "雪", "a b"]
        np.testing.assert_array_equal(meta["scores"], np.array([0.5, -1.5], np.float32))
        assert meta["types"].dtype == np.int32  # type: ignore[union-attr]
        assert meta["flags"].tolist() == [True, False, True]  # type: ignore[union-attr]
        assert file.value_type("n.i16") is ValueType.INT16
        assert file.value_type("tokens") is ValueType.ARRAY
        assert list(file.tensors) == list(weights)
        for name, values in weights.items():
            assert file.tensors[name].shape == values.shape
            np.testing.assert_array_equal(file.dequantize(name), values.astype(np.float32))
        assert file.tensors["q4_1"].type is TensorType.Q4_1
        assert file.tensors["q4_1"].row_bytes == 40
        assert file.tensors["f16"].num_elements == 70


def test_reads_a_handmade_version_2_file(build: Build, put: Put) -> None:
    values = np.arange(64, dtype="<f4")
    content = build(
        [
            (b"general.alignment", 4, struct.pack("<I", 64)),
            (b"words", 9, struct.pack("<IQ", 8, 2) + text(b"a") + text(b"bc")),
        ],
        [(b"w", [16, 2], 0, 0), (b"v", [16], 0, 128)],
        values[:48].tobytes(),
        version=2,
        alignment=64,
    )
    with GgufFile.open(put(content)) as file:
        assert (file.version, file.alignment) == (2, 64)
        assert file.tensors["w"].shape == (2, 16)
        np.testing.assert_array_equal(file.dequantize("w"), values[:32].reshape(2, 16))
        np.testing.assert_array_equal(file.dequantize("v"), values[32:48])


def test_a_scalar_tensor_and_empty_arrays(build: Build, put: Put) -> None:
    pairs = [
        (b"numbers", 9, struct.pack("<IQ", 5, 0)),
        (b"words", 9, struct.pack("<IQ", 8, 0)),
        (b"flags", 9, struct.pack("<IQ", 7, 0)),
    ]
    path = put(build(pairs, [(b"scalar", [], 0, 0)], struct.pack("<f", 2.5)))
    with GgufFile.open(path) as file:
        assert file.dequantize("scalar") == np.float32(2.5)
        assert file.tensors["scalar"].row_bytes == 4
        assert [len(file.metadata[key]) for key in ("numbers", "words", "flags")] == [0, 0, 0]  # type: ignore[arg-type]
        assert list(file.get("words", StringArray)) == []


def test_raw_is_a_read_only_view_that_outlives_the_file(tmp_path: Path) -> None:
    weights = write_with_gguf_py(tmp_path / "x.gguf")
    with GgufFile.open(tmp_path / "x.gguf") as file:
        raw = file.raw("norm")
        again = file.raw("norm")
        scores = file.metadata["scores"]
    assert np.shares_memory(raw, again)
    assert not raw.flags.writeable
    assert not scores.flags.writeable  # type: ignore[union-attr]
    np.testing.assert_array_equal(raw.view(np.float32), weights["norm"])
    with pytest.raises(GgufError, match="closed file"):
        file.raw("norm")
    with pytest.raises(GgufError, match="closed file"):
        file.dequantize("norm")


def test_typed_getters(tmp_path: Path) -> None:
    write_with_gguf_py(tmp_path / "x.gguf")
    file = GgufFile.open(tmp_path / "x.gguf")
    assert file.get("n.u8", int) == 250
    assert file.get("n.u8", float) == 250.0
    assert isinstance(file.get("n.u8", float), float)
    assert file.get("n.bool", bool) is True
    assert file.get("text", str) == "naïve 雪"
    assert file.get("tokens", StringArray)[2] == "雪"
    assert file.get("scores", np.ndarray).tolist() == [0.5, -1.5]
    assert file.get("absent", int, 7) == 7
    assert file.get("absent", int, None) is None
    for key, kind, sentence in (
        ("absent", int, "no metadata key 'absent'"),
        ("text", int, "is a str, int was expected"),
        ("n.bool", int, "is a bool, int was expected"),
        ("n.bool", float, "is a bool, float was expected"),
        ("n.f32", int, "is a float, int was expected"),
    ):
        with pytest.raises(GgufError, match=sentence):
            file.get(key, kind)
    with pytest.raises(GgufError, match="no tensor 'absent'"):
        file.tensor("absent")


def test_bytes_that_are_not_utf8_survive_in_values_and_are_refused_by_the_getter(
    build: Build, put: Put
) -> None:
    pairs = [
        (b"note", 8, text(b"caf\xe9")),
        (b"words", 9, struct.pack("<IQ", 8, 2) + text(b"\xff") + text(b"ok")),
    ]
    file = GgufFile.open(put(build(pairs)))
    assert file.metadata["note"].encode("utf-8", "surrogateescape") == b"caf\xe9"  # type: ignore[union-attr]
    words = file.get("words", StringArray)
    assert (words.raw(0), words.raw(1), words[1]) == (b"\xff", b"ok", "ok")
    with pytest.raises(GgufError, match="UTF-8 text was expected"):
        file.get("note", str)


def test_string_array_is_a_sequence() -> None:
    words = ["", "a", "雪", "x" * 300]
    lazy = StringArray.encode(words)
    assert len(lazy) == 4
    assert list(lazy) == words
    assert lazy[-1] == words[-1]
    assert lazy[1:3] == words[1:3]
    assert lazy[::-1] == words[::-1]
    assert lazy.index("雪") == 2
    assert "a" in lazy
    assert lazy == words
    assert lazy == StringArray.encode(words)
    assert lazy != words[:-1]
    assert lazy != StringArray.encode(words[:-1])
    assert lazy != "a"
    assert repr(lazy) == "StringArray(4 strings)"
    with pytest.raises(IndexError, match="string 4 was asked for"):
        lazy[4]
    with pytest.raises(GgufError, match="lone surrogate"):
        StringArray.encode(["\ud800"])


def test_a_missing_file_is_a_missing_model(tmp_path: Path) -> None:
    for path in (tmp_path / "none.gguf", tmp_path / "none" / "x.gguf"):
        with pytest.raises(ModelNotFoundError, match="no file was found at"):
            GgufFile.open(path)


def test_the_embedded_model_is_read_as_gguf_py_reads_it(smollm2: Path) -> None:
    theirs = gguf.GGUFReader(str(smollm2))
    file = GgufFile.open(smollm2)
    assert list(file.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        info = file.tensors[tensor.name]
        assert info.shape == tuple(int(length) for length in reversed(tensor.shape))
        assert (int(info.type), info.offset, info.num_bytes) == (
            int(tensor.tensor_type),
            tensor.data_offset,
            tensor.n_bytes,
        )
    some = ["token_embd.weight", "blk.0.attn_norm.weight", "blk.7.ffn_down.weight"]
    for tensor in (tensor for tensor in theirs.tensors if tensor.name in some):
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(file.dequantize(tensor.name), values)
        np.testing.assert_array_equal(file.raw(tensor.name), tensor.data.reshape(-1).view(np.uint8))
    keys = [key for key in theirs.fields if not key.startswith("GGUF.")]
    assert list(file.metadata) == keys
    for key in keys:
        value = file.metadata[key]
        expected = theirs.fields[key].contents()
        assert (value.tolist() if isinstance(value, np.ndarray) else value) == expected
    assert file.get("general.architecture", str) == "llama"
    assert len(file.get("tokenizer.ggml.tokens", StringArray)) == 49152
