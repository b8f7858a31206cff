"""Conversations longer than the model's room: the oldest turns leave, or the room grows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.real_inputs.pipeline import INPUTS
from tests.real_inputs.served import served_models

pytestmark = pytest.mark.real_input("chats beyond the room")

RECORDED: dict[str, Any] = json.loads(
    (INPUTS / "serve-long-chats" / "long.json").read_text("utf-8")
)
SAYINGS = {
    "German": "Der Zug nach Köln fährt heute leider etwas später ab, Gleis neun.",
    "Japanese": "東京の天気は晴れのち曇り、夕方から雨が降るでしょう。",
    "code": "def area(r):\n    return 3.14159 * r ** 2\n\nprint(area(2))",
}


def chat(saying: str, count: int = 120) -> list[dict[str, str]]:
    """Return a conversation of some thousand tokens that begins with a system message."""
    turns = [{"role": "system", "content": "Answer in one word."}]
    for number in range(count):
        turns.append({"role": "user", "content": f"Q{number}: {saying}"})
        turns.append({"role": "assistant", "content": f"A{number}."})
    return [*turns, {"role": "user", "content": f"The last question. {saying}"}]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with served_models() as made:
        yield made


def rendered(client: httpx.Client, body: dict[str, Any]) -> str:
    answer = client.post("/api/chat", json={**body, "_debug_render_only": True})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["_debug_info"]["rendered_template"])


def test_the_recorded_chat_is_read_whole_in_the_room_it_asks_for(client: httpx.Client) -> None:
    reply = client.post("/api/chat", json=RECORDED).json()
    assert reply["prompt_eval_count"] > 5000
    assert reply["done"] is True


@pytest.mark.parametrize("saying", SAYINGS)
def test_the_oldest_turns_leave(client: httpx.Client, saying: str) -> None:
    options = {"num_predict": 2, "num_ctx": 1024}
    body = {"model": "handbook", "messages": chat(SAYINGS[saying]), "stream": False}
    body["options"] = options
    text = rendered(client, body)
    assert "Answer in one word." in text
    assert f"The last question. {SAYINGS[saying]}" in text
    assert "Q0:" not in text
    assert "Q119:" in text
    reply = client.post("/api/chat", json=body).json()
    assert 512 < reply["prompt_eval_count"] < 1024


@pytest.mark.parametrize("saying", SAYINGS)
def test_nothing_leaves_where_it_must_not(client: httpx.Client, saying: str) -> None:
    body = {"model": "handbook", "messages": chat(SAYINGS[saying]), "stream": False}
    refused = client.post(
        "/api/chat", json={**body, "truncate": False, "options": {"num_ctx": 512}}
    )
    assert refused.status_code == 400
    assert "num_ctx" in refused.json()["error"]
    assert "serving.context_tokens" in refused.json()["error"]


def test_one_message_longer_than_the_room_is_read_from_its_end(client: httpx.Client) -> None:
    text = f"{'vieux ' * 3000}dernier mot"
    body = {"model": "handbook", "messages": [{"role": "user", "content": text}], "stream": False}
    body["options"] = {"num_ctx": 256, "num_predict": 1}
    shown = rendered(client, body)
    assert "dernier mot<|im_end|>" in shown
    assert shown.count("vieux") < 260
    assert client.post("/api/chat", json=body).json()["prompt_eval_count"] < 256
