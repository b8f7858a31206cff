"""Hidden states that enter the first adapted block: they never change, so they are computed once.

With adapters in the upper blocks only, what the lower ones make of a sequence is the same in every
epoch. It is kept in bfloat16, a row per distinct token of its prefix; the run computes with the
rounded states from its first step on, so that it does not matter when they were computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fine_tuning.core.item import Item
from fine_tuning.engine.decoder import Decoder, StepContext
from fine_tuning.engine.layout import Tokens
from fine_tuning.engine.step import MicroBatch, cut_ids, micro_batches

Store = npt.NDArray[np.int16]
"""Rows of bfloat16 bits (num_rows, H)."""

STATE_BYTES = 2


class FrozenPrefixCache:
    """Where the states of sequences lie; :meth:`fill` computes them.

    Args:
        first: The first adapted block.
        sequences: All that will be asked for.
        store: Holds ``num_rows(sequences)`` rows; filled, or to be filled.
    """

    def __init__(self, first: int, sequences: Sequence[Item], store: Store) -> None:
        self.first = first
        self._sequences = [sequence for sequence in sequences if any(sequence.mask)]
        self._store = store
        ids = _distinct(self._sequences)
        self._rows = dict(zip(ids, Tokens(ids).rows_of, strict=True))

    @staticmethod
    def num_rows(sequences: Sequence[Item]) -> int:
        """Return the distinct tokens of sequences that learn something."""
        return len(Tokens(_distinct([each for each in sequences if any(each.mask)])).ids)

    @torch.no_grad()
    def fill(self, decoder: Decoder) -> None:
        """Compute all states, in a fixed order with all threads, so that they repeat to the bit."""
        stacks = decoder.stack_adapter(None)
        for batch in micro_batches(decoder, self._sequences):
            context = decoder.context(batch.segments)
            entered = decoder.embed(batch.ids, context)
            x_TH, _ = decoder.hidden(entered, stacks, context, save_from=None, end=self.first)
            bits = x_TH.to(torch.bfloat16).view(torch.int16).numpy()
            for ids, rows in zip(batch.sequences, batch.rows_of, strict=True):
                self._store[self._rows[ids]] = bits[rows]

    def enter(self, batch: MicroBatch, context: StepContext) -> Tensor:
        """Return what enters block ``first`` (T, H), float32, with rows that round T up.

        Args:
            batch: Sequences all among those the cache was made for.
            context: The step's; its layout says how many rows T there are.
        """
        layout = context.every.layout
        bits = np.zeros((layout.num_tokens, self._store.shape[1]), np.int16)
        for ids, rows in zip(batch.sequences, batch.rows_of, strict=True):
            bits[rows] = self._store[self._rows[ids]]
        return torch.from_numpy(bits).view(torch.bfloat16).float()


def _distinct(sequences: Sequence[Item]) -> list[tuple[int, ...]]:
    return list(dict.fromkeys(cut_ids(sequence) for sequence in sequences))
