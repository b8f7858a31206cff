"""A clock set back between two trainings: ``latest`` is one run for all who ask."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fine_tuning.config.workspace import Workspace
from fine_tuning.workbench.runs import find_run, finished_runs, overviews
from tests.workbench.trained import Trained, write_trained

pytestmark = pytest.mark.real_input("clock set back")
TIMES = {
    "a year back": ("2026-03-01T10:00:00.000000+00:00", "2025-02-01T10:00:00.000000+00:00"),
    "one second": ("2026-03-01T10:00:00.000000+00:00", "2026-03-01T10:00:00.000000+00:00"),
    "summer time without a zone": ("2026-10-25T02:59:59", "2026-10-25T02:00:01"),
    "before the epoch": ("2026-03-01T10:00:00.000000+00:00", "1969-12-31T23:59:59.000000+00:00"),
}


def begun(folder: Path, moment: str) -> None:
    path = folder / "manifest.json"
    raw = json.loads(path.read_text(encoding="utf-8")) | {"created_at": moment}
    path.write_text(json.dumps(raw), encoding="utf-8")


def train_twice(trained: Trained, times: tuple[str, str]) -> None:
    """Finish two runs, each registered when it ends; the second's name sorts before the first's."""
    for number, moment in zip((2, 1), times, strict=True):
        begun(trained.add_run(number), moment)
        models = trained.bench().models
        models.register.register(models.runs.find(f"run{number}"))


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
def test_latest_is_one_run_everywhere(tmp_path: Path, times: tuple[str, str]) -> None:
    trained = write_trained(tmp_path)
    train_twice(trained, times)
    models, workspace = trained.bench().models, Workspace(home=trained.home)
    assert models.versions.find("latest").name == "support:2"
    assert models.versions.find("latest").run_id == "run1"
    assert models.runs.find("latest").run_id == "run1"
    assert find_run(workspace, "latest").run_id == "run1"
    assert [run.run_id for run in finished_runs(workspace)] == ["run2", "run1"]
    assert [run.run_id for run in overviews(workspace)] == ["run2", "run1"]
    assert [one.run_id for one in models.register.versions()] == ["run2", "run1"]


def test_what_is_served_is_what_is_shown(tmp_path: Path) -> None:
    trained = write_trained(tmp_path)
    train_twice(trained, TIMES["a year back"])
    bench = trained.bench()
    assert bench.models.deployment.deploy("latest").deployed.version == "support:2"
    assert bench.models.versions.find("latest").name == "support:2"


def test_the_newest_with_files_is_meant_when_the_newest_has_none(tmp_path: Path) -> None:
    trained = write_trained(tmp_path)
    train_twice(trained, TIMES["one second"])
    models = trained.bench().models
    with models.register.registry().database.writing() as connection:
        connection.execute("UPDATE artefact SET state = 'removed' WHERE version_id = 2")
    (trained.home / "fine_tuned_models" / "run1" / "adapter" / "adapter.gguf").unlink()
    assert models.versions.find("latest").name == "support:1"
    assert models.runs.find("latest").run_id == "run2"


def test_a_run_that_nobody_registered_is_the_newest(tmp_path: Path) -> None:
    trained = write_trained(tmp_path)
    train_twice(trained, TIMES["a year back"])
    begun(trained.add_run(3), "1999-01-01T00:00:00")
    models, workspace = trained.bench().models, Workspace(home=trained.home)
    assert find_run(workspace, "latest").run_id == "run3"
    assert models.versions.find("latest").run_id == "run3"
