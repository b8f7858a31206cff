"""Runs are found by what people call them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import ModelNotFoundError, TrainingError
from fine_tuning.workbench.runs import find_run, finished_runs


def finish(workspace: Workspace, name: str, created_at: str) -> None:
    adapter = workspace.runs / name / "adapter" / "adapter.gguf"
    adapter.parent.mkdir(parents=True)
    adapter.write_bytes(b"GGUF")
    manifest = {"base_name": "embedded", "snapshot": "b2:0", "created_at": created_at}
    (workspace.runs / name / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(home=tmp_path)
    finish(workspace, "monday-1", "2026-01-05")
    finish(workspace, "monday-2", "2026-01-06")
    finish(workspace, "sunday", "2026-01-04")
    finish(Workspace(home=workspace.demo), "handbook", "2026-01-01")
    (workspace.runs / "unfinished").mkdir()
    return workspace


@pytest.mark.parametrize(
    ("name", "run_id"),
    [
        ("monday-1", "monday-1"),
        ("sun", "sunday"),
        ("latest", "monday-2"),
        ("demo", "handbook"),
        ("handbook", "handbook"),
    ],
)
def test_a_run_by_name(workspace: Workspace, name: str, run_id: str) -> None:
    assert find_run(workspace, name).run_id == run_id


def test_a_run_by_folder(workspace: Workspace, tmp_path: Path) -> None:
    elsewhere = Workspace(home=tmp_path / "elsewhere")
    assert find_run(elsewhere, str(workspace.runs / "sunday")).run_id == "sunday"


def test_an_unfinished_run_is_none(workspace: Workspace) -> None:
    assert "unfinished" not in [run.run_id for run in finished_runs(workspace)]
    with pytest.raises(ModelNotFoundError, match="no finished run is called 'unfinished'"):
        find_run(workspace, "unfinished")


def test_the_start_of_two_runs_is_not_enough(workspace: Workspace) -> None:
    with pytest.raises(ModelNotFoundError, match="2 runs start with 'monday'"):
        find_run(workspace, "monday")


def test_nothing_trained_yet(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="none yet") as refused:
        find_run(Workspace(home=tmp_path), "latest")
    assert refused.value.next_command == "fine-tuning train"


def test_a_damaged_manifest_is_named(workspace: Workspace) -> None:
    path = workspace.runs / "sunday" / "manifest.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"manifest\.json cannot be read"):
        find_run(workspace, "sunday")
