"""A workspace is one folder, chosen by argument, environment or default; naming creates nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from fine_tuning.config.loader import load_settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import StorageError


def test_the_argument_is_stronger_than_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {"FINE_TUNING_HOME": str(tmp_path / "env")}
    assert Workspace.open("arg", environment=environment).home == tmp_path / "arg"
    assert Workspace.open(environment=environment).home == tmp_path / "env"
    assert Workspace.open(environment={"FINE_TUNING_HOME": ""}).home == (
        tmp_path / "fine_tuning_home"
    )


def test_naming_creates_nothing(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "home")
    places = {
        workspace.conversations,
        workspace.runs,
        workspace.datasets,
        workspace.models,
        workspace.exports,
        workspace.demo,
    }
    assert len(places) == 6
    assert all(place.is_relative_to(workspace.home) for place in places)
    assert not workspace.home.exists()


def test_relative_settings_start_at_home_and_absolute_ones_do_not(tmp_path: Path) -> None:
    settings = load_settings(
        environment={},
        overrides=["data_collection.log_file=chats.db", f"training.output_dir={tmp_path}/runs"],
    )
    workspace = Workspace.open(tmp_path / "home", settings)
    assert workspace.conversations == tmp_path / "home" / "chats.db"
    assert workspace.runs == tmp_path / "runs"
    assert Workspace.open(tmp_path).runs == tmp_path / "fine_tuned_models"


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Workspace.open("~/chats").home == tmp_path / "chats"
    assert Workspace.open(tmp_path / "x").resolve("~/y") == tmp_path / "y"


def test_a_folder_is_created_when_asked_for(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "home")
    assert workspace.ensure(workspace.exports).is_dir()
    assert workspace.ensure("a/b") == tmp_path / "home" / "a" / "b"


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    workspace = Workspace.open(tmp_path / "home")
    with pytest.raises(StorageError, match="home/exports cannot be created: Not a directory"):
        workspace.ensure(workspace.exports)
