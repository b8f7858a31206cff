"""Other losses than supervised training, through the same door: pairs, weights, distributions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fine_tuning.core.item import Item, TrainingItem
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.head import SoftTargets
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.engine.step import accumulate_gradients
from fine_tuning.training.adapter_training import AdapterTraining
from fine_tuning.training.objective import Credit, SupervisedObjective
from fine_tuning.training.plan import TrainingData, TrainingPlan
from tests.engine.plain import PlainDecoder
from tests.engine.test_gradients import assert_close, own_gradients
from tests.engine.tiny import example, ragged_batch, random_adapter, write_tiny_llama
from tests.training.tiny import LoopUnderTest

BETA = 0.5
KERNELS = ("torch", "avx512")


class PreferenceObjective:
    """DPO (arXiv 2305.18290): of each group the item labelled 1 above the one labelled -1."""

    is_likelihood = False
    needs_reference = True

    def size(self, items: Sequence[Item]) -> float:
        return float(len({item.group for item in items}))

    def credit(
        self,
        items: Sequence[Item],
        log_probabilities: Sequence[float],
        reference: Sequence[float] | None,
    ) -> Credit:
        assert reference is not None
        margins: dict[str, float] = {}
        for item, own, of_base in zip(items, log_probabilities, reference, strict=True):
            margin = BETA * item.label * (own - of_base)
            margins[item.group] = margins.get(item.group, 0.0) + margin
        slopes = {group: BETA / (1 + math.exp(margin)) for group, margin in margins.items()}
        return Credit(
            sum(math.log1p(math.exp(-margin)) for margin in margins.values()),
            tuple(item.label * slopes[item.group] for item in items),
        )


def pairs(count: int = 3) -> list[TrainingItem]:
    """Pairs of ragged length; each target of a third of them counts half."""
    return [
        TrainingItem.of(
            example(
                9 + 5 * number + 3 * side, range(5 + number, 9 + number), seed=2 * number + side
            ),
            weight=0.5 if number == 2 else 1.0,
            group=f"g{number}",
            label=(1.0, -1.0)[side],
        )
        for number in range(count)
        for side in (0, 1)
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tiny_llama(tmp_path / "tiny.gguf")


@pytest.fixture(params=KERNELS)
def decoder(path: Path, request: pytest.FixtureRequest) -> Iterator[Decoder]:
    with Decoder.open(path, dtype=torch.float32, kernels=request.param) as decoder:
        yield decoder


def gradients(
    adapter: LoraAdapter, loss: Callable[[LoraAdapter], torch.Tensor]
) -> tuple[float, dict[str, torch.Tensor]]:
    """Return a loss and its gradient by the factors, by autograd."""
    leaves = {
        name: replace(pair, a=pair.a.clone().requires_grad_(), b=pair.b.clone().requires_grad_())
        for name, pair in adapter.pairs.items()
    }
    copy = LoraAdapter(leaves, rank=adapter.rank, alpha=adapter.alpha)
    value = loss(copy)
    value.backward()
    return value.item(), {n: t.grad for n, t in copy.state_dict().items() if t.grad is not None}


def likelihoods(model: PlainDecoder, items: Sequence[Item]) -> list[torch.Tensor]:
    """Return the weighted log-probability of each item's targets."""
    found = []
    for item in items:
        log_p = model.logits(item.ids).log_softmax(-1)
        targets = [i for i, bit in enumerate(item.mask) if bit]
        own = torch.stack([log_p[i - 1, item.ids[i]] for i in targets])
        found.append((own * torch.tensor(item.weights)).sum())
    return found


def test_the_gradient_of_a_preference_is_that_of_autograd(path: Path, decoder: Decoder) -> None:
    adapter, items = random_adapter(decoder.linear_shapes), pairs()

    def loss(copy: LoraAdapter) -> torch.Tensor:
        own = likelihoods(PlainDecoder(path, copy), items)
        with torch.no_grad():
            bare = LoraAdapter({}, rank=1, alpha=1.0)
            base = likelihoods(PlainDecoder(path, bare), items)
        margins = [
            BETA * ((own[i] - base[i]) - (own[i + 1] - base[i + 1])) for i in range(0, len(own), 2)
        ]
        return -torch.nn.functional.logsigmoid(torch.stack(margins)).sum()

    expected_loss, expected = gradients(adapter, loss)
    training = AdapterTraining(decoder, adapter, objective=PreferenceObjective())
    assert training.size(items) == 3
    assert training.evaluate(items).loss_sum == pytest.approx(expected_loss, rel=1e-4)
    result = training.accumulate(items, scale=1.0)
    assert result.loss_sum == pytest.approx(expected_loss, rel=1e-4)
    assert_close(own_gradients(adapter), expected)


def test_preferences_are_learnt_by_the_same_loop(decoder: Decoder) -> None:
    adapter = LoraAdapter.create(decoder.linear_shapes, rank=4, alpha=8.0, seed=0)
    training = AdapterTraining(decoder, adapter, objective=PreferenceObjective())
    plan = TrainingPlan(learning_rate=1e-2, num_epochs=15, batch_size=2, patience=0)
    data = TrainingData(train=pairs(4), validation=pairs(4))
    under_test = LoopUnderTest(plan, data, model=training)
    under_test.loop.run()
    losses = under_test.heard.values("validation", "validation_loss")
    assert losses[0] == pytest.approx(math.log(2), rel=1e-6)  # nothing is preferred yet
    assert losses[-1] < 0.05


def test_weights_are_those_of_autograd(path: Path, decoder: Decoder) -> None:
    generator = torch.Generator().manual_seed(5)
    items = [
        replace(
            TrainingItem.of(each),
            weights=tuple(torch.randn(each.num_targets, generator=generator).tolist()),
        )
        for each in ragged_batch()
    ]
    coefficients = [0.5, -1.0, 2.0, 0.0, 1.0]
    adapter = random_adapter(decoder.linear_shapes)

    def loss(copy: LoraAdapter) -> torch.Tensor:
        own = likelihoods(PlainDecoder(path, copy), items)
        return -(torch.tensor(coefficients) * torch.stack(own)).sum()

    _, expected = gradients(adapter, loss)
    result = accumulate_gradients(decoder, adapter, items, coefficients=coefficients)
    assert_close(own_gradients(adapter), expected)
    with torch.no_grad():
        in_all = -float(sum(likelihoods(PlainDecoder(path, adapter), items)))
    assert result.loss_sum == pytest.approx(in_all, rel=1e-4)
    targets = AdapterTraining(decoder, adapter).evaluate(items)
    assert targets.loss_sum == pytest.approx(in_all, rel=1e-4)


@pytest.mark.parametrize("top", [0, 5])
def test_soft_targets_are_those_of_autograd(path: Path, decoder: Decoder, top: int) -> None:
    """A teacher's whole distribution, or its likeliest five tokens with what is left dropped."""
    adapter, items = random_adapter(decoder.linear_shapes), ragged_batch()
    teacher_model = PlainDecoder(path, random_adapter(decoder.linear_shapes, size=0.4))

    def distributions(item: Item) -> torch.Tensor:
        rows = [i - 1 for i, bit in enumerate(item.mask) if bit]
        with torch.no_grad():
            return teacher_model.logits(item.ids)[rows].softmax(-1)

    def teacher(item: Item) -> SoftTargets:
        if not top:
            return SoftTargets(distributions(item))
        return SoftTargets(*distributions(item).topk(top))

    def loss(copy: LoraAdapter) -> torch.Tensor:
        student, total = PlainDecoder(path, copy), torch.zeros(())
        for item in items:
            p = distributions(item)
            if top:
                p = p * (p >= p.topk(top).values[:, -1:])
            rows = [i - 1 for i, bit in enumerate(item.mask) if bit]
            log_q = student.logits(item.ids)[rows].log_softmax(-1)
            divergence = torch.nn.functional.kl_div(log_q, p, reduction="sum")
            entropy = -(p * p.clamp(min=1e-30).log()).sum()
            total = total + divergence + entropy  # KL and cross-entropy have one gradient
        return total

    expected_loss, expected = gradients(adapter, loss)
    training = AdapterTraining(decoder, adapter, teacher=teacher)
    result = training.accumulate(items, scale=1.0)
    assert result.loss_sum == pytest.approx(expected_loss, rel=1e-4)
    assert_close(own_gradients(adapter), expected)


def test_supervised_training_is_an_objective_like_others(decoder: Decoder) -> None:
    """Two passes with its coefficients give what its one pass gives, to the bit."""

    class TwoPasses(SupervisedObjective):
        is_likelihood = False

    found = []
    for objective in (SupervisedObjective(), TwoPasses()):
        adapter = random_adapter(decoder.linear_shapes)
        training = AdapterTraining(decoder, adapter, objective=objective)
        result = training.accumulate(ragged_batch(), scale=1 / 37)
        found.append((result.loss_sum, own_gradients(adapter)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    assert all(torch.equal(found[0][1][name], found[1][1][name]) for name in found[0][1])
