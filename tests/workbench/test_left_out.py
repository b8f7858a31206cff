"""What the workbench remembers of cleanings and data sets, and tells of what they left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from fine_tuning.config.loader import load_settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.conversation import Conversation
from fine_tuning.storage.records import Records
from fine_tuning.workbench.data.processing_history import ProcessingHistory
from fine_tuning.workbench.workbench import Workbench

WORDS = tuple(f"{one}{other}" for one in ("ki", "wi", "sa", "ma", "ro") for other in "tnlsp")
OLD_COUNTS: dict[str, Any] = {
    "in": 97, "kept": 77, "dropped": {"too_long": 20}, "steps": [], "clusters": 0, "review": [],
}  # fmt: skip
"""What a cleaning recorded before exchanges were counted."""


def bench_at(home: Path, *overrides: str) -> Workbench:
    settings = load_settings(None, overrides=["training.base_model=embedded", *overrides])
    return Workbench(settings, Workspace.open(home, settings))


def said(number: int, length: int) -> str:
    return " ".join(WORDS[(number * 7 + place * place) % len(WORDS)] for place in range(length))


def record(bench: Workbench, number: int, *, question_words: int = 8) -> None:
    bench.context.store.append_many(
        Conversation.from_turns(
            [
                ("user", f"{n} {said(n, question_words)}?"),
                ("assistant", f"{n}: {said(n + 3, 9)} {n * n}."),
            ],
            id=f"chat-{n}",
        )
        for n in range(number)
    )


def test_records_of_earlier_cleanings_are_read(tmp_path: Path) -> None:
    bench = bench_at(tmp_path)
    record(bench, 3)
    assert bench.data.reporter.accounts() == [], "nothing is remembered yet"
    records = Records(bench.context.workspace.records)
    records.finish(records.begin("clean", {}), OLD_COUNTS)
    (account,) = bench.data.reporter.accounts()
    assert (account.unit, account.equation) == ("conversations", "97 = 77 kept + 20 left out")
    assert account.remarks[0].startswith("too long: 20 of 97 conversations are left out")
    found = bench.doctor.checkup()
    assert [one.title for one in found.findings if one.check == "left out"] == [
        "77 of 97 conversations reach training, as last cleaned"
    ]
    assert found.next_step.startswith("Much is left out, above all too long: 20 of 97")


def test_a_remembered_outcome_without_exchanges_is_read(tmp_path: Path) -> None:
    bench = bench_at(tmp_path)
    record(bench, 3)
    bench.data.review.sort_out()
    path = bench.data.index.folder / "cleaning.json"
    raw = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps({**raw, "counts": OLD_COUNTS}))
    outcome = bench.data.review.outcome()
    assert outcome is not None
    assert any("too long: 20 of 97 conversations" in one.title for one in outcome.findings)


def test_a_data_set_is_told_with_the_cleaning_it_was_made_by(tmp_path: Path) -> None:
    bench = bench_at(tmp_path)
    record(bench, 12)
    first = bench.data.prepare()
    strict = bench_at(tmp_path, "data_collection.min_conversation_length=10000")
    strict.data.clean()
    made_by = {one.unit: one.kept for one in bench.data.reporter.accounts(first)}
    assert made_by == {"conversations": 12, "exchanges": 12, "replies": 12}
    newest = bench.data.reporter.accounts(first, is_new=True)
    assert newest[1].left_out == {"too_short": 12}
    assert [one.kept for one in bench.data.reporter.newest_data_set()] == [12]


def test_a_broken_off_cleaning_is_none(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.db")
    records.begin("clean", {})
    assert ProcessingHistory(tmp_path / "records.db", {}).cleaning_before() is None
    assert ProcessingHistory(tmp_path / "none.db", {}).cleaning_before() is None
    assert not (tmp_path / "none.db").exists()


def test_chats_that_are_all_too_long_stop_with_the_setting_that_helps(tmp_path: Path) -> None:
    limits = ("data_preparation.max_length=32", "data_preparation.truncation=drop")
    bench = bench_at(tmp_path, "data_collection.max_conversation_length=null", *limits)
    record(bench, 3, question_words=60)
    stops = [one for one in bench.train.preflight.check() if one.severity == "stop"]
    assert [(one.check, one.fix) for one in stops] == [
        (
            "tokens",
            "raise data_preparation.max_length (now 32): --set data_preparation.max_length=128",
        )
    ]
    assert "beyond max_length" in stops[0].title
