"""Chats are recorded with their judgements, and exported when it is time."""

from __future__ import annotations

from pathlib import Path

import pytest

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.ports import Sampling
from fine_tuning.storage.open_store import open_store
from fine_tuning.workbench.workbench import Workbench

SHORT = Sampling(max_tokens=4)


def bench_with(tmp_path: Path, **collection: object) -> Workbench:
    settings = Settings.model_validate(
        {"training": {"base_model": "embedded", "threads": 1}, "data_collection": collection}
    )
    return Workbench(settings, Workspace(home=tmp_path))


def test_turns_and_judgements_are_recorded(tmp_path: Path) -> None:
    bench = bench_with(tmp_path)
    with bench.models.access.open_chat(None) as server:
        session = bench.chat.session_with(server.chat_model, SHORT)
        assert not session.rate(1)
        first = "".join(session.say("What is the capital of France?"))
        "".join(session.say("And of Spain?"))
        assert session.rate(-1, reason="too short")
        assert session.correct("Madrid is the capital of Spain.")
        session.start_over()
        "".join(session.say("Hello!"))
    store = open_store(bench.context.workspace.conversations)
    chats = list(store.conversations())
    assert [len(chat.path()) for chat in chats] == [4, 2]
    assert chats[0].path()[1].text == first
    thumb, correction = store.feedback()
    assert (thumb.value, thumb.reason) == (-1, "too short")
    assert correction.text == "Madrid is the capital of Spain."
    assert thumb.message_id == chats[0].path()[3].id


def test_nothing_is_recorded_when_logging_is_off(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, enabled=False)
    with bench.models.access.open_chat("embedded") as server:
        session = bench.chat.session_with(server.chat_model, SHORT)
        assert "".join(session.say("Hello!"))
        assert not session.rate(1)
    assert not bench.context.workspace.conversations.exists()


@pytest.mark.parametrize(("auto_export", "expected"), [(True, True), (False, False)])
def test_the_log_is_exported_every_so_many_conversations(
    tmp_path: Path, auto_export: bool, expected: bool
) -> None:
    bench = bench_with(tmp_path, auto_export=auto_export, export_interval=2)
    logger = bench.data.logger()
    for number in range(2):
        assert not bench.context.workspace.exports.exists()
        logger.log_conversation("What is AI?", f"Answer {number}.", session_id=str(number))
        bench.data.export_if_due()
    assert (bench.context.workspace.exports / "chatml.jsonl").is_file() == expected
