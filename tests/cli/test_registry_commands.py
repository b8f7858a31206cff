"""models, lineage, switch, rollback: as their users meet them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fine_tuning.config.schema import TrainingSettings
from fine_tuning.core.naming import file_sha256
from fine_tuning.core.ports import ModelRecipe
from fine_tuning.data_preparation.snapshot import write_snapshot
from fine_tuning.model_management.model_registry import ModelRegistry
from fine_tuning.runtimes.base_model import resolve_base_model
from fine_tuning.runtimes.embedded_runtime import ADAPTERS, EmbeddedRuntime
from fine_tuning.workbench.plans import training_plan
from tests.cli.running import run, run_json
from tests.runtimes.models import write_adapter

EMBEDDED = ("--set", "deployment.runtime=embedded")
ALIAS = "fine_tuned_support:champion"


def write_run(home: Path, number: int, conversations: dict[str, list[str]]) -> None:
    """Leave what training leaves: a data set, an adapter, a manifest; no one registers it."""
    splits = {
        split: {"conversation_ids": conversations.get(split, [])}
        for split in ("train", "validation", "test")
    }
    facts = {"splits": splits, "remarks": [], "settings": {"max_length": 512 * number}}
    snapshot = write_snapshot(home / "datasets", dict.fromkeys(splits, ()), facts)
    folder = home / "fine_tuned_models" / f"run{number}"
    (folder / "adapter").mkdir(parents=True)
    adapter = write_adapter(folder / "adapter" / "adapter.gguf", alpha=float(number))
    manifest = {
        "run_id": folder.name,
        "method": "qlora",
        "plan": {"rank": 8, "learning_rate": number / 1000},
        "base_name": "embedded",
        "base_digest": resolve_base_model("embedded").digest(),
        "snapshot": snapshot.name,
        "created_at": f"2026-01-0{number}T00:00:00.000000+00:00",
        "metrics": {"base_validation_loss": 3.0, "best_validation_loss": 2.0 / number},
        "adapter": {"name": f"b2:{number}", "files": {"adapter.gguf": file_sha256(adapter)}},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINE_TUNING_HOME", str(tmp_path))
    monkeypatch.setenv("FINE_TUNING__DEPLOYMENT__FAMILY", "support")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_run(tmp_path, 1, {"train": ["talk-1", "talk-2"], "validation": ["talk-3"]})
    write_run(tmp_path, 2, {"train": ["talk-1", "talk-4"], "test": ["other"]})
    return tmp_path


def serve(home: Path, number: int) -> None:
    runtime = EmbeddedRuntime(home / "models" / "embedded")
    adapter = home / "fine_tuned_models" / f"run{number}" / "adapter" / "adapter.gguf"
    name = f"fine_tuned_support:{number}"
    info = runtime.create(name, ModelRecipe(base="embedded", adapter=adapter))
    deployments = ModelRegistry(home / "models").deployments
    deployments.record(f"support:{number}", "embedded", name, digest=info.digest)


@pytest.mark.usefixtures("home")
def test_runs_no_one_registered_are_versions(capsys: pytest.CaptureFixture[str]) -> None:
    value = run_json(capsys, "models")
    assert [version["name"] for version in value["versions"]] == ["support:1", "support:2"]
    assert value["size_bytes"] == sum(version["size_bytes"] for version in value["versions"])
    assert value["aliases"] == []
    assert run_json(capsys, "models") == value
    assert run_json(capsys, "models", "--family", "nobody")["versions"] == []
    said = run(capsys, "models", "--family", "nobody")[2]
    assert "no model family 'nobody', expected one of: support" in " ".join(said.split())
    assert "no version yet" not in said
    _, out, err = run(capsys, "models")
    assert "support:2" in out
    assert "MiB on disk" in err


@pytest.mark.usefixtures("home")
def test_one_version_and_two(capsys: pytest.CaptureFixture[str]) -> None:
    shown = run_json(capsys, "models", "show", "latest")
    assert shown["name"] == "support:2"
    assert shown["settings"]["plan"]["rank"] == 8
    text = " ".join(run(capsys, "models", "show", "latest")[1].split())
    assert "training.lora_r │ 8 (default 16)" in text
    assert "data_preparation.max_length │ 1024 (default 2048)" in text
    assert "num_epochs" not in text, "what is not set is not shown"
    assert run_json(capsys, "models", "note", "run1", "for Monday")["notes"][0]["text"]
    assert "for Monday" in run(capsys, "models", "show", "support:1")[1]
    found = run_json(capsys, "models", "diff", "support:1", "support:2")
    assert (found["num_shared"], found["added"]) == (1, ["talk-4"])
    assert found["removed"] == ["talk-2", "talk-3"]
    assert found["settings"] == {
        "plan.learning_rate": [0.001, 0.002],
        "data.max_length": [512, 1024],
    }
    assert found["metrics"] == {"best_validation_loss": [2.0, 1.0]}
    assert "1 shared, 1 added, 2 removed" in run(capsys, "models", "diff", "run1", "run2")[1]


def test_a_run_by_the_defaults_is_shown_as_one(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / "fine_tuned_models" / "run1" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    plan = training_plan(TrainingSettings(), takes_adapters=True)
    path.write_text(json.dumps(manifest | {"plan": plan.to_dict()}), encoding="utf-8")
    text = " ".join(run(capsys, "models", "show", "support:1")[1].split())
    assert "set: training." not in text
    assert "set: data_preparation.max_length │ 512 (default 2048)" in text


def test_the_proof_is_shown_part_by_part(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_json(capsys, "models")
    parts = [
        {"name": name, "outcome": "holds", "sentence": f"{name} was seen", "figures": {"n": 1}}
        for name in ("prompt", "ending", "output", "speed")
    ]
    books = ModelRegistry(home / "models")
    books.deployments.record("support:1", "embedded", "m", digest="d", proof={"parts": parts})
    text = " ".join(run(capsys, "models", "show", "support:1")[1].split())
    for part in parts:
        assert f"proof: {part['name']} │ holds: {part['sentence']}" in text


def test_a_changed_file_is_told_by_the_exit_code(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_json(capsys, "models", "verify", "support:1")["problems"] == []
    adapter = home / "fine_tuned_models" / "run1" / "adapter" / "adapter.gguf"
    adapter.write_bytes(b"something else")
    code, out, _ = run(capsys, "models", "verify", "support:1", "--json")
    assert code == 1
    assert "expected sha256:" in json.loads(out)["problems"][0]


def test_from_a_served_name_to_conversations_and_back(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_json(capsys, "models")
    serve(home, 1)
    run_json(capsys, "switch", "support:1", *EMBEDDED)
    for name in (ALIAS, "fine_tuned_support:1", "support"):
        value = run_json(capsys, "lineage", name)
        ids = {one["conversation_id"]: one["split"] for one in value["conversations"]}
        assert ids == {"talk-1": "train", "talk-2": "train", "talk-3": "validation"}
    back = run_json(capsys, "lineage", "talk-2")
    assert [use["version"] for use in back["uses"]] == ["support:1"]
    assert back["served"] == ["fine_tuned_support:1", ALIAS]
    assert list(back["datasets"].values()) == ["train"]
    assert run_json(capsys, "lineage", "oth")["conversation_id"] == "other"
    _, out, _ = run(capsys, "lineage", "other")
    assert "only tested on it" in out
    assert "nothing" in out
    code, out, err = run(capsys, "lineage", "talk")
    assert code == 4
    assert out == ""
    assert "others fit" in err


def test_switch_split_and_rollback(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = run_json(capsys, "models")["size_bytes"]
    for number in (1, 2):
        serve(home, number)
    assert run_json(capsys, "switch", "support:1", *EMBEDDED)["version"] == "support:1"
    listed = run_json(capsys, "models")
    served = [one["served_bytes"] for one in listed["versions"]]
    assert served == [one["size_bytes"] for one in listed["versions"]], "a copy of each adapter"
    assert listed["size_bytes"] == before + sum(served)
    assert listed["splits"] == []
    split = run_json(capsys, "switch", "support:2", "--share", "0.25", *EMBEDDED)
    assert (split["version"], split["share"]) == ("support:2", 0.25)
    (shown,) = run_json(capsys, "models")["splits"]
    assert (shown["alias"], shown["since"]) == (ALIAS, split["since"])
    sides = [(one["version"], one["share"], one["sessions"]) for one in shown["sides"]]
    assert sides == [("support:1", 0.75, 0), ("support:2", 0.25, 0)]
    err = run(capsys, "models")[2]
    assert f"{ALIAS}: 75 % support:1, 25 % support:2, since 20" in err
    assert "support:2: 0 sessions, no thumb yet" in err
    assert run_json(capsys, "models", "--family", "nobody")["splits"] == []
    assert run_json(capsys, "switch", "support:2", "--share", "0", *EMBEDDED)["ended"]
    code, out, _ = run(capsys, "switch", "support:2", *EMBEDDED)
    assert code == 0
    assert "answers as support:2; before: support:1" in " ".join(out.split())
    aliases = run_json(capsys, "models")["aliases"]
    assert aliases == [{"alias": ALIAS, "version": "support:2", "runtime": "embedded"}]
    assert run_json(capsys, "rollback", *EMBEDDED)["version"] == "support:1"
    assert run_json(capsys, "rollback", "support", *EMBEDDED)["version"] == "support:base"
    code, _, err = run(capsys, "rollback", *EMBEDDED)
    assert code == 12
    assert "from its start" in err
    assert "Next: fine-tuning switch support:2" in err
    for name in (ALIAS, "support:champion"):
        assert run_json(capsys, "lineage", name) == {"version": "support:base", "conversations": []}
    code, _, err = run(capsys, "lineage", ALIAS)
    assert (code, err.count("\n")) == (0, 1)
    assert "trained on none of your conversations" in err


def test_a_version_is_withdrawn_archived_and_taken_up_again(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_json(capsys, "models")
    for number in (1, 2):
        serve(home, number)
        run_json(capsys, "switch", f"support:{number}", *EMBEDDED)
    code, _, err = run(capsys, "withdraw", "support:2", *EMBEDDED)
    assert code == 12
    assert "support:2 stays" in err
    assert "Next: fine-tuning switch support:1" in err
    code, _, err = run(capsys, "withdraw", "support:1", *EMBEDDED)
    assert "Next: fine-tuning withdraw support:1 --force" in err
    gone = run_json(capsys, "withdraw", "support:1", "--force", *EMBEDDED)
    assert gone == {"version": "support:1", "name": "fine_tuned_support:1"}
    shown = run_json(capsys, "models")
    assert [one["served_bytes"] > 0 for one in shown["versions"]] == [False, True]
    assert shown["aliases"][0]["version"] == "support:2", "it still answers"
    assert "support:1 is a challenger" in run(capsys, "models", "promote", "support:1")[1]
    assert run_json(capsys, "models", "archive", "support:1", "--reason", "old")["stage"] == (
        "archived"
    )
    assert run_json(capsys, "models", "promote", "support:1")["stage"] == "challenger"
    code, _, err = run(capsys, "models", "archive", "support:2")
    assert code == 12
    assert "Next: fine-tuning switch support:base" in err
    events = run_json(capsys, "models", "history", "support:1")["events"]
    assert {one["version"] for one in events} == {"support:1"}
    assert [one["kind"] for one in events][:2] == ["registered", "deployed"]
    assert [one["detail"] for one in events if one["kind"] == "archived"] == ["old"]
    assert len(run_json(capsys, "models", "history", "support")["events"]) > len(events)
    assert "a challenger again" in " ".join(run(capsys, "models", "history")[1].split())


def test_a_copy_that_a_killed_process_left_is_pruned(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_json(capsys, "models")
    serve(home, 2)
    left = home / "models" / "embedded" / ADAPTERS / f"{'0' * 64}.gguf"
    left.write_bytes(b"x" * 2**20)
    assert "1.0 MiB more are unused copies" in run(capsys, "models")[2]
    plan = run_json(capsys, "models", "prune", "--dry-run")
    assert (plan["unused_bytes"], plan["size_bytes"], plan["removed"]) == (2**20, 2**20, {})
    assert run_json(capsys, "models", "prune")["unused_bytes"] == 2**20
    assert not left.exists()
    assert run_json(capsys, "models", "prune")["size_bytes"] == 0
    assert run_json(capsys, "models")["versions"][1]["served_bytes"] > 0


def test_pruning_says_what_it_would_do_first(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = home / "fine_tuned_models" / "run1" / "adapter" / "adapter.gguf"
    trial = run_json(capsys, "models", "prune", "--keep", "1", "--dry-run")
    assert trial["removed"] == {"support:1": [str(adapter)]}
    assert adapter.is_file()
    done = run_json(capsys, "models", "prune", "--keep", "1")
    assert {**done, "dry_run": True} == trial
    assert not adapter.exists()
    assert "pruned" in run(capsys, "models")[1]
    code, _, err = run(capsys, "evaluate", "support:1")
    assert code == 4
    assert "support:1 were pruned" in err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["models", "show", "suport:1"], 4, "nearest is 'support:1'"),
        (["models", "prune", "--keep", "0"], 2, "1 or more"),
        (["models", "history", "nobody"], 4, "no version is called"),
        (["models", "archive", "nobody"], 4, "no version is called"),
        (["withdraw", "support:1", *EMBEDDED], 12, "not deployed on embedded"),
        (["lineage", "nobody"], 4, "no data set holds"),
        (["serve", "--host", "no..where"], 7, "is no address"),
        (["models", "--json", "show", "support:1"], 2, "expected it behind"),
        (["models", "note", "support:1", " "], 3, "the note is empty"),
        (["switch", "support:1", *EMBEDDED], 12, "not deployed on embedded"),
        (["switch", "support:1", "--share", "7", *EMBEDDED], 12, "is not a share"),
        (["rollback", *EMBEDDED], 12, "no alias yet"),
        (["rollback", "support", *EMBEDDED], 12, "is nothing"),
    ],
)
@pytest.mark.usefixtures("home")
def test_one_sentence_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, sentence: str
) -> None:
    found, out, err = run(capsys, *arguments)
    assert sentence in err
    assert (found, out) == (code, "")
    assert "Traceback" not in err
    assert "Next: fine-tuning" in err


def test_an_empty_workspace_stays_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FINE_TUNING_HOME", str(tmp_path / "none"))
    empty = {"versions": [], "aliases": [], "splits": [], "size_bytes": 0}
    assert run_json(capsys, "models") == empty
    assert run_json(capsys, "models", "history") == {"events": []}
    for arguments in (("models", "show", "x"), ("lineage", "x"), ("rollback", *EMBEDDED)):
        code, _, err = run(capsys, *arguments)
        assert code in (4, 12)
        assert "Next: fine-tuning" in err
    assert not (tmp_path / "none").exists()
