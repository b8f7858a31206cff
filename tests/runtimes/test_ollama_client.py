"""Ollama over HTTP: files sent once, errors in a sentence, servers that die or are no Ollama."""

from __future__ import annotations

import socket
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fine_tuning.core.errors import (
    DataError,
    FineTuningError,
    ModelNotFoundError,
    RuntimeFailedError,
    RuntimeUnavailableError,
)
from fine_tuning.core.naming import file_sha256
from fine_tuning.core.ports import Sampling
from fine_tuning.runtimes.ollama_answers import StreamLine
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_model import REPEATED, UNEXPLAINED, OllamaServedModel
from fine_tuning.runtimes.ollama_probe import probe
from tests.model_management.ollama_serving import GO_CHATML, write_base
from tests.ollama_stand_in.generations import GENERATIONS
from tests.ollama_stand_in.server import StandIn
from tests.runtimes.models import ask, messages

SHORT = Sampling(max_tokens=8)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "tiny.gguf")


@pytest.fixture
def ollama(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with StandIn(tmp_path / "ollama") as server:
        server.add_model("tiny:latest", base, template=GO_CHATML)
        yield server


@pytest.fixture
def client(ollama: StandIn) -> OllamaClient:
    return OllamaClient(ollama.url + "/")


def test_a_file_is_sent_once_and_its_progress_told(
    ollama: StandIn, client: OllamaClient, tmp_path: Path
) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"x" * 3_000_000)
    seen: list[tuple[str, int, int]] = []
    digest = client.upload(path, lambda *step: seen.append(step))
    assert digest == file_sha256(path)
    assert ollama.store.blob(digest).read_bytes() == path.read_bytes()
    assert [done for _, done, _ in seen] == [1 << 20, 2 << 20, 3_000_000, 3_000_000]
    assert client.upload(path) == digest
    assert ollama.uploads == [digest]


def test_a_blob_under_a_wrong_name_is_refused(client: OllamaClient, tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"x")
    with pytest.raises(RuntimeFailedError, match="digest mismatch"):
        client.upload(path, digest="sha256:" + "0" * 64)
    with pytest.raises(RuntimeFailedError, match="HTTP 400"):
        client.has_blob("sha256:12")


def test_no_server_is_said_with_what_to_do() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RuntimeUnavailableError, match="no Ollama server answers at") as caught:
        OllamaClient(f"http://127.0.0.1:{port}").version()
    assert "ollama serve" in caught.value.next_command


def test_another_server_is_not_taken_for_ollama(ollama: StandIn) -> None:
    with pytest.raises(RuntimeFailedError, match="404"):
        OllamaClient(ollama.url + "/elsewhere").version()
    with pytest.raises(RuntimeUnavailableError, match="that is not Ollama"):
        OllamaClient(ollama.url).get("/")


def test_a_foreign_host_name_is_explained(client: OllamaClient) -> None:
    client._http.headers["Host"] = "my-machine.example"
    with pytest.raises(RuntimeFailedError, match="host name") as caught:
        client.version()
    assert "localhost" in caught.value.next_command


def test_half_a_surrogate_pair_is_bad_data(client: OllamaClient) -> None:
    with pytest.raises(DataError, match="surrogate"):
        client.post("/api/show", {"model": "\ud800"})


def test_a_silent_server_is_not_waited_for_ever(ollama: StandIn) -> None:
    ollama.faults.slow_s = 1.0
    client = OllamaClient(ollama.url, work_timeout_s=0.2)
    with pytest.raises(RuntimeFailedError, match="silent"):
        client.post("/api/generate", {"model": "tiny"}, is_work=True)


def test_an_unknown_model_is_not_found(client: OllamaClient) -> None:
    for work in (
        lambda: client.post("/api/show", {"model": "never-there"}),
        lambda: client.delete("/api/delete", {"model": "never-there"}),
        lambda: list(client.lines("/api/chat", {"model": "never-there"})),
    ):
        with pytest.raises(ModelNotFoundError, match="never-there"):
            work()


def test_a_reply_that_breaks_is_no_reply(ollama: StandIn, client: OllamaClient) -> None:
    model = OllamaServedModel(client, "tiny")
    whole = model.complete(ask("Hello"), SHORT)
    assert whole.reply_tokens == 8
    assert not whole.ended
    for fault, said in (("die_after_pieces", "half-way"), ("error_after_pieces", "encountered")):
        setattr(ollama.faults, fault, 3)
        pieces: list[str] = []
        with pytest.raises(RuntimeFailedError, match=said):
            pieces.extend(model.reply(ask("Hello"), SHORT))
        assert 0 < len(pieces) <= 3
        assert whole.text.startswith("".join(pieces))
        setattr(ollama.faults, fault, None)
    assert model.complete(ask("Hello"), SHORT).text == whole.text


def streamed(pieces: Sequence[str], *, done: bool) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = [
        {"message": {"role": "assistant", "content": piece}, "done": False} for piece in pieces
    ]
    return [*lines, {"message": {"content": ""}, "done": True, "done_reason": "stop"}][
        : None if done else -1
    ]


class _Scripted(OllamaClient):
    """A client whose server streams lines that are given, and lives, or not."""

    def __init__(self, url: str, lines: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(url)
        self._script = lines

    def lines(self, path: str, body: Mapping[str, object]) -> Generator[StreamLine, None, None]:
        del path, body
        yield from self._script  # type: ignore[misc]


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (["Well", *[" no"] * 31], REPEATED),
        (["Well", *[" no", "no ", "\nno"] * 11], REPEATED),
        (["", *[" "] * 31], REPEATED),
        (["\U0001f30c", *["\U0001f30d"] * 31], REPEATED),
        (["Well", " no", " yes"], UNEXPLAINED),
    ],
)
def test_a_living_server_that_ends_a_reply_without_its_end(
    ollama: StandIn, pieces: list[str], said: str
) -> None:
    scripted = _Scripted(ollama.url, streamed(pieces, done=False))
    reply = OllamaServedModel(scripted, "tiny").complete(ask("Hello"), SHORT)
    assert (reply.text, reply.ended, reply.broken_off) == ("".join(pieces), False, said)
    whole = _Scripted(ollama.url, streamed(pieces, done=True))
    assert not OllamaServedModel(whole, "tiny").complete(ask("Hello"), SHORT).broken_off


def test_a_server_that_is_gone_stopped_half_way() -> None:
    scripted = _Scripted("http://127.0.0.1:9", streamed([" no"] * 40, done=False))
    with pytest.raises(RuntimeFailedError, match="half-way"):
        OllamaServedModel(scripted, "tiny").complete(ask("Hello"), SHORT)


def test_what_a_server_tells_of_its_work(client: OllamaClient) -> None:
    model = OllamaServedModel(client, "tiny")
    assert model.memory_bytes() is None
    reply = model.complete(ask("Hello"), SHORT, top_log_probabilities=4)
    assert reply.tokens is not None
    assert 1 < len(reply.tokens) <= 8  # llama.cpp tells none for a part of a character
    first = reply.first_token_log_probabilities
    assert first is not None
    assert len(first) == 4
    assert max(first, key=lambda text: first[text]) == reply.tokens[0]
    assert all(value <= 0 for value in first.values())
    assert (model.memory_bytes() or 0) > 10_000
    assert reply.prompt_tokens == 21  # three special tokens, and bytes of which some are joined


@pytest.mark.parametrize("generation", GENERATIONS)
def test_prompts_and_log_probabilities_where_they_are_told(
    tmp_path: Path, base: Path, generation: str
) -> None:
    with StandIn(tmp_path / "o", generation=generation) as server:
        server.add_model("tiny:latest", base, template=GO_CHATML)
        model = OllamaServedModel(OllamaClient(server.url), "tiny")
        facts = GENERATIONS[generation]
        turns = messages(("system", "S"), ("user", "U"), ("assistant", "A"), ("user", "V"))
        found = model.rendered_prompt(turns)
        expected = "".join(f"<|im_start|>{m.role}\n{m.text}<|im_end|>\n" for m in turns)
        assert found == (expected + "<|im_start|>assistant\n" if facts.renders else None)
        reply = model.complete(ask("Hello"), SHORT, top_log_probabilities=2)
        assert (reply.first_token_log_probabilities is not None) is facts.logprobs


def test_a_stop_text_leaves_the_models_own_in_force(ollama: StandIn, base: Path) -> None:
    ollama.add_model("stopped:latest", base, params='{"stop": ["zzz", "yyy"]}')
    model = OllamaServedModel(OllamaClient(ollama.url), "stopped")
    body = model._request(ask("Hello"), Sampling(stop=("xxx",)), 0)
    assert body["options"]["stop"] == ["zzz", "yyy", "xxx"]
    assert "stop" not in model._request(ask("Hello"), SHORT, 0)["options"]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_server_is_asked_what_it_can_do(tmp_path: Path, generation: str) -> None:
    with StandIn(tmp_path, generation=generation) as server:
        facts = probe(OllamaClient(server.url))
        wanted = GENERATIONS[generation]
        assert facts.interface == wanted.api
        assert facts.takes_adapters is (wanted.adapters != "refused")
        assert wanted.version in facts.adapters_reason
        assert not server.names()
        assert not list((server.root / "blobs").iterdir())


def test_a_version_number_alone_decides_nothing(tmp_path: Path) -> None:
    with StandIn(tmp_path, generation="0.34.2") as server:
        object.__setattr__(server.generation, "version", "0.20.0")
        try:
            assert not probe(OllamaClient(server.url)).takes_adapters
        finally:
            object.__setattr__(server.generation, "version", "0.34.2")


def test_errors_are_for_the_users_eyes(client: OllamaClient) -> None:
    with pytest.raises(FineTuningError) as caught:
        client.post("/api/create", {"model": "!"})
    assert "\n" not in caught.value.message
    assert "invalid model name" in caught.value.message
