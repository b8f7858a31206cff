"""One step: loss of token sequences, and its gradient by the adapter, by hand.

Sequences are cut after their last target (what follows cannot matter), shared out over threads, and
processed in micro-batches of about ``MICRO_BATCH_TOKENS``, common beginnings once, behind the last
attention only rows that predict. Legend: T tokens, U rows that predict, N targets, H width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fine_tuning.core.errors import DataError
from fine_tuning.core.item import Item, grouped
from fine_tuning.engine.data_parallel import shares, threads_for
from fine_tuning.engine.decoder import Decoder, StepContext
from fine_tuning.engine.head import SoftTargets, weighted_sum
from fine_tuning.engine.layout import Rows, Segment, Tokens, prefix_groups, shared_length
from fine_tuning.engine.lora import LoraAdapter

# Matrix products are near their peak from about 512 rows on; more rows only cost memory.
MICRO_BATCH_TOKENS = 1024
# A cut computes a common beginning once more; up to twice the tokens, a micro-batch may overrun by
# this many times the length of that beginning instead.
OVERRUN = 3


@dataclass(frozen=True, slots=True)
class StepResult:
    """Loss summed over targets, each times its item's weight, in nats; and how many they are."""

    loss_sum: float
    num_targets: int
    num_tokens: int

    def __add__(self, other: StepResult) -> StepResult:
        """Pool two results."""
        return StepResult(
            self.loss_sum + other.loss_sum,
            self.num_targets + other.num_targets,
            self.num_tokens + other.num_tokens,
        )


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Sequences laid out for one pass.

    ``rows`` (sorted) predict a target; ``places`` says which of them predicts each of ``targets``,
    which come sequence by sequence, ``counts`` of each, with their items' ``weights`` (float64).
    ``members`` are the sequences' indices, ``sequences`` their tokens, ``rows_of`` the row of each.
    """

    ids: Tensor
    segments: tuple[Segment, ...]
    rows: Tensor
    places: Tensor
    targets: Tensor
    weights: Tensor
    counts: tuple[int, ...]
    members: tuple[int, ...]
    sequences: tuple[tuple[int, ...], ...]
    rows_of: tuple[Rows, ...]

    @classmethod
    def of(cls, sequences: Sequence[Item], members: Sequence[int] | None = None) -> MicroBatch:
        """Return sequences laid out; each ends one token before its last target.

        Args:
            sequences: Each with at least one target.
            members: Their indices in the batch; None numbers them from 0.
        """
        wanted = [[i for i, bit in enumerate(each.mask) if bit] for each in sequences]
        cut = [cut_ids(each) for each in sequences]
        tokens = Tokens(cut)
        asked = [own[np.asarray(w) - 1] for own, w in zip(tokens.rows_of, wanted, strict=True)]
        rows, places = np.unique(np.concatenate(asked), return_inverse=True)
        targets = [s.ids[i] for s, w in zip(sequences, wanted, strict=True) for i in w]
        return cls(
            torch.tensor(tokens.ids),
            tuple(tokens.segments),
            torch.from_numpy(rows),
            torch.from_numpy(places),
            torch.tensor(targets),
            torch.tensor([w for each in sequences for w in each.weights], dtype=torch.float64),
            tuple(len(w) for w in wanted),
            tuple(range(len(sequences)) if members is None else members),
            tuple(cut),
            tuple(tokens.rows_of),
        )

    @property
    def num_tokens(self) -> int:
        """Tokens of all sequences, each counted in full."""
        return sum(map(len, self.sequences))


def cut_ids(sequence: Item) -> tuple[int, ...]:
    """Return the tokens that decide a sequence's loss: up to the one before its last target."""
    last = max(i for i, bit in enumerate(sequence.mask) if bit)
    return tuple(sequence.ids[:last])


def cuts(
    sequences: Sequence[Item], max_tokens: int = MICRO_BATCH_TOKENS
) -> Iterator[tuple[list[int], int]]:
    """Yield (indices, distinct tokens) of micro-batches of at most ``max_tokens``.

    A longer sequence goes alone. A common beginning counts once, and is not computed again in a
    next micro-batch to save less than ``OVERRUN`` times its length. A group is never cut. Sequences
    without targets are left out.

    Args:
        sequences: The batch.
        max_tokens: The most distinct tokens of a micro-batch.
    """
    learnt = [index for index, sequence in enumerate(sequences) if any(sequence.mask)]
    units = {
        member: [learnt[place] for place in unit]
        for unit in grouped([sequences[index] for index in learnt])
        for member in (learnt[place] for place in unit)
    }
    pending: list[int] = []
    tokens = 0
    for prefix_group in prefix_groups([sequences[index].ids for index in learnt]):
        before: tuple[int, ...] = ()
        for index in (learnt[place] for place in prefix_group):
            unit = units.pop(index, [])
            if not unit:
                continue  # taken with another of its group
            for other in unit:
                units.pop(other, None)
            new_tokens, shared = 0, shared_length(before, sequences[unit[0]].ids)
            for ids in (sequences[member].ids for member in unit):
                new_tokens += len(ids) - shared_length(before, ids)
                before = ids
            if pending and tokens + new_tokens > max_tokens + min(max_tokens, OVERRUN * shared):
                yield pending, tokens
                pending, tokens, new_tokens = [], 0, new_tokens + shared
            pending.extend(unit)
            tokens += new_tokens
    if pending:
        yield pending, tokens


def micro_batches(decoder: Decoder, sequences: Sequence[Item]) -> Iterator[MicroBatch]:
    """Lay sequences out in micro-batches, cut as :func:`cuts` does.

    Args:
        decoder: Whose vocabulary the token ids are of.
        sequences: The batch.

    Raises:
        DataError: if a token id is outside the decoder's vocabulary.
    """
    for sequence in sequences:
        _refuse_foreign(decoder, sequence)
    for members, _ in cuts(sequences):
        yield MicroBatch.of([sequences[index] for index in members], members)


def _refuse_foreign(decoder: Decoder, sequence: Item) -> None:
    ids = sequence.ids if any(sequence.mask) else (0,)
    if max(ids) >= decoder.shape.vocab_size or min(ids) < 0:
        raise DataError(
            f"example {sequence.example_id} holds a token id outside the vocabulary of "
            f"{decoder.shape.vocab_size}; it was tokenized for another model",
            next_command="fine-tuning prepare",
        )


class FrozenPrefix(Protocol):
    """What the blocks below ``first``, which nobody adapts, made of sequences."""

    @property
    def first(self) -> int:
        """The first block that is still to be computed."""
        ...

    def enter(self, batch: MicroBatch, context: StepContext) -> Tensor:
        """Return what enters that block (T, H), float32.

        Args:
            batch: The sequences.
            context: The step's; its layout says how many rows T there are.
        """
        ...


def _enter(
    decoder: Decoder, frozen_prefix: FrozenPrefix | None, batch: MicroBatch, context: StepContext
) -> tuple[Tensor, int]:
    """Return what enters a block, and which."""
    if frozen_prefix is None:
        return decoder.embed(batch.ids, context), 0
    return frozen_prefix.enter(batch, context), frozen_prefix.first


Teacher = Callable[[Item], SoftTargets]
"""Returns the distributions of an item's targets (N, K), in their order."""


def accumulate_gradients(
    decoder: Decoder,
    adapter: LoraAdapter,
    sequences: Sequence[Item],
    *,
    coefficients: float | Sequence[float],
    teacher: Teacher | None = None,
    frozen_prefix: FrozenPrefix | None = None,
) -> StepResult:
    """Add the gradient of a weighted sum of the targets' losses to the adapter's ``.grad``.

    A target counts with its item's weight times its sequence's coefficient. Returns the loss and
    counts, weighted by the items alone.

    Args:
        decoder: The frozen base.
        adapter: Its factors' gradients are added to, not overwritten.
        sequences: At least one target among them, or nothing happens.
        coefficients: One per sequence, of any sign, or one for all: 1 / (number of targets of the
            whole optimizer step) gives the mean loss's gradient.
        teacher: Gives distributions to come near to, in place of the targets; asked for one
            micro-batch at a time, from several threads.
        frozen_prefix: Knows the states that enter the first adapted block; None computes them.

    Raises:
        DataError: if a token id is outside the decoder's vocabulary.
    """
    if isinstance(coefficients, int | float):
        coefficients = [coefficients] * len(sequences)
    parts = shares(sequences, torch.get_num_threads() if decoder.shares_steps else 1)
    work = _Step(decoder, adapter, sequences, coefficients, teacher, frozen_prefix, len(parts) == 1)
    total = StepResult(0.0, 0, 0)
    with threads_for(parts) as run:
        for result, own in run(work.of_share, parts):
            total += result
            if own is not adapter:
                adapter.add_gradients(own)
    return total


@dataclass(frozen=True, slots=True)
class _Step:
    """What :func:`accumulate_gradients` was asked for."""

    decoder: Decoder
    adapter: LoraAdapter
    sequences: Sequence[Item]
    coefficients: Sequence[float]
    teacher: Teacher | None
    frozen_prefix: FrozenPrefix | None
    is_alone: bool

    @torch.no_grad()
    def of_share(self, part: Sequence[int]) -> tuple[StepResult, LoraAdapter]:
        """Compute one share, given by its indices; several have gradients of their own."""
        decoder, teacher = self.decoder, self.teacher
        own = self.adapter if self.is_alone else self.adapter.with_own_gradients()
        stacks = decoder.stack_adapter(own)
        chosen = [self.sequences[index] for index in part]
        result = StepResult(0.0, 0, 0)
        for batch in micro_batches(decoder, chosen):
            context = decoder.context(batch.segments, batch.rows.tolist())
            lowest = next(i for i, stack in enumerate(stacks) if not stack.is_empty)
            entered, first = _enter(decoder, self.frozen_prefix, batch, context)
            y_UH, kept = decoder.hidden(entered, stacks, context, save_from=lowest, first=first)
            del entered
            counted = [self.coefficients[part[member]] for member in batch.members]
            taught = teacher and SoftTargets.joined([teacher(chosen[m]) for m in batch.members])
            dy_UH, loss_sum = _head_gradient(decoder, batch, context, y_UH, counted, taught)
            del y_UH
            decoder.backward(dy_UH, kept, stacks, context, lowest=lowest)
            result += StepResult(loss_sum, len(batch.targets), batch.num_tokens)
        return result, own


def _head_gradient(
    decoder: Decoder,
    batch: MicroBatch,
    context: StepContext,
    y_UH: Tensor,
    coefficients: Sequence[float],
    soft: SoftTargets | None,
) -> tuple[Tensor, float]:
    """Return the gradient by what leaves the last block (U, H), and the loss."""
    x_UH = y_UH[: len(batch.rows)]
    h_UH, rstd_U = context.last.norm(x_UH, decoder.output_norm)
    repeats = torch.tensor(batch.counts)
    each_N = torch.tensor(coefficients, dtype=torch.float64).repeat_interleave(repeats)
    weights_N = (batch.weights * each_N).float()
    losses_N, dh_NH = decoder.head.loss_and_gradient(
        h_UH[batch.places], batch.targets, weights_N, soft
    )
    dh_UH = torch.zeros_like(h_UH).index_add_(0, batch.places, dh_NH)
    dy_UH = torch.zeros_like(y_UH)
    dx_UH = dy_UH[: len(batch.rows)]
    decoder.kernels.rmsnorm_backward(dh_UH, x_UH, decoder.output_norm, rstd_U, dx_UH)
    return dy_UH, weighted_sum(losses_N, batch.weights)


def evaluate_loss(
    decoder: Decoder,
    adapter: LoraAdapter | None,
    sequences: Sequence[Item],
    frozen_prefix: FrozenPrefix | None = None,
) -> StepResult:
    """Return the loss without gradients; the head is computed in float32."""
    scores = score_targets(decoder, adapter, sequences, frozen_prefix)
    return StepResult(
        -sum(score.weighted(item) for score, item in zip(scores, sequences, strict=True)),
        sum(len(score.log_probabilities) for score in scores),
        sum(score.num_tokens for score in scores),
    )


@dataclass(frozen=True, slots=True)
class ExampleScore:
    """Per target of one example: its log-probability, and whether it was the likeliest token."""

    log_probabilities: tuple[float, ...]
    correct: tuple[bool, ...]
    num_tokens: int

    def weighted(self, item: Item) -> float:
        """Return the log-probability of the item's targets together, each times its weight."""
        return sum(w * p for w, p in zip(item.weights, self.log_probabilities, strict=True))


def score_targets(
    decoder: Decoder,
    adapter: LoraAdapter | None,
    sequences: Sequence[Item],
    frozen_prefix: FrozenPrefix | None = None,
) -> list[ExampleScore]:
    """Score each example's targets, in the order given; the head is computed in float32.

    Without an adapter it is the base that scores: the reference of a preference objective. An
    example without targets gets an empty score.
    """
    parts = shares(sequences, torch.get_num_threads() if decoder.shares_steps else 1)
    work = partial(_score_share, decoder, adapter, frozen_prefix, sequences)
    by_index: dict[int, ExampleScore] = {}
    with threads_for(parts) as run:
        for part, scores in zip(parts, run(work, parts), strict=True):
            by_index.update(zip(part, scores, strict=True))
    return [by_index[index] for index in range(len(sequences))]


@torch.no_grad()
def _score_share(
    decoder: Decoder,
    adapter: LoraAdapter | None,
    frozen_prefix: FrozenPrefix | None,
    every: Sequence[Item],
    part: Sequence[int],
) -> list[ExampleScore]:
    stacks, sequences = decoder.stack_adapter(adapter), [every[index] for index in part]
    scores = [ExampleScore((), (), 0)] * len(sequences)
    for batch in micro_batches(decoder, sequences):
        context = decoder.context(batch.segments, batch.rows.tolist())
        entered, first = _enter(decoder, frozen_prefix, batch, context)
        x_UH, _ = decoder.hidden(entered, stacks, context, save_from=None, first=first)
        h_UH = output_norm(decoder, x_UH[: len(batch.rows)])
        found = decoder.head.log_probabilities(h_UH[batch.places], batch.targets)
        parts = (torch.split(tensor, list(batch.counts)) for tensor in found)
        rows = zip(batch.members, batch.sequences, *parts, strict=True)
        for index, ids, log_probability, is_top in rows:
            scores[index] = ExampleScore(
                tuple(log_probability.tolist()), tuple(is_top.tolist()), len(ids)
            )
    return scores


def output_norm(decoder: Decoder, x_NH: Tensor) -> Tensor:
    """Return the output norm of hidden rows, in float32."""
    h_NH, rstd_N = torch.empty_like(x_NH), torch.empty(len(x_NH), dtype=torch.float32)
    decoder.kernels.rmsnorm(x_NH, decoder.output_norm, decoder.shape.norm_eps, h_NH, rstd_N)
    return h_NH


@torch.no_grad()
def next_token_logits(
    decoder: Decoder, adapter: LoraAdapter | None, ids: Sequence[int], *, first: int = 0
) -> Tensor:
    """Return logits (len(ids) - first, V) in float32.

    Row i predicts the token after ``ids[: first + i + 1]``.
    """
    context = decoder.context(Tokens([ids]).segments)
    stacks, entered = decoder.stack_adapter(adapter), decoder.embed(torch.tensor(ids), context)
    x_TH, _ = decoder.hidden(entered, stacks, context, save_from=None)
    return decoder.head.logits(output_norm(decoder, x_TH[first : len(ids)]))
