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
from itertools import pairwise
from typing import TypeVar

import torch

from fine_tuning.core.example import TokenizedExample
from fine_tuning.engine.layout import families, shared_length

# Below this share of useful time per thread, all threads work on every product instead.
MIN_EVENNESS = 0.8

Result = TypeVar("Result")


def shares(sequences: Sequence[TokenizedExample], num_threads: int) -> list[list[int]]:
    """Cut sequences into one share of indices per thread, or into a single one if uneven.

    Sequences with a common beginning stay together, unless the shares are more even with that
    beginning computed once per share. What is dealt goes, largest first, to the share with the
    fewest tokens; within a share the given order stands.
    """
    whole = [list(range(len(sequences)))]
    if num_threads == 1 or not sequences:
        return whole
    ids = [sequence.ids for sequence in sequences]
    related = families(ids)
    useful = sum(_num_tokens(ids, family) for family in related)
    dealings = [_dealt(ids, related, num_threads)]
    if any(len(family) > 1 for family in related):
        dealings.append(_dealt(ids, [[i] for family in related for i in family], num_threads))
    parts = min(dealings, key=lambda parts: max(_load(ids, part) for part in parts))
    if useful < MIN_EVENNESS * num_threads * max(_load(ids, part) for part in parts):
        return whole
    return [sorted(part) for part in parts if part]


def _num_tokens(ids: Sequence[Sequence[int]], family: Sequence[int]) -> int:
    """Return the tokens computed for neighbours in a family."""
    common = sum(shared_length(ids[one], ids[other]) for one, other in pairwise(family))
    return sum(len(ids[index]) for index in family) - common


def _load(ids: Sequence[Sequence[int]], part: Sequence[int]) -> int:
    own = [ids[index] for index in part]
    return sum(_num_tokens(own, family) for family in families(own))


def _dealt(
    ids: Sequence[Sequence[int]], units: Sequence[Sequence[int]], num_threads: int
) -> list[list[int]]:
    loads = [0] * num_threads
    parts: list[list[int]] = [[] for _ in loads]
    sizes = [_num_tokens(ids, unit) for unit in units]
    for index in sorted(range(len(units)), key=lambda i: (-sizes[i], min(units[i]))):
        lightest = loads.index(min(loads))
        parts[lightest] += units[index]
        loads[lightest] += sizes[index]
    return parts


@cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    # OpenMP counts threads per calling thread: each worker's products run on that worker alone.
    return ThreadPoolExecutor(
        num_threads, thread_name_prefix="engine", initializer=torch.set_num_threads, initargs=(1,)
    )


def on_each_share(
    work: Callable[[Sequence[TokenizedExample]], Result],
    sequences: Sequence[TokenizedExample],
    *,
    may_share: bool = True,
) -> list[tuple[list[int], Result]]:
    """Return (indices, result) of each share, in a fixed order.

    Args:
        work: Computes one share; with several shares it is called from several threads at once.
        sequences: What is shared out, over as many threads as torch has.
        may_share: False makes one share of all.
    """
    num_threads = torch.get_num_threads()
    parts = shares(sequences, num_threads if may_share else 1)
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
