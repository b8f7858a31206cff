from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fine_tuning.core.conversation import Conversation, Message, Part, ToolCall
from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.core.exchange import WRITTEN
from fine_tuning.core.formats import FORMATS, validate_record
from fine_tuning.core.preference import LabelledReply, PreferencePair
from fine_tuning.data_collection.data_export import DataExporter
from fine_tuning.data_collection.importing import read_conversations

MULTI = Conversation.from_turns(
    [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "ć"), ("assistant", "d")],
    id="multi",
)
OPEN = Conversation.from_turns([("user", "a"), ("assistant", "b"), ("user", "c")], id="open")
SILENT = Conversation.from_turns([("user", "a"), ("assistant", " ")], id="silent")
TURN = {"user_message": "hi", "bot_response": "hello"}


def test_the_snippet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    conversations = [TURN, MULTI, MULTI.to_dict()]
    exporter = DataExporter()
    exports = exporter.export_all_formats(conversations)
    judged = {"trl_dpo", "trl_kto"}
    assert set(exports) == {*FORMATS, *WRITTEN, *judged, "conversations", "statistics"}
    for name, path in exports.items():
        assert path.parent == tmp_path / "fine_tuning_home" / "exports"
        if name in FORMATS:
            records = [json.loads(line) for line in path.read_text().splitlines()]
            assert [validate_record(record, name) for record in records] == [[]] * len(records)
        if name not in {"statistics", *WRITTEN, *judged}:
            found = [[m.text for m in c.path()] for c in read_conversations(path)]
            expected = [["hi", "hello"], *[["s", "a", "b", "ć", "d"]] * 2]
            assert found == (expected if name != "conversations" else expected[:1] + expected[1:])


def test_what_a_format_cannot_carry_is_counted(tmp_path: Path) -> None:
    items = [MULTI, OPEN, SILENT, TURN, Conversation(id="empty")]
    exports = DataExporter(tmp_path / "out").export_all_formats(iter(items))
    stats = json.loads(exports["statistics"].read_text())
    assert stats["total_conversations"] == len(items)
    for name in (*FORMATS, *WRITTEN):
        told = stats["formats"][name]
        lines = exports[name].read_text().splitlines()
        assert told["records"] == len(lines)
        left_out = sum(item["conversations"] for item in told["left_out"])
        assert told["conversations"] + left_out == len(items), "nothing disappears"
    assert stats["formats"]["chatml"]["conversations"] == 3
    assert stats["formats"]["alpaca"]["left_out"][0] == {
        "reason": "'output' is empty, so there is nothing to learn",
        "conversations": 1,
        "examples": ["silent"],
    }
    assert stats["formats"]["instruction"]["records"] == 3
    assert len(exports["conversations"].read_text().splitlines()) == len(items)


def test_equal_input_equal_bytes(tmp_path: Path) -> None:
    items = [MULTI, TURN, OPEN]
    exports = [DataExporter(tmp_path / name).export_all_formats(items) for name in ("1", "2")]
    for name, path in exports[0].items():
        assert path.read_bytes() == exports[1][name].read_bytes()


def test_a_bad_item_leaves_the_old_export_whole(tmp_path: Path) -> None:
    exporter = DataExporter(tmp_path)
    before = {name: p.read_bytes() for name, p in exporter.export_all_formats([TURN]).items()}
    with pytest.raises(DataError, match="conversation 1: a record with what is no conversation"):
        exporter.export_all_formats([MULTI, {"what": 1}])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == len(before), "no temporary file stays"
    assert {path.stem: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_one_format(tmp_path: Path) -> None:
    path = DataExporter(tmp_path).export([MULTI], "alpaca")
    assert json.loads(path.read_text())["history"] == [["a", "b"]]
    with pytest.raises(ConfigError, match="did you mean 'alpaca'"):
        DataExporter(tmp_path).export([MULTI], "alpacca")


def test_shapes_of_other_programs(tmp_path: Path) -> None:
    call = ToolCall(id="1", name="look", arguments={"day": 1})
    base = Conversation.from_turns([("user", "a"), ("assistant", ""), ("tool", "b")], id="c")
    asked, called, told = base.messages
    said = Message(id="d", role="assistant", content=(Part(text="so"),), parent_id=told.id)
    calling = replace(base, messages=(asked, replace(called, tool_calls=(call,)), told, said))
    skipped = replace(MULTI, messages=(*MULTI.messages[:2], replace(MULTI.messages[2], weight=0)))
    pair = PreferencePair(
        conversation_id="c", prompt=(asked,), chosen=said, rejected=called, origin="choice"
    )
    judged = LabelledReply(conversation_id="c", prompt=(asked,), reply=said, is_wanted=False)
    exports = DataExporter(tmp_path).export_all_formats(
        [calling, skipped], pairs=[pair], labelled=[judged]
    )
    read = {
        name: [json.loads(line) for line in exports[name].read_text().splitlines()]
        for name in (*WRITTEN, "trl_dpo", "trl_kto")
    }
    assert read["sharegpt"] == [
        {
            "conversations": [
                {"from": "human", "value": "a"},
                {"from": "function_call", "value": '{"arguments":{"day":1},"name":"look"}'},
                {"from": "observation", "value": "b"},
                {"from": "gpt", "value": "so"},
            ]
        }
    ]
    assert read["openai"][0]["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"day":1}'
    assert read["openai"][1]["messages"][2]["weight"] == 0
    assert len(read["trl_sft"]) == 1
    assert read["trl_dpo"][0]["chosen"] == [{"role": "assistant", "content": "so"}]
    assert read["trl_kto"][0]["label"] is False
