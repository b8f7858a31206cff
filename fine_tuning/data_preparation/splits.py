"""Which split a cluster of conversations belongs to: drawn from its name and the seed alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from fine_tuning.core.errors import ConfigError
from fine_tuning.core.naming import unit_interval
from fine_tuning.data_preparation.snapshot import SPLITS

MIN_CONVERSATIONS_FOR_ALL_SPLITS = 10
_RATIO_TOLERANCE = 1e-6  # 0.8 + 0.1 + 0.1 misses 1 by units in the last place


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """The share of conversations each split gets; the three add up to 1.

    Raises:
        ConfigError: on construction, if a share is out of range or they do not add up to 1.
    """

    train: float = 0.8
    validation: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        """Refuse shares that leave data over, use it twice, or leave nothing to learn from."""
        shares = (self.train, self.validation, self.test)
        written = " + ".join(f"{share:g}" for share in shares)
        if not all(0 <= share <= 1 for share in shares) or self.train == 0:
            raise ConfigError(
                f"the ratios are {written}, expected each from 0 to 1 and train above 0"
            )
        if not math.isclose(sum(shares), 1, abs_tol=_RATIO_TOLERANCE):
            raise ConfigError(f"the ratios {written} add up to {sum(shares):g}, expected 1")

    def of(self, split: str) -> float:
        """Return the share of a split."""
        return float(getattr(self, split))

    def interval(self, split: str) -> tuple[float, float]:
        """Return the part of [0, 1) whose draws belong to a split; the last ends at 1."""
        start = sum(self.of(name) for name in SPLITS[: SPLITS.index(split)])
        return start, 1.0 if split == SPLITS[-1] else start + self.of(split)


def split_clusters(
    clusters: Iterable[str], ratios: Ratios, *, seed: int = 0
) -> tuple[dict[str, str], dict[str, str]]:
    """Draw the split of each cluster from its name and the seed alone.

    One rule bends that law, for small data only: with ten conversations or more, a validation or
    test split with a share above 0 that would be empty borrows the cluster whose draw lies nearest
    to its interval from the split that holds it, if that keeps another one. So does an empty train
    split, with any number of conversations. A borrowed cluster goes home when later data gives the
    split one of its own; no other cluster ever moves.

    Args:
        clusters: The cluster of each conversation.
        ratios: The share of each split.
        seed: Salts the draw.

    Returns:
        The split of each cluster, and those borrowed with the split their draw had named.
    """
    members = list(clusters)
    draws = {cluster: unit_interval(cluster, salt=str(seed)) for cluster in sorted(set(members))}
    drawn = {cluster: _split_of(draw, ratios) for cluster, draw in draws.items()}
    placed = dict(drawn)
    wanting = ["train"]
    if len(members) >= MIN_CONVERSATIONS_FOR_ALL_SPLITS:
        wanting += ["validation", "test"]
    for split in wanting:
        sizes = Counter(placed.values())
        if sizes[split] or not ratios.of(split):
            continue
        keep = 0 if split == "train" else 1
        lenders = [cluster for cluster, holder in placed.items() if sizes[holder] > keep]
        if lenders:
            low, high = ratios.interval(split)
            nearest = min(lenders, key=lambda c: max(low - draws[c], draws[c] - high))
            placed[nearest] = split
    return placed, {c: drawn[c] for c in placed if placed[c] != drawn[c]}


def _split_of(draw: float, ratios: Ratios) -> str:
    for split in SPLITS:
        low, high = ratios.interval(split)
        if low <= draw < high:
            return split
    return SPLITS[-1]
