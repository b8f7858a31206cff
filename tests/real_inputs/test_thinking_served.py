"""Thinking models served: what is rendered is what is sent, with and without thoughts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.real_inputs.served import served_models

pytestmark = pytest.mark.real_input("thinking served")

QUESTIONS = ["hi", "Wie heißt der höchste Berg?", "几点了", "Quelle heure est-il ?"]
NO_THOUGHT = "<think>\n\n</think>\n\n"


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with served_models(room=512) as made:
        yield made


def asked(client: httpx.Client, question: str, **more: Any) -> dict[str, Any]:
    body = {
        "model": "thinker", "messages": [{"role": "user", "content": question}], "stream": False,
        "options": {"num_predict": 1}, **more,
    }  # fmt: skip
    answer = client.post("/api/chat", json=body)
    assert answer.status_code == 200, answer.text
    value: dict[str, Any] = answer.json()
    return value


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_is_rendered_is_what_is_sent(client: httpx.Client, question: str) -> None:
    for think, ending in ((False, NO_THOUGHT), (True, ""), ("low", "")):
        shown = asked(client, question, think=think, _debug_render_only=True)
        text = shown["_debug_info"]["rendered_template"]
        assert text.endswith(f"<|im_start|>assistant\n{ending}")
        raw = {"model": "thinker", "prompt": text, "raw": True, "stream": False}
        counted = client.post("/api/generate", json={**raw, "options": {"num_predict": 1}}).json()
        sent = asked(client, question, think=think)
        assert sent["prompt_eval_count"] == counted["prompt_eval_count"]


def test_it_is_told_who_can_think(client: httpx.Client) -> None:
    rows = {row["name"]: row for row in client.get("/api/tags").json()["models"]}
    assert "thinking" in rows["thinker:latest"]["capabilities"]
    assert "thinking" not in rows["handbook:latest"]["capabilities"]
    assert "thinking" in client.post("/api/show", json={"model": "thinker"}).json()["capabilities"]
