"""An adapter trained elsewhere becomes a version like any other, or is refused in a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import FineTuningError
from fine_tuning.engine.adapter_files import read_gguf_adapter, write_gguf_adapter
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.writer import tensor_from_file, write_gguf
from fine_tuning.model_management.artefacts import is_mergeable
from fine_tuning.training.adapter_run import TrainingBase
from fine_tuning.training.plan import TrainingData, TrainingPlan
from fine_tuning.training.qlora_trainer import QLoRATrainer
from fine_tuning.workbench.workbench import Workbench
from tests.engine.tiny import ragged_batch
from tests.runtimes.small_model import write_small_model
from tests.workbench.trained import write_trained


def bench_in(home: Path) -> Workbench:
    raw = {"training": {"threads": 1}, "deployment": {"runtime": "embedded"}}
    return Workbench(Settings.model_validate(raw), Workspace(home=home))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """Another workspace, with a run of a mergeable adapter."""
    home = tmp_path_factory.mktemp("elsewhere")
    base = write_small_model(home / "small.gguf")
    plan = TrainingPlan(adapter="mergeable", rank=4, learning_rate=1e-2, num_epochs=2, threads=1)
    QLoRATrainer(plan).train(
        TrainingData(train=ragged_batch()),
        TrainingBase(path=base, name=str(base)),
        home / "fine_tuned_models" / "first",
    )
    return bench_in(home)


def base_of(elsewhere: Workbench) -> str:
    return str(elsewhere.context.workspace.home / "small.gguf")


@pytest.fixture(scope="module")
def peft(elsewhere: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "peft"
    elsewhere.models.exporter.export("first", "peft", folder)
    return folder


def test_what_was_exported_comes_back_as_it_was(
    elsewhere: Workbench, peft: Path, tmp_path: Path
) -> None:
    bench = bench_in(tmp_path / "home")
    done = bench.models.importer.import_adapter(peft, base_of(elsewhere), family="support")
    assert (done.version.name, done.form, done.is_new) == ("support:1", "PEFT", True)
    own = elsewhere.models.runs.find("first")
    assert done.version.adapter_name == own.adapter_name
    assert done.version.adapter_path is not None
    assert is_mergeable(done.version.adapter_path), "its form is seen by its numbers"
    for name, tensor in read_gguf_adapter(own.adapter_file).state_dict().items():
        found = read_gguf_adapter(done.version.adapter_path).state_dict()
        assert torch.equal(found[name], tensor), name
    assert done.version.data_words == f"none: the adapter was imported from {peft}"
    assert (done.version.snapshot, bench.models.lineage.origins("support:1")) == ("", [])
    kinds = {one.kind for one in done.version.present}
    assert kinds == {"adapter", "peft", "peft config", "modelfile"}
    for kind in ("adapter", "peft", "merged"):
        made = bench.models.exporter.export("support:1", kind, tmp_path / kind)
        theirs = elsewhere.models.exporter.export("first", kind, tmp_path / f"their-{kind}")
        assert [path.name for path in made.files] == [path.name for path in theirs.files]
    merged = [tmp_path / folder / "merged.gguf" for folder in ("merged", "their-merged")]
    assert merged[0].read_bytes() == merged[1].read_bytes()


def test_a_gguf_adapter_is_imported_once_and_again_when_pruned(
    elsewhere: Workbench, tmp_path: Path
) -> None:
    bench, base = bench_in(tmp_path), base_of(elsewhere)
    source = elsewhere.models.runs.find("first").adapter_file
    first = bench.models.importer.import_adapter(source, base)
    assert (first.version.name, first.form) == ("small:1", "GGUF")
    again = bench.models.importer.import_adapter(source, base)
    assert (again.version.id, again.is_new) == (first.version.id, False)
    registry = bench.models.register.registry()
    with registry.database.writing() as connection:
        connection.execute("UPDATE artefact SET state = 'removed'")
    shutil.rmtree(bench.models.runs.find(str(first.version.run_folder)).folder / "adapter")
    back = bench.models.importer.import_adapter(source, base)
    assert back.version.id == first.version.id
    assert bench.models.register.registry().verify("small:1") == []
    assert back.version.adapter_path is not None


def test_it_is_deployed_with_a_proof(tmp_path: Path) -> None:
    trained = write_trained(tmp_path)
    adapter = trained.add_run() / "adapter" / "adapter.gguf"
    bench = bench_in(tmp_path / "other")
    version = bench.models.importer.import_adapter(adapter, str(trained.base)).version
    done = bench.models.deployment.deploy(version.name)
    assert {part["outcome"] for part in done.deployed.proof["parts"]} <= {"holds", "cannot tell"}
    assert done.switched is not None


def other_base(source: Path) -> None:
    """Leave another base's digest in the weights."""
    state = load_file(source / "adapter_model.safetensors")
    about = {"format": "pt", "fine_tuning.base_digest": "sha256:" + "0" * 64}
    save_file(state, source / "adapter_model.safetensors", metadata=about)


def other_sizes(source: Path) -> None:
    path = source / "adapter_model.safetensors"
    state = {name: tensor.repeat(1, 2) if "lora_A" in name else tensor
             for name, tensor in load_file(path).items()}  # fmt: skip
    save_file(state, path)


def tear(source: Path) -> None:
    path = source / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pickle(source: Path) -> None:
    (source / "adapter_model.safetensors").rename(source / "adapter_model.bin")


def dora(source: Path) -> None:
    path = source / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"use_dora": True}))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (shutil.rmtree, "there is no "),
    "no weights": (lambda f: (f / "adapter_model.safetensors").unlink(), "has no adapter_model"),
    "no config": (lambda f: (f / "adapter_config.json").unlink(), "has no adapter_config"),
    "torn": (tear, "is not a sound PEFT adapter"),
    "pickle": (pickle, "a pickle, which can run any program"),
    "DoRA": (dora, "has use_dora True, expected False"),
    "another base": (other_base, "was trained on "),
    "another size": (other_sizes, " as 256 x 512, and "),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_is_said_with_what_to_do(
    elsewhere: Workbench, peft: Path, tmp_path: Path, case: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(peft, source)
    change, said = BROKEN[case]
    change(source)
    bench = bench_in(tmp_path / "home")
    with pytest.raises(FineTuningError, match=said) as caught:
        bench.models.importer.import_adapter(source, base_of(elsewhere))
    assert caught.value.next_command
    assert "\n" not in caught.value.message
    left = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert left == []


def test_an_adapter_of_another_architecture_or_of_the_output_is_refused(
    elsewhere: Workbench, tmp_path: Path
) -> None:
    source, base = elsewhere.models.runs.find("first").adapter_file, base_of(elsewhere)
    bench, place = bench_in(tmp_path / "home"), tmp_path / "a.gguf"
    with GgufFile.open(source) as file:
        keys = dict(file.typed_metadata) | {"general.architecture": "qwen2"}
        write_gguf(place, keys, [tensor_from_file(file, name) for name in file.tensors])
    with pytest.raises(FineTuningError, match="'qwen2', expected 'llama'") as caught:
        bench.models.importer.import_adapter(place, base)
    assert "--base BASE" in caught.value.next_command
    whole = write_trained(tmp_path / "tied")
    shapes = {"output.weight": (49152, 64)}
    adapter = LoraAdapter.create(shapes, rank=2, alpha=2.0, seed=0)
    write_gguf_adapter(place, adapter, architecture="llama")
    with pytest.raises(FineTuningError, match=r"changes output\.weight, expected linear") as c:
        bench.models.importer.import_adapter(place, str(whole.base))
    assert c.value.next_command
