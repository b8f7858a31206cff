"""Where the tokens of a step lie: side by side without padding, a common beginning only once.

Sequences that begin with the same tokens (one system prompt, earlier turns of one conversation)
form a tree: a segment is a stretch of tokens computed once, behind the segments of its prefix. What
a token's state depends on is its prefix alone, so sharing changes no number and no gradient.

Attention then is over *runs* of queries, each with keys of its own: the prefix's and its own before
it. Runs of similar size attend together. Legend: T flat tokens, B runs of a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fine_tuning.engine.kernels.interface import Group

# A group's largest run is at most this much larger than its smallest: at most a fifth of the
# attention's work (itself a tenth of a step) goes into padding.
MAX_LENGTH_RATIO = 1.25
# Groups are cut so that one matrix of scores stays around this many elements (bf16: 16 MiB).
MAX_SCORES = 1 << 23
# Long sequences are cut into runs of this many queries: a run has no keys behind its last query,
# which saves up to half of the products of a causal square.
QUERIES_PER_RUN = 256
# A shorter common beginning (template words) costs more in ragged attention than it saves.
MIN_SHARED_TOKENS = 16

# The library behind matrix products compiles and keeps a kernel per shape: with every batch a new
# shape, two gigabytes of kernels pile up. Rounded sizes repeat.
TOKEN_MULTIPLE = 32
LENGTH_MULTIPLE = 16

Rows = npt.NDArray[np.int64]


def round_up(size: int, multiple: int) -> int:
    """Return the next multiple at or above a size.

    Args:
        size: At least 0.
        multiple: At least 1.
    """
    return -(-size // multiple) * multiple


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens computed once: ``size`` rows from ``first`` on, behind the rows of their prefix."""

    first: int
    size: int
    past: Rows

    @property
    def rows(self) -> Rows:
        """Its own rows."""
        return np.arange(self.first, self.first + self.size)


def shared_length(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two sequences begin with in common; 0 below what is worth sharing.

    Args:
        one: Token ids.
        other: Token ids.
    """
    size = min(len(one), len(other))
    differs = np.asarray(one[:size]) != np.asarray(other[:size])
    common = int(differs.argmax()) if differs.any() else size
    return common if common >= MIN_SHARED_TOKENS else 0


def prefix_groups(sequences: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return indices of sequences with a common beginning, together and ordered by their tokens.

    They come in the order of their first member; sequences that share nothing stand alone, so
    without anything shared the given order stays.
    """
    order = sorted(range(len(sequences)), key=lambda i: (sequences[i], i))
    found: list[list[int]] = []
    for place, index in enumerate(order):
        if place and shared_length(sequences[order[place - 1]], sequences[index]):
            found[-1].append(index)
        else:
            found.append([index])
    return sorted(found, key=min)


class Tokens:
    """Sequences laid side by side.

    Attributes:
        ids: Flat token ids.
        segments: What is computed, in the order of its rows.
        rows_of: The row of each token, per sequence.
    """

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        """Lay sequences out, group by group."""
        self.ids: list[int] = []
        self.segments: list[Segment] = []
        self.rows_of: list[Rows] = [np.empty(0, np.int64)] * len(sequences)
        for prefix_group in prefix_groups(sequences):
            self._add([sequences[i] for i in prefix_group], prefix_group, np.empty(0, np.int64))

    def _add(self, prefix_group: list[Sequence[int]], indices: list[int], past: Rows) -> None:
        """Add sequences that begin with the tokens of ``past``, ordered by their tokens."""
        depth = len(past)
        for first, end in _stretches(prefix_group, depth):
            members, own = prefix_group[first:end], indices[first:end]
            size = _shared(members)
            segment = Segment(len(self.ids), size - depth, past)
            self.ids += members[0][depth:size]
            if segment.size:
                self.segments.append(segment)
            rows = np.concatenate((past, segment.rows))
            longer = [i for i, member in enumerate(members) if len(member) > size]
            for i, index in enumerate(own):
                if i not in longer:
                    self.rows_of[index] = rows
            if longer:
                self._add([members[i] for i in longer], [own[i] for i in longer], rows)


def _stretches(prefix_group: list[Sequence[int]], depth: int) -> Iterator[tuple[int, int]]:
    """Yield (first, end) of neighbours that share enough beyond ``depth`` to be computed once."""
    first = 0
    for place, (one, other) in enumerate(pairwise(prefix_group), start=1):
        if shared_length(one[depth:], other[depth:]) == 0:
            yield first, place
            first = place
    yield first, len(prefix_group)


def _shared(members: list[Sequence[int]]) -> int:
    """Return the common beginning of members ordered by their tokens: that of the outermost."""
    if len(members) == 1:
        return len(members[0])
    return shared_length(members[0], members[-1])


@dataclass(frozen=True, slots=True)
class _Run:
    queries: Rows
    keys: Rows
    out: Rows
    seen: Rows


def _runs(segments: Sequence[Segment], wanted: Rows | None) -> Iterator[_Run]:
    """Cut segments into runs; with ``wanted`` rows (sorted) only those ask."""
    for segment in segments:
        queries = out = segment.rows
        if wanted is not None:
            bounds = np.searchsorted(wanted, [segment.first, segment.first + segment.size])
            out = np.arange(*bounds)
            queries = wanted[out]
        keys = np.concatenate((segment.past, segment.rows))
        seen = len(segment.past) + 1 + queries - segment.first
        for first in range(0, len(queries), QUERIES_PER_RUN):
            part = slice(first, first + QUERIES_PER_RUN)
            yield _Run(queries[part], keys[: seen[part][-1]], out[part], seen[part])


@dataclass(frozen=True, slots=True)
class TokenLayout:
    """Which rows attend to which.

    ``num_tokens`` is ``num_real`` rounded up, ``num_out`` likewise for the rows of the attention's
    output; rows between belong to no sequence and their gradients are zero. ``kept`` names the rows
    of the stream that go on behind attention (``num_out``,), padding repeats row 0; None is all.
    """

    num_tokens: int
    num_real: int
    num_out: int
    num_out_real: int
    positions: Tensor
    groups: tuple[Group, ...]
    kept: Tensor | None = None

    @classmethod
    def of(
        cls, segments: Sequence[Segment], num_heads: int, wanted: Sequence[int] | None = None
    ) -> TokenLayout:
        """Group the runs of segments.

        Args:
            segments: In the order of their rows.
            num_heads: Query heads; they decide how many runs' scores fit.
            wanted: Rows whose attention output is needed, sorted and distinct; None is all.

        Returns:
            The layout, its rows padded to a multiple of ``TOKEN_MULTIPLE``.
        """
        num_real = sum(segment.size for segment in segments)
        num_tokens = round_up(num_real, TOKEN_MULTIPLE)
        positions = np.zeros(num_tokens, np.int64)
        for segment in segments:
            positions[segment.rows] = len(segment.past) + np.arange(segment.size)
        asked, kept, num_out = None, None, num_real
        if wanted is not None:
            asked, num_out = np.asarray(wanted, np.int64), len(wanted)
            padding = (0, round_up(num_out, TOKEN_MULTIPLE) - num_out)
            kept = torch.from_numpy(np.pad(asked, padding))
        groups = _groups(list(_runs(segments, asked)), num_heads)
        return cls(
            num_tokens,
            num_real,
            round_up(num_out, TOKEN_MULTIPLE),
            num_out,
            torch.from_numpy(positions),
            tuple(_padded(group) for group in groups),
            kept,
        )


def _groups(runs: list[_Run], num_heads: int) -> list[list[_Run]]:
    """Put runs of similar size together."""
    groups: list[list[_Run]] = []
    fewest = most = 0
    for run in sorted(runs, key=lambda run: (len(run.queries), len(run.keys))):
        queries, keys = len(run.queries), len(run.keys)
        low, high = min(fewest, keys), max(most, keys)
        fits = (
            groups
            and queries <= MAX_LENGTH_RATIO * len(groups[-1][0].queries)
            and high <= MAX_LENGTH_RATIO * low
            and num_heads * queries * high * (len(groups[-1]) + 1) <= MAX_SCORES
        )
        if fits:
            groups[-1].append(run)
            fewest, most = low, high
        else:
            groups.append([run])
            fewest = most = keys
    return groups


def _padded(runs: list[_Run]) -> Group:
    queries = round_up(max(len(run.queries) for run in runs), LENGTH_MULTIPLE)
    keys = round_up(max(len(run.keys) for run in runs), LENGTH_MULTIPLE)
    query_rows, out_rows = (np.full((len(runs), queries), -1, np.int64) for _ in range(2))
    key_rows = np.full((len(runs), keys), -1, np.int64)
    seen = np.ones((len(runs), queries), np.int64)
    for index, run in enumerate(runs):
        query_rows[index, : len(run.queries)] = run.queries
        out_rows[index, : len(run.out)] = run.out
        key_rows[index, : len(run.keys)] = run.keys
        seen[index, : len(run.seen)] = run.seen
    return Group(*map(torch.from_numpy, (query_rows, key_rows, out_rows, seen)))
