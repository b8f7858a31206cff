"""What is written is read back the same, by us and by gguf-py; a failed write leaves nothing."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fine_tuning.core.errors import GgufError, StorageError
from fine_tuning.gguf.quantize import quantize
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import ARRAY_DTYPES, BLOCK_FORMATS, TensorType, ValueType
from fine_tuning.gguf.values import StringArray, TypedValue
from fine_tuning.gguf.writer import TensorSource, tensor_from_file, write_gguf

Build = Callable[..., bytes]
Put = Callable[[bytes], Path]

INTEGERS = [kind for kind in ValueType if "INT" in kind.name]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def limits(kind: ValueType) -> tuple[int, int]:
    info = np.iinfo(ARRAY_DTYPES[kind])  # type: ignore[type-var]
    return int(info.min), int(info.max)


def scalars() -> st.SearchStrategy[TypedValue]:
    whole = [
        st.integers(*limits(kind)).map(lambda value, kind=kind: TypedValue(value, kind))
        for kind in INTEGERS
    ]
    return st.one_of(
        *whole,
        st.floats(width=32, allow_nan=False).map(lambda v: TypedValue(v, ValueType.FLOAT32)),
        st.floats(allow_nan=False).map(lambda v: TypedValue(v, ValueType.FLOAT64)),
        st.booleans().map(lambda v: TypedValue(v, ValueType.BOOL)),
        TEXT.map(lambda v: TypedValue(v, ValueType.STRING)),
    )


def number_arrays() -> st.SearchStrategy[TypedValue]:
    def build(kind: ValueType, content: bytes) -> TypedValue:
        dtype = ARRAY_DTYPES[kind]
        usable = content[: len(content) // dtype.itemsize * dtype.itemsize]
        values = np.frombuffer(usable, np.uint8)
        values = values & 1 if kind is ValueType.BOOL else values
        return TypedValue(values.copy().view(dtype), ValueType.ARRAY)

    return st.builds(build, st.sampled_from(list(ARRAY_DTYPES)), st.binary(max_size=40))


def string_arrays() -> st.SearchStrategy[TypedValue]:
    return st.lists(TEXT, max_size=6).map(
        lambda words: TypedValue(StringArray.encode(words), ValueType.ARRAY)
    )


@st.composite
def sources(draw: st.DrawFn, name: str) -> TensorSource:
    kind = draw(st.sampled_from(list(BLOCK_FORMATS)))
    layout = BLOCK_FORMATS[kind]
    shape = (
        *draw(st.lists(st.integers(1, 3), max_size=3)),
        layout.block_elements * draw(st.integers(1, 3)),
    )
    num_bytes = int(np.prod(shape)) // layout.block_elements * layout.block_bytes
    data = np.random.default_rng(draw(st.integers(0, 99))).bytes(num_bytes)
    return TensorSource(name, shape, kind, draw(st.sampled_from([data, lambda: data])))


@st.composite
def files(draw: st.DrawFn) -> tuple[dict[str, TypedValue], list[TensorSource]]:
    keys = draw(st.lists(TEXT.filter(bool), max_size=6, unique=True))
    metadata = {key: draw(scalars() | number_arrays() | string_arrays()) for key in keys}
    if draw(st.booleans()):
        alignment = draw(st.sampled_from([8, 16, 64, 4096]))
        metadata["general.alignment"] = TypedValue(alignment, ValueType.UINT32)
    names = draw(st.lists(TEXT.filter(lambda n: 0 < len(n.encode()) < 64), max_size=4, unique=True))
    return metadata, [draw(sources(name)) for name in names]


def data_of(source: TensorSource) -> bytes:
    return bytes(source.data() if callable(source.data) else source.data)  # type: ignore[arg-type]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(files())
def test_reading_gives_back_what_was_written(
    tmp_path: Path, content: tuple[dict[str, TypedValue], list[TensorSource]]
) -> None:
    metadata, tensors = content
    path = tmp_path / "x.gguf"
    write_gguf(path, metadata, iter(tensors))
    with GgufFile.open(path) as file:
        assert list(file.typed_metadata) == list(metadata)
        for key, (value, kind) in metadata.items():
            found = file.typed_metadata[key]
            assert found.type is kind
            if isinstance(value, np.ndarray):
                assert found.value.dtype == value.dtype  # type: ignore[union-attr]
                assert found.value.tobytes() == value.tobytes()  # type: ignore[union-attr]
            else:
                assert found.value == value
        assert list(file.tensors) == [source.name for source in tensors]
        for source in tensors:
            info = file.tensors[source.name]
            assert (info.shape, info.type) == (source.shape, source.type)
            assert file.raw(source.name).tobytes() == data_of(source)
            assert info.offset % file.alignment == 0
        copy = tmp_path / "copy.gguf"
        write_gguf(copy, file.typed_metadata, [tensor_from_file(file, n) for n in file.tensors])
    assert copy.read_bytes() == path.read_bytes()


def test_gguf_py_reads_what_we_write(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    a = rng.standard_normal((8, 64)).astype(np.float32)
    packed = quantize(a, TensorType.Q8_0)
    path = tmp_path / "deep" / "adapter.gguf"
    write_gguf(
        path,
        {
            "general.architecture": "llama",
            "adapter.lora.alpha": 16.0,
            "n": 7,
            "negative": -7,
            "wide": 1 << 40,
            "widest": (1 << 64) - 1,
            "flag": False,
            "small": np.uint8(9),
            "words": ["a", "雪"],
            "types": [1, 2, 3],
            "wide types": (1, 1 << 40),
            "scores": [0.5, 1.0],
            "flags": [True, False],
            "double": (0.1, ValueType.FLOAT64),
            "counts": (np.array([1, 2], np.uint32), ValueType.ARRAY),
        },
        [
            TensorSource("blk.0.attn_q.weight.lora_a", (8, 64), TensorType.F32, a),
            TensorSource("half", (64, 8), TensorType.F16, lambda: a.T.astype(np.float16)),
            TensorSource("q8", (8, 64), TensorType.Q8_0, packed),
            TensorSource("transposed", (64, 8), TensorType.F32, a.T),
        ],
    )
    theirs = gguf.GGUFReader(str(path))
    types = {
        key: [kind.name for kind in field.types]
        for key, field in theirs.fields.items()
        if not key.startswith("GGUF.")
    }
    assert types == {
        "general.architecture": ["STRING"],
        "adapter.lora.alpha": ["FLOAT32"],
        "n": ["UINT32"],
        "negative": ["INT32"],
        "wide": ["INT64"],
        "widest": ["UINT64"],
        "flag": ["BOOL"],
        "small": ["UINT8"],
        "words": ["ARRAY", "STRING"],
        "types": ["ARRAY", "INT32"],
        "wide types": ["ARRAY", "INT64"],
        "scores": ["ARRAY", "FLOAT32"],
        "flags": ["ARRAY", "BOOL"],
        "double": ["FLOAT64"],
        "counts": ["ARRAY", "UINT32"],
    }
    assert theirs.fields["words"].contents() == ["a", "雪"]
    assert theirs.fields["adapter.lora.alpha"].contents() == 16.0
    by_name = {tensor.name: tensor for tensor in theirs.tensors}
    np.testing.assert_array_equal(by_name["blk.0.attn_q.weight.lora_a"].data, a)
    np.testing.assert_array_equal(by_name["half"].data, a.T.astype(np.float16))
    np.testing.assert_array_equal(by_name["transposed"].data, a.T)
    np.testing.assert_array_equal(by_name["q8"].data.reshape(-1), packed)


def test_a_copy_of_the_embedded_model_is_byte_equal(smollm2: Path, tmp_path: Path) -> None:
    with GgufFile.open(smollm2) as file:
        write_gguf(
            tmp_path / "copy.gguf",
            file.typed_metadata,
            [tensor_from_file(file, name) for name in file.tensors],
        )
    ours = np.memmap(tmp_path / "copy.gguf", np.uint8, "r")
    theirs = np.memmap(smollm2, np.uint8, "r")
    assert np.array_equal(ours, theirs)


def test_a_tensor_can_be_copied_under_a_new_name(build: Build, put: Put, tmp_path: Path) -> None:
    file = GgufFile.open(put(build((), [(b"w", [2], 0, 0)], bytes(range(8)))))
    write_gguf(tmp_path / "y.gguf", {}, [tensor_from_file(file, "w", rename="v")])
    assert GgufFile.open(tmp_path / "y.gguf").raw("v").tolist() == list(range(8))


def test_bytes_that_are_not_utf8_are_copied(build: Build, put: Put, tmp_path: Path) -> None:
    content = build([(b"k", 8, (1).to_bytes(8, "little") + b"\xe9")])
    with GgufFile.open(put(content)) as file:
        write_gguf(tmp_path / "y.gguf", file.typed_metadata, [])
    assert (tmp_path / "y.gguf").read_bytes() == content


def test_only_one_tensor_is_in_memory_at_a_time(tmp_path: Path) -> None:
    alive: list[int] = []

    class Counted(np.ndarray[Any, Any]):
        def __del__(self) -> None:
            alive.remove(0)

    def make() -> np.ndarray[Any, Any]:
        assert len(alive) == 0, "an earlier tensor is still held"
        alive.append(0)
        return np.ones(4, np.float32).view(Counted)

    names = [f"t{place}" for place in range(5)]
    write_gguf(
        tmp_path / "x.gguf", {}, [TensorSource(name, (4,), TensorType.F32, make) for name in names]
    )
    assert GgufFile.open(tmp_path / "x.gguf").dequantize("t4").tolist() == [1, 1, 1, 1]


ONE = np.ones(4, np.float32)


@pytest.mark.parametrize(
    ("metadata", "tensors", "sentence"),
    [
        ({"k": 1 << 64}, [], "64-bit integers were expected"),
        ({"k": None}, [], "is 'None', a number"),
        ({"k": []}, [], "an empty list needs a numpy array"),
        ({"k": [1, "a"]}, [], "a list of one kind"),
        ({"k": [[1]]}, [], "a list of one kind"),
        ({"k": np.ones((2, 2))}, [], "2 dimensions"),
        ({"k": np.ones(2, np.complex64)}, [], "numpy type complex64"),
        ({"k": np.ones(2, ">f4")}, [], "numpy type >f4"),
        ({"k": (300, ValueType.UINT8)}, [], "a value of type UINT8"),
        ({"k": (1e39, ValueType.FLOAT32)}, [], "a value of type FLOAT32"),
        ({"k": (1.5, ValueType.INT32)}, [], "a value of type INT32"),
        ({"k": (1, ValueType.BOOL)}, [], "a value of type BOOL"),
        ({"k": (True, ValueType.UINT32)}, [], "a value of type UINT32"),
        ({"k": (1, ValueType.STRING)}, [], "a value of type STRING"),
        ({"k": ("x", ValueType.FLOAT32)}, [], "a value of type FLOAT32"),
        ({"k": (np.ones(2), ValueType.FLOAT32)}, [], "a value of type FLOAT32"),
        ({"k": (1, ValueType.ARRAY)}, [], "is '1', a number"),
        ({"k": "\ud800"}, [], "lone surrogate"),
        ({"\udcff": 1}, [], "the metadata key .* lone surrogate"),
        ({"": 1}, [], "the metadata key '' has 0 bytes"),
        ({"general.alignment": 33}, [], "a power of two"),
        ({"general.alignment": (32, ValueType.UINT64)}, [], "UINT32 was expected"),
        ({}, [TensorSource("n" * 64, (4,), TensorType.F32, ONE)], "has 64 bytes, 1 to 63"),
        ({}, [TensorSource("", (4,), TensorType.F32, ONE)], "has 0 bytes"),
        ({}, [TensorSource("w", (4,), TensorType.F32, ONE)] * 2, "was given twice"),
        ({}, [TensorSource("w", (5,), TensorType.F32, ONE)], "16 bytes, F32 .* has 20"),
        ({}, [TensorSource("w", (4,), TensorType.F16, ONE)], "given as float32, packed uint8 or"),
        ({}, [TensorSource("w", (4,), TensorType.Q4_0, ONE)], "packs multiples of 32"),
        ({}, [TensorSource("w", (0,), TensorType.F32, b"")], "an empty dimension"),
        ({}, [TensorSource("w", (32,), TensorType.Q4_0, b"")], "0 bytes, Q4_0 .* has 18"),
    ],
)
def test_refuses_what_the_format_cannot_hold(
    metadata: dict[str, Any], tensors: list[TensorSource], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(GgufError, match=sentence):
        write_gguf(tmp_path / "x.gguf", metadata, tensors)
    assert list(tmp_path.iterdir()) == []


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """Let the kernel refuse longer files: the nearest thing to a full disk without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_write_that_runs_out_of_room_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    write_gguf(path, {"n": 1}, [])
    before = path.read_bytes()
    big = TensorSource("w", (1 << 20,), TensorType.F32, lambda: np.zeros(1 << 20, np.float32))
    with files_of_at_most(1 << 20), pytest.raises(StorageError, match="could not be written"):
        write_gguf(path, {}, [big])
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.gguf"]


def test_a_tensor_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_gguf(tmp_path / "x.gguf", {}, [TensorSource("w", (4,), TensorType.F32, fail)])
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "x.gguf", tmp_path / "folder", tmp_path / ("x" * 300)):
        with pytest.raises(StorageError, match="could not be written"):
            write_gguf(path, {}, [])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_a_file_can_be_rewritten_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    write_gguf(path, {"n": 1}, [TensorSource("w", (4,), TensorType.F32, ONE)])
    with GgufFile.open(path) as file:
        write_gguf(path, {**file.typed_metadata, "n": 2}, [tensor_from_file(file, "w")])
        assert file.metadata["n"] == 1
        assert file.dequantize("w").tolist() == [1, 1, 1, 1]
    assert GgufFile.open(path).metadata["n"] == 2
