"""The order of sequences: complete, fixed by seed and epoch, grouped by length but not sorted."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.core.example import TokenizedExample
from fine_tuning.core.item import TrainingItem
from fine_tuning.engine.data_parallel import shares
from fine_tuning.engine.step import cuts
from fine_tuning.training.batches import (
    BatchOrder,
    drawn,
    epoch_steps,
    evaluation_batches,
    num_drawn,
)
from fine_tuning.training.mixture import MixtureSource, mixed
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


def pairs(count: int) -> list[TrainingItem]:
    """Pairs of ragged length whose sides lie far apart in the list."""
    return [
        TrainingItem.of(each, group=f"g{number % count}", label=1 - 2 * (number // count))
        for number, each in enumerate(sequences(2 * count, seed=3))
    ]


def test_a_group_stays_in_one_batch_and_counts_once() -> None:
    order = BatchOrder(pairs(9), TrainingPlan(batch_size=2, gradient_accumulation=2, num_epochs=2))
    assert order.steps_per_epoch == 3
    seen = list(chain(*(order.batches(step) for step in range(3))))
    for batch in (*seen, *evaluation_batches(pairs(9), 4)):
        groups = [item.group for item in batch]
        assert all(groups.count(group) == 2 for group in groups)
    assert len(list(chain(*seen))) == 18
    assert {len(batch) for batch in seen} == {4, 2}


@given(st.data())
def test_a_group_stays_in_one_micro_batch_and_share(data: st.DataObject) -> None:
    beginning = tuple(range(30))
    items = []
    for number in range(data.draw(st.integers(1, 12))):
        tail = data.draw(st.lists(st.integers(0, 50), min_size=2, max_size=40))
        ids = (*(beginning if data.draw(st.booleans()) else ()), *tail)
        example = TokenizedExample(
            example_id=str(number),
            conversation_id="c",
            ids=ids,
            mask=(*(0,) * (len(ids) - 1), data.draw(st.sampled_from((1, 1, 0)))),
        )
        group = data.draw(st.sampled_from(("", "a", "b", "c")))
        items.append(TrainingItem.of(example, group=group))
    learnt = [i for i, item in enumerate(items) if item.num_targets]
    micro = [members for members, _ in cuts(items, 64)]
    assert sorted(chain(*micro)) == learnt
    parts = shares(items, data.draw(st.integers(1, 3)))
    assert sorted(chain(*parts)) == list(range(len(items)))
    for split in (micro, parts):
        for group in "abc":
            assert sum(any(items[i].group == group for i in part) for part in split) <= 1


@given(
    st.lists(st.sampled_from((0.0, 0.1, 0.25, 1.0, 1.5, 3.0)), min_size=1, max_size=60),
    st.integers(0, 5),
)
def test_an_epoch_takes_each_thing_by_its_weight(weights: list[float], epoch: int) -> None:
    taken = drawn(weights, seed=1, epoch=epoch)
    assert len(taken) == num_drawn(weights)
    assert abs(len(taken) - sum(weights)) <= 0.5 + 1e-3
    for index, weight in enumerate(weights):
        assert math.floor(weight) <= taken.count(index) <= math.ceil(weight)


def test_equal_weights_take_everything_once() -> None:
    assert drawn([1.0] * 37, seed=4, epoch=2) == list(range(37))


def test_a_mixture_replays_old_items_by_their_share() -> None:
    """30 new chats, and of 60 old ones as many an epoch as make a quarter of it."""
    old = sequences(60, seed=7)
    items = mixed(
        [MixtureSource(examples=sequences(30)), MixtureSource(examples=old, share=0.25, weight=0.5)]
    )
    order = BatchOrder(items, TrainingPlan(batch_size=4, num_epochs=12))
    assert order.steps_per_epoch == 10
    replayed = []
    for epoch in range(12):
        steps = range(10 * epoch, 10 * epoch + 10)
        taken = [item for step in steps for item in chain(*order.batches(step))]
        ids = [item.example_id for item in taken]
        assert sorted(i for i in ids if i.startswith("e0.")) == sorted(
            e.example_id for e in sequences(30)
        )
        replayed.append({i for i in ids if i.startswith("e7.")})
        assert len(replayed[-1]) == 10
    assert len(set(map(frozenset, replayed))) == 12  # another draw each epoch
    assert len(set().union(*replayed)) > 45
    assert {item.weights[0] for item in items} == {1.0, 0.5}


def test_a_small_source_comes_several_times_an_epoch() -> None:
    items = mixed(
        [
            MixtureSource(examples=sequences(8)),
            MixtureSource(examples=sequences(2, seed=5), share=0.5),
        ]
    )
    taken = chain(*BatchOrder(items, TrainingPlan(batch_size=16)).batches(0))
    names = [item.example_id for item in taken]
    assert [names.count(f"e5.{i}") for i in (0, 1)] == [4, 4]


def test_mixtures_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"0 sequences seen in full and shares \[0.5\]"):
        mixed([MixtureSource(examples=sequences(3), share=0.5)])
    whole = [MixtureSource(examples=sequences(3)), MixtureSource(examples=sequences(3), share=1.0)]
    with pytest.raises(ConfigError, match="sum to below 1"):
        mixed(whole)
    sides = [TrainingItem.of(e, group="g", sampling_weight=w) for w, e in enumerate(sequences(2))]
    with pytest.raises(DataError, match=r"group 'g' have sampling weights \[0, 1\]"):
        BatchOrder(sides, TrainingPlan())
    with pytest.raises(DataError, match="sampling weights of 2 items sum to 0"):
        BatchOrder([replace(each, sampling_weight=0, group="") for each in sides], TrainingPlan())
