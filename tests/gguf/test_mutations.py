"""Damaged models and adapters, over reader, merger and adapter loader: one sentence each.

No crash, no other kind of error, nothing left behind, and never more memory than twice the files.
``make test-hostile`` runs 100,000 of them; the default suite some hundred.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest

from fine_tuning.core.errors import GgufError, UnsupportedModelError
from fine_tuning.engine.adapter_files import read_gguf_adapter
from fine_tuning.gguf.merge import merge_adapter
from fine_tuning.gguf.quantize import quantize
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import DEFAULT_ALIGNMENT, TensorType, ValueType
from fine_tuning.gguf.writer import TensorSource, write_gguf
from tests.gguf.adapters import write_pairs

N_OUT, N_IN, RANK = 8, 256, 2
WIDE_OUT = 1 << 14  # a model of 20 MB
KINDS = (TensorType.Q4_0, TensorType.Q4_1, TensorType.Q5_0, TensorType.Q8_0, TensorType.F16)
MANY = int(os.environ.get("FT_TEST_MUTATIONS", "100000"))
OVERHEAD_BYTES = 128 << 10  # the writer's buffer, and Python's own objects
NUMBERS = (0, 1, 31, 32, 255, 1 << 31, (1 << 31) - 1, 1 << 32, 1 << 62, (1 << 64) - 1)


def normal(*shape: int, seed: int, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def write_model(path: Path, n_out: int = N_OUT) -> None:
    sources = [
        TensorSource(
            f"blk.{i}.w.weight",
            (n_out, N_IN),
            kind,
            quantize(normal(n_out, N_IN, seed=i, scale=0.05), kind),
        )
        for i, kind in enumerate(KINDS)
    ]
    sources.append(TensorSource("norm.weight", (4,), TensorType.F32, normal(4, seed=9)))
    words = [f"word{n}" for n in range(200)]
    metadata = {
        "general.architecture": "llama",
        "general.type": "model",
        "general.file_type": (2, ValueType.UINT32),
        "tokenizer.ggml.scores": np.arange(200, dtype=np.float32),
        "tokenizer.ggml.tokens": words,
    }
    write_gguf(path, metadata, sources)


def write_adapter(path: Path, n_out: int = N_OUT) -> None:
    pairs, folded = {}, []
    for i, kind in enumerate(KINDS):
        name = f"blk.{i}.w.weight"
        a = normal(RANK, N_IN, seed=i)
        if kind.name.startswith("Q4"):
            a = a[:, ::32].repeat(32, axis=1)
            folded.append(name)
        b = normal(n_out, RANK, seed=i + 20, scale=0.01)
        pairs[name] = (a, b)
    write_pairs(path, pairs, folded)


def mutated(content: bytes, head_bytes: int, random: Random) -> bytes:
    """Damage a file in one to four places, mostly in its head, where all is decided."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 4))):
        if len(data) > 16:
            end = min(head_bytes, len(data)) if random.random() < 0.6 else len(data)
            random.choice(DAMAGES)(data, random.randrange(end - 8), random)
    return bytes(data)


def flip(data: bytearray, place: int, random: Random) -> None:
    data[place] ^= 1 << random.randrange(8)


def count(data: bytearray, place: int, random: Random) -> None:
    data[place : place + 8] = struct.pack("<Q", random.choice(NUMBERS))


def type_number(data: bytearray, place: int, random: Random) -> None:
    data[place : place + 4] = struct.pack("<I", random.randrange(45))


def number(data: bytearray, place: int, random: Random) -> None:
    value = random.choice((float("nan"), float("inf"), -3e38, 1e-45))
    data[place : place + 4] = struct.pack("<f", value)


def cut(data: bytearray, place: int, random: Random) -> None:
    del data[place : place + random.randrange(1, 40)]


def insert(data: bytearray, place: int, random: Random) -> None:
    data[place:place] = random.randbytes(random.randrange(1, 40))


def truncate(data: bytearray, place: int, random: Random) -> None:
    del data[max(place, random.randrange(len(data))) :]


DAMAGES = (flip, flip, count, type_number, number, cut, insert, truncate)


def use_all(model: Path, adapter: Path, out: Path) -> None:
    """Do everything with both files that the product does."""
    with GgufFile.open(model) as file:
        for name in file.tensors:
            file.raw(name)
    read_gguf_adapter(adapter)
    merge_adapter(model, adapter, out)


def outcome(model: Path, adapter: Path, out: Path) -> str:
    """Return what became of two files; fails the test on anything but one sentence."""
    try:
        use_all(model, adapter, out)
    except (GgufError, UnsupportedModelError) as error:
        message = error.message
    else:
        out.unlink()
        return "taken"
    assert "\n" not in message, message
    assert len(message) < 700 + 2 * len(str(model)), message
    assert not out.exists(), message
    return "refused"


def head_bytes(path: Path) -> int:
    with GgufFile.open(path) as file:
        return min(info.offset for info in file.tensors.values()) - DEFAULT_ALIGNMENT


def run(folder: Path, times: int, seed: int, n_out: int = N_OUT) -> Counter[str]:
    """Damage the model or the adapter so many times, and use both each time."""
    paths = {"model": folder / "model.gguf", "adapter": folder / "adapter.gguf"}
    write_model(paths["model"], n_out)
    write_adapter(paths["adapter"], n_out)
    sound = {what: path.read_bytes() for what, path in paths.items()}
    heads = {what: head_bytes(path) for what, path in paths.items()}
    use_all(paths["model"], paths["adapter"], folder / "out.gguf")
    (folder / "out.gguf").unlink()
    random, outcomes = Random(seed), Counter[str]()
    tracemalloc.start()
    try:
        for _ in range(times):
            what = random.choice(("model", "adapter"))
            damaged = mutated(sound[what], heads[what], random)
            pair = paths | {what: folder / f"damaged-{what}.gguf"}
            pair[what].unlink(missing_ok=True)  # a mapped file must not change in place
            pair[what].write_bytes(damaged)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            result = outcome(pair["model"], pair["adapter"], folder / "out.gguf")
            outcomes[f"{what} {result}"] += 1
            peak = tracemalloc.get_traced_memory()[1] - before
            files_bytes = sum(path.stat().st_size for path in pair.values())
            assert peak < 2 * files_bytes + OVERHEAD_BYTES, (peak, files_bytes)
            outcomes["peak"] = max(outcomes["peak"], peak)
    finally:
        tracemalloc.stop()
    left = {path.name for path in folder.iterdir()}
    assert left <= {
        *(path.name for path in paths.values()),
        "damaged-model.gguf",
        "damaged-adapter.gguf",
    }
    return outcomes


def test_some_hundred_damaged_files(tmp_path: Path) -> None:
    outcomes = run(tmp_path, 400, seed=1)
    for what in ("model", "adapter"):
        for result in ("taken", "refused"):
            assert outcomes[f"{what} {result}"] > 10, "or else this tests nothing"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_a_process_takes_no_more_than_twice_the_files(tmp_path: Path) -> None:
    """What torch and the writer allocate counts as well, on files that dwarf a constant."""
    small, adapter = tmp_path / "small.gguf", tmp_path / "adapter.gguf"
    write_model(small)
    write_adapter(tmp_path / "small-adapter.gguf")
    write_model(tmp_path / "model.gguf", WIDE_OUT)
    write_adapter(adapter, WIDE_OUT)
    sound, random = (tmp_path / "model.gguf").read_bytes(), Random(4)
    for i in range(20):
        damaged = mutated(sound, head_bytes(tmp_path / "model.gguf"), random)
        (tmp_path / f"damaged-{i:02}.gguf").write_bytes(damaged)
    found = subprocess.run(
        [sys.executable, "-m", "tests.gguf.test_mutations", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    taken, grown_bytes = map(int, found.stdout.split())
    files_bytes = len(sound) + adapter.stat().st_size
    assert 0 < taken < 20
    assert grown_bytes < 2 * files_bytes, (grown_bytes, files_bytes)


@pytest.mark.slow
def test_a_hundred_thousand_damaged_files(tmp_path: Path) -> None:
    outcomes = run(tmp_path, MANY, seed=6)
    assert sum(outcomes.values()) - outcomes["peak"] == MANY
    for what in ("model", "adapter"):
        assert outcomes[f"{what} taken"] > MANY / 50, outcomes


def main(folder: Path) -> None:
    """Print how many damaged models were taken, and by how much the most memory held grew."""
    out = folder / "out.gguf"
    # What is imported and allocated once does not count.
    assert outcome(folder / "small.gguf", folder / "small-adapter.gguf", out) == "taken"
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    before = peak_bytes()
    outcomes = [outcome(path, folder / "adapter.gguf", out) for path in folder.glob("damaged-*")]
    sys.stdout.write(f"{outcomes.count('taken')} {peak_bytes() - before}\n")


def peak_bytes() -> int:
    """Return the most resident memory this process has held."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


if __name__ == "__main__":
    main(Path(sys.argv[1]))
