"""How much work a batch is, before it is done: tokens computed, at once and one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fine_tuning.core.item import Item
from fine_tuning.engine.data_parallel import shares
from fine_tuning.engine.step import cuts

# All threads on every product, compared with a share of the sequences for each (docs/LOG.md).
PRODUCT_EVENNESS = 0.84


@dataclass(frozen=True, slots=True)
class BatchCost:
    """Distinct tokens of a batch.

    ``at_work_tokens`` are computed at the same time, in ``num_shares``; ``waited_tokens`` is what
    one thread computes while the batch lasts.
    """

    num_shares: int
    at_work_tokens: int
    waited_tokens: float
    longest_tokens: int


def batch_cost(sequences: Sequence[Item], num_threads: int, *, may_share: bool) -> BatchCost:
    """Return the cost of one batch, as ``accumulate_gradients`` would cut and share it out.

    Args:
        sequences: The batch.
        num_threads: Threads of the process, at least 1.
        may_share: Whether sequences may be shared out over the threads.
    """
    parts = shares(sequences, num_threads if may_share else 1)
    tokens = [[n for _, n in cuts([sequences[i] for i in part])] for part in parts]
    waited = float(max((sum(own) for own in tokens), default=0))
    if len(parts) == 1 and num_threads > 1:
        waited /= PRODUCT_EVENNESS * num_threads
    return BatchCost(
        len(parts),
        sum(max(own, default=0) for own in tokens),
        waited,
        max((len(sequence.ids) for sequence in sequences), default=0),
    )
