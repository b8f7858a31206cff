"""The official clients of Ollama and OpenAI, unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import ollama
import openai
import pytest

from tests.runtimes.serving.conftest import NAMES, Served

TURNS = [{"role": "user", "content": "Tell me about foxes."}]
GREEDY = {"temperature": 0, "num_predict": 8}


@pytest.fixture
def client(served: Served) -> Iterator[ollama.Client]:
    with ollama.Client(served.url, trust_env=False) as client:
        yield client


@pytest.fixture
def ai(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_ollama_lists_and_shows(client: ollama.Client) -> None:
    rows = {model.model: model for model in client.list().models}
    assert set(rows) == {"one:latest", "two:3", "three:latest", "merged:latest", "base:latest"}
    details = rows["two:3"].details
    assert details is not None
    assert (details.family, details.format) == ("llama", "gguf")
    shown = client.show("two:3")
    assert shown.capabilities == ["completion"]
    assert "ADAPTER" in str(shown.modelfile)
    assert dict(shown.modelinfo or {})["general.architecture"] == "llama"
    assert "SYSTEM" in str(client.show("merged").modelfile)


def test_ollama_chats_at_once_and_in_pieces(client: ollama.Client) -> None:
    whole = client.chat("one", TURNS, options=GREEDY)
    lines = list(client.chat("one", TURNS, options=GREEDY, stream=True))
    assert whole.message.content
    assert "".join(line.message.content or "" for line in lines) == whole.message.content
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    last = lines[-1]
    assert (last.eval_count, last.prompt_eval_count) == (8, whole.prompt_eval_count)
    assert last.done_reason == "length"
    assert last.total_duration
    assert last.eval_duration


def test_ollama_generates_with_and_without_a_template(client: ollama.Client) -> None:
    chat = client.chat("one", TURNS, options=GREEDY)
    assert client.generate("one", TURNS[0]["content"], options=GREEDY).response == (
        chat.message.content
    )
    raw = client.generate("one", TURNS[0]["content"], raw=True, options=GREEDY)
    assert raw.response
    assert raw.response != chat.message.content
    assert (raw.prompt_eval_count or 0) < (chat.prompt_eval_count or 0)
    pieces = client.generate("one", "Hello", options=GREEDY, stream=True)
    assert "".join(piece.response or "" for piece in pieces)


def test_ollama_tells_probabilities(client: ollama.Client) -> None:
    reply = client.chat("one", TURNS, options=GREEDY, logprobs=True, top_logprobs=3)
    told = reply.logprobs or ()
    assert len(told) == 8
    for token in told:
        tops = token.top_logprobs or ()
        assert len(tops) == 3
        assert tops[0].logprob == max(top.logprob for top in tops)
        assert (tops[0].token, tops[0].logprob) == (token.token, token.logprob)


def test_ollama_embeds(client: ollama.Client) -> None:
    answer = client.embed("base", ["a fox", "a fox", "an owl"])
    one, same, other = answer.embeddings
    assert one == same != other
    assert sum(x * x for x in one) == pytest.approx(1, abs=1e-4)
    assert client.embeddings("base", "a fox").embedding == pytest.approx(one, abs=1e-6)
    assert client.embed("one", "a fox").embeddings[0] != pytest.approx(one, abs=1e-3)


def test_ollama_loads_unloads_and_tells_what_is_loaded(client: ollama.Client) -> None:
    assert client.generate("merged").done_reason == "load"
    assert "merged:latest" in {row.model for row in client.ps().models}
    assert client.generate("merged", keep_alive=0).done_reason == "unload"
    assert "merged:latest" not in {row.model for row in client.ps().models}


def test_ollama_meets_errors_it_knows(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="not found") as error:
        client.chat("nothing", TURNS)
    assert error.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="must be of type integer") as error:
        client.chat("one", TURNS, options={"num_predict": "many"})
    assert error.value.status_code == 500
    stream = client.chat("one", [{"role": "user", "content": "x", "images": [b"x"]}], stream=True)
    with pytest.raises(ollama.ResponseError, match="reads only text"):
        list(stream)


def test_ollama_asks_for_json(client: ollama.Client) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
    }
    options = {"temperature": 0, "num_predict": 64}
    schema["additionalProperties"] = False
    reply = client.chat("one", TURNS, format=schema, options=options)
    assert isinstance(json.loads(reply.message.content or "")["a"], bool)


def test_a_request_keeps_within_its_own_room(client: ollama.Client) -> None:
    wide = {"temperature": 0, "num_predict": 64}
    free = client.chat("one", TURNS, options=wide)
    assert free.eval_count == 64
    prompt_tokens = free.prompt_eval_count
    narrow = client.chat("one", TURNS, options={**wide, "num_ctx": prompt_tokens + 5})
    assert (narrow.eval_count, narrow.done_reason) == (5, "length")
    assert free.message.content.startswith(narrow.message.content)
    text = "word " * 10
    raw = client.generate("one", text, raw=True, options=wide)
    room = {**wide, "num_ctx": raw.prompt_eval_count + 3}
    assert client.generate("one", text, raw=True, options=room).eval_count == 3
    for more in (0, 1 << 20):
        whole = client.chat("one", TURNS, options={**wide, "num_ctx": more})
        assert whole.message.content == free.message.content
    cut = client.chat("one", TURNS, options={"num_ctx": prompt_tokens, "num_predict": 1})
    assert 0 < (cut.prompt_eval_count or 0) < (prompt_tokens or 0)


def test_openai_lists_chats_and_streams(ai: openai.OpenAI) -> None:
    assert {model.id for model in ai.models.list()} == {*NAMES, "merged", "base"}
    assert ai.models.retrieve("two:3").id == "two:3"
    ask: dict[str, Any] = {
        "model": "two:3", "messages": TURNS, "temperature": 0, "max_tokens": 8,
    }  # fmt: skip
    whole = ai.chat.completions.create(**ask)
    assert whole.choices[0].message.content
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.completion_tokens == 8
    usage = {"include_usage": True}
    chunks = list(ai.chat.completions.create(**ask, stream=True, stream_options=usage))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == 8


def test_openai_completes_embeds_and_meets_errors(ai: openai.OpenAI) -> None:
    done = ai.completions.create(
        model="one", prompt="Once", max_tokens=4, temperature=0, logprobs=2
    )
    assert done.choices[0].text
    assert done.choices[0].logprobs is not None
    assert len(done.choices[0].logprobs.tokens or ()) == 4
    ask: dict[str, Any] = {"model": "base", "input": "a fox"}
    # By itself the client asks for base64, and decodes it.
    packed = ai.embeddings.create(**ask).data[0].embedding
    plain = ai.embeddings.create(**ask, encoding_format="float").data[0].embedding
    assert packed == pytest.approx(plain, abs=1e-6)
    with pytest.raises(openai.NotFoundError, match="not found"):
        ai.chat.completions.create(model="nothing", messages=TURNS)  # type: ignore[arg-type]
    wrong: dict[str, Any] = {"model": "one", "messages": TURNS, "temperature": "x"}
    with pytest.raises(openai.BadRequestError, match="temperature"):
        ai.chat.completions.create(**wrong)


def test_both_interfaces_say_the_same(client: ollama.Client, ai: openai.OpenAI) -> None:
    one = client.chat("three", TURNS, options={**GREEDY, "seed": 0}).message.content
    other = ai.chat.completions.create(
        model="three", messages=TURNS, temperature=0, max_tokens=8, seed=0,  # type: ignore[arg-type]
    )  # fmt: skip
    assert other.choices[0].message.content == one
