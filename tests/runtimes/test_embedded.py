"""The embedded llama.cpp on the real small model."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tuning.core.conversation import Message, Part, ToolCall
from fine_tuning.core.errors import (
    DataError,
    FineTuningError,
    GgufError,
    ModelNotFoundError,
    RuntimeFailedError,
    RuntimeUnavailableError,
    UnsupportedModelError,
)
from fine_tuning.core.ports import Sampling
from fine_tuning.runtimes.embedded import CHATML_TEMPLATE, EmbeddedServer, default_threads
from fine_tuning.runtimes.llama_client import Reply
from tests.runtimes.models import (
    RANK,
    WIDTH,
    ask,
    copy_model,
    messages,
    model_path,
    normal,
    write_adapter,
)

VOCABULARY = 49152
SHORT = Sampling(max_tokens=8)
TEXT = "The capital of France is Paris, and the capital of Italy is Rome."


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with open_server(context_tokens=512) as opened:
        yield opened


def open_server(path: Path | None = None, **settings: Any) -> EmbeddedServer:
    """Open a server with one thread: llama.cpp's threads wait for each other by spinning, which
    takes minutes when other programs want the same cores."""
    return EmbeddedServer(path or model_path(), **{"context_tokens": 256, "threads": 1, **settings})


def prompt_ids(server: EmbeddedServer, text: str = TEXT) -> list[int]:
    return server.tokenizer.encode(text, add_special=True, parse_special=True)


def test_a_reply_ends_by_the_end_of_turn_token_and_says_so(server: EmbeddedServer) -> None:
    stream = server.chat_model.reply(ask("Say hello."))
    pieces: list[str] = []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as stop:
            reply: Reply = stop.value
            break
    assert len(pieces) > 5
    assert reply.text == "".join(pieces)
    assert "<|im_end|>" not in reply.text
    assert reply.stop_type == "eos"
    assert reply == server.chat_model.complete(ask("Say hello."))


def test_a_reply_that_ends_otherwise_says_so(server: EmbeddedServer) -> None:
    long = "Write a long story about a fox."
    limited = server.chat_model.complete(ask(long), SHORT)
    assert (limited.stop_type, limited.reply_tokens) == ("limit", 8)
    whole = server.chat_model.complete(ask(long), Sampling(max_tokens=20)).text
    word = whole.split()[4]
    stopped = server.chat_model.complete(ask(long), Sampling(max_tokens=20, stop=(word,)))
    assert stopped.stop_type == "word"
    assert whole.startswith(stopped.text)
    assert word not in stopped.text


def test_the_prompt_counts_the_tokens_of_the_rendering(server: EmbeddedServer) -> None:
    prompt = server.renderer.render(ask("Hi"), add_generation_prompt=True)
    reply = server.chat_model.complete(ask("Hi"), SHORT)
    assert reply.prompt_tokens == len(prompt_ids(server, prompt))


def test_closing_the_iterator_frees_the_only_slot(server: EmbeddedServer) -> None:
    stream = server.chat_model.reply(ask("Write a long story."), Sampling(max_tokens=160))
    next(stream)
    begin = time.monotonic()
    stream.close()
    server.chat_model.complete(ask("Hi"), Sampling(max_tokens=1))
    freed_s = time.monotonic() - begin
    begin = time.monotonic()
    server.chat_model.complete(ask("Write a long story."), Sampling(max_tokens=160))
    assert freed_s < 0.5 * (time.monotonic() - begin)


def test_many_replies_come_in_order_and_tell_their_progress() -> None:
    questions = [ask(f"Repeat after me: {word}") for word in ("apple", "stone", "river", "cloud")]
    seen: list[tuple[str, int, int]] = []
    with open_server(parallel=3) as server:
        replies = server.reply_many(
            questions, Sampling(max_tokens=6), lambda *step: seen.append(step)
        )
        alone = [
            server.chat_model.complete(item, Sampling(max_tokens=6)).text for item in questions
        ]
        assert server.reply_many([]) == []
        with pytest.raises(RuntimeFailedError, match="tokens"):
            server.reply_many([*questions, ask("word " * 500)], SHORT)
    assert replies == alone
    assert len(set(replies)) > 1
    assert seen == [("answering", done, 4) for done in (1, 2, 3, 4)]


def test_log_probabilities_are_those_of_the_whole_vocabulary(server: EmbeddedServer) -> None:
    pairs = server.next_token_log_probabilities(prompt_ids(server)[:5], VOCABULARY)
    assert {token for token, _ in pairs} == set(range(VOCABULARY))
    assert math.fsum(math.exp(value) for _, value in pairs) == pytest.approx(1, abs=1e-3)
    assert pairs == sorted(pairs, key=lambda pair: -pair[1])
    assert server.tokenizer.decode([pairs[0][0]]) == " Paris"


def test_growing_prefixes_give_what_a_fresh_server_gives(server: EmbeddedServer) -> None:
    ids = prompt_ids(server)
    growing = [server.next_token_log_probabilities(ids[:end], 5) for end in range(1, len(ids) + 1)]
    with open_server() as other:
        fresh = other.next_token_log_probabilities(ids, 5)
    for (token, value), (expected_token, expected) in zip(growing[-1], fresh, strict=True):
        assert token == expected_token
        assert value == pytest.approx(expected, abs=0.05)
    with pytest.raises(DataError, match="no tokens"):
        server.next_token_log_probabilities([], 5)


def test_a_prompt_that_is_too_long_is_named_in_tokens(server: EmbeddedServer) -> None:
    text = "word " * 1000
    tokens = len(prompt_ids(server, server.renderer.render(ask(text), add_generation_prompt=True)))
    with pytest.raises(RuntimeFailedError, match=rf"{tokens} tokens.* room for 512") as caught:
        next(server.chat_model.reply(ask(text)))
    assert caught.value.next_command
    with pytest.raises(RuntimeFailedError, match="room for 512"):
        server.next_token_log_probabilities([5] * 600, 1)


def test_an_adapter_that_is_zero_changes_nothing_and_others_do(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    ids = prompt_ids(server)
    base = server.next_token_log_probabilities(ids, 3)
    a, b = normal(RANK, WIDTH), normal(WIDTH, RANK, seed=1)
    found = {}
    for name, half, alpha in (("zero", 0.0, 16.0), ("b", 1.0, 16.0), ("2b", 2.0, 8.0)):
        path = write_adapter(
            tmp_path / f"{name}.gguf",
            {
                "blk.0.attn_v.weight.lora_a": a,
                "blk.0.attn_v.weight.lora_b": np.ascontiguousarray(b[:192] * np.float32(half)),
            },
            alpha=alpha,
        )
        with open_server(adapter=path) as tuned:
            found[name] = tuned.next_token_log_probabilities(ids, 3)
    assert [token for token, _ in found["zero"]] == [token for token, _ in base]
    assert dict(found["zero"]) == pytest.approx(dict(base), abs=0.05)
    assert found["b"] != found["zero"]
    # W + (alpha / r) B A: half the alpha and twice the B are the same model.
    assert dict(found["2b"]) == pytest.approx(dict(found["b"]), abs=1e-3)


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cn", "Co", "Cs", "Cc")), max_size=30)
)
@settings(max_examples=150)
def test_text_survives_its_tokens(server: EmbeddedServer, text: str) -> None:
    for parse_special in (False, True):
        ids = server.tokenizer.encode(text, add_special=False, parse_special=parse_special)
        assert server.tokenizer.decode(ids) == text


def test_special_tokens_are_read_only_when_asked_for(server: EmbeddedServer) -> None:
    encode = server.tokenizer.encode
    assert encode("<|im_end|>", add_special=False, parse_special=True) == [2]
    plain = encode("<|im_end|>", add_special=False, parse_special=False)
    assert not {0, 1, 2} & set(plain)
    assert server.tokenizer.decode(plain) == server.tokenizer.decode([2]) == "<|im_end|>"
    assert encode("", add_special=True, parse_special=True) == []


def test_hundreds_of_requests_outlive_the_servers_keep_alive(server: EmbeddedServer) -> None:
    ids = prompt_ids(server)
    for _ in range(250):
        assert prompt_ids(server) == ids
    assert server.chat_model.complete(ask("Hi"), SHORT).text
    assert all(prompt_ids(server) == ids for _ in range(250))


def test_text_that_is_not_unicode_is_refused(server: EmbeddedServer) -> None:
    with pytest.raises(DataError, match="surrogate"):
        prompt_ids(server, "a \ud800 b")
    assert unicodedata.category("\ud800") == "Cs"


def test_pictures_are_refused(server: EmbeddedServer) -> None:
    picture = Message(id="1", role="user", content=(Part(type="image_url", data={"url": "x"}),))
    with pytest.raises(DataError, match="image_url"):
        server.renderer.render([picture], add_generation_prompt=True)


def test_a_template_that_knows_tools_sees_the_call_as_an_object() -> None:
    template = (
        "{% for m in messages %}{{ m.role }}:{{ m.content or '' }}"
        "{% for c in m.tool_calls or [] %}<{{ c.function.name }}"
        "{% for key, value in c.function.arguments.items() %} {{ key }}={{ value }}{% endfor %}>"
        "{% endfor %};{% endfor %}"
    )
    call = ToolCall(id="c1", name="weather", arguments={"city": "Oslo", "days": 2})
    turns = [
        *ask("Rain?"),
        Message(id="a", role="assistant", tool_calls=(call,)),
        Message(id="t", role="tool", content=(Part(text="no"),), tool_call_id="c1"),
    ]
    with open_server(chat_template=template) as server:
        prompt = server.renderer.render(turns, add_generation_prompt=True)
    assert prompt == "user:Rain?;assistant:<weather city=Oslo days=2>;tool:no;"


def test_a_system_prompt_is_set_only_where_there_is_none() -> None:
    with open_server(system="Be a pirate.") as server:
        plain = server.renderer.render(ask("Hi"), add_generation_prompt=False)
        own = server.renderer.render(
            messages(("system", "Be kind."), ("user", "Hi")), add_generation_prompt=False
        )
        fingerprint = server.renderer.fingerprint
    assert plain == "<|im_start|>system\nBe a pirate.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    assert own == "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    with open_server() as server:
        assert server.renderer.fingerprint != fingerprint


def test_a_model_without_a_template_speaks_chatml(tmp_path: Path) -> None:
    path = copy_model(tmp_path / "plain.gguf", without="tokenizer.chat_template")
    with open_server(path) as server:
        turns = messages(("user", "Hi"), ("assistant", "Yes?"), ("user", "Go"))
        assert server.renderer.render(turns, add_generation_prompt=True) == (
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n"
            "<|im_start|>user\nGo<|im_end|>\n<|im_start|>assistant\n"
        )
        assert server.end_of_turn == "<|im_end|>\n"
        fingerprint = server.renderer.fingerprint
    with open_server(chat_template=CHATML_TEMPLATE) as same:
        assert same.renderer.fingerprint == fingerprint


def test_a_foreign_template_ends_the_reply_by_its_own_end_of_turn() -> None:
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}###\n{% endfor %}"
    with open_server(chat_template=template) as server:
        assert server.end_of_turn == "###\n"
        prompt = messages(("user", "Write ### and stop: a###b###c"), ("assistant", "a"))
        reply = server.chat_model.complete(prompt, Sampling(max_tokens=120))
        assert "###" not in reply.text
    with open_server(chat_template="{{ 'x' }}") as server:
        assert server.end_of_turn == ""


def test_nobody_else_can_talk_to_the_server(server: EmbeddedServer) -> None:
    address = server._server.listening_address
    assert address.startswith("http://127.0.0.1:")
    answer = httpx.post(f"{address}/tokenize", json={"content": "x"}, trust_env=False)
    assert answer.status_code == 401


def test_a_closed_server_says_so() -> None:
    server = open_server()
    server.close()
    server.close()
    with pytest.raises(RuntimeUnavailableError, match="closed"):
        next(server.chat_model.reply(ask("Hi")))
    with pytest.raises(RuntimeUnavailableError, match="closed"):
        server.tokenizer.encode("x", add_special=True, parse_special=True)
    with pytest.raises(RuntimeUnavailableError, match="closed"), server:
        pass


UNLOADABLE: dict[str, Callable[[Path], object]] = {
    "missing.gguf": lambda _: None,
    "folder.gguf": lambda path: path.mkdir(),
    "text.gguf": lambda path: path.write_bytes(b"hello" * 1000),
    "torn.gguf": lambda path: path.write_bytes(model_path().read_bytes()[:50_000_000]),
    "architecture.gguf": lambda path: write_adapter(path, architecture="frobnicator", kind="model"),
    "adapter.gguf": write_adapter,
    "split.gguf": lambda path: copy_model(path, split__count=3),
}


def unloadable(name: str, folder: Path) -> Path:
    UNLOADABLE[name](folder / name)
    return folder / name


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("missing.gguf", ModelNotFoundError, "missing.gguf"),
        ("folder.gguf", ModelNotFoundError, "folder"),
        ("text.gguf", GgufError, "GGUF"),
        ("torn.gguf", GgufError, "ends at byte"),
        ("architecture.gguf", UnsupportedModelError, "frobnicator"),
        ("adapter.gguf", UnsupportedModelError, "'adapter'"),
        ("split.gguf", UnsupportedModelError, "one of 3 parts"),
    ],
)
def test_a_file_that_is_no_model_is_named_in_one_sentence(
    tmp_path: Path, kind: str, error: type[FineTuningError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        EmbeddedServer(unloadable(kind, tmp_path))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("template", ["{% for x in %}", "{{ raise_exception('never') }}"])
def test_a_template_that_cannot_be_used_is_named(template: str) -> None:
    with pytest.raises(RuntimeFailedError, match="template"):
        open_server(chat_template=template)


def test_llama_cpp_prints_nothing_and_an_unclosed_server_does_not_hang(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from fine_tuning.core.errors import FineTuningError
from fine_tuning.runtimes.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]), context_tokens=256, threads=1)
assert server.next_token_log_probabilities([5], 1)
try:
    EmbeddedServer(Path(sys.argv[2]))
except FineTuningError:
    pass
"""
    bad = unloadable("architecture.gguf", tmp_path)
    child = subprocess.run(
        [sys.executable, "-c", program, str(model_path()), str(bad)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (child.returncode, child.stdout, child.stderr) == (0, b"", b"")


def test_threads_are_those_wished_for_else_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert default_threads() == 3
    for nonsense in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", nonsense)
        assert 1 <= default_threads() <= (os.cpu_count() or 1)
