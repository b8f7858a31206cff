"""No file, however made, brings out anything but GgufError, and none costs much time or memory."""

from __future__ import annotations

import os
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest

from fine_tuning.core.errors import GgufError, StorageError
from fine_tuning.gguf.reader import GgufFile

Build = Callable[..., bytes]
Put = Callable[[bytes], Path]
HUGE = (1 << 64) - 1


def text(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def refused(path: Path) -> str:
    """Open a file, which must be refused in one sentence that names it."""
    with pytest.raises(GgufError) as caught:
        GgufFile.open(path)
    message = caught.value.message
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) < len(str(path)) + 400
    return message.removeprefix(str(path))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"GG", "ends after 2 bytes"),
        (b"GGUF\x03\0\0\0", "ends after 8 bytes"),
        (b"PK\x03\x04" + bytes(60), "a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"<HTML><head>", "a web page"),
        (b"<?xml version='1.0'?><Error>", "an XML document"),
        (struct.pack("<Q", 40) + b'{"__metadata__":{}}' + bytes(50), "a safetensors file"),
        (b"\x80\x02}q\x00" + bytes(30), "a Python pickle"),
        (b"\x1f\x8b\x08" + bytes(30), "a gzip archive"),
        (b'{"error":"not found"}', "a JSON text"),
        (b"tjgg" + bytes(40), "older than GGUF"),
        (b"FUGG" + bytes(40), "big-endian"),
        (b"\0asm" + bytes(40), r"begins with b'\x00asm'"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian GGUF file"),
        (b"GGUF" + struct.pack("<III", 1, 0, 0) + bytes(20), "GGUF version 1 of August 2023"),
        (b"GGUF" + struct.pack("<IQQ", 4, 0, 0), "GGUF version 4 was found at byte 4"),
        (b"GGUF" + struct.pack("<IQQ", 0, 0, 0), "GGUF version 0 was found at byte 4"),
    ],
)
def test_other_files_are_recognised(content: bytes, sentence: str, put: Put) -> None:
    assert sentence in refused(put(content))


def test_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    assert "is a folder" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in refused(tmp_path / "pipe")


def test_a_name_the_system_refuses_is_a_storage_error(tmp_path: Path) -> None:
    for name in ("x" * 300, "nul\0byte"):
        with pytest.raises(StorageError, match="could not be opened"):
            GgufFile.open(tmp_path / name)


def array_of(kind: int, count: int, data: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + data


@pytest.mark.parametrize(
    ("key", "kind", "value", "sentence"),
    [
        (b"k", 13, b"x", "type number 13 at byte 33, 0 to 12 were expected"),
        (b"k", 9, array_of(13, 0), "type number 13"),
        (b"k", 9, array_of(9, 1, array_of(0, 1, b"x")), "array of arrays"),
        (b"k", 9, array_of(4, HUGE), "elements of the metadata value 'k' were found at byte 41"),
        (b"k", 9, array_of(10, 9, bytes(40)), "hold at most"),
        (b"k", 9, array_of(8, HUGE), "at most 8388608 expected"),
        (b"k", 9, array_of(8, 1 << 22), "hold at most"),
        (b"k", 9, array_of(8, 2, text(b"a") + struct.pack("<Q", HUGE)), "string 1 of"),
        (b"k", 9, array_of(8, 2, struct.pack("<Q", 40) + bytes(12)), "runs past the end"),
        (b"k", 9, array_of(7, 3, b"\0\1\2"), "holds the boolean 2"),
        (b"k", 7, b"\2", "is the boolean 2, 0 or 1 was expected"),
        (b"k", 8, struct.pack("<Q", HUGE), "claims 18446744073709551615 bytes"),
        (b"k", 8, struct.pack("<Q", 1000), "needs 1000 bytes, but the file ends"),
        (b"k", 10, b"x", "needs 8 bytes, but the file ends"),
        (b"\xff\xfe", 4, u32(1), "UTF-8 text was expected"),
        (b"", 4, u32(1), "is empty, a name was expected"),
        (b"x" * 70000, 4, u32(1), "claims 70000 bytes, at most 65535"),
        (b"general.alignment", 4, u32(0), "general.alignment is 0"),
        (b"general.alignment", 4, u32(4), "general.alignment is 4"),
        (b"general.alignment", 4, u32(48), "a power of two"),
        (b"general.alignment", 4, u32(1 << 31), "to 65536 was expected"),
        (b"general.alignment", 10, struct.pack("<Q", 32), "of type UINT64, UINT32 was expected"),
    ],
)
def test_metadata_faults(
    key: bytes, kind: int, value: bytes, sentence: str, build: Build, put: Put
) -> None:
    assert sentence in refused(put(build([(key, kind, value)], alignment=1)))


def test_counts_are_held_against_the_file(build: Build, put: Put) -> None:
    pair = (b"k", 4, u32(1))
    assert "at most 131072 expected" in refused(put(build(num_tensors=HUGE)))
    assert "at most 65536 expected" in refused(put(build(num_pairs=HUGE)))
    assert "60000 metadata keys are announced" in refused(put(build([pair], num_pairs=60000)))
    assert "130000 tensors are announced" in refused(put(build([pair], num_tensors=130000)))
    assert "'k' at byte 41 is there twice" in refused(put(build([pair, pair])))


@pytest.mark.parametrize(
    ("tensors", "num_bytes", "sentence"),
    [
        ([(b"w", [1] * 5, 0, 0)], 4, "has 5 dimensions, at most 4"),
        ([(b"w", [0, 4], 0, 0)], 4, "an empty dimension"),
        ([(b"w", [31], 8, 0)], 34, "Q8_0 packs multiples of 32"),
        ([(b"w", [], 8, 0)], 34, "a row of 1 weights"),
        ([(b"w", [HUGE, HUGE], 0, 0)], 4, "63 bits"),
        ([(b"w", [1 << 62], 0, 0)], 4, "63 bits"),
        ([(b"w", [1 << 40], 0, 0)], 64, "but the file ends at byte"),
        ([(b"w", [1], 0, 32)], 32, "but the file ends at byte"),
        ([(b"w", [1], 0, HUGE - 31)], 32, "but the file ends at byte"),
        ([(b"w", [1], 0, 8)], 64, "a multiple of the alignment 32"),
        ([(b"w", [1], 4, 0)], 64, "unsupported tensor type number 4 (Q4_2"),
        ([(b"w", [1], 999, 0)], 64, "unsupported tensor type number 999 (unknown here"),
        ([(b"w", [256], 15, 0)], 292, "unsupported tensor type Q8_K"),
        ([(b"w", [1], 0, 0), (b"w", [1], 0, 32)], 64, "tensor 'w' is there twice"),
        ([(b"w", [9], 0, 0), (b"v", [1], 0, 32)], 64, "inside tensor 'w' which ends at"),
        ([(b"v", [1], 0, 32), (b"w", [9], 0, 0)], 64, "'v' begins at byte"),
        ([(b"a", [1], 0, 0), (b"b", [1], 0, 0)], 64, "inside tensor"),
        ([(b"", [1], 0, 0)], 64, "is empty, a name was expected"),
        ([(b"\xc3", [1], 0, 0)], 64, "UTF-8 text was expected"),
        ([(b"n" * 1025, [1], 0, 0)], 64, "at most 1024"),
        ([(b"\n\x1b[31m" * 100, [1], 0, 64)], 64, r"\n\x1b[31m"),
    ],
)
def test_tensor_faults(
    tensors: list[tuple[bytes, list[int], int, int]],
    num_bytes: int,
    sentence: str,
    build: Build,
    put: Put,
) -> None:
    assert sentence in refused(put(build((), tensors, bytes(num_bytes))))


def test_types_that_cannot_be_unpacked_are_named_when_unpacked(build: Build, put: Put) -> None:
    file = GgufFile.open(put(build((), [(b"w", [256], 16, 0)], bytes(66))))
    assert file.raw("w").nbytes == 66
    with pytest.raises(GgufError, match="unsupported tensor type IQ2_XXS"):
        file.dequantize("w")


def test_text_in_all_is_bounded(build: Build, put: Put) -> None:
    """A sparse file of endless text is refused before it is read."""
    content = build([(b"a", 8, struct.pack("<Q", 40 << 20))], num_pairs=2, alignment=1)
    path = put(content)
    second = content[24:]
    with path.open("r+b") as file:
        file.seek(len(content) + (40 << 20))
        file.write(second.replace(b"a", b"b"))
        file.truncate(1 << 33)
    assert "claims 41943040 bytes, at most 25165822 were expected" in refused(path)


def sound_file(build: Build) -> bytes:
    words = b"".join(text(word) for word in (b"<s>", b"hello", b"", "é".encode()))
    return build(
        [
            (b"general.architecture", 8, text(b"llama")),
            (b"general.alignment", 4, u32(32)),
            (b"f", 6, struct.pack("<f", 1.5)),
            (b"flag", 7, b"\1"),
            (b"tokens", 9, array_of(8, 4, words)),
            (b"scores", 9, array_of(6, 4, np.arange(4, dtype="<f4").tobytes())),
            (b"flags", 9, array_of(7, 2, b"\0\1")),
        ],
        [(b"w", [32, 2], 2, 0), (b"v", [5], 0, 64), (b"k", [256], 12, 96)],
        bytes(96 + 144),
    )


def use_everything(path: Path) -> None:
    with GgufFile.open(path) as file:
        for key, value in file.metadata.items():
            assert file.value_type(key) is not None
            if not isinstance(value, bool | int | float):
                assert list(value) is not None
        for name in file.tensors:
            assert file.raw(name).sum() >= 0
            file.dequantize(name)


def test_every_truncation_is_refused(build: Build, put: Put) -> None:
    content = sound_file(build)
    path = put(content)
    use_everything(path)
    for length in range(len(content)):
        os.truncate(path, 0)
        path.write_bytes(content[:length])
        refused(path)


def test_every_byte_set_to_every_telling_value(build: Build, put: Put) -> None:
    content = sound_file(build)
    path = put(content)
    outcomes = {True: 0, False: 0}
    for place in range(len(content) - 240):
        for value in (0, 1, 0x7F, 0x80, 0xFF, content[place] ^ 1):
            outcomes[survives(path, content[:place] + bytes([value]) + content[place + 1 :])] += 1
    assert min(outcomes.values()) > 500, "both outcomes must be met, else nothing was tested"


def test_random_mutations_bring_out_only_gguf_errors(build: Build, put: Put) -> None:
    content = sound_file(build)
    path = put(content)
    random = Random(6)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = {True: 0, False: 0}
    for _ in range(4000):
        mutant = bytearray(content)
        for _ in range(random.choice((1, 2, 3, 8))):
            place = random.randrange(len(mutant) - 240)
            kind = random.randrange(4)
            if kind == 0:
                mutant[place] ^= 1 << random.randrange(8)
            elif kind == 1:
                mutant[place : place + 8] = struct.pack(
                    "<Q", random.choice((HUGE, 1 << 63, 1 << 32))
                )
            elif kind == 2:
                del mutant[place : place + random.randrange(1, 9)]
            else:
                mutant[place:place] = random.randbytes(random.randrange(1, 9))
        outcomes[survives(path, bytes(mutant))] += 1
    assert min(outcomes.values()) > 50
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 64 << 10


def survives(path: Path, content: bytes) -> bool:
    """Write a mutant under a new inode and use all of it; tell whether it was accepted.

    An error of any other class comes out and fails the test.
    """
    path.unlink()
    path.write_bytes(content)
    try:
        use_everything(path)
    except GgufError as error:
        if not error.message.startswith(str(path)):
            pytest.fail(f"the file is not named: {error.message}")
        return False
    return True
