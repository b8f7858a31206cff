"""Recorded requests of real clients get answers of the recorded status and shape.

Differences on purpose are those of docs/howto/serve-differences.md.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.runtimes.serving.ollama_like import add_model, served_workspace
from tests.runtimes.serving.wire import recorded, sent_again

ROWS = recorded("0.33.0", {"cli", "api", "repeat", "js"})
NO_EMBEDDINGS = 501


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
    with served_workspace(folder / "home", folder / "models") as address:
        yield address


def on_purpose(row: dict[str, Any]) -> str:
    """Return why an answer may differ from the recorded one, "" when it may not."""
    if row["status"] == NO_EMBEDDINGS:
        return "models embed here that do not there"
    if row["client"] == "repeat":
        return "a reply that repeats itself ends as every other does"
    return ""


def test_recorded_requests_are_answered_as_recorded(url: str) -> None:
    differing: dict[str, list[str]] = {}
    allowed = 0
    times: list[tuple[float, str]] = []
    for row in ROWS:
        name = f"{row['client']}-{row['n']:03d} {row['method']} {row['path']} {row['request'][:80]}"
        begin_s = time.monotonic()
        differences = sent_again(url, row)
        times.append((time.monotonic() - begin_s, name))
        if differences and on_purpose(row):
            allowed += 1
        elif differences:
            differing[name] = differences
    print(*sorted(times)[-12:], sep="\n")
    assert not differing
    assert len(ROWS) == 167
    assert allowed <= 16
