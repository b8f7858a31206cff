"""llama.cpp's web UI: the branch in use is trained on, replies not kept are choices."""

# ruff: noqa: E501, RUF001 - records stand on lines of their own

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fine_tuning.data_collection.importers.catalogue import read_file
from fine_tuning.data_collection.importers.items import Imported
from tests.real_inputs.pipeline import INPUTS, cleaned

pytestmark = pytest.mark.real_input("llama.cpp tree")

FOLDER = INPUTS / "llamacpp-tree"
SOOT = ["Call it Ash, for the colour of its fur.", "Call it Soot, which suits a black cat."]


def message(key: str, parent: str | None, role: str, text: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": key, "parent": parent, "role": role, "content": text, "type": "text",
        "timestamp": 1755000000000, "children": [], **fields,
    }  # fmt: skip


def chat(folder: Path, end: str | None, *messages: dict[str, Any]) -> Path:
    path = folder / "export.json"
    conv = {"id": "k", "name": "x", "lastModified": 1, "currNode": end}
    path.write_text(json.dumps([{"conv": conv, "messages": messages}]), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["llamacpp.json", "llamacpp.jsonl"])
def test_a_regenerated_reply_is_a_choice(tmp_path: Path, name: str) -> None:
    assert cleaned(tmp_path, FOLDER / name).learnt == [SOOT]
    (item,) = read_file(FOLDER / name)
    assert isinstance(item, Imported)
    assert [(f.kind, f.rejected_id) for f in item.feedback] == [("choice", "a1")]


def test_an_edited_question_is_no_follow_up(tmp_path: Path) -> None:
    found = cleaned(tmp_path, FOLDER / "llamacpp_edit.json")
    assert found.turns == [
        [
            ("user", "How do I boil an ostrich egg?"),
            ("assistant", "Boil it for an hour and a half."),
        ]
    ]


def test_without_a_current_node_the_last_branch_is_in_use(tmp_path: Path) -> None:
    path = chat(
        tmp_path, None,
        message("r", None, "system", "", type="root"),
        message("u", "r", "user", "¿Cuál es el río más largo de España?"),
        message("a", "u", "assistant", "El Ebro es el río más largo."),
        message("b", "u", "assistant", "Es el Tajo, que nace en Albarracín."),
    )  # fmt: skip
    assert cleaned(tmp_path / "home", path).learnt == [["Es el Tajo, que nace en Albarracín."]]


def test_tools_pictures_and_thoughts(tmp_path: Path) -> None:
    call = [{"id": "t", "type": "function", "function": {"name": "uhr", "arguments": "{}"}}]
    path = chat(
        tmp_path, "a",
        message("r", None, "system", "Antworte kurz.", type="root"),
        message("u", "r", "user", "Wie spät ist es in Wien?"),
        message("c", "u", "assistant", "", toolCalls=json.dumps(call)),
        message("t", "c", "tool", "10:04", toolCallId="t"),
        message("a", "t", "assistant", "<think>Die Uhr sagt es.</think>In Wien ist es vier nach zehn."),
    )  # fmt: skip
    found = cleaned(tmp_path / "home", path)
    assert found.learnt == [["In Wien ist es vier nach zehn."]]
    assert [role for role, _ in found.turns[0]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
    ]


def test_several_chats_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "export.jsonl"
    records: list[dict[str, Any]] = []
    for key, city in (("k1", "巴黎"), ("k2", "罗马")):
        records.append(
            {"type": "session", "harness": "llama.app", "id": key, "currNode": f"{key}a"}
        )
        asked = message(f"{key}u", None, "user", f"{city}在哪里？请用一句话回答。")
        reply = message(f"{key}a", f"{key}u", "assistant", f"{city}是欧洲的一座古老城市。")
        records += [
            {"type": "message", "message": {"convId": key, **one}} for one in (asked, reply)
        ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    assert len(cleaned(tmp_path / "home", path).learnt) == 2
