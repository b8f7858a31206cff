"""One thread per share of the sequences, instead of many threads per product.

Small products scale badly over threads: every one ends with all threads waiting for the last. When
a batch can be cut into even shares, each share runs on a thread of its own from the embedding to
the gradient, and the only wait is at the end. Shares and the order of summation depend on the
sequences and the thread count alone, so results repeat to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

from fine_tuning.core.example import TokenizedExample

# Below this share of useful time per thread, all threads work on every product instead.
MIN_EVENNESS = 0.8

Result = TypeVar("Result")


def shares(sequences: Sequence[TokenizedExample], num_threads: int) -> list[list[int]]:
    """Cut sequences into one share of indices per thread, or into a single one if uneven.

    Longest first, each goes to the share with the fewest tokens; within a share the given order
    stands.
    """
    loads = [0] * num_threads
    parts: list[list[int]] = [[] for _ in loads]
    by_length = sorted(range(len(sequences)), key=lambda i: (-len(sequences[i].ids), i))
    for index in by_length:
        lightest = loads.index(min(loads))
        parts[lightest].append(index)
        loads[lightest] += len(sequences[index].ids)
    if num_threads == 1 or sum(loads) < MIN_EVENNESS * num_threads * max(loads, default=0):
        return [list(range(len(sequences)))]
    return [sorted(part) for part in parts if part]


@cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    # OpenMP counts threads per calling thread: each worker's products run on that worker alone.
    return ThreadPoolExecutor(
        num_threads, thread_name_prefix="engine", initializer=torch.set_num_threads, initargs=(1,)
    )


def on_each_share(
    work: Callable[[Sequence[TokenizedExample]], Result], sequences: Sequence[TokenizedExample]
) -> list[tuple[list[int], Result]]:
    """Return (indices, result) of each share, in a fixed order.

    Args:
        work: Computes one share; with several shares it is called from several threads at once.
        sequences: What is shared out, over as many threads as torch has.
    """
    num_threads = torch.get_num_threads()
    parts = shares(sequences, num_threads)
    chosen = [[sequences[i] for i in part] for part in parts]
    if len(parts) == 1:
        return [(parts[0], work(chosen[0]))]
    pool = _pool(num_threads)
    # The BLAS behind float32 products has one count for the whole process.
    torch.set_num_threads(1)
    try:
        results = list(pool.map(work, chosen))
    finally:
        torch.set_num_threads(num_threads)
    return list(zip(parts, results, strict=True))
