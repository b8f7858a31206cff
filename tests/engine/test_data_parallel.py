"""Sequences are shared out evenly, each exactly once, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.core.example import TokenizedExample
from fine_tuning.engine.data_parallel import MIN_EVENNESS, shares, threads_for
from tests.engine.tiny import example


def of_lengths(lengths: Sequence[int]) -> list[TokenizedExample]:
    return [example(length, [length - 1], seed=i) for i, length in enumerate(lengths)]


def on_each_share(
    work: Callable[[Sequence[TokenizedExample]], Any], sequences: Sequence[TokenizedExample]
) -> list[tuple[list[int], Any]]:
    """Return (indices, result) of each share."""
    parts = shares(sequences, torch.get_num_threads())
    with threads_for(parts) as run:
        results = run(lambda part: work([sequences[i] for i in part]), parts)
    return list(zip(parts, results, strict=True))


@given(st.lists(st.integers(2, 60), max_size=12), st.integers(1, 4))
def test_each_sequence_once_and_evenly(lengths: list[int], num_threads: int) -> None:
    parts = shares(of_lengths(lengths), num_threads)
    assert sorted(i for part in parts for i in part) == list(range(len(lengths)))
    assert all(part == sorted(part) for part in parts)
    if len(parts) > 1:
        loads = [sum(lengths[i] for i in part) for part in parts]
        assert sum(loads) >= MIN_EVENNESS * num_threads * max(loads)


def test_one_long_sequence_is_not_shared() -> None:
    assert shares(of_lengths([50, 3, 3]), 2) == [[0, 1, 2]]


def test_shares_run_on_threads_of_one_thread_each() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = on_each_share(
            lambda part: (threading.current_thread().name, torch.get_num_threads(), len(part)),
            of_lengths([20, 20, 20, 20]),
        )
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert [indices for indices, _ in found] == [[0, 2], [1, 3]]
    assert all(name.startswith("engine") for _, (name, _, _) in found)
    assert [result[1:] for _, result in found] == [(1, 2), (1, 2)]


def test_a_failing_share_is_heard_and_threads_are_given_back() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError):
            on_each_share(lambda part: 1 // (len(part) - 2), of_lengths([20, 20, 20, 20]))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
