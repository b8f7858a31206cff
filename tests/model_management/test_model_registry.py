"""Versions, names, stages, notes, verdicts, deployments: what the registry promises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fine_tuning.core.errors import (
    ConfigError,
    DataError,
    DeploymentError,
    ModelNotFoundError,
    StorageError,
)
from fine_tuning.model_management.alias_history import AliasHistory
from fine_tuning.model_management.model_registry import ModelRegistry
from fine_tuning.model_management.versions import family_of
from fine_tuning.storage.sqlite_store import SqliteConversationStore
from tests.model_management.registered import new_version, point, register, registry, split


def test_a_version_is_what_was_registered(tmp_path: Path) -> None:
    made = register(
        tmp_path, "run1", settings={"rank": 8}, metrics={"last_loss": 1.5}, verdict={"outcome": "x"}
    )
    (found,) = registry(tmp_path).versions()
    assert found == made
    assert (found.name, found.stage, found.outcome) == ("support:1", "challenger", "x")
    assert found.settings == {"rank": 8}
    assert found.metrics == {"last_loss": 1.5}
    assert found.adapter_path == tmp_path / "runs" / "run1" / "adapter" / "adapter.gguf"
    assert found.size_bytes == 2000
    assert json.loads(json.dumps(found.to_dict()))["name"] == "support:1"


def test_numbers_count_up_in_each_family(tmp_path: Path) -> None:
    names = [
        register(tmp_path, f"run{i}", family=family).name
        for i, family in enumerate(["support", "Sales", "support", "sales", "support"])
    ]
    assert names == ["support:1", "sales:1", "support:2", "sales:2", "support:3"]
    assert [version.name for version in registry(tmp_path).versions("SALES")] == names[1::2]


def test_a_run_is_registered_once(tmp_path: Path) -> None:
    first = register(tmp_path, "run1")
    registry(tmp_path).note("support:1", "good one")
    again = register(tmp_path, "run1")
    assert again.id == first.id
    assert [note.text for note in again.notes] == ["good one"]
    assert len(registry(tmp_path).versions()) == 1


def test_what_cannot_be_registered_leaves_nothing(tmp_path: Path) -> None:
    books = registry(tmp_path)
    good = new_version(tmp_path, "run1")
    cases = [
        (new_version(tmp_path, "a", family="no spaces"), ConfigError, "not a family"),
        (new_version(tmp_path, "b", parents=["support:9"]), ModelNotFoundError, "support:9"),
    ]
    without = new_version(tmp_path, "c")
    object.__setattr__(without, "artefacts", without.artefacts[1:])
    gone = new_version(tmp_path, "d")
    gone.artefacts[0][1].unlink()
    cases += [(without, DataError, "without an adapter"), (gone, DataError, "does not exist")]
    for new, error, words in cases:
        with pytest.raises(error, match=words):
            books.register(new)
    assert books.versions() == []
    assert books.history() == []
    assert books.register(good).name == "support:1"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("support:2", "support:2"),
        ("SUPPORT:2", "support:2"),
        (" support:1 ", "support:1"),
        ("support:champion", "support:1"),
        ("support", "support:1"),
        ("support:challenger", "support:3"),
        ("support:archived", "support:2"),
        ("support:latest", "support:3"),
        ("latest", "sales:1"),
        ("sales", "sales:1"),
        ("RUN2", "support:2"),
        ("fine_tuned_support:2", "support:2"),
        ("fine_tuned_plain", "support:3"),
        ("fine_tuned_plain:latest", "support:3"),
    ],
)
def test_a_version_is_found_by_what_one_calls_it(tmp_path: Path, name: str, expected: str) -> None:
    for run in ("run1", "run2", "run3"):
        register(tmp_path, run)
    register(tmp_path, "run4", family="sales")
    books = registry(tmp_path)
    point(AliasHistory(books, "embedded"), "support:1")
    books.archive("support:2")
    books.deployments.record("support:2", "embedded", "fine_tuned_support:2", digest="d")
    books.deployments.record("support:3", "ollama", "fine_tuned_plain:latest", digest="d")
    assert books.find(name).name == expected


def test_an_unknown_name_comes_with_its_nearest(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="none was registered") as caught:
        registry(tmp_path).find("support")
    assert caught.value.next_command == "fine-tuning train"
    register(tmp_path, "run1")
    with pytest.raises(ModelNotFoundError, match="nearest is 'support:1'"):
        registry(tmp_path).find("suport:1")
    for strange in ("", ":", "support:99999999999999999999999", "zzz", "'; DROP TABLE version"):
        with pytest.raises(ModelNotFoundError, match="no version is called"):
            registry(tmp_path).find(strange)


def three_versions(folder: Path) -> tuple[ModelRegistry, AliasHistory]:
    for run in ("run1", "run2", "run3"):
        register(folder, run)
    books = registry(folder)
    return books, AliasHistory(books, "embedded")


def test_a_family_has_one_champion(tmp_path: Path) -> None:
    books, journal = three_versions(tmp_path)
    point(journal, "support:1")
    point(journal, "support:3")
    stages = [version.stage for version in books.versions()]
    assert stages == ["archived", "challenger", "champion"]
    assert books.history("other") == []


def test_a_version_is_put_aside_and_taken_up_again(tmp_path: Path) -> None:
    books, journal = three_versions(tmp_path)
    point(journal, "support:1")
    split(journal, "support:2")
    for name, way_out in (("support:1", "support:base"), ("support:2", "support:2 --share 0")):
        with pytest.raises(DeploymentError, match=f"{name} cannot be archived") as caught:
            books.archive(name)
        assert caught.value.next_command == f"fine-tuning switch {way_out}"
    for _ in range(2):
        assert books.archive("support:3", "too long").stage == "archived"
    for _ in range(2):
        assert books.promote("support:3").stage == "challenger"
    assert books.promote("support:1").stage == "champion", "it is one already"
    told = [(event.kind, event.version, event.detail) for event in books.history("support")]
    assert told[-2:] == [
        ("archived", "support:3", "too long"),
        ("promoted", "support:3", "a challenger again"),
    ]


def test_verdicts_notes_and_metrics_are_kept(tmp_path: Path) -> None:
    register(tmp_path, "run1", metrics={"last_loss": 2.0})
    books = registry(tmp_path)
    books.record_verdict("latest", {"outcome": "promote"}, {"held_out_loss": 1.0})
    found = books.note("latest", "  the one for Monday ")
    assert found.outcome == "promote"
    assert found.metrics == {"last_loss": 2.0, "held_out_loss": 1.0}
    assert [note.text for note in found.notes] == ["the one for Monday"]
    with pytest.raises(DataError, match="empty"):
        books.note("latest", " ")


def test_artefacts_are_verified_by_their_bytes(tmp_path: Path) -> None:
    register(tmp_path, "run1")
    books = registry(tmp_path)
    merged = tmp_path / "models" / "merged.gguf"
    merged.write_bytes(b"merged")
    made = books.add_artefact("support:1", "merged", merged)
    assert made.size_bytes == 6
    assert books.verify("support:1") == []
    merged.write_bytes(b"changed")
    (books.find("support:1").artefacts[0].path).unlink()
    wrong = books.verify("support:1")
    assert len(wrong) == 2
    assert "is missing" in wrong[0]
    assert "merged.gguf is sha256:" in wrong[1]
    assert made.digest in wrong[1]
    books.add_artefact("support:1", "merged", merged)
    assert len(books.find("support:1").artefacts) == 3
    assert len(books.verify("support:1")) == 1
    with pytest.raises(DataError, match="does not exist"):
        books.add_artefact("support:1", "merged", tmp_path / "none.gguf")


def test_a_workspace_can_be_moved(tmp_path: Path) -> None:
    register(tmp_path / "here", "run1")
    (tmp_path / "here").rename(tmp_path / "there")
    books = registry(tmp_path / "there")
    assert books.verify("support:1") == []
    assert books.find("support:1").run_folder == tmp_path / "there" / "runs" / "run1"


def test_deployments_begin_and_end(tmp_path: Path) -> None:
    for run in ("run1", "run2"):
        register(tmp_path, run)
    books = registry(tmp_path).deployments
    begun = books.begin("support:1", "embedded", "served", {"blobs": ["a"]})
    assert (begun.state, begun.details) == ("begun", {"blobs": ["a"]})
    assert books.unfinished() == [begun]
    assert books.unfinished("ollama") == []
    done = books.finish(begun.id, digest="sha256:1", proof={"load_s": 1.5})
    assert (done.state, done.digest, done.proof) == ("active", "sha256:1", {"load_s": 1.5})
    other = books.begin("support:2", "embedded", "served")
    assert books.undo(other.id, "wrong template", {"prompt": False}).reason == "wrong template"
    find = registry(tmp_path).find
    assert find("support:1").deployed_on("embedded") == done
    assert find("support:2").deployed_on("embedded") is None
    books.record("support:2", "embedded", "served", digest="sha256:2")
    assert find("support:1").deployed_on("embedded") is None
    assert find("served").name == "support:2"
    books.retire("embedded", "served")
    books.retire("embedded", "served")
    with pytest.raises(ModelNotFoundError):
        find("served")
    for deployment_id, state in ((begun.id, "retired"), (other.id, "undone"), (999, "unknown")):
        with pytest.raises(DeploymentError, match=state):
            books.finish(deployment_id, digest="x")
    assert books.success_rate() == (2, 3)


def test_a_registry_that_is_none_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "models" / "registry.db"
    file.parent.mkdir()
    file.write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(StorageError, match="no SQLite database"):
        registry(tmp_path)
    file.unlink()
    SqliteConversationStore(file).close()
    with pytest.raises(StorageError, match="another program, expected a model registry"):
        registry(tmp_path)
    file.unlink()
    registry(tmp_path).database.close()
    newer = ModelRegistry(tmp_path / "models")
    with newer.database.writing() as connection:
        connection.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StorageError, match="newer version"):
        registry(tmp_path)


@pytest.mark.parametrize(
    ("base", "family"),
    [
        ("mistral:7b-instruct-q4_0", "mistral-7b-instruct-q4_0"),
        ("/models/Qwen2.5-0.5B.gguf", "qwen2.5-0.5b"),
        ("hf.co/org/Model-GGUF:Q4_K_M", "model-gguf-q4_k_m"),
        ("embedded", "embedded"),
        ("...", "model"),
        ("x" * 90, "x" * 48),
    ],
)
def test_a_family_is_named_after_its_base(tmp_path: Path, base: str, family: str) -> None:
    assert family_of(base) == family
    assert register(tmp_path, "run1", family=family_of(base)).family == family


def test_the_history_says_what_happened_in_words_of_the_program(tmp_path: Path) -> None:
    books = registry(tmp_path)
    name = register(tmp_path, "run1").name
    books.record_verdict(name, {"outcome": "promote"})
    assert [event.word for event in books.history()] == ["registered", "evaluated"]
