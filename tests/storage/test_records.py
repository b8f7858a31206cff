from __future__ import annotations

from pathlib import Path

import pytest

from fine_tuning.core.errors import DataError
from fine_tuning.storage.blobs import BlobFolder
from fine_tuning.storage.records import KEPT_RUNS, Records, StepRecord


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "records.db")


def test_a_run_with_its_steps_and_drops(records: Records) -> None:
    run = records.begin("clean", {"min_length": 10})
    (begun,) = records.runs()
    assert (begun.kind, begun.finished_at, begun.settings) == ("clean", "", {"min_length": 10})
    steps = [StepRecord(name="unicode", num_in=3, num_changed=1, num_dropped=0, cpu_s=0.5)]
    records.drop(run, [("a", "too_short", "2"), ("b", "duplicate", "a \ud800")])
    records.finish(run, {"in": 3, "kept": 1}, steps)
    (done,) = records.runs("clean")
    assert done.finished_at >= done.started_at > ""
    assert done.stats == {"in": 3, "kept": 1}
    assert records.steps(run) == steps
    assert [(d.conversation_id, d.reason) for d in records.drops(run)] == [
        ("a", "too_short"),
        ("b", "duplicate"),
    ]
    assert records.runs("import") == []


def test_old_runs_go_with_their_drops_but_not_those_of_data_sets(records: Records) -> None:
    first = records.begin("prepare", {})
    records.add_dataset("b2:1", base_model="m", run_id=first)
    old = records.begin("clean", {})
    records.drop(old, [("a", "too_short", "")])
    for _ in range(KEPT_RUNS + 3):
        records.begin("clean", {})
        records.begin("prepare", {})
    assert len(records.runs("clean")) == KEPT_RUNS
    assert records.drops(old) == []
    assert first in {run.id for run in records.runs("prepare")}


def test_a_data_set_leads_to_the_last_that_replaced_it(records: Records) -> None:
    records.add_dataset("b2:1", base_model="m", run_id="r")
    records.add_dataset("b2:2", base_model="m", run_id="", replaces="b2:1")
    records.add_dataset("b2:3", base_model="m", run_id="", replaces="b2:2")
    assert [d.replaced_by for d in records.datasets()] == ["b2:3", "b2:3", ""]
    assert records.successor("b2:1") == "b2:3"
    assert records.successor("b2:3") == "b2:3"
    assert records.successor("b2:unknown") == "b2:unknown"
    records.add_dataset("b2:8", base_model="m", run_id="", replaces="b2:7")
    assert records.successor("b2:7") == "b2:8", "one that was never noted"


def test_forgetting_takes_drops_and_names_attachments_nobody_uses(
    records: Records, tmp_path: Path
) -> None:
    run = records.begin("clean", {})
    records.drop(run, [("a", "refusal", "words of a that are private"), ("b", "refusal", "")])
    for conversation, blob in (("a", "1"), ("a", "2"), ("b", "2")):
        records.use_blob(blob, "image/png", 3, conversation)
    assert records.forget("a") == ["1"]
    assert [d.conversation_id for d in records.drops(run)] == ["b"]
    for path in tmp_path.iterdir():
        assert b"words of a that are private" not in path.read_bytes()
    assert records.forget("b") == ["2"]


def test_attachments_are_kept_once_by_content(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path / "attachments")
    name = blobs.put(b"picture")
    assert blobs.put(b"picture") == name
    assert blobs.path(name).read_bytes() == b"picture"
    assert len([p for p in blobs.folder.rglob("*") if p.is_file()]) == 1
    blobs.remove(name)
    blobs.remove(name)
    assert not blobs.path(name).exists()
    with pytest.raises(DataError, match="names no attachment"):
        blobs.path("../../etc/passwd")
