"""Test items whose words stand in the training text: they measure memory, not ability.

An item is contaminated when enough of its word n-grams occur in one training text. Words are
lower-cased runs of letters and digits, so punctuation and typing do not hide a copy. What this
does not see: paraphrases.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonValue

ORDER = 8
MIN_WORDS = 4
THRESHOLD = 0.5

Gram = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """A test item found in a training text: which share of its n-grams, and the first of them."""

    item_id: str
    training_id: str
    share: float
    words: str

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {
            "item_id": self.item_id,
            "training_id": self.training_id,
            "share": self.share,
            "words": self.words,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ContaminationReport:
    """What was found: ``clean + contaminated + unjudged`` are all items, each once.

    ``unjudged`` items are too short for an n-gram to mean anything; they stay in the test set.
    """

    clean: tuple[str, ...]
    contaminated: tuple[Overlap, ...]
    unjudged: tuple[str, ...]
    order: int
    threshold: float

    @property
    def kept(self) -> frozenset[str]:
        """The items to test on."""
        return frozenset(self.clean) | frozenset(self.unjudged)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {
            "clean": list(self.clean),
            "contaminated": [overlap.to_dict() for overlap in self.contaminated],
            "unjudged": list(self.unjudged),
            "order": self.order,
            "threshold": self.threshold,
        }


def find_contamination(
    items: Mapping[str, str],
    training: Iterable[tuple[str, str]],
    *,
    order: int = ORDER,
    threshold: float = THRESHOLD,
    min_words: int = MIN_WORDS,
) -> ContaminationReport:
    """Look for test items in training texts.

    Items shorter than ``order`` words count as one n-gram of their own length, down to
    ``min_words``. Memory grows with the test items, not with the training text, which is read once.

    Args:
        items: Test texts by item id.
        training: (id, text) of what was trained on, in any number.
        order: Words per n-gram, at least 1.
        threshold: The share of an item's n-grams in one training text from which on it counts.
        min_words: Items with fewer words are not checked.

    Raises:
        DataError: if ``order`` or ``min_words`` is below 1 or the threshold not in (0, 1].
    """
    if order < 1 or min_words < 1 or not 0 < threshold <= 1:
        raise DataError(
            f"contamination is asked for with order {order}, min_words {min_words} and threshold "
            f"{threshold}, expected at least 1, at least 1 and a share above 0 up to 1"
        )
    words = {identity: _words(text) for identity, text in items.items()}
    grams = {
        identity: frozenset(_grams(found, min(order, len(found))))
        for identity, found in words.items()
        if len(found) >= min_words
    }
    best = _best_overlaps(grams, training)
    contaminated = tuple(
        best[identity]
        for identity in items
        if identity in best and best[identity].share >= threshold
    )
    taken = {overlap.item_id for overlap in contaminated}
    return ContaminationReport(
        clean=tuple(identity for identity in grams if identity not in taken),
        contaminated=contaminated,
        unjudged=tuple(identity for identity in items if identity not in grams),
        order=order,
        threshold=threshold,
    )


def _best_overlaps(
    grams: Mapping[str, frozenset[Gram]], training: Iterable[tuple[str, str]]
) -> dict[str, Overlap]:
    """Return for each item the training text that holds most of its n-grams, if any does."""
    owners: dict[Gram, list[str]] = {}
    for identity, own in grams.items():
        for gram in own:
            owners.setdefault(gram, []).append(identity)
    orders = sorted({len(gram) for gram in owners})
    best: dict[str, Overlap] = {}
    for training_id, text in training:
        words = _words(text)
        found = {gram: None for n in orders for gram in _grams(words, n) if gram in owners}
        hits = Counter(identity for gram in found for identity in owners[gram])
        for identity, count in hits.items():
            share = count / len(grams[identity])
            if identity not in best or share > best[identity].share:
                first = next(gram for gram in found if identity in owners[gram])
                best[identity] = Overlap(
                    item_id=identity, training_id=training_id, share=share, words=" ".join(first)
                )
    return best


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold())


def _grams(words: list[str], order: int) -> Iterable[Gram]:
    return (tuple(words[i : i + order]) for i in range(len(words) - order + 1))
