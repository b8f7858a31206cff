"""AdamW against torch's own class, bit for bit, and its state."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from fine_tuning.training.optimizer import AdamW


def leaves() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in [(3, 5), (7,), (17, 9)]]


def give_gradients(parameters: list[torch.Tensor], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_equals_torchs_class_over_changing_rates() -> None:
    ours, theirs = leaves(), leaves()
    optimizer = AdamW(ours, betas=(0.8, 0.99), weight_decay=0.1)
    reference = torch.optim.AdamW(theirs, lr=1.0, betas=(0.8, 0.99), weight_decay=0.1, fused=True)
    for step, rate in enumerate([1e-2, 3e-3, 0.5, 1e-6]):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        optimizer.step(rate)
        reference.param_groups[0]["lr"] = rate
        reference.step()
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_its_state_carries_all_of_it() -> None:
    whole, part = leaves(), leaves()
    first = AdamW(whole, betas=(0.9, 0.999), weight_decay=0.0)
    other = AdamW(part, betas=(0.9, 0.999), weight_decay=0.0)
    for step in range(6):
        if step == 3:
            state = {name: tensor.clone() for name, tensor in other.state_dict().items()}
            other = AdamW(part, betas=(0.9, 0.999), weight_decay=0.0)
            other.load_state_dict(state)
        for parameters, optimizer in ((whole, first), (part, other)):
            optimizer.zero_grad()
            give_gradients(parameters, step)
            optimizer.step(1e-2)
    assert all(torch.equal(a, b) for a, b in zip(whole, part, strict=True))


def test_parameters_without_gradient_stay() -> None:
    parameters = leaves()
    optimizer = AdamW(parameters, betas=(0.9, 0.999), weight_decay=0.5)
    give_gradients(parameters[:1], 0)
    before = [parameter.clone() for parameter in parameters]
    optimizer.step(1e-2)
    assert not torch.equal(parameters[0], before[0])
    assert torch.equal(parameters[1], before[1])


def test_a_state_of_other_shapes_is_refused() -> None:
    state = AdamW([torch.zeros(2)], betas=(0.9, 0.999), weight_decay=0.0).state_dict()
    with pytest.raises(ValueError, match=r"0\.exp_avg has shape \(2,\), expected \(3,\)"):
        AdamW([torch.zeros(3)], betas=(0.9, 0.999), weight_decay=0.0).load_state_dict(state)


def test_training_does_not_import_the_compiler() -> None:
    code = (
        "import sys, torch; from fine_tuning.training.optimizer import AdamW\n"
        "p = torch.zeros(3); p.grad = torch.ones(3)\n"
        "AdamW([p], betas=(0.9, 0.999), weight_decay=0.0).step(0.1)\n"
        "torch.nn.utils.clip_grad_norm_([p], 1.0)\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
