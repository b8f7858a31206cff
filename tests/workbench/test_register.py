"""Runs become versions, versions are found where runs are asked for, and both are traced."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import DataError, ModelNotFoundError
from fine_tuning.workbench.workbench import Workbench
from tests.cli.test_registry_commands import write_run


def bench_of(home: Path, family: str = "support") -> Workbench:
    settings = Settings.model_validate({"deployment": {"family": family, "runtime": "embedded"}})
    return Workbench(settings, Workspace(home=home))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_run(tmp_path, 1, {"train": ["talk-1", "talk-2"], "test": ["talk-9"]})
    return tmp_path


def test_a_run_is_found_by_its_version(home: Path) -> None:
    bench = bench_of(home)
    assert not bench.models.register.exists
    version = bench.models.register.register(bench.models.runs.find("run1"))
    assert bench.models.register.exists
    for name in ("support:1", "support", "run1", "latest", "support:challenger"):
        assert bench.models.runs.find(name).run_id == "run1"
    assert version.settings["data"] == {"max_length": 512}
    with pytest.raises(ModelNotFoundError, match=r"no finished run is called .* nearest is"):
        bench.models.runs.find("suport:1")


def test_a_version_is_found_before_anyone_registered_its_run(home: Path) -> None:
    assert bench_of(home).models.runs.find("support:1").run_id == "run1"
    write_run(home, 2, {"train": ["talk-3"]})
    assert bench_of(home).models.runs.find("support:2").run_id == "run2"


def test_another_family_does_not_register_a_run_again(home: Path) -> None:
    first = bench_of(home).models.register.register(bench_of(home).models.runs.find("run1"))
    again = bench_of(home, "sales").models.register.register(
        bench_of(home).models.runs.find("run1")
    )
    assert again == first
    write_run(home, 2, {"train": ["talk-3"]})
    assert [one.name for one in bench_of(home, "sales").models.register.versions()] == [
        "support:1",
        "sales:1",
    ]


def test_a_verdict_joins_the_version(home: Path) -> None:
    bench = bench_of(home)
    run = bench.models.runs.find("run1")
    bench.models.register.record_verdict(run, {"outcome": "reject"}, {})
    assert not bench.models.register.exists
    bench.models.register.register(run)
    bench.models.register.record_verdict(run, {"outcome": "promote"}, {"held_out_loss": 1.5})
    found = bench.models.versions.find("support:1")
    assert found.outcome == "promote"
    assert found.metrics["held_out_loss"] == 1.5
    assert found.metrics["base_validation_loss"] == 3.0


def test_a_run_that_was_compared_before_is_registered_with_its_verdict(home: Path) -> None:
    run = bench_of(home).models.runs.find("run1")
    report = run.folder / "evaluation.json"
    report.write_text('{"verdict": {"outcome": "promote"}}', encoding="utf-8")
    assert bench_of(home).models.register.register(run).outcome == "promote"


@pytest.mark.parametrize("text", ["{", "[]", '{"verdict": "promote"}'])
def test_a_torn_report_is_no_verdict(home: Path, text: str) -> None:
    run = bench_of(home).models.runs.find("run1")
    (run.folder / "evaluation.json").write_text(text, encoding="utf-8")
    assert bench_of(home).models.register.register(run).outcome == ""


def test_a_run_without_its_data_is_registered_with_a_remark(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in (home / "datasets").iterdir():
        folder.rename(home / folder.name)
    with caplog.at_level(logging.WARNING):
        (version,) = bench_of(home).models.register.versions()
    assert "conversations of run run1 are not known" in caplog.text
    assert bench_of(home).models.lineage.origins(version.name) == []


def test_a_conversation_is_traced_and_marked(home: Path) -> None:
    bench = bench_of(home)
    assert [one.version for one in bench.models.lineage.trace_conversation("talk-2").uses] == []
    bench.models.register.versions()
    trace = bench.models.lineage.trace_conversation("talk-2")
    assert [(use.version, use.split) for use in trace.uses] == [("support:1", "train")]
    assert list(trace.datasets.values()) == ["train"]
    assert bench.models.lineage.mark_for_retraining("talk-9", "asked to forget") == []
    assert bench.models.lineage.mark_for_retraining("talk-2", "asked to forget") == ["support:1"]
    assert [one.name for one in bench.models.lineage.to_retrain()] == ["support:1"]
    with pytest.raises(DataError, match="no data set holds"):
        bench.models.lineage.trace_conversation("never said")


def test_data_sets_that_are_gone_are_not_told(home: Path) -> None:
    bench = bench_of(home)
    bench.models.register.versions()
    for folder in (home / "datasets").iterdir():
        folder.rename(home / folder.name)
    trace = bench.models.lineage.trace_conversation("talk-1")
    assert trace.datasets == {}
    assert [use.version for use in trace.uses] == ["support:1"]


def test_nothing_is_marked_where_nothing_was_trained(tmp_path: Path) -> None:
    bench = bench_of(tmp_path / "none")
    assert bench.models.lineage.mark_for_retraining("talk-1", "x") == []
    assert bench.models.lineage.to_retrain() == []
    with pytest.raises(ModelNotFoundError, match="no model was trained"):
        bench.models.lineage.trace_conversation("talk-1")
    assert not (tmp_path / "none").exists()
