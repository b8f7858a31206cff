"""One thread per share of the sequences, instead of many threads per product.

Small products scale badly over threads: every one ends with all threads waiting for the last. When
a batch can be cut into even shares, each share runs on a thread of its own from the embedding to
the gradient, and the only wait is at the end. Shares and the order of summation depend on the
sequences and the thread count alone, so results repeat to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import Protocol, TypeVar

import torch

from fine_tuning.core.item import Item, grouped
from fine_tuning.engine.layout import prefix_groups, shared_length

# FrozenPrefix this share of useful time per thread, all threads work on every product instead.
MIN_EVENNESS = 0.8

Result = TypeVar("Result")


def shares(sequences: Sequence[Item], num_threads: int) -> list[list[int]]:
    """Cut sequences into one share of indices per thread, or into a single one if uneven.

    Sequences with a common beginning stay together, unless the shares are more even with that
    beginning computed once per share; those of a group always do. What is dealt goes, largest
    first, to the share with the fewest tokens; within a share the given order stands.

    Args:
        sequences: The batch.
        num_threads: The most shares, at least 1.

    Returns:
        Indices of ``sequences``, ascending within a share; each index stands in one share.
    """
    whole = [list(range(len(sequences)))]
    if num_threads == 1 or not sequences:
        return whole
    ids = [sequence.ids for sequence in sequences]
    units = grouped(sequences)
    related = _with_groups(prefix_groups(ids), units)
    useful = sum(_num_tokens(ids, prefix_group) for prefix_group in related)
    dealings = [_dealt(ids, related, num_threads)]
    if len(units) > len(related):
        dealings.append(_dealt(ids, units, num_threads))
    parts = min(dealings, key=lambda parts: max(_load(ids, part) for part in parts))
    if useful < MIN_EVENNESS * num_threads * max(_load(ids, part) for part in parts):
        return whole
    return [sorted(part) for part in parts if part]


def _with_groups(
    related: Sequence[Sequence[int]], units: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Return prefix groups joined where a group lies in several of them."""
    joined = [list(prefix_group) for prefix_group in related]
    for unit in units:
        touched = [
            prefix_group for prefix_group in joined if not set(unit).isdisjoint(prefix_group)
        ]
        if len(touched) > 1:
            joined = [prefix_group for prefix_group in joined if prefix_group not in touched]
            joined.append([index for prefix_group in touched for index in prefix_group])
    return sorted(joined, key=min)


def _num_tokens(ids: Sequence[Sequence[int]], prefix_group: Sequence[int]) -> int:
    """Return the tokens computed for neighbours in a prefix group."""
    common = sum(shared_length(ids[one], ids[other]) for one, other in pairwise(prefix_group))
    return sum(len(ids[index]) for index in prefix_group) - common


def _load(ids: Sequence[Sequence[int]], part: Sequence[int]) -> int:
    own = [ids[index] for index in part]
    return sum(_num_tokens(own, prefix_group) for prefix_group in prefix_groups(own))


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


class ParallelMap(Protocol):
    """Calls a function with each argument, like ``map``; the results keep the order."""

    def __call__(
        self, work: Callable[[list[int]], Result], parts: Iterable[list[int]], /
    ) -> Iterable[Result]:
        """Return the results."""
        ...


@contextmanager
def threads_for(parts: Sequence[Sequence[int]]) -> Iterator[ParallelMap]:
    """Yield what runs the work of each part: on a thread of its own, if there are several."""
    if len(parts) == 1:
        yield map
        return
    num_threads = torch.get_num_threads()
    pool = _pool(num_threads)
    # The BLAS behind float32 products has one count for the whole process.
    torch.set_num_threads(1)
    try:
        yield lambda work, own: list(pool.map(work, own))
    finally:
        torch.set_num_threads(num_threads)
