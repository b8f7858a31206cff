"""Measure what this process can multiply, and what it occupies; needs torch and nothing else.

The arms of the training benchmark run it before and after their work, in the same settings: a
ratio of tokens to multiplications survives a busy machine better than seconds do.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch

SHAPE = (1024, 576, 1536)
"""A product of SmolLM2's feed-forward at 1,024 tokens."""
REPEATS = 15


def arguments(modes: Sequence[str]) -> argparse.Namespace:
    """Return what an arm is told: the same of every arm, but for its modes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=modes, required=True)
    parser.add_argument("--workload", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--held-out-every", type=int, default=0)
    parser.add_argument("--target-loss", type=float, default=0.0)
    return parser.parse_args()


def gemm_tflops(dtype: torch.dtype) -> float:
    """Return the median rate of a product in this dtype, in TFLOP per CPU second."""
    m, k, n = SHAPE
    a, b = torch.randn(m, k).to(dtype), torch.randn(n, k).to(dtype)
    out = torch.empty(m, n, dtype=dtype)
    rates = []
    for _ in range(REPEATS):
        start = time.process_time()
        for _ in range(8):
            torch.mm(a, b.T, out=out)
        rates.append(8 * 2 * m * k * n / (time.process_time() - start) / 1e12)
    return statistics.median(rates[2:])


def fastest_dtype() -> torch.dtype:
    """Return bfloat16 where its products are faster than those of float32, else float32."""
    return (
        torch.bfloat16
        if gemm_tflops(torch.bfloat16) > gemm_tflops(torch.float32)
        else torch.float32
    )


def peak_rss_bytes() -> int:
    """Return the most memory this process has held since it began (VmHWM; Linux).

    Not ``ru_maxrss``, which counts what the parent held when it forked.
    """
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123  # not a user's file
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def load_average() -> float:
    """Return the number of processes that wanted to run in the last minute."""
    return os.getloadavg()[0]
