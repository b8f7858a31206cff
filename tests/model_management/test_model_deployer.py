"""Deployment to every generation of Ollama: the way taken, what is undone, what is left alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tuning.core.errors import DeploymentError, RuntimeUnavailableError
from fine_tuning.core.json_value import object_at
from fine_tuning.model_management.deploy_strategies import deploy_strategies
from fine_tuning.model_management.model_deployer import Deployed
from tests.model_management.ollama_serving import (
    BASE,
    GO_CHATML,
    SERVED,
    Home,
    deployer,
    make_home,
    runtime,
    said_by,
    switcher,
    words_of,
)
from tests.model_management.registered import registry
from tests.model_management.serving import copy_home
from tests.ollama_stand_in.generations import GENERATIONS
from tests.ollama_stand_in.server import StandIn

WAYS = {
    "0.3.14": "adapter",
    "0.9.6": "adapter",
    "0.24.0": "adapter",
    "0.24.0-go": "mixed",
    "0.33.0": "adapter",
    "0.34.2": "mixed",
    "0.40.0": "mixed",
}


def quickly(cases: Iterable[str], *quick: str) -> list[Any]:
    """Return parameters of which only some are tried every time."""
    slow = pytest.mark.slow
    return [pytest.param(one, marks=() if one in quick else slow) for one in cases]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = make_home(tmp_path_factory.mktemp("made") / "home")
    registry(home.path).close()
    return home


@pytest.fixture
def home(made: Home, tmp_path: Path) -> Home:
    return Home(copy_home(made.path, tmp_path / "home"))


@pytest.fixture
def words(home: Home) -> tuple[str, ...]:
    return words_of(home, 1)


@pytest.fixture
def ollama(tmp_path: Path, home: Home) -> Iterator[StandIn]:
    with stand_in(tmp_path, home, "0.33.0") as server:
        yield server


def stand_in(folder: Path, home: Home, generation: str, **layers: str) -> StandIn:
    server = StandIn(folder / "ollama", generation=generation)
    server.add_model(BASE, home.base, **(layers or {"template": GO_CHATML}))
    return server


def deploy(home: Home, server: StandIn, number: int = 1, **changes: object) -> Deployed:
    only = changes.pop("only", None)
    what = home.deployable(number, **changes)
    return deployer(home, server.url, words_of(home, number)).deploy(what, only=only)  # type: ignore[arg-type]


def state(server: StandIn) -> dict[str, str]:
    return {name: server.digest(name) for name in server.names()}


def states(home: Home) -> list[str]:
    return [one.state for one in registry(home.path).find("support:1").deployments]


@pytest.mark.parametrize("generation", quickly(GENERATIONS, "0.3.14", "0.24.0-go", "0.34.2"))
def test_a_version_is_served_as_it_was_trained(
    tmp_path: Path, home: Home, words: tuple[str, ...], generation: str
) -> None:
    with stand_in(tmp_path, home, generation) as server:
        before = state(server)
        done = deploy(home, server)
        assert done.way == WAYS[generation]
        assert done.reason
        assert state(server) == {**before, f"{SERVED}:1": done.digest}
        found = said_by(runtime(server.url).served(f"{SERVED}:1"))
        if done.way == "adapter":
            assert found == words
        else:
            assert sum(a[:3] == b[:3] for a, b in zip(found, words, strict=True)) >= 2
        assert found != said_by(runtime(server.url).served(BASE))
        (deployment,) = registry(home.path).find("support:1").deployments
        assert (deployment.state, deployment.digest) == ("active", done.digest)
        assert deployment.proof["way"] == done.way
        if generation == "0.24.0-go":
            assert "loras are not yet implemented" in done.attempts[0].reason
        else:
            assert not done.attempts


@pytest.mark.parametrize(
    "generation", quickly(("0.9.6", "0.24.0", "0.33.0", "0.40.0"), "0.33.0", "0.40.0")
)
def test_a_base_ollama_lacks_is_brought_once(tmp_path: Path, home: Home, generation: str) -> None:
    with StandIn(tmp_path / "ollama", generation=generation) as server:
        first = deploy(home, server, base_name=str(home.base))
        uploads = len(server.uploads)
        assert uploads == (1 if first.way == "mixed" else 2)
        deploy(home, server, 2, base_name=str(home.base))
        assert len(server.uploads) == uploads + 1
        assert server.names() == {f"{SERVED}:1", f"{SERVED}:2"}


WRONG = "{{ range .Messages }}{{ .Role }}: {{ .Content }}\n{{ end }}assistant: "


@pytest.mark.parametrize(
    ("generation", "chosen"),
    [
        ("0.9.6", "learnt from training's own prompts"),
        pytest.param("0.24.0", "learnt from training's own prompts", marks=pytest.mark.slow),
        ("0.33.0", "learnt from training's own prompts"),
        ("0.40.0", "the GGUF's own"),
    ],
)
def test_a_template_that_was_not_trained_on_is_replaced(
    tmp_path: Path, home: Home, generation: str, chosen: str
) -> None:
    with stand_in(tmp_path, home, generation, template=WRONG) as server:
        done = deploy(home, server)
        assert done.decisions["template"] == chosen
        if generation != "0.9.6":
            assert "assistant:" in " ".join(done.decisions["templates passed over"])
        assert runtime(server.url).settings(BASE).template == WRONG


def test_what_the_base_brings_is_kept_or_sent_again(tmp_path: Path, home: Home) -> None:
    layers = {
        "template": GO_CHATML,
        "params": '{"stop": ["<|im_end|>", "\\"q\\""], "temperature": 0.3, "num_ctx": 512}',
        "messages": '[{"role": "user", "content": "a \\"b\\""}]',
        "license": "free\nfor all",
    }

    def prompt(messages: object, tools: object = ()) -> str:
        del tools
        head = '<|im_start|>user\na "b"'
        text = home.deployable(1).prompt(messages)  # type: ignore[arg-type]
        if text.startswith("<|im_start|>user\n"):
            return head + "\n\n" + text.removeprefix("<|im_start|>user\n")
        return f"{head}<|im_end|>\n{text}"

    for generation in ("0.33.0", "0.34.2"):
        with stand_in(tmp_path / generation, home, generation, **layers) as server:
            what = home.deployable(1, prompt=prompt)
            deployer(home, server.url, ()).deploy(what)
            kept = runtime(server.url).settings(f"{SERVED}:1")
            base = runtime(server.url).settings(BASE)
            assert (kept.template, kept.parameters) == (base.template, base.parameters)
            assert kept.messages == base.messages == (("user", 'a "b"'),)


def test_stop_texts_of_training_join_those_of_the_base(tmp_path: Path, home: Home) -> None:
    layers = {"template": GO_CHATML, "params": '{"stop": ["<|im_end|>"]}'}
    with stand_in(tmp_path, home, "0.40.0", **layers) as server:
        deploy(home, server, stop=("</turn>",))
        assert runtime(server.url).settings(f"{SERVED}:1").parameters["stop"] == (
            "<|im_end|>", "</turn>",
        )  # fmt: skip


def test_another_model_under_the_bases_name_is_not_built_on(tmp_path: Path, home: Home) -> None:
    other = make_home(tmp_path / "other", versions=0)
    content = bytearray(other.base.read_bytes())
    content[-64:] = bytes(64)
    other.base.write_bytes(content)
    with StandIn(tmp_path / "ollama", generation="0.33.0") as server:
        server.add_model(BASE, other.base)
        done = deploy(home, server)
        assert done.decisions["base"] == str(home.base)


def test_a_base_the_server_wrote_anew_is_built_on(tmp_path: Path, home: Home) -> None:
    other = make_home(tmp_path / "other", versions=0)
    with other.base.open("ab") as file:
        file.write(b"\0" * 32)
    with StandIn(tmp_path / "ollama", generation="0.33.0") as server:
        server.add_model(BASE, other.base)
        assert deploy(home, server).decisions["base"] == BASE


FAULTS = {
    "load_error": ("out of memory", "out of memory"),
    "create_error": ("no space left on device", "no space left"),
    "wrong_template": ("{{ .Prompt }}", "prompts differ"),
    "adapter_scale": (40.0, "replies begin"),
    "ignore_adapter": (True, "replies begin"),
}


@pytest.mark.parametrize("fault", quickly(FAULTS, "load_error", "wrong_template"))
def test_whatever_fails_leaves_everything_as_it_was(
    home: Home, ollama: StandIn, fault: str
) -> None:
    deploy(home, ollama)
    switcher(home, ollama.url).switch("support:1")
    before = state(ollama)
    value, said = FAULTS[fault]
    setattr(ollama.faults, fault, value)
    with pytest.raises(DeploymentError, match=said) as caught:
        deploy(home, ollama, 2, only="adapter")
    assert "\n" not in caught.value.message
    assert state(ollama) == before
    setattr(ollama.faults, fault, type(ollama.faults)().__dict__[fault])
    (undone,) = registry(home.path).find("support:2").deployments
    assert undone.state == "undone"
    assert said in undone.reason
    assert deploy(home, ollama, 2).way == "adapter"


def test_an_adapter_the_server_ignores_is_merged_instead(home: Home, ollama: StandIn) -> None:
    ollama.faults.ignore_adapter = True
    done = deploy(home, ollama)
    assert done.way == "mixed"
    assert "replies begin" in done.attempts[0].reason


def test_a_server_that_dies_leaves_what_the_next_run_finishes(
    tmp_path: Path, home: Home, words: tuple[str, ...]
) -> None:
    server = stand_in(tmp_path, home, "0.33.0")
    server.__enter__()
    server.faults.break_on = "/api/copy"
    with pytest.raises(DeploymentError, match="stopped half-way"):
        deploy(home, server)
    assert server.names() == {BASE}
    server.stop()
    with pytest.raises(RuntimeUnavailableError, match="no Ollama server answers") as caught:
        deployer(home, server.url, words).deploy(home.deployable(1))
    assert caught.value.next_command


def test_an_upgraded_server_is_proven_again(home: Home, ollama: StandIn) -> None:
    first = deploy(home, ollama)
    before = state(ollama)
    ollama.generation = replace(ollama.generation, version="0.33.9")
    again = deploy(home, ollama)
    assert (again.changed, again.digest, again.way) == (True, first.digest, first.way)
    assert object_at(again.proof, "terms")["server"] == "Ollama 0.33.9"
    assert "not proven on Ollama 0.33.9" in str(again.decisions["proven again"])
    assert state(ollama) == before
    assert sorted(states(home)) == ["active", "retired"]
    assert not deploy(home, ollama).changed


def test_an_upgraded_server_that_serves_otherwise_gets_a_model_anew(
    home: Home, ollama: StandIn
) -> None:
    deploy(home, ollama)
    before = state(ollama)
    ollama.generation = replace(ollama.generation, version="0.33.9")
    ollama.faults.ignore_adapter = True
    done = deploy(home, ollama)
    assert done.way == "mixed"
    assert state(ollama) != before


def test_other_settings_of_the_base_are_proven_again(home: Home, ollama: StandIn) -> None:
    deploy(home, ollama)
    again = deploy(home, ollama, system="Be brief.")
    assert again.changed
    assert "settings" in str(again.decisions["proven again"])


def test_deploying_twice_changes_nothing(home: Home, ollama: StandIn) -> None:
    first = deploy(home, ollama)
    before, asked = state(ollama), len(ollama.requests)
    again = deploy(home, ollama)
    assert (again.changed, again.digest, again.way) == (False, first.digest, first.way)
    assert state(ollama) == before
    assert not any(method != "GET" for method, _ in ollama.requests[asked:])
    assert states(home) == ["active"]


def test_a_version_removed_from_the_server_is_deployed_again(home: Home, ollama: StandIn) -> None:
    deploy(home, ollama)
    runtime(ollama.url).delete(f"{SERVED}:1")
    assert deploy(home, ollama).changed
    assert states(home) == ["retired", "active"]


def test_each_strategy_says_why() -> None:
    refused = {"takes_adapters": False, "adapters_reason": "refused"}
    strategies = deploy_strategies(takes_adapters=True, adapters_reason="taken", is_mergeable=True)
    assert strategies[0].reason == "taken"
    assert [strategy.way for strategy in strategies] == ["adapter", "merged"]
    assert [strategy.way for strategy in deploy_strategies(**refused, is_mergeable=True)] == [
        "merged"
    ]  # type: ignore[arg-type]
    assert [strategy.way for strategy in deploy_strategies(**refused, is_mergeable=False)] == [
        "mixed"
    ]  # type: ignore[arg-type]
    with pytest.raises(DeploymentError, match="'adapter' is no way"):
        deploy_strategies(**refused, is_mergeable=False, only="adapter")  # type: ignore[arg-type]
