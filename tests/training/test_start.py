"""Where a run begins: at a version's adapter, on a decoder that is open, with ranks of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fine_tuning.core.errors import ConfigError, InterruptedRunError, TrainingError
from fine_tuning.core.naming import file_sha256
from fine_tuning.core.run import Run
from fine_tuning.engine.adapter_files import check_same_update, read_gguf_adapter
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.peft_files import read_peft_adapter
from fine_tuning.engine.step import accumulate_gradients, evaluate_loss
from fine_tuning.training.fresh_adapter import fresh_adapter
from fine_tuning.training.plan import TrainingPlan
from fine_tuning.training.qlora_trainer import QLoRATrainer
from fine_tuning.training.run_lifecycle import Listening
from fine_tuning.training.starting_point import StartingPoint
from tests.engine.test_gradients import assert_close, own_gradients, reference_gradients
from tests.engine.tiny import ragged_batch, write_tiny_llama
from tests.training.test_trainers import InterruptAt, adapter_files
from tests.training.tiny_llama import DATA, PLAN, base_model, curve

RANKS = {"attn_q": 2, "blk.1.ffn_down.weight": 6, "ffn_up": 3}
ALPHAS = {"attn_q": 16.0, "blk.0.attn_v.weight": 3.0}


def trained(folder: Path, plan: TrainingPlan = PLAN, **options: object) -> Run:
    return QLoRATrainer(plan).train(DATA, base_model(folder.parent), folder, **options)


def version(run: Run) -> StartingPoint:
    return StartingPoint(name="mine-v1", adapter_file=run.adapter_file)


def test_a_run_goes_on_from_a_version(tmp_path: Path) -> None:
    first = trained(tmp_path / "first")
    other_form = replace(PLAN, rank=9, alpha=1.0, use_rslora=True, targets=("attn_q",))
    second = trained(tmp_path / "second", other_form, start_from=version(first))
    losses = curve(second.folder)["validation_loss"]
    assert losses[0] == pytest.approx(first.metrics.last_validation_loss, rel=1e-5)
    assert losses[-1] < losses[0]
    manifest = json.loads(second.folder.joinpath("manifest.json").read_text(encoding="utf-8"))
    assert manifest["parents"] == ["mine-v1"]
    assert (manifest["plan"]["rank"], manifest["plan"]["alpha"]) == (4, 8.0)
    adapters = [read_gguf_adapter(run.adapter_file) for run in (first, second)]
    assert adapters[0].targets == adapters[1].targets
    assert not (second.folder / "data").exists()


@pytest.mark.parametrize("step", [1, 5])
def test_a_run_from_a_version_resumes_to_the_same_bytes(tmp_path: Path, step: int) -> None:
    """Stopped before its first checkpoint too, and without the version's file."""
    start = version(trained(tmp_path / "first"))
    whole = trained(tmp_path / "whole", start_from=start)
    with pytest.raises(InterruptedRunError):
        trained(
            tmp_path / "part", listening=Listening(listener=InterruptAt(step)), start_from=start
        )
    if step == 1:
        for checkpoint in (tmp_path / "part" / "checkpoints").iterdir():
            for file in checkpoint.iterdir():
                file.unlink()
            checkpoint.rmdir()
    start.adapter_file.unlink()
    part = QLoRATrainer().resume(tmp_path / "part")
    assert adapter_files(part.folder) == adapter_files(whole.folder)


def test_a_changed_copy_of_the_version_is_refused(tmp_path: Path) -> None:
    start = version(trained(tmp_path / "first"))
    with pytest.raises(InterruptedRunError):
        trained(tmp_path / "part", listening=Listening(listener=InterruptAt(2)), start_from=start)
    copy = tmp_path / "part" / "data" / "adapter.gguf"
    copy.write_bytes(copy.read_bytes()[:-1] + b"\x01")
    with pytest.raises(TrainingError, match=r"adapter\.gguf is not what the run was started with"):
        QLoRATrainer().resume(tmp_path / "part")


def test_a_version_of_another_base_or_form_is_refused(tmp_path: Path) -> None:
    start = version(trained(tmp_path / "first"))
    with pytest.raises(ConfigError, match="from 1 on, and mine-v1 adapts layer 0"):
        trained(tmp_path / "fast", replace(PLAN, mode="fast"), start_from=start)
    other = replace(base_model(tmp_path), digest="sha256:" + "0" * 64)
    with pytest.raises(ConfigError, match="mine-v1 was trained on sha256:"):
        QLoRATrainer(PLAN).train(DATA, other, tmp_path / "other", start_from=start)
    assert not (tmp_path / "other").exists()


def test_a_mergeable_version_stays_mergeable(tmp_path: Path) -> None:
    plan = replace(PLAN, adapter="mergeable", eight_bit=("attn_q",), num_epochs=1)
    first = trained(tmp_path / "first", plan)
    second = trained(tmp_path / "second", PLAN, start_from=version(first))
    forms = [read_gguf_adapter(run.adapter_file).qalora for run in (first, second)]
    assert forms[0]
    assert forms[0] == forms[1]
    start_loss = curve(second.folder)["validation_loss"][0]
    assert start_loss == pytest.approx(first.metrics.last_validation_loss, rel=1e-4)


def test_three_trials_run_on_one_open_decoder(tmp_path: Path) -> None:
    """The file is gone while they run, so nothing can have opened it again."""
    tried = ((1e-2, 4), (3e-3, 2), (1e-3, 8))
    plans = [replace(PLAN, learning_rate=rate, rank=rank) for rate, rank in tried]
    alone = [trained(tmp_path / f"alone{i}", plan) for i, plan in enumerate(plans)]
    base = base_model(tmp_path)
    base = replace(base, digest=file_sha256(base.path))
    with QLoRATrainer(PLAN).open(base) as decoder:
        base.path.unlink()
        trials = [
            QLoRATrainer(plan).train(DATA, base, tmp_path / f"trial{i}", decoder=decoder)
            for i, plan in enumerate(plans)
        ]
        assert decoder.linear_shapes  # still open
    for one, other in zip(trials, alone, strict=True):
        assert adapter_files(one.folder) == adapter_files(other.folder)
    best = min(trials, key=lambda run: run.metrics.last_validation_loss)
    assert best.run_id == "trial0"


def test_a_decoder_that_is_another_is_refused(tmp_path: Path) -> None:
    base = base_model(tmp_path)
    with QLoRATrainer(PLAN).open(base) as decoder:
        half = replace(PLAN, compute_dtype="bfloat16")
        with pytest.raises(ConfigError, match=r"open in torch\.float32 with 0 .* in torch\.bfloat"):
            trained(tmp_path / "run", half, decoder=decoder)
        mergeable = replace(PLAN, adapter="mergeable")
        with pytest.raises(ConfigError, match=r"with 0 weights .* with 14"):
            trained(tmp_path / "run", mergeable, decoder=decoder)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("use_rslora", [False, True])
def test_ranks_and_scales_of_their_own_are_trained_and_folded(
    tmp_path: Path, use_rslora: bool
) -> None:
    plan = replace(PLAN, ranks=RANKS, alphas=ALPHAS, use_rslora=use_rslora)
    run = trained(tmp_path / "run", plan)
    manifest = json.loads((run.folder / "manifest.json").read_text(encoding="utf-8"))
    assert TrainingPlan.from_dict(manifest["plan"]) == plan
    with Decoder.open(tmp_path / "tiny.gguf", dtype=torch.float32) as decoder:
        adapter = fresh_adapter(decoder, plan)
        ranks = {name: pair.rank for name, pair in adapter.pairs.items()}
        assert ranks["blk.0.attn_q.weight"] == 2
        assert (ranks["blk.1.ffn_down.weight"], ranks["blk.0.ffn_down.weight"]) == (6, 4)
        power = 0.5 if use_rslora else 1.0
        assert adapter.scale * adapter.pairs["blk.1.attn_q.weight"].gain == pytest.approx(
            16 / 2**power
        )
        assert adapter.scale * adapter.pairs["blk.0.attn_v.weight"].gain == pytest.approx(
            3 / 4**power
        )
        from_gguf = read_gguf_adapter(run.adapter_file)
        from_peft = read_peft_adapter(run.adapter_dir, decoder.shape)
        check_same_update(from_gguf, from_peft, run.adapter_dir)
        for each in (from_gguf, from_peft):
            result = evaluate_loss(decoder, each, DATA.validation)
            loss = result.loss_sum / result.num_targets
            assert loss == pytest.approx(run.metrics.last_validation_loss, rel=1e-4)


def test_gradients_of_scales_of_their_own(tmp_path: Path) -> None:
    """An adapter with gains has the gradient of one whose gains are in its factors."""
    path = write_tiny_llama(tmp_path / "tiny.gguf")
    with Decoder.open(path, dtype=torch.float32) as decoder:
        adapter = fresh_adapter(decoder, replace(PLAN, ranks=RANKS, alphas=ALPHAS))
        generator = torch.Generator().manual_seed(8)
        for pair in adapter.pairs.values():
            pair.b.copy_(0.1 * torch.randn(pair.b.shape, generator=generator))
        accumulate_gradients(decoder, adapter, ragged_batch(), coefficients=0.05)
    folded = type(adapter)(
        {
            name: replace(pair, b=pair.b * pair.gain, gain=1.0)
            for name, pair in adapter.pairs.items()
        },
        rank=adapter.rank,
        alpha=adapter.alpha,
    )
    expected = reference_gradients(path, folded, 0.05)
    for name, pair in adapter.pairs.items():  # d/dB of f(gain B) is gain f'
        expected[name + ".lora_b"] *= pair.gain
    assert_close(own_gradients(adapter), expected)


def test_ranks_of_weights_the_model_has_not_are_refused(tmp_path: Path) -> None:
    plan = replace(PLAN, ranks={"attn_qkv": 4}, alphas={})
    with pytest.raises(ConfigError, match="ranks name attn_qkv, which the model has not"):
        trained(tmp_path / "run", plan)
    with pytest.raises(ConfigError, match="ranks is"):
        TrainingPlan(ranks={"attn_q": 0})
