"""Databases of earlier versions open as they are, and lose nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import apsw
import pytest

from fine_tuning.core.feedback import Feedback
from fine_tuning.storage.migrations import APPLICATION_ID, MIGRATIONS
from fine_tuning.storage.records import Records
from fine_tuning.storage.sqlite_store import SqliteConversationStore
from tests.contracts.test_conversation_store import simple, tree

FIRST = Path(__file__).with_name("schema_1.db")
"""Written by the first version of this program."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copy(FIRST, tmp_path / "chats.db"))


def version(path: Path) -> object:
    connection = apsw.Connection(str(path))
    try:
        return connection.pragma("user_version")
    finally:
        connection.close()


def test_the_first_schema_is_brought_up_to_date_with_all_it_held(path: Path) -> None:
    assert version(path) == 1
    store = SqliteConversationStore(path)
    assert list(store.conversations()) == [tree(), simple("c")]
    said = list(store.feedback())
    assert [(f.id, f.kind, f.value, f.text, f.rejected_id) for f in said] == [
        ("f1", "thumb", -1, "", ""),
        ("f2", "correction", 0, "better", ""),
        ("f3", "choice", 0, "", "a1"),
        ("f4", "rating", 9, "", ""),
    ]
    assert {f.annotator_kind for f in said} == {"human"}
    assert version(path) == len(MIGRATIONS)
    store.add_feedback(
        Feedback(
            id="f5",
            conversation_id="c",
            message_id="c/a",
            kind="rating",
            value=3,
            annotator_kind="model",
            annotator="judge:1",
        )
    )
    assert [f.annotator for f in store.feedback()] == ["", "", "", "", "judge:1"]
    store.add_feedback(
        Feedback(id="f6", conversation_id="c", message_id="", kind="review", value=-1)
    )
    store.add_feedback(
        Feedback(id="f7", conversation_id="c", message_id="", kind="consent", value=-1)
    )
    store.add_feedback(
        Feedback(id="f8", conversation_id="c", message_id="", kind="title", text="Kites")
    )
    assert [f.kind for f in store.feedback()][-3:] == ["review", "consent", "title"]


@pytest.mark.parametrize("step", range(1, len(MIGRATIONS)))
def test_every_step_leads_to_the_schema_of_a_new_file(tmp_path: Path, step: int) -> None:
    old = tmp_path / "old.db"
    connection = apsw.Connection(str(old))
    for statements in MIGRATIONS[:step]:
        connection.execute(statements).fetchall()
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", step)
    connection.close()
    SqliteConversationStore(old).append(simple("c"))
    SqliteConversationStore(tmp_path / "new.db").append(simple("c"))
    assert _columns(old) == _columns(tmp_path / "new.db")


def _columns(path: Path) -> dict[str, list[tuple]]:
    connection = apsw.Connection(str(path))
    try:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema")]
        return {n: list(connection.execute(f"PRAGMA table_info('{n}')")) for n in sorted(names)}
    finally:
        connection.close()


def test_an_upgrade_that_is_killed_half_way_is_done_again(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("BEGIN")
    connection.execute(MIGRATIONS[1]).fetchall()
    connection.close()  # as a kill would: the transaction was never committed
    assert version(path) == 1
    assert len(list(SqliteConversationStore(path).feedback())) == 4


def test_records_live_in_the_same_file(path: Path) -> None:
    records = Records(path)
    run = records.begin("clean", {"a": 1})
    records.drop(run, [("c", "too_short", "2 characters")])
    records.finish(run, {"in": 1})
    assert [d.conversation_id for d in Records(path).drops(run)] == ["c"]
    assert len(list(SqliteConversationStore(path).conversations())) == 2
