"""The order of sequences: complete, fixed by seed and epoch, grouped by length but not sorted."""

from __future__ import annotations

from itertools import chain, pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.core.example import TokenizedExample
from fine_tuning.training.batches import BatchOrder, epoch_steps, evaluation_batches
from fine_tuning.training.plan import TrainingPlan
from tests.training.tiny import sequences


@given(st.lists(st.integers(1, 500), min_size=1, max_size=90), st.integers(1, 12))
def test_every_sequence_is_dealt_once_an_epoch(lengths: list[int], size: int) -> None:
    steps = epoch_steps(lengths, size=size, seed=1, epoch=0)
    assert sorted(chain(*steps)) == list(range(len(lengths)))
    assert len(steps) == -(-len(lengths) // size)
    assert all(len(step) == size for step in steps if len(step) != len(lengths) % size)


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    lengths = [7] * 40

    def steps(seed: int, epoch: int) -> list[list[int]]:
        return epoch_steps(lengths, size=4, seed=seed, epoch=epoch)

    assert steps(1, 0) == steps(1, 0)
    assert steps(1, 0) != steps(1, 1)
    assert steps(1, 0) != steps(2, 0)


def test_a_step_can_be_asked_for_out_of_order() -> None:
    plan = TrainingPlan(batch_size=2, num_epochs=3)
    examples = sequences(9)
    forward = BatchOrder(examples, plan)
    expected = [forward.batches(step) for step in range(forward.num_steps)]
    assert forward.num_steps == 15
    for step in (14, 3, 0, 7):
        assert BatchOrder(examples, plan).batches(step) == expected[step]


def test_steps_hold_like_lengths_in_an_order_that_says_nothing_about_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 1000, 512).tolist()
    steps = epoch_steps(lengths, size=8, seed=3, epoch=0)
    spread = np.mean([np.ptp([lengths[i] for i in step]) for step in steps])
    mean = np.array([np.mean([lengths[i] for i in step]) for step in steps])
    assert spread < 250  # eight random draws of 1 ... 1000 spread over about 780
    assert abs(np.corrcoef(mean, np.arange(len(mean)))[0, 1]) < 0.3
    assert 0.3 < np.mean([a < b for a, b in pairwise(mean)]) < 0.7


def test_steps_depend_on_the_product_of_batch_and_accumulation_only() -> None:
    examples = sequences(30)
    wide = BatchOrder(examples, TrainingPlan(batch_size=8))
    narrow = BatchOrder(examples, TrainingPlan(batch_size=1, gradient_accumulation=8))
    for step in range(wide.num_steps):
        assert list(chain(*wide.batches(step))) == list(chain(*narrow.batches(step)))
        assert all(len(batch) == 1 for batch in narrow.batches(step))


def test_common_beginnings_meet_within_a_step() -> None:
    starts = [tuple(range(i, i + 20)) for i in (0, 100)]
    examples = [
        TokenizedExample(
            example_id=f"e{i}",
            conversation_id=f"c{i}",
            ids=(*starts[i % 2], 200 + i),
            mask=(0,) * 20 + (1,),
        )
        for i in range(8)
    ]
    mixed = BatchOrder(examples, TrainingPlan(batch_size=4, gradient_accumulation=2))
    for batch in mixed.batches(0):
        assert len({example.ids[0] for example in batch}) == 1
    assert all(
        len({example.ids[0] for example in batch}) == 1 for batch in evaluation_batches(examples, 4)
    )


def test_max_steps_ends_the_run() -> None:
    assert BatchOrder(sequences(9), TrainingPlan(batch_size=2, max_steps=4)).num_steps == 4


def test_evaluation_takes_every_sequence() -> None:
    examples = sequences(9)
    batches = evaluation_batches(examples, 4)
    assert sorted(e.example_id for e in chain(*batches)) == [e.example_id for e in examples]
    lengths = [len(example.ids) for example in chain(*batches)]
    assert lengths == sorted(lengths)
