"""Fast mode: upper layers learn, lower ones are computed once, and no number tells when."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fine_tuning.core.errors import InterruptedRunError
from fine_tuning.core.run import Run, RunManifest
from fine_tuning.engine.adapter_files import read_gguf_adapter
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.frozen_prefix_cache import FrozenPrefixCache
from fine_tuning.engine.step import accumulate_gradients, evaluate_loss
from fine_tuning.training.fast_mode import MEASURED, first_adapted, mode_remark, states_bytes
from fine_tuning.training.plan import TrainingPlan
from fine_tuning.training.run_lifecycle import Listening
from tests.engine.test_layout import conversations
from tests.engine.tiny import MODELS, random_adapter, write_tiny
from tests.training.test_kill import files, history, kill_and_resume
from tests.training.test_trainers import InterruptAt
from tests.training.tiny_llama import DATA, KILL_PLAN, PLAN, run_llama

FAST = replace(PLAN, mode="fast")


def fast_kill_target(folder: Path) -> None:
    run_llama(folder, "qlora", replace(KILL_PLAN, mode="fast", num_epochs=6))


def states_of(decoder: Decoder, first: int) -> FrozenPrefixCache:
    rows = FrozenPrefixCache.num_rows(conversations())
    store = np.zeros((rows, decoder.shape.width), np.int16)
    states = FrozenPrefixCache(first, conversations(), store)
    states.fill(decoder)
    return states


@pytest.fixture
def decoder(tmp_path: Path) -> Iterator[Decoder]:
    path = write_tiny(tmp_path / "tiny.gguf", MODELS["gemma3"])
    with Decoder.open(path, dtype=torch.float32) as decoder:
        yield decoder


def test_kept_states_give_the_gradients_of_computed_ones(decoder: Decoder) -> None:
    upper = {n: s for n, s in decoder.linear_shapes.items() if int(n.split(".")[1]) >= 4}
    found, losses = [], []
    for frozen_prefix in (None, states_of(decoder, 4)):
        adapter = random_adapter(upper)
        accumulate_gradients(
            decoder, adapter, conversations(), coefficients=1.0, frozen_prefix=frozen_prefix
        )
        found.append([parameter.grad for parameter in adapter.parameters()])
        losses.append(evaluate_loss(decoder, adapter, conversations(), frozen_prefix).loss_sum)
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)  # states are rounded to bfloat16
    for one, other in zip(*found, strict=True):
        assert torch.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.999


def test_states_of_one_sequence_do_not_depend_on_its_batch(decoder: Decoder) -> None:
    states, adapter = states_of(decoder, 3), random_adapter(decoder.linear_shapes)
    together = evaluate_loss(decoder, adapter, conversations(), states)
    alone = [evaluate_loss(decoder, adapter, [each], states) for each in conversations()]
    assert together.loss_sum == pytest.approx(sum(each.loss_sum for each in alone), rel=1e-5)
    assert together.num_tokens == sum(each.num_tokens for each in alone)


def test_the_last_quarter_of_the_layers_learns() -> None:
    plan = TrainingPlan(mode="fast")
    assert [first_adapted(plan, n) for n in (2, 4, 30, 32)] == [1, 3, 22, 24]
    assert first_adapted(TrainingPlan(), 30) == 0


def test_a_fast_run_learns_upper_layers_and_leaves_no_states(tmp_path: Path) -> None:
    seen = []

    class Looks:
        def on_event(self, _: object) -> None:
            seen.append(sum(p.stat().st_size for p in (tmp_path / "run" / "hidden").glob("*")))

    run = run_llama(tmp_path / "run", "qlora", FAST, Listening(listener=Looks()))
    adapter = read_gguf_adapter(run.adapter_file)
    assert {name.split(".")[1] for name in adapter.targets} == {"1"}
    expected = states_bytes([*DATA.train, *DATA.validation], 64)
    assert set(seen) == {expected}
    assert not (run.folder / "hidden").exists()
    manifest = json.loads((run.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["plan"]["mode"] == "fast"
    assert run.metrics.last_loss < 0.9 * run.metrics.first_loss


def test_lost_states_are_computed_again_to_the_same_run(tmp_path: Path) -> None:
    whole = run_llama(tmp_path / "whole", "qlora", FAST)
    with pytest.raises(InterruptedRunError):
        run_llama(tmp_path / "cut", "qlora", FAST, Listening(listener=InterruptAt(3)))
    (kept,) = (tmp_path / "cut" / "hidden").iterdir()
    kept.unlink()
    (tmp_path / "cut" / ".hidden.torn").mkdir()
    again = run_llama(tmp_path / "cut", "qlora", FAST)
    assert again.adapter_name == whole.adapter_name
    assert files(again.folder) == files(whole.folder)
    assert not list(again.folder.glob(".hidden*"))


@pytest.mark.slow
def test_kills_change_nothing(processes, tmp_path: Path) -> None:  # noqa: ANN001 - a fixture
    whole = tmp_path / "whole"
    fast_kill_target(whole)
    killed = tmp_path / "killed"
    kill_and_resume(processes, fast_kill_target, killed, [0.05, 0.3])
    assert files(killed) == files(whole)
    assert history(killed) == history(whole)


def run_of(name: str, mode: str, loss: float, *, steps: int = 9, snapshot: str = "s") -> Run:
    metrics = {
        "training_time_s": 100 * loss,
        "best_validation_loss": loss,
        "last_validation_loss": loss,
        "num_steps": steps,
    }
    about: RunManifest = {"plan": {"mode": mode}, "snapshot": snapshot, "base_digest": "b"}
    return Run(Path(name), {**about, "metrics": metrics})


def test_a_fast_run_is_told_what_it_gained_and_lost() -> None:
    fast, quality = run_of("f", "fast", 1.5), run_of("q", "quality", 1.25)
    told = mode_remark(fast, [quality, fast])
    assert "150 s and validation loss 1.500, against 125 s and 1.250 of run q" in told
    for other in (run_of("q", "quality", 1.0, steps=8), run_of("q", "quality", 1.0, snapshot="t")):
        assert MEASURED in mode_remark(fast, [other, fast])
    assert mode_remark(quality, [quality, fast]) == ""
