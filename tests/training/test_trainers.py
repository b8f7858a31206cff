"""Both trainers on a real, tiny llama: same numbers, whole runs, sound files, plain refusals."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from fine_tuning.config.schema import TrainingSettings
from fine_tuning.core.errors import (
    ConfigError,
    DataError,
    GgufError,
    InterruptedRunError,
    TrainingError,
)
from fine_tuning.core.events import RunEvent
from fine_tuning.core.naming import file_sha256
from fine_tuning.engine.adapter_files import read_gguf_adapter
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.peft_files import read_peft_adapter
from fine_tuning.engine.step import evaluate_loss
from fine_tuning.training.adapter_run import TrainingBase
from fine_tuning.training.fresh_adapter import fresh_adapter
from fine_tuning.training.lora_trainer import LoRATrainer
from fine_tuning.training.plan import TrainingData, TrainingPlan
from fine_tuning.training.qlora_trainer import QLoRATrainer
from fine_tuning.training.run_lifecycle import Listening
from fine_tuning.workbench.plans import training_plan
from tests.engine.tiny import MODELS, write_tiny
from tests.training.tiny_llama import DATA, PLAN, RECORDED, TRAINERS, base_model, curve, run_llama

METHODS = ["lora", "qlora"]


class InterruptAt:
    def __init__(self, step: int) -> None:
        self._step = step

    def on_event(self, event: RunEvent) -> None:
        if event.kind == "step" and event.step == self._step:
            os.kill(os.getpid(), signal.SIGINT)


def adapter_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "adapter").iterdir()}


@pytest.mark.invariant
@pytest.mark.parametrize("method", METHODS)
def test_the_recorded_curve_is_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Recorded with the torch kernels in float32, so that any processor can be compared."""
    monkeypatch.setenv("FINE_TUNING_KERNELS", "torch")
    recorded = json.loads((RECORDED / f"tiny_llama_{method}.json").read_text(encoding="utf-8"))
    run_llama(tmp_path / "run", method, PLAN)
    for name, losses in curve(tmp_path / "run").items():
        assert losses == pytest.approx(recorded[name], rel=1e-3), name


@pytest.mark.parametrize("method", METHODS)
def test_a_run_ends_with_an_adapter_and_a_manifest(tmp_path: Path, method: str) -> None:
    run = run_llama(tmp_path / "run", method, PLAN)
    assert set(adapter_files(run.folder)) == {
        "adapter.gguf",
        "adapter_model.safetensors",
        "adapter_config.json",
    }
    manifest = json.loads((run.folder / "manifest.json").read_text(encoding="utf-8"))
    base = tmp_path / "tiny.gguf"
    assert manifest["base_digest"] == file_sha256(base)
    assert manifest["method"] == method
    assert manifest["compute_dtype"] == "float32"
    assert manifest["threads"] == 1
    for name, digest in manifest["adapter"]["files"].items():
        assert file_sha256(run.adapter_dir / name) == digest

    with Decoder.open(base, dtype=torch.float32) as decoder:
        from_gguf = read_gguf_adapter(run.adapter_file)
        from_peft = read_peft_adapter(run.adapter_dir, decoder.shape)
        for adapter in (from_gguf, from_peft):
            result = evaluate_loss(decoder, adapter, DATA.validation)
            loss = result.loss_sum / result.num_targets
            assert loss == pytest.approx(run.metrics.last_validation_loss, rel=1e-4)
        untrained = evaluate_loss(decoder, None, DATA.validation)
        base_loss = untrained.loss_sum / untrained.num_targets
    assert base_loss == pytest.approx(run.metrics.base_validation_loss, rel=1e-4)
    assert run.metrics.last_validation_loss < 0.8 * base_loss


def test_packed_and_unpacked_weights_train_the_same_adapter(tmp_path: Path) -> None:
    for method in METHODS:
        run_llama(tmp_path / method, method, PLAN)
    lora, qlora = (curve(tmp_path / method) for method in METHODS)
    assert lora["loss"] == pytest.approx(qlora["loss"], rel=1e-4)
    assert lora["validation_loss"] == pytest.approx(qlora["validation_loss"], rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float32", "auto"])
def test_an_interrupted_run_resumes_to_the_same_bytes(
    tmp_path: Path, method: str, dtype: str
) -> None:
    plan = TrainingPlan.from_dict({**PLAN.to_dict(), "compute_dtype": dtype})
    whole = run_llama(tmp_path / "whole", method, plan)
    with pytest.raises(InterruptedRunError):
        run_llama(tmp_path / "part", method, plan, Listening(listener=InterruptAt(5)))
    part = run_llama(tmp_path / "part", method, plan)
    assert adapter_files(part.folder) == adapter_files(whole.folder)
    assert part.adapter_name == whole.adapter_name
    assert curve(part.folder) == curve(whole.folder)


def test_batch_8x1_is_1x8(tmp_path: Path) -> None:
    raw = PLAN.to_dict()
    wide = TrainingPlan.from_dict({**raw, "batch_size": 8, "gradient_accumulation": 1})
    narrow = TrainingPlan.from_dict({**raw, "batch_size": 1, "gradient_accumulation": 8})
    run_llama(tmp_path / "wide", "qlora", wide)
    run_llama(tmp_path / "narrow", "qlora", narrow)
    for name, losses in curve(tmp_path / "wide").items():
        assert losses == pytest.approx(curve(tmp_path / "narrow")[name], rel=1e-3), name


def test_targets_choose_the_layers(tmp_path: Path) -> None:
    plan = TrainingPlan(rank=2, targets=("attn_q", "ffn_down"), max_steps=1, patience=0)
    run = run_llama(tmp_path / "run", "qlora", plan)
    adapter = read_gguf_adapter(run.adapter_file)
    assert sorted(adapter.targets) == [
        "blk.0.attn_q.weight",
        "blk.0.ffn_down.weight",
        "blk.1.attn_q.weight",
        "blk.1.ffn_down.weight",
    ]
    with pytest.raises(ConfigError, match="targets name q_proj, expected some of attn_q, attn_k"):
        run_llama(tmp_path / "other", "qlora", TrainingPlan(targets=("q_proj", "attn_v")))
    assert not (tmp_path / "other").exists()


def interrupted(tmp_path: Path) -> Path:
    with pytest.raises(InterruptedRunError):
        run_llama(tmp_path / "run", "qlora", PLAN, Listening(listener=InterruptAt(2)))
    return tmp_path / "run"


def test_a_run_is_resumed_by_its_own_method(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="started with method qlora, expected lora"):
        LoRATrainer().resume(interrupted(tmp_path))


def test_another_base_is_refused_on_resume(tmp_path: Path) -> None:
    folder = interrupted(tmp_path)
    base = tmp_path / "tiny.gguf"
    base.write_bytes(base.read_bytes()[:-1] + b"\x01")
    with pytest.raises(TrainingError, match=r"tiny\.gguf is sha256:\w+, expected sha256:"):
        QLoRATrainer().resume(folder)
    base.unlink()
    with pytest.raises(TrainingError, match=r"tiny\.gguf is gone"):
        QLoRATrainer().resume(folder)


def test_a_folder_with_a_run_is_not_started_again(tmp_path: Path) -> None:
    folder = interrupted(tmp_path)
    with pytest.raises(TrainingError, match="holds a run already") as caught:
        QLoRATrainer(PLAN).train(DATA, base_model(tmp_path), folder)
    assert caught.value.next_command == "fine-tuning train --resume run"


def test_a_start_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("not a model")
    with pytest.raises(GgufError):
        QLoRATrainer().train(DATA, TrainingBase(path=tmp_path / "text.gguf"), tmp_path / "run")
    with pytest.raises(DataError, match="none with a token to learn"):
        QLoRATrainer().train(TrainingData(train=[]), base_model(tmp_path), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_trainers_are_the_methods_of_the_configuration() -> None:
    assert {name: trainer.method for name, trainer in TRAINERS.items()} == {
        "lora": "lora",
        "qlora": "qlora",
    }


def test_fused_layers_are_chosen_by_the_names_in_the_file(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "phi3.gguf", MODELS["phi3"])
    training = TrainingSettings.model_validate(
        {"target_modules": ["attn_qkv", "ffn_up"], "lora_r": 4}
    )
    with Decoder.open(path) as decoder:
        adapter = fresh_adapter(decoder, training_plan(training))
        kinds = {name.split(".")[2] for name in adapter.targets}
        assert kinds == {"attn_qkv", "ffn_up"}
        with pytest.raises(ConfigError, match="targets name attn_q, expected some of attn_qkv"):
            fresh_adapter(decoder, TrainingPlan(targets=("attn_q",)))
