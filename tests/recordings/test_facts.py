"""What the recordings show, and the stand-in does the same for each generation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ollama_stand_in.generations import GENERATIONS
from tests.ollama_stand_in.pieces import Repeats, go_text
from tests.ollama_stand_in.requests import RefusedError, keep_alive_s
from tests.ollama_stand_in.server import StandIn
from tests.recordings.replay import recorded
from tests.recordings.served import BASE, EMOJI, recorded_server

Ask = Callable[..., Any]
STORY = [{"role": "user", "content": "Write me a story in english with a lot of emojis"}]


@pytest.fixture(scope="module", params=["0.24.0", "0.33.0"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StandIn]:
    with recorded_server(tmp_path_factory.mktemp("server"), request.param) as one:
        yield one


@pytest.fixture
def ask(server: StandIn) -> Ask:
    def post(path: str, **body: Any) -> httpx.Response:
        return httpx.post(f"{server.url}{path}", json=body, timeout=300, trust_env=False)

    return post


def test_probabilities_are_told_by_token_or_by_character(server: StandIn, ask: Ask) -> None:
    asked = {"temperature": 0, "num_predict": 12}
    reply = ask("/api/chat", model=EMOJI, stream=False, logprobs=True, top_logprobs=2,
                messages=[{"role": "user", "content": "Waves:"}], options=asked).json()  # fmt: skip
    entries = reply["logprobs"]
    assert reply["eval_count"] == 12
    parts = [one for one in entries if "\ufffd" in one["token"]]
    if server.generation.native:
        assert len(entries) < 12
        assert parts == []
        assert "".join(one["token"] for one in entries) == reply["message"]["content"]
    else:
        assert parts, "parts of a character have a text of their own"
        assert all(one["bytes"] == list(one["token"].encode()) for one in entries)
    assert any("\ufffd" in other["token"] for one in entries for other in one["top_logprobs"])


def test_a_reply_of_31_equal_pieces_ends_without_its_last_line(ask: Ask) -> None:
    reply = ask("/api/chat", model=BASE, stream=False, messages=STORY,
                options={"temperature": 0, "num_predict": 200})  # fmt: skip
    assert reply.status_code == 200
    told = reply.json()
    assert told["done"] is False
    assert "done_reason" not in told
    content = told["message"]["content"]
    assert content.endswith(content[-1] * 31)
    assert not content.endswith(content[-1] * 32)


def test_repeats_are_counted_without_blanks() -> None:
    repeats = Repeats()
    assert [repeats.too_many(piece) for piece in ["a", " a", "a\n"] * 10 + ["a"]].count(True) == 0
    assert repeats.too_many("a ")
    assert not repeats.too_many("b")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xf0\x9f", "\ufffd\ufffd"),
        (b" \xe5", " \ufffd"),
        (b"a\x8cb", "a\ufffdb"),
        ("ä".encode(), "ä"),
    ],
)
def test_bytes_are_written_as_go_writes_them(data: bytes, text: str) -> None:
    assert go_text(data) == text


def test_a_part_of_a_character_is_what_was_recorded() -> None:
    (one,) = [x for x in recorded("0.24.0", ["special"]) if x.n == 1]
    first = one.told()["logprobs"][0]
    parts = "\ufffd\ufffd"
    assert first["token"] == go_text(b"\xf0\x9f") == parts
    assert first["bytes"] == list(parts.encode())


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, 300), (60.0, 60), (-1, -1), ("5m", 300), ("1h30m", 5400), ("0s", 0), ("0", 0)],
)
def test_keep_alive_is_read_as_go_reads_it(value: object, seconds: float) -> None:
    assert keep_alive_s(value) == seconds


@pytest.mark.parametrize("value", ["bad", "5", "m", True, []])
def test_no_duration_is_refused(value: object) -> None:
    with pytest.raises(RefusedError):
        keep_alive_s(value)


def test_versions_are_compared_by_number() -> None:
    assert GENERATIONS["0.24.0"].since("0.6.4")
    assert not GENERATIONS["0.3.14"].since("0.6.4")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1"])  # noqa: S104 - of a test
def test_it_listens_where_it_is_told_to(tmp_path: Path, host: str) -> None:
    with StandIn(tmp_path, host=host) as server:
        headers = {"Host": "gateway.example:11434"}
        answer = httpx.get(f"{server.url}/api/version", headers=headers, trust_env=False)
    assert answer.status_code == (200 if host == "0.0.0.0" else 403)  # noqa: S104


def test_names_of_two_users_share_their_files(server: StandIn, ask: Ask) -> None:
    """Whoever makes a name again takes it over, as on a real server; the other's blobs stay."""
    for user in ("anna", "bert"):
        made = ask("/api/create", model="shared:1", **{"from": BASE}, system=user, stream=False)
        assert made.json() == {"status": "success"}
        ask("/api/copy", source="shared:1", destination=f"{user}:1")
    assert server.digest("shared:1") == server.digest("bert:1") != server.digest("anna:1")
    httpx.request("DELETE", f"{server.url}/api/delete", json={"name": "bert:1"}, trust_env=False)
    assert ask("/api/show", model="anna:1").json()["system"] == "anna"
    assert ask("/api/show", model="shared:1").json()["system"] == "bert"
