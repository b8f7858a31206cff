"""One step: loss of token sequences, and its gradient by the adapter, by hand.

Sequences are cut after their last target (what follows cannot matter), laid side by side without
padding, shared out over threads, and processed in micro-batches of about ``MICRO_BATCH_TOKENS``.
Legend: T tokens, N target
rows, H width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fine_tuning.core.errors import DataError
from fine_tuning.core.example import TokenizedExample
from fine_tuning.engine.block import BlockAdapter, block_backward
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.engine.workers import on_each_share

# Matrix products are near their peak from about 512 rows on; more rows only cost memory.
MICRO_BATCH_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class StepResult:
    """Loss summed over targets, in nats, and what it is a sum over."""

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
    """Flat ids (T,), rows that predict a target (N,), the targets (N,), lengths of sequences."""

    ids: Tensor
    rows: Tensor
    targets: Tensor
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, sequences: Sequence[TokenizedExample]) -> MicroBatch:
        """Lay sequences side by side; each ends one token before its last target."""
        ids: list[int] = []
        rows: list[int] = []
        targets: list[int] = []
        lengths = []
        for sequence in sequences:
            wanted = [i for i, bit in enumerate(sequence.mask) if bit]
            rows += [len(ids) + i - 1 for i in wanted]
            targets += [sequence.ids[i] for i in wanted]
            ids += sequence.ids[: wanted[-1]]
            lengths.append(wanted[-1])
        return cls(torch.tensor(ids), torch.tensor(rows), torch.tensor(targets), tuple(lengths))


def micro_batches(
    decoder: Decoder, sequences: Sequence[TokenizedExample], max_tokens: int = MICRO_BATCH_TOKENS
) -> Iterator[MicroBatch]:
    """Cut sequences into micro-batches of at most ``max_tokens`` (a longer sequence goes alone).

    Raises:
        DataError: if a token id is outside the decoder's vocabulary.
    """
    pending: list[TokenizedExample] = []
    tokens = 0
    for sequence in sequences:
        if not any(sequence.mask):
            continue
        if max(sequence.ids) >= decoder.shape.vocab_size or min(sequence.ids) < 0:
            raise DataError(
                f"example {sequence.example_id} holds a token id outside the vocabulary of "
                f"{decoder.shape.vocab_size}; it was tokenized for another model",
                next_command="fine-tuning prepare",
            )
        if pending and tokens + len(sequence.ids) > max_tokens:
            yield MicroBatch.of(pending)
            pending, tokens = [], 0
        pending.append(sequence)
        tokens += len(sequence.ids)
    if pending:
        yield MicroBatch.of(pending)


def accumulate_gradients(
    decoder: Decoder,
    adapter: LoraAdapter,
    sequences: Sequence[TokenizedExample],
    *,
    scale: float,
) -> StepResult:
    """Add ``scale`` times the gradient of the summed loss to the adapter's ``.grad``.

    Args:
        decoder: The frozen base.
        adapter: Its factors' gradients are added to, not overwritten.
        sequences: At least one target among them, or nothing happens.
        scale: 1 / (number of targets of the whole optimizer step) gives the mean loss's gradient.
    """

    @torch.no_grad()
    def share(part: Sequence[TokenizedExample]) -> tuple[StepResult, LoraAdapter]:
        own = adapter.with_own_gradients()
        stacks = decoder.stack_adapter(own)
        result = StepResult(0.0, 0, 0)
        for batch in micro_batches(decoder, part):
            result += _micro_step(decoder, stacks, batch, scale)
        return result, own

    total = StepResult(0.0, 0, 0)
    for _, (result, own) in on_each_share(share, sequences):
        total += result
        adapter.add_gradients(own)
    return total


def _micro_step(
    decoder: Decoder, stacks: Sequence[BlockAdapter], batch: MicroBatch, scale: float
) -> StepResult:
    context = decoder.context(batch.lengths)
    lowest = next(i for i, stack in enumerate(stacks) if not stack.is_empty)
    x_TH, kept = decoder.hidden(batch.ids, stacks, context, save_from=lowest)
    x_NH = x_TH[batch.rows]
    h_NH, rstd_N = context.norm(x_NH, decoder.output_norm)
    loss, dh_NH = decoder.head.loss_and_gradient(h_NH, batch.targets, scale)
    dx_NH = torch.zeros_like(x_NH)
    decoder.kernels.rmsnorm_backward(dh_NH, x_NH, decoder.output_norm, rstd_N, dx_NH)
    dy_TH = torch.zeros_like(x_TH).index_copy_(0, batch.rows, dx_NH)
    for index in range(len(decoder.blocks) - 1, lowest - 1, -1):
        block, is_lowest = decoder.blocks[index], index == lowest
        dy_TH = block_backward(
            dy_TH, kept.pop(), block, stacks[index], context, needs_dx=not is_lowest
        )
    return StepResult(loss, len(batch.targets), len(batch.ids))


def evaluate_loss(
    decoder: Decoder, adapter: LoraAdapter | None, sequences: Sequence[TokenizedExample]
) -> StepResult:
    """Return the loss without gradients; the head is computed in float32."""
    scores = score_targets(decoder, adapter, sequences)
    return StepResult(
        -sum(sum(score.log_probabilities) for score in scores),
        sum(len(score.log_probabilities) for score in scores),
        sum(score.num_tokens for score in scores),
    )


@dataclass(frozen=True, slots=True)
class ExampleScore:
    """Per target of one example: its log-probability, and whether it was the likeliest token."""

    log_probabilities: tuple[float, ...]
    correct: tuple[bool, ...]
    num_tokens: int


def score_targets(
    decoder: Decoder, adapter: LoraAdapter | None, sequences: Sequence[TokenizedExample]
) -> list[ExampleScore]:
    """Score each example's targets, in the order given; the head is computed in float32.

    An example without targets gets an empty score.
    """
    by_index: dict[int, ExampleScore] = {}
    work = partial(_score_share, decoder, adapter)
    for part, scores in on_each_share(work, sequences):
        by_index.update(zip(part, scores, strict=True))
    return [by_index[index] for index in range(len(sequences))]


@torch.no_grad()
def _score_share(
    decoder: Decoder, adapter: LoraAdapter | None, sequences: Sequence[TokenizedExample]
) -> list[ExampleScore]:
    stacks = decoder.stack_adapter(adapter)
    scores: list[ExampleScore] = []
    for batch in micro_batches(decoder, sequences):
        context = decoder.context(batch.lengths)
        x_TH, _ = decoder.hidden(batch.ids, stacks, context, save_from=None)
        h_NH = output_norm(decoder, x_TH[batch.rows])
        log_probability, is_top = decoder.head.log_probabilities(h_NH, batch.targets)
        owner = torch.bucketize(batch.rows, torch.tensor(batch.lengths).cumsum(0), right=True)
        for index, length in enumerate(batch.lengths):
            own = owner == index
            scores.append(
                ExampleScore(
                    tuple(log_probability[own].tolist()), tuple(is_top[own].tolist()), length
                )
            )
    found = iter(scores)
    empty = ExampleScore((), (), 0)
    return [next(found) if any(sequence.mask) else empty for sequence in sequences]


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
    context = decoder.context((len(ids),))
    flat, stacks = torch.tensor(ids), decoder.stack_adapter(adapter)
    x_TH, _ = decoder.hidden(flat, stacks, context, save_from=None)
    return decoder.head.logits(output_norm(decoder, x_TH[first : len(ids)]))
