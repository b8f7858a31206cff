"""A version leaves as files: adapter, PEFT, merged, each with what serves it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, load_file, save_file

from fine_tuning.config.loader import load_settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import ConfigError, TrainingError
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.model_management.artefacts import check_served
from fine_tuning.runtimes.embedded import CHATML_TEMPLATE
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_modelfile import parse_modelfile
from fine_tuning.runtimes.ollama_runtime import OllamaRuntime
from fine_tuning.training.adapter_run import TrainingBase
from fine_tuning.training.plan import TrainingData, TrainingPlan
from fine_tuning.training.qlora_trainer import QLoRATrainer
from fine_tuning.workbench.workbench import Workbench
from tests.engine.tiny import ragged_batch
from tests.ollama_stand_in.go_template import render_chat
from tests.ollama_stand_in.server import StandIn
from tests.runtimes.small_model import write_small_model
from tests.workbench.trained import NAME, write_trained


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A workspace with one finished run of a mergeable adapter."""
    home = tmp_path_factory.mktemp("home")
    workspace = Workspace(home=home)
    base = write_small_model(home / "small.gguf")
    plan = TrainingPlan(adapter="mergeable", rank=4, learning_rate=1e-2, num_epochs=2, threads=1)
    QLoRATrainer(plan).train(
        TrainingData(train=ragged_batch()),
        TrainingBase(path=base, name=str(base)),
        workspace.runs / "first",
    )
    return Workbench(load_settings(environment={}), workspace)


def test_a_merged_model(bench: Workbench, tmp_path: Path) -> None:
    made = bench.models.exporter.export("first", "merged", tmp_path / "out")
    assert [path.name for path in made.files] == ["Modelfile", "merged.gguf"]
    assert made.version == "small:1"
    assert made.size_bytes == sum(path.stat().st_size for path in made.files)
    assert made.report is not None
    assert not made.report.is_exact, "ffn_down is Q8_0"
    value = json.loads(json.dumps(made.to_dict()))
    changes = {(one["before"], one["after"], one["is_exact"]) for one in value["tensors"]}
    assert changes == {("Q4_0", "Q4_1", True), ("Q8_0", "Q8_0", False)}
    modelfile = parse_modelfile((tmp_path / "out" / "Modelfile").read_text(encoding="utf-8"))
    assert modelfile.base == "./merged.gguf"
    assert modelfile.adapters == ()
    with GgufFile.open(made.files[1]) as file:  # the base has no template; serving used this one
        assert file.get("tokenizer.chat_template", str) == CHATML_TEMPLATE


def test_an_adapter_beside_its_base(bench: Workbench, tmp_path: Path) -> None:
    made = bench.models.exporter.export("first", "adapter", tmp_path / "out")
    modelfile = parse_modelfile((made.folder / "Modelfile").read_text(encoding="utf-8"))
    assert modelfile.base == str(bench.context.workspace.home / "small.gguf")
    assert modelfile.adapters == ("./adapter.gguf",)
    check_served(Path(modelfile.base), made.folder / modelfile.adapters[0])


def test_a_base_without_a_template_gets_that_of_training(bench: Workbench, tmp_path: Path) -> None:
    made = bench.models.exporter.export("first", "adapter", tmp_path / "out")
    text = (made.folder / "Modelfile").read_text(encoding="utf-8")
    assert text.startswith("# For Ollama up to 0.34.0: later versions refuse ADAPTER")
    modelfile = parse_modelfile(text)
    assert modelfile.parameters == {"stop": ("<|im_end|>",)}
    turns = (("system", "Be brief."), ("user", "Hi."), ("assistant", "Yes?"), ("user", "Why?"))
    messages = [{"role": role, "content": said} for role, said in turns]
    expected = "".join(f"<|im_start|>{role}\n{said}<|im_end|>\n" for role, said in turns)
    assert render_chat(modelfile.template, messages) == f"{expected}<|im_start|>assistant\n"


def test_a_version_keeps_its_modelfile(bench: Workbench, tmp_path: Path) -> None:
    bench.models.exporter.export("first", "peft", tmp_path / "out")
    (kept,) = (
        one for one in bench.models.versions.find("first").present if one.kind == "modelfile"
    )
    assert kept.path == bench.models.modelfiles.find("first")
    found = parse_modelfile(kept.path.read_text(encoding="utf-8"))
    assert found.base == str(bench.context.workspace.home / "small.gguf")
    assert (kept.path.parent / found.adapters[0]).is_file()
    kept.path.unlink()
    assert (
        parse_modelfile(bench.models.modelfiles.find("first").read_text(encoding="utf-8")) == found
    )
    assert bench.models.register.registry().verify("first") == []


SETTINGS: dict[str, Any] = {
    "template": '{{ if .System }}"{{ .System }}"\n{{ end }}{{ .Prompt }}:',
    "system": 'Say "yes".\nNothing else.',
    "params": json.dumps({"stop": ["</s>", 'a "b"'], "num_ctx": 2048, "temperature": 0.5}),
    "messages": json.dumps(
        [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
    ),
    "license": 'Free, as in "beer".\n\nFROM here on.',
}


def test_what_the_base_brings_reaches_a_server_that_reads_the_modelfile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ollama 0.3 gets the text, the files uploaded under their digests as its client does."""
    trained = write_trained(tmp_path, name=NAME)
    trained.add_run()
    with StandIn(tmp_path, generation="0.3.14") as server:
        monkeypatch.setenv("OLLAMA_MODELS", str(server.root))
        server.add_model(NAME, trained.base, **SETTINGS)
        made = trained.bench().models.exporter.export("run1", "adapter", tmp_path / "out")
        text = (made.folder / "Modelfile").read_text(encoding="utf-8")
        modelfile, client = parse_modelfile(text), OllamaClient(server.url)
        for named in (modelfile.base, *modelfile.adapters):
            digest = client.upload(made.folder / named)
            text = text.replace(f" {named}\n", f" @{digest}\n")
        list(client.lines("/api/create", {"name": "copy", "modelfile": text}))
        shown = [OllamaRuntime(client).settings(name) for name in ("copy:latest", NAME)]
    assert [replace(one, base="", adapters=()) for one in shown[:1]] == [
        replace(one, base="") for one in shown[1:]
    ]
    assert shown[0].licenses == (SETTINGS["license"],)


def test_names_of_code_in_ollama_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = write_trained(tmp_path, name=NAME)
    trained.add_run()
    with StandIn(tmp_path, generation="0.40.0") as server:
        monkeypatch.setenv("OLLAMA_MODELS", str(server.root))
        server.add_model(NAME, trained.base, renderer="qwen3-coder", parser="qwen3-coder")
        path = trained.bench().models.modelfiles.find("run1")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# For Ollama 0.12.0 to 0.34.0")
    assert "RENDERER qwen3-coder\nPARSER qwen3-coder\n" in text
    assert "TEMPLATE" not in text


def test_peft(bench: Workbench, tmp_path: Path) -> None:
    made = bench.models.exporter.export("first", "peft", tmp_path / "out")
    names = [path.name for path in made.files]
    assert names == ["adapter_config.json", "adapter_model.safetensors"]


def test_peft_is_made_of_the_adapter_where_it_is_missing(bench: Workbench, tmp_path: Path) -> None:
    own = bench.models.runs.find("first").adapter_dir / "adapter_model.safetensors"
    content = own.read_bytes()
    made = bench.models.exporter.export("first", "peft", tmp_path / "out").files[1].read_bytes()
    own.unlink()
    again = bench.models.exporter.export("first", "peft", tmp_path / "again").files[1].read_bytes()
    own.write_bytes(content)
    assert load(again).keys() == load(made).keys()
    assert all(torch.equal(load(again)[name], tensor) for name, tensor in load(made).items())


def test_another_adapter_never_leaves_as_this_one(bench: Workbench, tmp_path: Path) -> None:
    own = bench.models.runs.find("first").adapter_dir / "adapter_model.safetensors"
    content = own.read_bytes()
    state = load_file(own)
    next(iter(state.values())).mul_(1.001)
    save_file(state, own)
    with pytest.raises(TrainingError, match="otherwise than the adapter it was made from"):
        bench.models.exporter.export("first", "peft", tmp_path / "out")
    own.write_bytes(content)
    assert not (tmp_path / "out").exists()


def test_unknown_forms_and_full_folders_are_refused(bench: Workbench, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="'onnx' is no form of a model, expected one of adapter"
    ) as caught:
        bench.models.exporter.export("first", "onnx", tmp_path / "out")
    assert caught.value.next_command.startswith("fine-tuning models export first --as merged")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds something already"):
        bench.models.exporter.export("first", "merged", tmp_path / "full")
    assert (tmp_path / "full" / "letter.txt").read_text(encoding="utf-8") == "dear"
