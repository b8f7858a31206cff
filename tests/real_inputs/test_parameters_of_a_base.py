"""Bases with PARAMETER lines: they hold for the base, and for what is made from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fine_tuning.model_management.deploy_strategies import DeployStrategy
from fine_tuning.model_management.deployment_target import Deployable
from fine_tuning.model_management.embedded_target import EmbeddedTarget
from fine_tuning.runtimes.embedded_runtime import EmbeddedRuntime
from tests.runtimes.serving.ollama_like import add_model, served_workspace
from tests.runtimes.tiny_chat import write_tiny_adapter, write_tiny_chat

pytestmark = pytest.mark.real_input("parameters of a base")

PARAMETERS: dict[str, Any] = {
    "temperature": 0, "num_ctx": 8192, "stop": ["."], "num_predict": 20,
}  # fmt: skip
OTHERS: dict[str, dict[str, Any]] = {
    "short:1": {"num_predict": 3, "temperature": 0},
    "seeded:1": {"seed": 7, "temperature": 1.5, "top_k": 50, "num_predict": 12},
    "penalised:1": {"repeat_penalty": 1.8, "temperature": 0, "num_predict": 12},
}
ASK = [{"role": "user", "content": "Ein Wort, bitte"}]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("parameters")
    path = write_tiny_chat(folder / "tiny.gguf", llama__context_length=16_384)
    for name, parameters in {"t0": PARAMETERS, **OTHERS}.items():
        add_model(folder / "models", name, path=path, parameters=parameters)
    with (
        served_workspace(folder / "home", folder / "models", "serving.parallel=1") as url,
        httpx.Client(base_url=url, timeout=120, trust_env=False) as made,
    ):
        made.post("/api/create", json={"model": "copied", "from": "t0", "stream": False})
        yield made


def chat(client: httpx.Client, model: str, **options: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "messages": ASK, "stream": False}
    answer = client.post("/api/chat", json=body | ({"options": options} if options else {}))
    assert answer.status_code == 200, answer.text
    value: dict[str, Any] = answer.json()
    return value


@pytest.mark.parametrize("model", ["t0", "copied"])
def test_they_are_told_and_hold(client: httpx.Client, model: str) -> None:
    shown = client.post("/api/show", json={"model": model}).json()["parameters"]
    lines = {tuple(line.split()) for line in shown.splitlines()}
    assert lines == {("temperature", "0"), ("num_ctx", "8192"), ("stop", '"."'),
                     ("num_predict", "20")}  # fmt: skip
    first = chat(client, model)
    assert first["eval_count"] == 20
    assert chat(client, model)["message"] == first["message"]
    word = first["message"]["content"].split()[3]
    ended = chat(client, model, stop=[word])
    assert word not in ended["message"]["content"]
    assert ended["done_reason"] == "stop"
    assert chat(client, model, num_predict=5)["eval_count"] == 5


def test_a_long_prompt_is_read_in_their_room(client: httpx.Client) -> None:
    turns = [{"role": "user", "content": "word " * 5031}]
    body = {"model": "t0", "messages": turns, "stream": False, "options": {"num_predict": 1}}
    assert client.post("/api/chat", json=body).json()["prompt_eval_count"] > 5031


@pytest.mark.parametrize("model", OTHERS)
def test_other_parameters_hold(client: httpx.Client, model: str) -> None:
    first = chat(client, model)
    assert first["eval_count"] == OTHERS[model]["num_predict"]
    assert chat(client, model)["message"] == first["message"]
    if model == "penalised:1":
        assert chat(client, model, repeat_penalty=1.0)["message"] != first["message"]


def test_they_hold_for_versions(tmp_path: Path) -> None:
    path = write_tiny_chat(tmp_path / "tiny.gguf")
    runtime = EmbeddedRuntime(tmp_path / "models")
    what = Deployable(
        version="t:1", served_as="fine_tuned_t:1", base_name="t0", base_path=path, base_digest="",
        adapter=write_tiny_adapter(tmp_path / "a.gguf", seed=1), is_mergeable=False,
        merged=lambda *_: path, prompt=lambda *_, **__: "", parameters=PARAMETERS, stop=("<|e|>",),
    )  # fmt: skip
    target = EmbeddedTarget(runtime, reason="of this test")
    strategy: DeployStrategy = target.strategies(what, None)[0]
    target.make("fine_tuned_t:1", strategy, what, None)
    model = runtime.loadable("fine_tuned_t:1")
    assert dict(model.parameters) == {**PARAMETERS, "stop": [".", "<|e|>"]}
