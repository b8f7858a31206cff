"""Models share a server and stay apart; queues, memory, and clients that leave."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest

from fine_tuning.core.errors import RuntimeFailedError
from fine_tuning.core.ports import ModelRecipe, Sampling
from fine_tuning.runtimes.announcing import SERVERS, Announcement, announced, load_on_servers
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.runtimes.embedded_runtime import EmbeddedRuntime
from fine_tuning.runtimes.serving.pool import PoolLimits
from fine_tuning.runtimes.serving.slots import BusyError, Slots
from fine_tuning.runtimes.token_file import read_token
from fine_tuning.storage.atomic import write_file
from tests.runtimes.models import ask
from tests.runtimes.serving.conftest import NAMES, Served, open_served
from tests.runtimes.tiny_chat import write_tiny_adapter

QUESTION = "Tell me about foxes and their dens."
MODELS = ("base", *NAMES)
LOADED_NS = 20_000_000  # what is loaded already is looked up in less


@pytest.fixture(scope="session")
def alone(models: Path) -> dict[str, str]:
    """What each model says on a server of its own."""
    said = {}
    for index, name in enumerate(MODELS):
        adapter = models / f"{index - 1}.gguf" if index else None
        base = models / "base.gguf"
        with EmbeddedServer(base, adapter=adapter, context_tokens=512, threads=1) as s:
            said[name] = s.chat_model.complete(ask(QUESTION), Sampling(max_tokens=8)).text
    assert len(set(said.values())) == len(MODELS)
    return said


@pytest.fixture
def single(models: Path) -> Iterator[Served]:
    yield from open_served(
        models, PoolLimits(parallel=1, context_tokens=512, threads=1, max_waiting=60)
    )


def test_adapters_of_one_base_stay_apart_in_every_order(
    single: Served, alone: dict[str, str]
) -> None:
    pairs = [(a, b) for a in MODELS for b in MODELS]
    for name in [name for pair in pairs for name in pair]:
        assert single.chat(name, QUESTION)["message"]["content"] == alone[name], name
    assert len(single.pool.engines) == 1


def test_adapters_stay_apart_at_the_same_time(served: Served, alone: dict[str, str]) -> None:
    names = MODELS * 6
    with ThreadPoolExecutor(len(names)) as pool:
        replies = list(pool.map(lambda name: served.chat(name, QUESTION), names))
    for name, reply in zip(names, replies, strict=True):
        assert reply["message"]["content"] == alone[name]


def test_fifty_requests_at_once_are_answered(served: Served) -> None:
    with ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(lambda i: served.chat(MODELS[i % 4], f"Question {i}"), range(50)))
    assert all(reply["done"] and reply["eval_count"] == 8 for reply in replies)


def test_a_chat_goes_on_from_what_was_computed(single: Served) -> None:
    body = {
        "model": "one",
        "messages": [{"role": "user", "content": "word " * 100}],
        "max_tokens": 4,
    }
    first, again = (
        single.http.post("/v1/chat/completions", json=body).json()["usage"] for _ in range(2)
    )
    assert again["prompt_tokens"] == first["prompt_tokens"] > 100
    assert first["prompt_tokens_details"]["cached_tokens"] < 20
    assert again["prompt_tokens_details"]["cached_tokens"] == again["prompt_tokens"] - 1


def test_too_many_waiting_are_told_to_come_again(models: Path) -> None:
    limits = PoolLimits(parallel=1, context_tokens=512, threads=1, max_waiting=1)
    for served in open_served(models, limits):
        served.chat("base", "load")

        def post(_: int, served: Served = served) -> int:
            body = {
                "model": "base",
                "prompt": "x",
                "stream": False,
                "options": {"num_predict": 300},
            }
            return served.http.post("/api/generate", json=body).status_code

        with ThreadPoolExecutor(6) as pool:
            codes = sorted(pool.map(post, range(6)))
        assert codes[:1] == [200]
        assert codes[-1] == 503
        assert served.chat("base", "Hello")["done"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_its_reply(single: Served, stream: bool) -> None:
    single.chat("base", "load")
    (engine,) = single.pool.engines
    body = {"model": "base", "messages": [{"role": "user", "content": "x"}], "stream": stream,
            "options": {"num_predict": -1, "temperature": 0}}  # fmt: skip
    if stream:
        with single.http.stream("POST", "/api/chat", json=body) as response:
            next(response.iter_lines())
    else:
        with pytest.raises(httpx.ReadTimeout):
            single.http.post("/api/chat", json=body, timeout=0.1)
    until = time.monotonic() + 5
    while engine.slots.num_busy and time.monotonic() < until:
        time.sleep(0.01)
    assert engine.slots.num_busy == 0
    assert single.chat("base", "Hello")["done"]


def test_models_make_room_for_each_other(models: Path) -> None:
    limits = PoolLimits(parallel=1, context_tokens=256, threads=1, memory_bytes=1)
    for served in open_served(models, limits):
        for name in ("one", "merged", "two:3"):
            assert served.chat(name, "Hello")["done"]
            rows = {row["name"] for row in served.http.get("/api/ps").json()["models"]}
            assert ("merged:latest" in rows) == (name == "merged")
            assert len(served.pool.engines) == 1


def test_a_version_made_later_is_served_without_a_restart(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(models, folder)
    for served in open_served(folder, PoolLimits(parallel=1, context_tokens=512, threads=1)):
        before = served.chat("one", QUESTION)["message"]["content"]
        adapter = write_tiny_adapter(folder / "new.gguf", seed=900)
        runtime = EmbeddedRuntime(folder / "models")
        runtime.create("new:1", ModelRecipe(base=str(models / "base.gguf"), adapter=adapter))
        assert served.chat("new:1", QUESTION)["message"]["content"] != before
        assert served.chat("one", QUESTION)["message"]["content"] == before
        assert len(served.pool.engines) == 1


def test_a_warm_up_makes_the_first_request_wait_for_nothing(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(models, folder)
    runtime = EmbeddedRuntime(folder / "models")
    token = read_token(tmp_path / "token")
    limits = PoolLimits(parallel=1, context_tokens=512, threads=1)
    for served in open_served(folder, limits, token):
        assert served.chat("one", QUESTION)["load_duration"] > 0
        adapter = write_tiny_adapter(folder / "new.gguf", seed=900)
        runtime.create("new:1", ModelRecipe(base=str(models / "base.gguf"), adapter=adapter))
        with announced(folder / "models", served.url, tmp_path / "token"):
            assert load_on_servers(folder / "models", "new:1") == 1
            runtime.warm_up("new:1")
        assert load_on_servers(folder / "models", "new:1") == 0
        runtime.point_alias("champion", "new:1")
        for name in ("champion", "new:1", "one"):
            assert served.chat(name, QUESTION)["load_duration"] < LOADED_NS, name


def test_a_server_that_died_is_not_asked(models: Path, tmp_path: Path) -> None:
    left = tmp_path / SERVERS / "1.json"
    dead = Announcement(pid=1, began_s=0.0, url="http://127.0.0.1:9", token_file="")
    write_file(left, json.dumps(asdict(dead)).encode())
    assert load_on_servers(tmp_path, "one") == 0
    assert not left.exists()
    with announced(tmp_path, "http://127.0.0.1:9", None):  # alive, and listens no longer
        assert load_on_servers(tmp_path, "one") == 0
    assert not list((tmp_path / SERVERS).iterdir())
    for served in open_served(models, PoolLimits(parallel=1, context_tokens=512, threads=1)):
        with (
            announced(tmp_path, served.url, None),
            pytest.raises(RuntimeFailedError, match="did not load 'nobody'"),
        ):
            load_on_servers(tmp_path, "nobody")


def test_a_systems_prompt_of_the_model_is_seen(served: Served) -> None:
    def prompt(**more: object) -> str:
        body = {"model": "merged", "_debug_render_only": True, **more}
        answer = served.http.post("/api/chat", json=body).json()
        return str(answer["_debug_info"]["rendered_template"])

    turn = {"role": "user", "content": "Hi"}
    assert "Be brief." in prompt(messages=[turn])
    own = prompt(messages=[{"role": "system", "content": "Be kind."}, turn])
    assert "Be kind." in own
    assert "Be brief." not in own


def test_slots_are_chosen_by_adapter_then_prompt_then_age() -> None:
    async def scene() -> None:
        slots = Slots(2, max_waiting=1)
        async with slots.place(0, "abc") as one:
            assert not one.reuses
            async with slots.place(1, "abc") as two:
                assert {one.index, two.index} == {0, 1}
                waiting = asyncio.ensure_future(_use(slots, 0, "abcd"))
                await asyncio.sleep(0)
                with pytest.raises(BusyError):
                    await _use(slots, 0, "abc")
                waiting.cancel()
        assert await _use(slots, 0, "abcd") == (one.index, True)
        assert await _use(slots, 1, "abcd") == (two.index, True)
        # Nobody's: the one unused for longest, and nothing of it is gone on from.
        assert await _use(slots, -1, "abcd") == (one.index, False)
        assert await _use(slots, 0, "abcd") == (two.index, False)
        assert slots.num_busy == 0

    asyncio.run(scene())


async def _use(slots: Slots, adapter: int, prompt: str) -> tuple[int, bool]:
    async with slots.place(adapter, prompt) as place:
        return place.index, place.reuses
