"""Several sources in one run: how often an epoch sees an item of each, and how much it counts.

A mixture is written into the items themselves (``sampling_weight``, ``weights``), so a run folder
holds it, and a resumed run draws what the first one would have drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fine_tuning.core.errors import ConfigError
from fine_tuning.core.example import TokenizedExample
from fine_tuning.core.item import TrainingItem


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureSource:
    """Examples of one origin.

    ``share`` is their part of an epoch's sequences; None takes each of them once an epoch.
    ``weight`` is how much each of their targets counts in the loss.
    """

    examples: Sequence[TokenizedExample]
    share: float | None = None
    weight: float = 1.0


def mixed(sources: Sequence[MixtureSource]) -> list[TrainingItem]:
    """Return the items of all sources, with what an epoch takes of them.

    The sources without a share are seen in full; the others are drawn anew each epoch, so that they
    make up their shares of it: of 900 old chats with share 0.25 beside 30 new ones an epoch sees
    10. A source smaller than its share comes several times an epoch.

    Raises:
        ConfigError: if no source is seen in full, or the shares leave nothing to those that are.
    """
    in_full = sum(len(source.examples) for source in sources if source.share is None)
    shares = [source.share for source in sources if source.share is not None]
    if not in_full or sum(shares) >= 1 or any(share < 0 for share in shares):
        raise ConfigError(
            f"a mixture has {in_full} sequences seen in full and shares {shares} of others, "
            "expected at least one sequence, and shares from 0 that sum to below 1"
        )
    epoch_size = in_full / (1 - sum(shares))
    items = []
    for source in sources:
        wanted = len(source.examples) if source.share is None else source.share * epoch_size
        rate = wanted / max(1, len(source.examples))
        items += [
            TrainingItem.of(example, weight=source.weight, sampling_weight=rate)
            for example in source.examples
        ]
    return items
