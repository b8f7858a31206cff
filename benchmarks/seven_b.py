"""Training steps on a synthesised file with the shape of a 7B model in Q4_0, within a budget.

    python benchmarks/seven_b.py --folder /tmp --budget 6.5 --steps 2

The file (3.6 GiB of random blocks with sane scales) is made once and kept in the folder. Prints
what the memory plan chose, seconds a step, the fraction of the measured GEMM peak in useful FLOPs
(both by CPU seconds, which other programs hardly change), and the highest resident memory; fails
when that is above the budget.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import torch

from fine_tuning.core.example import TokenizedExample
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.engine.memory import GIB, MemoryNeeds, StepSize, plan_memory
from fine_tuning.engine.step import accumulate_gradients
from fine_tuning.gguf.types import TensorType, block_format, tensor_num_bytes
from fine_tuning.gguf.writer import TensorSource, write_gguf
from fine_tuning.training.optimizer import AdamW
from fine_tuning.training.trainer_utils import peak_memory_bytes

LAYERS, WIDTH, FFN, HEADS, VOCABULARY = 32, 4096, 11008, 32, 32000
KIND = TensorType.Q4_0
SCALE = np.frombuffer(np.float16(2.2e-3).tobytes(), np.uint8)


def write_model(path: Path) -> None:
    """Write the file, tensor by tensor."""
    generator = np.random.default_rng(0)

    def matrix(rows: int, columns: int) -> np.ndarray:
        raw = generator.integers(0, 256, tensor_num_bytes(KIND, (rows, columns)), dtype=np.uint8)
        raw.reshape(-1, block_format(KIND).block_bytes)[:, :2] = SCALE
        return raw

    square, tall, wide = (WIDTH, WIDTH), (FFN, WIDTH), (WIDTH, FFN)
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCABULARY, WIDTH)}
    for i in range(LAYERS):
        block = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), square)
        block |= {"ffn_gate": tall, "ffn_up": tall, "ffn_down": wide}
        shapes |= {f"blk.{i}.{name}.weight": shape for name, shape in block.items()}
        shapes |= {f"blk.{i}.{name}_norm.weight": (WIDTH,) for name in ("attn", "ffn")}
    shapes |= {"output_norm.weight": (WIDTH,), "output.weight": (VOCABULARY, WIDTH)}
    sources = [
        TensorSource(name, shape, TensorType.F32, np.ones(shape, np.float32))
        if len(shape) == 1
        else TensorSource(name, shape, KIND, lambda shape=shape: matrix(*shape))
        for name, shape in shapes.items()
    ]
    keys = {
        "block_count": LAYERS,
        "context_length": 4096,
        "embedding_length": WIDTH,
        "feed_forward_length": FFN,
        "attention.head_count": HEADS,
        "attention.head_count_kv": HEADS,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": 10000.0,
    }
    metadata = {"general.architecture": "llama", **{f"llama.{k}": v for k, v in keys.items()}}
    write_gguf(path, metadata, sources)


def conversations(tokens: int) -> list[TokenizedExample]:
    """Four of a quarter of the tokens each, 40 % of them to learn."""
    generator = np.random.default_rng(1)
    size = tokens // 4 + 1
    learnt = round(0.4 * size)
    mask = (0,) * (size - learnt) + (1,) * learnt
    return [
        TokenizedExample(
            example_id=f"e{i}",
            conversation_id=f"c{i}",
            ids=tuple(generator.integers(1, VOCABULARY, size).tolist()),
            mask=mask,
        )
        for i in range(4)
    ]


def gemm_flops_per_s(dtype: torch.dtype, rows: int) -> float:
    """Return the best of three products of a feed-forward's shape."""
    x, weight = torch.randn(rows, WIDTH).to(dtype), torch.randn(FFN, WIDTH).to(dtype)
    best_s = np.inf
    for _ in range(4):
        start_s = time.process_time()
        torch.nn.functional.linear(x, weight)
        best_s = min(best_s, (time.process_time() - start_s) / torch.get_num_threads())
    return 2 * rows * WIDTH * FFN / best_s


def useful_flops(batch: list[TokenizedExample], adapter: LoraAdapter) -> float:
    """Return a step's FLOPs without recomputation: forward, and the gradient by activations."""
    lengths = [len(each.ids) - 1 for each in batch]
    tokens, targets = sum(lengths), sum(each.num_targets for each in batch)
    body = LAYERS * (4 * WIDTH * WIDTH + 3 * WIDTH * FFN)
    attention = 7 * sum(n * n for n in lengths) * WIDTH * LAYERS
    head = 4 * targets * VOCABULARY * WIDTH
    return 4.0 * body * tokens + 6.0 * adapter.num_parameters * tokens + head + attention


def main() -> int:
    """Run the benchmark; 1 when memory went above the budget."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("/tmp"))  # noqa: S108 - a default
    parser.add_argument("--budget", type=float, default=6.5, help="GiB of resident memory")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=1024)
    options = parser.parse_args()
    path = options.folder / "seven_b_q4_0.gguf"
    if not path.exists():
        write_model(path)
    batch = conversations(options.tokens)
    with Decoder.open(path) as decoder:
        adapter = LoraAdapter.create(decoder.linear_shapes, rank=16, alpha=32, seed=0)
        longest = max(len(each.ids) for each in batch)
        size = StepSize(num_tokens=options.tokens, num_shares=1, longest_tokens=longest)
        needs = MemoryNeeds(decoder, adapter, size, psutil.Process().memory_info().rss)
        plan = plan_memory(needs, int(options.budget * GIB), wants_unpacked=False)
        print(f"{plan.reason}; forecast {plan.needed_bytes / GIB:.2f} GiB", flush=True)
        decoder.recomputed = plan.recomputed
        optimizer = AdamW(adapter.parameters(), betas=(0.9, 0.999), weight_decay=0.0)
        times_s, cpu_s = [], np.inf
        num_targets = sum(each.num_targets for each in batch)
        for index in range(options.steps):
            start_s, start_cpu_s = time.perf_counter(), time.process_time()
            optimizer.zero_grad()
            result = accumulate_gradients(decoder, adapter, batch, coefficients=1 / num_targets)
            optimizer.step(2e-4)
            times_s.append(time.perf_counter() - start_s)
            cpu_s = min(cpu_s, (time.process_time() - start_cpu_s) / torch.get_num_threads())
            loss = result.loss_sum / num_targets
            print(f"step {index + 1}: {times_s[-1]:.1f} s, loss {loss:.3f}", flush=True)
        peak_bytes = peak_memory_bytes()
        gemm = gemm_flops_per_s(decoder.dtype, options.tokens)
    best_s = min(times_s)
    fraction = useful_flops(batch, adapter) / cpu_s / gemm
    print(
        f"{options.tokens} tokens a step on {torch.get_num_threads()} threads ({decoder.dtype}): "
        f"{best_s:.1f} s a step ({cpu_s:.1f} CPU s a thread), "
        f"{options.tokens / best_s:.1f} tokens/s, "
        f"{fraction:.0%} of the GEMM peak of {gemm / 1e12:.2f} TFLOP/s, highest resident memory "
        f"{peak_bytes / GIB:.2f} GiB (forecast {plan.needed_bytes / GIB:.2f}, budget "
        f"{options.budget:.1f})"
    )
    return int(peak_bytes > options.budget * GIB)


if __name__ == "__main__":
    sys.exit(main())
