"""A common beginning is computed once, and nobody can tell from the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.core.example import TokenizedExample
from fine_tuning.engine import layout, step
from fine_tuning.engine.data_parallel import shares
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.layout import TokenLayout, Tokens, prefix_groups
from fine_tuning.engine.lora import LoraAdapter
from tests.engine.tiny import MODELS, example, ragged_batch, random_adapter, write_tiny

START = example(45, [], seed=20).ids


def after(
    beginning: Sequence[int], length: int, targets: Sequence[int], seed: int
) -> TokenizedExample:
    """A sequence that goes on after a beginning; targets are places in the whole."""
    rest = example(length, [], seed=seed)
    ids = (*beginning, *rest.ids)
    return replace(rest, ids=ids, mask=tuple(int(i in targets) for i in range(len(ids))))


def conversations() -> list[TokenizedExample]:
    """One system prompt of 45 tokens, turns of one chat, a chat that ends inside another's, twins.

    Some learn tokens of the shared part, and some predict different tokens from one row.
    """
    first = after(START, 30, [*range(50, 60), 74], seed=1)
    return [
        after(START, 7, range(46, 52), seed=2),
        after(first.ids, 18, [50, 51, *range(80, 93)], seed=3),
        *ragged_batch()[:2],
        first,
        after(START, 1, [45], seed=4),
        after(START, 1, [45], seed=5),
        after(first.ids[:70], 9, [69, 70, 78], seed=6),
        first,
        after(START[:20], 12, [31], seed=7),
    ]


def gradients(
    decoder: Decoder, batches: Sequence[Sequence[TokenizedExample]]
) -> tuple[LoraAdapter, float]:
    adapter = random_adapter(decoder.linear_shapes)
    return adapter, sum(
        step.accumulate_gradients(decoder, adapter, batch, coefficients=0.05).loss_sum
        for batch in batches
    )


@pytest.mark.parametrize("queries_per_run", [256, 7])
@pytest.mark.parametrize("name", MODELS)
def test_shared_and_packed_gradients_equal_those_of_single_sequences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, queries_per_run: int
) -> None:
    monkeypatch.setattr(layout, "QUERIES_PER_RUN", queries_per_run)
    path = write_tiny(tmp_path / "tiny.gguf", MODELS[name])
    with Decoder.open(path, dtype=torch.float32) as decoder:
        alone, loss_alone = gradients(decoder, [[each] for each in conversations()])
        shared, loss_shared = gradients(decoder, [conversations()])
        assert loss_shared == pytest.approx(loss_alone, rel=1e-6)
        expected = {n: t.grad for n, t in alone.state_dict().items()}
        for target, tensor in shared.state_dict().items():
            assert tensor.grad is not None
            error = (tensor.grad - expected[target]).norm() / expected[target].norm()
            assert error < 1e-5, f"{target}: {error:.1e}"
        scores = step.score_targets(decoder, shared, conversations())
        for each, score in zip(conversations(), scores, strict=True):
            (single,) = step.score_targets(decoder, shared, [each])
            assert score.log_probabilities == pytest.approx(single.log_probabilities, abs=2e-5)
            assert (score.correct, score.num_tokens) == (single.correct, single.num_tokens)


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_shares_of_one_family_give_the_same_gradients(tmp_path: Path, name: str) -> None:
    path = write_tiny(tmp_path / "tiny.gguf", MODELS[name])
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            with Decoder.open(path, dtype=torch.float32) as decoder:
                adapter, loss = gradients(decoder, [conversations()])
                found.append((loss, [p.grad for p in adapter.parameters()]))
    finally:
        torch.set_num_threads(threads)
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert (one - other).norm() < 1e-5 * one.norm()


tokens = st.lists(st.integers(0, 1), min_size=1, max_size=60).map(tuple)
shared_starts = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(
    lambda sizes: (0,) * sizes[0] + (1,) * sizes[1] + (0,)
)


@given(st.lists(tokens | shared_starts, min_size=1, max_size=9))
def test_every_token_has_a_row_of_its_own_prefix(sequences: list[tuple[int, ...]]) -> None:
    laid_out = Tokens(sequences)
    position = {
        row: len(segment.past) + i
        for segment in laid_out.segments
        for i, row in enumerate(segment.rows)
    }
    assert sorted(position) == list(range(len(laid_out.ids)))
    for sequence, rows in zip(sequences, laid_out.rows_of, strict=True):
        assert [laid_out.ids[row] for row in rows] == list(sequence)
        assert [position[row] for row in rows] == list(range(len(sequence)))
    for segment in laid_out.segments:
        chain_of = [rows for rows in laid_out.rows_of if segment.first in rows]
        assert all(set(segment.past) <= set(rows) for rows in chain_of)


@given(st.lists(tokens | shared_starts, min_size=1, max_size=9), st.integers(1, 3))
def test_families_hold_everyone_once_and_share_nothing(
    sequences: list[tuple[int, ...]], num_threads: int
) -> None:
    found = prefix_groups(sequences)
    assert sorted(chain(*found)) == list(range(len(sequences)))
    for one in found:
        for other in found:
            for i, j in ((i, j) for i in one for j in other if one is not other):
                assert layout.shared_length(sequences[i], sequences[j]) == 0
    learnt = [
        example(len(ids), [], seed=i).from_dict(
            {"example_id": "e", "conversation_id": "c", "ids": ids, "mask": "0" * len(ids)}
        )
        for i, ids in enumerate(sequences)
    ]
    parts = shares(learnt, num_threads)
    assert sorted(chain(*parts)) == list(range(len(sequences)))


def test_a_shared_prompt_costs_its_tokens_once() -> None:
    sequences = [(*START, 1, i) for i in range(8)]
    assert len(Tokens(sequences).ids) == len(START) + 1 + 8  # "1" is common too
    template = [(5, 6, i, i) for i in range(8)]
    assert len(Tokens(template).ids) == 32  # two common tokens are not worth it


def test_a_long_common_beginning_is_computed_again_only_to_save_more_than_it_costs() -> None:
    prompt = tuple(range(1000, 1300))
    chats = [after((*prompt, 2000 + i), 179, [400], seed=i) for i in range(8)]
    assert [tokens for _, tokens in step.cuts(chats)] == [300 + 8 * 180]
    many = [after((*prompt, 2000 + i), 179, [400], seed=i) for i in range(24)]
    (_, first), *others = step.cuts(many)
    assert first <= 2 * step.MICRO_BATCH_TOKENS
    assert sum(tokens for _, tokens in others) + first == (1 + len(others)) * 300 + 24 * 180
    alone = [after(range(i * 300, i * 300 + 300), 180, [400], seed=i) for i in range(1, 9)]
    assert all(tokens <= step.MICRO_BATCH_TOKENS for _, tokens in step.cuts(alone))


def test_causal_squares_are_cut_and_wanted_rows_alone_ask() -> None:
    segments = Tokens([tuple(range(1000))]).segments
    whole = TokenLayout.of(segments, num_heads=1)
    products = sum(group.batch * group.queries * group.keys for group in whole.groups)
    assert products < 0.7 * 1000**2
    few = TokenLayout.of(segments, num_heads=1, wanted=[3, 999])
    asked = torch.cat([group.query_rows.flatten() for group in few.groups])
    assert sorted(asked[asked >= 0].tolist()) == [3, 999]
    assert few.num_out_real == 2
    assert few.kept is not None
    assert few.kept[:2].tolist() == [3, 999]


def test_positions_go_on_after_the_prefix() -> None:
    laid_out = Tokens([(*START, 1, 2, 3), (*START, 7, 8)])
    positions = TokenLayout.of(laid_out.segments, num_heads=1).positions
    for rows in laid_out.rows_of:
        assert positions[torch.from_numpy(rows)].tolist() == list(range(len(rows)))
    assert np.ptp(positions.numpy()) == len(START) + 2
