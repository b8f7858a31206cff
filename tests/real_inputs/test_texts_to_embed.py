"""Texts to embed: hundreds at once, long ones, empty ones, tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.real_inputs.pipeline import INPUTS
from tests.real_inputs.served import served_models

pytestmark = pytest.mark.real_input("texts to embed")

FOLDER = INPUTS / "serve-embeddings"
LONG = {
    "Thai": "สวัสดีครับ ยินดีที่ได้รู้จัก " * 80,
    "one word": "Donaudampfschifffahrt" * 250,
    "lines": "a, b; c\n" * 450,
}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with served_models() as made:
        yield made


def read(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((FOLDER / name).read_text("utf-8"))
    return value


def test_three_hundred_texts_get_as_many_vectors(client: httpx.Client) -> None:
    answer = client.post("/api/embed", json=read("many.json"))
    assert answer.status_code == 200, answer.text
    vectors = answer.json()["embeddings"]
    assert len(vectors) == 300
    assert vectors[0] != vectors[299]


def test_more_texts_than_other_programs_send_keep_their_order(client: httpx.Client) -> None:
    texts = [f"{number % 7}" for number in range(600)]
    vectors = client.post("/api/embed", json={"model": "handbook", "input": texts}).json()
    rows = vectors["embeddings"]
    assert len(rows) == 600
    assert rows[3] == pytest.approx(rows[10], abs=1e-5)
    assert rows[576] == pytest.approx(rows[2], abs=1e-5)


def test_a_long_text_is_cut_and_refused_when_it_must_not_be(client: httpx.Client) -> None:
    body = read("long.json")
    assert len(client.post("/api/embed", json=body).json()["embeddings"]) == 1
    refused = client.post("/api/embed", json={**body, "truncate": False})
    assert refused.status_code == 400
    assert "exceeds the context length" in refused.json()["error"]


@pytest.mark.parametrize("kind", LONG)
def test_long_texts_of_other_kinds_are_cut(client: httpx.Client, kind: str) -> None:
    texts = [LONG[kind], "short"]
    answer = client.post("/api/embed", json={"model": "handbook", "input": texts})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["embeddings"]) == 2


def test_empty_texts_tokens_and_fewer_numbers(client: httpx.Client) -> None:
    def embedded(given: Any, **more: Any) -> Any:
        answer = client.post("/api/embed", json={"model": "handbook", "input": given, **more})
        assert answer.status_code == 200, answer.text
        return answer.json()["embeddings"]

    assert embedded("") == []
    assert embedded([]) == []
    assert len(embedded(["", "x"])) == 2
    (vector,) = embedded("owl")
    same = client.post("/v1/embeddings", json={"model": "handbook", "input": ["owl", ""]}).json()
    assert same["data"][0]["embedding"] == pytest.approx(vector, abs=1e-4)
    assert len(same["data"]) == 2
    (short,) = embedded("owl", dimensions=16)
    assert len(short) == 16
    assert sum(x * x for x in short) == pytest.approx(1, abs=1e-4)
    for tokens in ([1, 5, 9], [[1, 5, 9], [7, 8]]):
        answer = client.post("/v1/embeddings", json={"model": "handbook", "input": tokens})
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["data"]) == (2 if isinstance(tokens[0], list) else 1)
