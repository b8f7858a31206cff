"""Near duplicates among very many texts: MinHash proposes pairs, true Jaccard similarity decides.

A text is the set of its word triples, case and punctuation aside; where a script sets no spaces,
each character is a word. Memory is 4 bytes for each of 64 hashes per text; the texts themselves
stay with the caller, who is asked again for those few that are compared. Sources: Broder 1997
(MinHash); Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4 (bands).
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray
from rensa import RMinHash

WORDS_PER_SHINGLE = 3
MIN_SHINGLES = 10
NUM_HASHES, NUM_BANDS = 64, 16  # two texts of similarity 0.7 share a band 98.8 times in 100
ESTIMATE_SLACK = 0.2  # the estimate's standard error is 0.06 at similarity 0.7
REVIEW_MARGIN = 0.15
_SEED = 42
_BATCH = 1024
_PAIRS_AT_ONCE = 1 << 15
_MAX_KNOWN_WORDS = 1 << 18
_MAX_ALL_PAIRS = 24
_WORD = re.compile(r"\w+")
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_CHAR_OR_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_MIX = tuple(np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9))

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts by their numbers, and the Jaccard similarity of their word triples."""

    first: int
    second: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Found:
    """What was found: clusters of two and more, and pairs just below the bar, for a person."""

    clusters: list[list[int]]
    similarity: dict[int, float]
    review: list[Pair]


class _WordHashes(dict[str, int]):
    """Hashes of words, each computed once; forgets all when there are very many."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _MAX_KNOWN_WORDS:
            self.clear()
        value = self[word] = xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass"))
        return value


class NearDuplicates:
    """Collects texts, then finds those that say nearly the same.

    Args:
        similarity: The least Jaccard similarity of near duplicates, above 0 and up to 1.
    """

    def __init__(self, similarity: float) -> None:
        self.similarity = similarity
        self._known = _WordHashes()
        self._waiting = array("Q")
        self._waiting_ends = [0]
        self._sketches: list[NDArray[np.uint32]] = []
        self._owners: list[NDArray[np.int64]] = []
        self._waiting_owners: list[int] = []

    def add(self, number: int, text: str) -> bool:
        """Add a text under a number of the caller's; tell whether it is long enough to compare."""
        words = _words(text)
        if len(words) < MIN_SHINGLES + WORDS_PER_SHINGLE - 1:
            return False
        self._waiting.extend(map(self._known.__getitem__, words))
        self._waiting_ends.append(len(self._waiting))
        self._waiting_owners.append(number)
        if len(self._waiting_owners) >= _BATCH:
            self._sketch()
        return True

    def shingles(self, text: str) -> Hashes:
        """Return the hashes of a text's word triples, with repeats."""
        words = _words(text)
        if len(words) < WORDS_PER_SHINGLE:
            return np.empty(0, np.uint64)
        return _mixed(np.fromiter(map(self._known.__getitem__, words), np.uint64, len(words)))

    def find(
        self, text_of: Callable[[int], str], is_same: Callable[[str, str], bool] | None = None
    ) -> Found:
        """Compare all texts.

        Args:
            text_of: Returns the text added under a number.
            is_same: Asked of two texts that are alike enough; None takes all of them.
        """
        self._sketch()
        if not self._sketches:
            return Found([], {}, [])
        sketches, owners = np.concatenate(self._sketches), np.concatenate(self._owners)
        self._sketches, self._owners = [sketches], [owners]
        union = DisjointSets(len(owners))
        similarity: dict[int, float] = {}
        review: list[Pair] = []
        texts = _Remembered(lambda place: self._compared(text_of(int(owners[place]))))
        for first, second in _candidates(sketches, self.similarity - ESTIMATE_SLACK):
            if union.root(first) == union.root(second):
                continue
            (one, words), (other, other_words) = texts(first), texts(second)
            alike = _jaccard(words, other_words)
            if alike >= self.similarity:
                if is_same is not None and not is_same(one, other):
                    continue
                union.join(first, second)
                for place in (first, second):
                    number = int(owners[place])
                    similarity[number] = max(alike, similarity.get(number, 0.0))
            elif alike >= self.similarity - REVIEW_MARGIN:
                review.append(Pair(int(owners[first]), int(owners[second]), alike))
        clusters = [[int(owners[place]) for place in group] for group in union.groups()]
        return Found(clusters, similarity, sorted(review, key=lambda pair: -pair.similarity))

    def _compared(self, text: str) -> tuple[str, Hashes]:
        return text, np.unique(self.shingles(text))

    def _sketch(self) -> None:
        if not self._waiting_owners:
            return
        short = WORDS_PER_SHINGLE - 1
        ends = np.array(self._waiting_ends)
        is_inside = np.ones(len(self._waiting) - short, bool)
        for step in range(1, short + 1):  # no triple reaches over the end of its text
            is_inside[ends[1:-1] - step] = False
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(
            _mixed(np.array(self._waiting))[is_inside],
            (ends - short * np.arange(len(ends))).tolist(),
            NUM_HASHES,
            _SEED,
        )
        self._sketches.append(np.array(matrix.to_rows(), dtype=np.uint32))
        self._owners.append(np.array(self._waiting_owners, dtype=np.int64))
        self._waiting, self._waiting_ends, self._waiting_owners = array("Q"), [0], []


class _Remembered:
    """Texts compared lately, with their shingles; one is often compared several times in a row."""

    def __init__(self, make: Callable[[int], tuple[str, Hashes]]) -> None:
        self._make = make
        self._kept: dict[int, tuple[str, Hashes]] = {}

    def __call__(self, place: int) -> tuple[str, Hashes]:
        if place not in self._kept:
            if len(self._kept) >= _BATCH:
                self._kept.clear()
            self._kept[place] = self._make(place)
        return self._kept[place]


class DisjointSets:
    """Disjoint sets of numbers below ``size``, with path halving."""

    def __init__(self, size: int) -> None:
        self._parent = np.arange(size, dtype=np.int64)
        self._sizes = np.ones(size, dtype=np.int64)

    def root(self, place: int) -> int:
        """Return the least number of a number's set."""
        parent = self._parent
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = int(parent[place])
        return place

    def join(self, one: int, other: int) -> None:
        """Make one set of two."""
        low, high = sorted((self.root(one), self.root(other)))
        if low != high:
            self._parent[high] = low
            self._sizes[low] += self._sizes[high]

    def size_of(self, places: Iterable[int]) -> int:
        """Return how large the set would be that joined those of some numbers."""
        return int(sum(self._sizes[root] for root in {self.root(place) for place in places}))

    def groups(self) -> list[list[int]]:
        """Return the sets of two and more, each in rising order."""
        moved = np.flatnonzero(self._parent != np.arange(len(self._parent)))
        found: dict[int, list[int]] = {}
        for place in moved.tolist():
            root = self.root(place)
            found.setdefault(root, [root]).append(place)
        return [found[root] for root in sorted(found)]


def _words(text: str) -> list[str]:
    return (_WORD if text.isascii() else _CHAR_OR_WORD).findall(text.casefold())


def _mixed(words: Hashes) -> Hashes:
    """Return one hash per run of three words; which word stands where makes a difference."""
    with np.errstate(over="ignore"):
        mixed = words[:-2] * _MIX[0] + words[1:-1] * _MIX[1] + words[2:] * _MIX[2]
        whole: Hashes = mixed ^ (mixed >> np.uint64(29))
    return whole


def _jaccard(one: Hashes, other: Hashes) -> float:
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)


def _candidates(sketches: NDArray[np.uint32], least: float) -> Iterable[tuple[int, int]]:
    """Yield pairs that share a band and whose estimated similarity is not below ``least``."""
    pairs = np.empty(0, np.uint64)
    width = NUM_HASHES // NUM_BANDS
    for band in range(NUM_BANDS):
        keys = _band_keys(sketches[:, band * width : (band + 1) * width])
        pairs = np.union1d(pairs, _likely(sketches, _pairs_of_equals(keys), least))
    for pair in pairs:  # sorted: a text's pairs come one after the other
        yield int(pair >> np.uint64(32)), int(pair & np.uint64(0xFFFFFFFF))


def _band_keys(rows: NDArray[np.uint32]) -> Hashes:
    keys = np.zeros(len(rows), np.uint64)
    with np.errstate(over="ignore"):
        for column in range(rows.shape[1]):
            keys = (keys ^ rows[:, column]) * _MIX[column % len(_MIX)]
            keys ^= keys >> np.uint64(31)
    return keys


def _pairs_of_equals(keys: Hashes) -> Hashes:
    """Return pairs of places with equal keys, packed into 64 bits.

    In small groups every pair; in large ones each place with the first and with its neighbour.
    """
    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    sizes = np.diff(np.r_[starts, len(ranked)])
    pieces: list[Hashes] = []
    for size in np.unique(sizes[sizes > 1]).tolist():
        members = order[starts[sizes == size][:, None] + np.arange(size)[None, :]]
        if size <= _MAX_ALL_PAIRS:
            left, right = np.triu_indices(size, 1)
        else:
            left = np.r_[np.zeros(size - 1, int), np.arange(1, size - 1)]
            right = np.r_[np.arange(1, size), np.arange(2, size)]
        pieces.append(_packed(members[:, left].ravel(), members[:, right].ravel()))
    return np.concatenate(pieces) if pieces else np.empty(0, np.uint64)


def _packed(one: NDArray[np.int64], other: NDArray[np.int64]) -> Hashes:
    low, high = np.minimum(one, other), np.maximum(one, other)
    return (low.astype(np.uint64) << np.uint64(32)) | high.astype(np.uint64)


def _likely(sketches: NDArray[np.uint32], pairs: Hashes, least: float) -> Hashes:
    """Return the pairs whose share of equal hashes, an estimate of Jaccard's, is large enough."""
    kept: list[Hashes] = []
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        some = pairs[start : start + _PAIRS_AT_ONCE]
        first, second = (
            (some >> np.uint64(32)).astype(int),
            (some & np.uint64(0xFFFFFFFF)).astype(int),
        )
        share = (sketches[first] == sketches[second]).mean(axis=1)
        kept.append(some[share >= least])
    return np.concatenate(kept) if kept else pairs
