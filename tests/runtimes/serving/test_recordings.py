"""Recorded requests of real clients get answers of the recorded status and shape.

Differences on purpose are those of docs/howto/serve-differences.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.runtimes.serving.ollama_like import add_model, served_workspace
from tests.runtimes.serving.wire import recorded, sent_again

ROWS = recorded("0.33.0", {"cli", "api", "repeat", "js"})
FAILED = 500
LONG = 1000
MODEL = "smollm2:135m"
PAGE = Path(__file__).parents[3] / "docs" / "howto" / "serve-differences.md"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("wire")
    shown = next(
        json.loads(row["response"])
        for row in ROWS
        if row["path"] == "/api/show"
        and '"smollm2:135m"' in row["request"]
        and row["status"] == 200
    )
    add_model(
        folder / "models", "smollm2:135m", template=shown["template"], system=shown["system"],
        parameters={"stop": ["<|im_start|>", "<|im_end|>"], "temperature": 0.2},
    )  # fmt: skip
    room = "serving.context_tokens=1024"  # replies without an end fill it
    with served_workspace(folder / "home", folder / "models", room) as address:
        yield address


def on_purpose(row: dict[str, Any]) -> str:
    """Return why an answer may differ from the recorded one, "" when it may not."""
    if "/embed" in row["path"] and row["status"] >= FAILED:
        return "models embed here that do not there"
    if row["client"] == "repeat":
        return "a reply that repeats itself ends as every other does"
    return ""


@pytest.mark.slow
def test_recorded_requests_are_answered_as_recorded(url: str) -> None:
    differing: dict[str, list[str]] = {}
    reasons: dict[str, str] = {}
    for row in ROWS:
        name = f"{row['client']}-{row['n']:03d} {row['method']} {row['path']} {row['request'][:80]}"
        reason = on_purpose(row)
        if reason and len(row["request"]) > LONG:
            reasons[name] = reason  # nothing is recorded that an answer could be compared to
        elif differences := sent_again(url, row):
            if reason:
                reasons[name] = reason
            else:
                differing[name] = differences
    assert not differing
    assert len(ROWS) == 167
    assert len(ROWS) - len(reasons) >= 151
    page = PAGE.read_text("utf-8")
    assert all(reason in page for reason in reasons.values())


@pytest.mark.slow
def test_differences_on_purpose_beside_the_recordings(url: str) -> None:
    def post(path: str, **body: Any) -> httpx.Response:
        return httpx.post(url + path, json={"model": MODEL, "stream": False, **body}, timeout=60)

    said = [{"role": "user", "content": "Say a a a a."}]
    few = {"num_predict": 4, "temperature": 0}
    cut = post("/api/chat", messages=said, options={**few, "num_ctx": 16}, truncate=False)
    assert cut.status_code == 400
    assert "num_ctx" in cut.json()["error"]
    assert len(post("/api/embed", input=["", "x"]).json()["embeddings"]) == 2
    assert post("/api/push").status_code == 501
