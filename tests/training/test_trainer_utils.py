"""The loop on a real tiny model: what it computes, when it looks up, stops and refuses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from fine_tuning.core.errors import TrainingError
from fine_tuning.core.example import TokenizedExample
from fine_tuning.training.plan import TrainingData, TrainingPlan
from fine_tuning.training.trainer_utils import StopRequestedError
from tests.training.tiny import DATA, BigramModel, LoopUnderTest, Loss, sequences

PLAN = TrainingPlan(
    learning_rate=1e-2, num_epochs=4, batch_size=4, checkpoint_every=0, checkpoint_every_s=0
)


def trained(plan: TrainingPlan, data: TrainingData = DATA) -> LoopUnderTest:
    under_test = LoopUnderTest(plan, data)
    under_test.loop.run()
    return under_test


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def test_it_learns() -> None:
    under_test = trained(TrainingPlan(learning_rate=1e-2, num_epochs=20, batch_size=4))
    progress = under_test.loop.progress
    assert progress.base_validation_loss == pytest.approx(math.log(23), rel=0.1)
    assert progress.best_validation_loss < 0.5 * progress.base_validation_loss
    assert progress.last_loss < 0.5 * progress.first_loss


def test_batch_8x1_is_1x8() -> None:
    wide = trained(TrainingPlan(learning_rate=1e-2, num_epochs=3, batch_size=8))
    narrow = trained(
        TrainingPlan(learning_rate=1e-2, num_epochs=3, batch_size=1, gradient_accumulation=8)
    )
    assert wide.heard.values("step", "loss") == pytest.approx(
        narrow.heard.values("step", "loss"), rel=1e-5
    )
    for name, tensor in wide.model.state_dict().items():
        torch.testing.assert_close(tensor, narrow.model.state_dict()[name], rtol=1e-3, atol=1e-5)


def test_the_first_step_is_adamw_on_the_mean_over_targets() -> None:
    plan = TrainingPlan(
        learning_rate=1e-2,
        batch_size=30,
        max_steps=1,
        max_grad_norm=0,
        weight_decay=0.1,
        patience=0,
    )
    under_test = trained(plan)
    model = BigramModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1, foreach=False)
    targets = sum(example.num_targets for example in DATA.train)
    loss = model.accumulate(DATA.train, scale=1 / targets)
    optimizer.step()
    assert under_test.heard.values("step", "loss") == pytest.approx([loss.loss_sum / targets])
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(under_test.model.state_dict()[name], tensor)


def test_gradients_are_clipped_and_told_as_they_were() -> None:
    model = BigramModel()
    loop = LoopUnderTest(TrainingPlan(batch_size=30, max_steps=1, max_grad_norm=0.01), model=model)
    loop.loop.run()
    (told,) = loop.heard.values("step", "grad_norm")
    norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in model.parameters()))
    assert told > 0.05
    assert norm == pytest.approx(0.01, rel=1e-3)


def test_training_repeats_to_the_last_bit() -> None:
    assert same(trained(PLAN).model.state_dict(), trained(PLAN).model.state_dict())


def test_evaluates_first_every_n_steps_and_at_epoch_ends() -> None:
    under_test = trained(TrainingPlan(num_epochs=2, batch_size=4, evaluate_every=3, patience=0))
    steps = [event.step for event in under_test.heard.events if event.kind == "validation"]
    assert under_test.loop.steps_per_epoch == 8
    assert steps == [0, 3, 6, 8, 9, 12, 15, 16]


def test_early_stopping_restores_the_best_adapter() -> None:
    # Validation that contradicts training: the better one gets at the one, the worse at the other.
    contrary = [
        TokenizedExample(
            example_id=e.example_id,
            conversation_id=e.conversation_id,
            ids=tuple((5 * i + 2) % 23 for i in e.ids),
            mask=e.mask,
        )
        for e in sequences(8, seed=1)
    ]
    data = TrainingData(train=DATA.train, validation=contrary)
    plan = TrainingPlan(learning_rate=3e-3, num_epochs=50, batch_size=4, patience=2)
    under_test = trained(plan, data)
    losses = under_test.heard.values("validation", "validation_loss")
    progress = under_test.loop.progress
    assert progress.stopped_early
    assert progress.step < under_test.loop.num_steps
    assert min(losses) == losses[-3] == progress.best_validation_loss
    targets = sum(e.num_targets for e in contrary)
    again = under_test.model.evaluate(contrary).loss_sum / targets
    assert again == pytest.approx(progress.best_validation_loss, rel=1e-6)
    assert any("stopped early" in said for said in under_test.heard.values("remark", "message"))


def test_an_adapter_that_never_helped_is_the_untrained_one_and_is_said_to_be() -> None:
    plan = TrainingPlan(learning_rate=10.0, num_epochs=2, batch_size=4)
    under_test = trained(plan)
    assert under_test.loop.progress.best_step == 0
    assert same(under_test.model.state_dict(), BigramModel().state_dict())
    assert "leaves the base as is" in under_test.heard.values("remark", "message")[-1]


def test_without_patience_the_last_adapter_is_the_result() -> None:
    data = TrainingData(train=DATA.train, validation=sequences(4, seed=9))
    with_none = trained(TrainingPlan(learning_rate=1e-2, num_epochs=3, patience=0), data)
    without_validation = trained(
        TrainingPlan(learning_rate=1e-2, num_epochs=3), TrainingData(train=DATA.train)
    )
    assert same(with_none.model.state_dict(), without_validation.model.state_dict())


@pytest.mark.parametrize("stop_after_calls", [0, 1, 2, 5, 9, 17, 18, 19, 30, 44])
def test_stopped_anywhere_it_resumes_to_the_same_bits(stop_after_calls: int) -> None:
    plan = replace(PLAN, num_epochs=3, batch_size=2, gradient_accumulation=2, evaluate_every=5)
    whole = trained(plan)
    first = LoopUnderTest(plan, stop_after_calls=stop_after_calls)
    with pytest.raises(StopRequestedError):
        first.loop.run()
    second = LoopUnderTest(plan, model=BigramModel())
    if first.saved:
        second.loop.restore(first.saved[-1])
    second.loop.run()
    assert same(whole.model.state_dict(), second.model.state_dict())
    told = first.heard.values("step", "loss") + second.heard.values("step", "loss")
    assert told == whole.heard.values("step", "loss")
    evaluated = first.heard.values("validation", "validation_loss")
    evaluated += second.heard.values("validation", "validation_loss")
    assert evaluated == whole.heard.values("validation", "validation_loss")


def test_checkpoints_come_by_steps_and_by_the_clock() -> None:
    by_steps = trained(TrainingPlan(num_epochs=1, checkpoint_every=3, checkpoint_every_s=0))
    assert [each.progress.step for each in by_steps.saved] == [3, 6, 8]
    by_clock = trained(TrainingPlan(num_epochs=1, checkpoint_every=0, checkpoint_every_s=9))
    steps = [each.progress.step for each in by_clock.saved]
    assert len(steps) > 2
    assert all(b - a <= 3 for a, b in pairwise(steps))


class Diverging(BigramModel):
    """Loses its mind in the third batch."""

    calls = 0

    def accumulate(self, batch: Sequence[TokenizedExample], *, scale: float) -> Loss:
        self.calls += 1
        result = super().accumulate(batch, scale=scale)
        return Loss(float("nan") if self.calls == 3 else result.loss_sum, 1, 1)


def test_a_loss_that_is_not_a_number_names_step_and_rate() -> None:
    under_test = LoopUnderTest(PLAN, model=Diverging())
    with pytest.raises(TrainingError, match=r"the loss is nan at step 3 with learning rate 0.0\d+"):
        under_test.loop.run()
    assert under_test.loop.progress.step == 2


def test_infinite_gradients_are_refused_before_they_are_applied() -> None:
    model = BigramModel()
    with torch.no_grad():
        model.parameters()[2][0, 0] = 1e38
        model.parameters()[2][0, 1] = -1e38
    under_test = LoopUnderTest(TrainingPlan(patience=0), model=model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(TrainingError, match="at step 1 with learning rate"):
        under_test.loop.run()
    assert same(before, model.state_dict())


def test_a_checkpoint_of_another_model_is_refused() -> None:
    source = trained(TrainingPlan(num_epochs=1))
    other = LoopUnderTest(TrainingPlan(num_epochs=1), model=BigramModel(width=8))
    with pytest.raises(TrainingError, match="step 8 does not fit the model"):
        other.loop.restore(source.saved[-1])


def test_a_step_event_tells_all_that_is_watched() -> None:
    event = next(e for e in trained(PLAN).heard.events if e.kind == "step")
    expected = {
        "loss", "epoch_loss", "learning_rate", "grad_norm", "tokens_per_s",
        "supervised_tokens_per_s", "memory_bytes", "peak_memory_bytes", "eta_s", "epoch",
    }  # fmt: skip
    assert expected <= event.values.keys()
    assert all(isinstance(event.values[name], int | float) for name in expected)
    assert event.values["peak_memory_bytes"] >= event.values["memory_bytes"] * 0.9
