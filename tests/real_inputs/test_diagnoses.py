"""What is wrong is said as it is, with a next step that helps and is not in force already."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tuning.core.errors import DataError, FineTuningError, GgufError, UnsupportedModelError
from fine_tuning.evaluation.verdict import MOST_ITEMS
from fine_tuning.workbench.workbench import Workbench
from tests.engine.tiny import MODELS, write_tiny
from tests.evaluation.test_verdict import FINE, judge, row
from tests.real_inputs.pipeline import INPUTS, workbench
from tests.real_inputs.test_broken_weights import broken
from tests.runtimes.tiny_chat import write_tiny_chat

pytestmark = pytest.mark.real_input("diagnoses")

ONE = INPUTS / "one-conversation" / "one.jsonl"
QUICK = {"max_steps": 1, "batch_size": 1, "threads": 1, "adapter": "lora"}
TALKS = {
    "Norwegian": ("Hva heter hovedstaden i Norge?", "Hovedstaden i Norge heter Oslo."),
    "Japanese": ("日本の首都はどこですか。", "日本の首都は東京です。"),
    "English": ("Which town is it?", "It is the town of Bergen, on the western coast."),
}


def written(folder: Path, *talks: tuple[str, str]) -> Path:
    rows = [
        {"messages": [{"role": "user", "content": one}, {"role": "assistant", "content": other}]}
        for one, other in talks
    ]
    path = folder / "talks.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def bench_with(home: Path, base: Path, file: Path, **sections: Any) -> Workbench:
    training = {"base_model": str(base), **QUICK, **sections.pop("training", {})}
    bench = workbench(home, training=training, **sections)
    bench.data.importer.import_file(file)
    return bench


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_chat(tmp_path_factory.mktemp("base") / "tiny.gguf")


@pytest.mark.parametrize("primary", ["loss", "accuracy", "chrf"])
def test_with_one_conversation_nothing_was_held_out(
    tmp_path: Path, base: Path, primary: str
) -> None:
    bench = bench_with(tmp_path / "home", base, ONE, evaluation={"primary_metric": primary})
    run = bench.train.train()
    with pytest.raises(DataError, match="nothing was held out of data set") as caught:
        bench.evaluate.evaluate(run.run_id)
    assert "it has 1 of the 10 different conversations" in caught.value.message
    assert "9 more different conversations" in caught.value.next_command
    assert f"primary_metric={primary}" not in caught.value.next_command


@pytest.mark.parametrize("max_length", [16, 24])
@pytest.mark.parametrize("language", TALKS)
def test_a_max_length_below_all_chats_is_named(
    tmp_path: Path, base: Path, language: str, max_length: int
) -> None:
    file = written(tmp_path, TALKS[language])
    short = {"max_length": max_length, "truncation": "drop"}
    bench = bench_with(tmp_path / "short", base, file, data_preparation=short)
    with pytest.raises(DataError, match="beyond max_length") as caught:
        bench.train.train()
    said = f"data_preparation.max_length (now {max_length}): --set data_preparation.max_length="
    assert said in caught.value.next_command
    longer = {**short, "max_length": int(caught.value.next_command.rpartition("=")[2])}
    bench = bench_with(tmp_path / "longer", base, file, data_preparation=longer)
    assert bench.data.prepare().split("train").examples


CANNOT: dict[str, tuple[type[FineTuningError], str]] = {
    "a kind that is not computed": (UnsupportedModelError, "'mamba'"),
    "experts": (UnsupportedModelError, "mixture of experts"),
    "a broken scale": (GgufError, "blk.1.ffn_down.weight holds NaN: download the file again"),
    "a tensor that is not computed": (UnsupportedModelError, "attn_sinks"),
}


def unfit(folder: Path, case: str) -> Path:
    model, path = MODELS["llama"], folder / "base.gguf"
    if case == "a broken scale":
        return broken(folder, "Q8_0")
    if case == "experts":
        return write_tiny(path, replace(model, keys={"expert_count": 8}))
    if case == "a tensor that is not computed":
        return write_tiny(path, replace(model, factors=("blk.0.attn_sinks.weight",)))
    return write_tiny(path, replace(model, architecture="mamba"))


@pytest.mark.parametrize("case", CANNOT)
@pytest.mark.parametrize("is_dry", [False, True])
def test_what_a_base_cannot_do_is_said_before_the_data_set_is_built(
    tmp_path: Path, case: str, is_dry: bool
) -> None:
    kind, said = CANNOT[case]
    bench = bench_with(tmp_path / "home", unfit(tmp_path, case), ONE)
    with pytest.raises(kind) as caught:
        bench.train.forecast() if is_dry else bench.train.train()
    assert said in caught.value.message
    assert caught.value.next_command
    datasets = tmp_path / "home" / "datasets"
    assert not datasets.exists() or not list(datasets.iterdir())


@pytest.mark.parametrize("gain", [0.0005, 0.0001, -0.0498])
def test_numbers_nobody_could_collect_are_not_advised(gain: float) -> None:
    verdict = judge(row("fact_recall", gain, 0.1), FINE)
    assert verdict.items_needed is None or verdict.items_needed > MOST_ITEMS
    said = " ".join(reason.sentence for reason in verdict.reasons)
    assert "more items like these" not in said


def test_numbers_that_can_be_collected_are_told() -> None:
    verdict = judge(row("fact_recall", 0.05, 0.1), FINE)
    assert "342 more items like these would decide" in verdict.reasons[0].sentence
