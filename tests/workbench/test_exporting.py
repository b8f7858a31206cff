"""A version leaves as files: adapter, PEFT, merged, each with what serves it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fine_tuning.config.loader import load_settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import ConfigError
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.model_management.artefacts import check_served
from fine_tuning.runtimes.embedded import CHATML_TEMPLATE
from fine_tuning.runtimes.ollama_modelfile import parse_modelfile
from fine_tuning.training.adapter_run import BaseModel
from fine_tuning.training.plan import TrainingData, TrainingPlan
from fine_tuning.training.qlora_trainer import QLoRATrainer
from fine_tuning.workbench.workbench import Workbench
from tests.engine.tiny import ragged_batch
from tests.runtimes.small_model import write_small_model


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A workspace with one finished run of a mergeable adapter."""
    home = tmp_path_factory.mktemp("home")
    workspace = Workspace(home=home)
    base = write_small_model(home / "small.gguf")
    plan = TrainingPlan(adapter="mergeable", rank=4, learning_rate=1e-2, num_epochs=2, threads=1)
    QLoRATrainer(plan).train(
        TrainingData(train=ragged_batch()),
        BaseModel(path=base, name=str(base)),
        workspace.runs / "first",
    )
    return Workbench(load_settings(environment={}), workspace)


def test_a_merged_model(bench: Workbench, tmp_path: Path) -> None:
    made = bench.export_model("first", "merged", tmp_path / "out")
    assert [path.name for path in made.files] == ["Modelfile", "merged.gguf"]
    assert made.version == "small:1"
    assert made.size_bytes == sum(path.stat().st_size for path in made.files)
    assert made.report is not None
    assert not made.report.is_exact, "ffn_down is Q8_0"
    value = json.loads(json.dumps(made.to_dict()))
    changes = {(one["before"], one["after"], one["is_exact"]) for one in value["tensors"]}
    assert changes == {("Q4_0", "Q4_1", True), ("Q8_0", "Q8_0", False)}
    modelfile = parse_modelfile((tmp_path / "out" / "Modelfile").read_text(encoding="utf-8"))
    assert modelfile.base == str(tmp_path / "out" / "merged.gguf")
    assert modelfile.adapters == ()
    with GgufFile.open(made.files[1]) as file:  # the base has no template; serving used this one
        assert file.get("tokenizer.chat_template", str) == CHATML_TEMPLATE


def test_an_adapter_beside_its_base(bench: Workbench, tmp_path: Path) -> None:
    made = bench.export_model("first", "adapter", tmp_path / "out")
    modelfile = parse_modelfile((made.folder / "Modelfile").read_text(encoding="utf-8"))
    assert modelfile.base == str(bench.workspace.home / "small.gguf")
    assert modelfile.adapters == (str(made.folder / "adapter.gguf"),)
    check_served(Path(modelfile.base), Path(modelfile.adapters[0]))


def test_peft(bench: Workbench, tmp_path: Path) -> None:
    made = bench.export_model("first", "peft", tmp_path / "out")
    names = [path.name for path in made.files]
    assert names == ["adapter_config.json", "adapter_model.safetensors"]


def test_unknown_forms_and_full_folders_are_refused(bench: Workbench, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'onnx' is no form of a model, expected one of adapter"):
        bench.export_model("first", "onnx", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds something already"):
        bench.export_model("first", "merged", tmp_path / "full")
    assert (tmp_path / "full" / "letter.txt").read_text(encoding="utf-8") == "dear"
