"""A version is deployed with the real proof: by every way, and undone whatever is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from fine_tuning.core.errors import DeploymentError, RuntimeFailedError
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import TensorType
from fine_tuning.model_management.deploy_strategies import Way
from fine_tuning.runtimes.embedded import CHATML_TEMPLATE
from fine_tuning.runtimes.ollama_modelfile import parse_modelfile
from fine_tuning.workbench.models.deploy import DeployResult
from fine_tuning.workbench.workbench import Workbench
from tests.ollama_stand_in.generations import GENERATIONS, Faults
from tests.ollama_stand_in.server import StandIn
from tests.runtimes.models import ask
from tests.runtimes.served_here import serving_models
from tests.workbench.trained import MERGEABLE, NAME, Trained, write_base, write_trained

TOKEN = "a-token-of-some-length"  # noqa: S105 - of a server that lives for one test
ADAPTED = "blk.0.ffn_down.weight"
TEMPLATE_KEY = "tokenizer.chat_template"
SERVED, ALIAS = "fine_tuned_support:1", "fine_tuned_support:champion"


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@dataclass(frozen=True)
class Scene:
    """A server with a base, and a workspace with runs on it."""

    server: StandIn
    trained: Trained

    def bench(self) -> Workbench:
        return self.trained.bench(self.server.url)

    def digests(self) -> dict[str, str]:
        return {name: self.server.digest(name) for name in self.server.names()}


@contextmanager
def scene(
    folder: Path, generation: str, *, types: Mapping[str, TensorType] | None = None,
    without: str = "", **layers: str,
) -> Iterator[Scene]:  # fmt: skip
    trained = write_trained(folder, name=NAME, types=types, without=without)
    with pytest.MonkeyPatch.context() as patch, StandIn(folder, generation=generation) as server:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("OLLAMA_MODELS", str(server.root))
        server.add_model(NAME, trained.base, **layers)
        yield Scene(server, trained)


def merged_file(trained: Trained) -> GgufFile:
    return GgufFile.open(trained.home / "fine_tuned_models" / "run1" / "artefacts" / "merged.gguf")


def outcomes(done: DeployResult) -> dict[str, str]:
    return {part["name"]: part["outcome"] for part in done.deployed.proof["parts"]}


HOLDS = dict.fromkeys(("prompt", "ending", "output", "settings", "speed"), "holds")


@pytest.mark.parametrize("generation", [pytest.param("0.34.2", marks=pytest.mark.slow), "0.40.0"])
def test_a_mergeable_adapter_is_merged_into_a_file_of_the_same_kind(
    tmp_path: Path, generation: str
) -> None:
    with scene(tmp_path, generation, types=MERGEABLE) as here:
        here.trained.add_run(qalora=True)
        done = here.bench().models.deployment.deploy()
        assert done.deployed.way == "merged"
        assert "refuses adapters" in done.deployed.decisions["adapters"]
        assert outcomes(done) == HOLDS
        figures = done.deployed.proof["parts"][2]["figures"]["distance_by_strength"]
        assert figures["1"] < figures["0"] / 10
        with merged_file(here.trained) as merged, GgufFile.open(here.trained.base) as base:
            assert merged.tensor(ADAPTED).type is TensorType.Q4_1
            for name in base.tensors:
                if "ffn_down" not in name:
                    assert merged.tensor(name).type is base.tensor(name).type
                    assert bytes(merged.raw(name)) == bytes(base.raw(name))
        assert here.server.names() == {NAME, SERVED, ALIAS}
        assert here.digests()[ALIAS] == here.digests()[SERVED]
        back = here.bench().models.aliases.rollback()
        assert back.version == "support:base"
        assert here.digests()[ALIAS] != here.digests()[SERVED]


def test_plain_lora_takes_more_bits_where_adapters_are_refused(tmp_path: Path) -> None:
    with scene(tmp_path, "0.34.2", types=MERGEABLE) as here:
        here.trained.add_run()
        done = here.bench().models.deployment.deploy(switch=False)
        assert done.deployed.way == "mixed"
        assert outcomes(done) == HOLDS
        with merged_file(here.trained) as merged, GgufFile.open(here.trained.base) as base:
            assert merged.tensor(ADAPTED).type in {TensorType.Q8_0, TensorType.F16}
            assert merged.tensor("blk.0.ffn_up.weight").type is base.tensor(
                "blk.0.ffn_up.weight").type  # fmt: skip
        assert here.server.names() == {NAME, SERVED}


@pytest.mark.parametrize(
    ("generation", "way"),
    [
        ("0.34.2", "merged"),
        pytest.param("0.3.14", "adapter", marks=pytest.mark.slow),
        pytest.param("0.9.6", "adapter", marks=pytest.mark.slow),
        pytest.param("0.24.0", "adapter", marks=pytest.mark.slow),
        pytest.param("0.24.0-go", "merged", marks=pytest.mark.slow),
        pytest.param("0.33.0", "adapter", marks=pytest.mark.slow),
        pytest.param("0.40.0", "merged", marks=pytest.mark.slow),
    ],
)
def test_a_base_without_a_template_is_served_with_that_of_training(
    tmp_path: Path, generation: str, way: str
) -> None:
    with scene(tmp_path, generation, types=MERGEABLE, without=TEMPLATE_KEY) as here:
        here.trained.add_run(qalora=True)
        done = here.bench().models.deployment.deploy()
        assert done.deployed.way == way
        is_old = not here.server.generation.renders
        assert outcomes(done) == HOLDS | ({"prompt": "cannot tell"} if is_old else {})
        kept = parse_modelfile(
            here.bench().models.modelfiles.find("run1").read_text(encoding="utf-8")
        )
        assert (kept.base == "./artefacts/merged.gguf") == (way == "merged")
        assert kept.adapters == (() if way == "merged" else ("./adapter/adapter.gguf",))
        assert "<|im_start|>assistant\n" in kept.template
        assert kept.parameters == {"stop": ("<|im_end|>",)}
        if way == "merged":
            with merged_file(here.trained) as merged:
                assert merged.get(TEMPLATE_KEY, str) == CHATML_TEMPLATE


# What is wrong is named, and undone

GO_OTHER = "{{ range .Messages }}### {{ .Role }}\n{{ .Content }}\n{{ end }}### assistant\n"
OTHER_BASE = "another base"
PLANTED: dict[str, tuple[dict[str, Any], str]] = {
    "wrong template": (
        {"wrong_template": GO_OTHER},
        "prompts differ from those|reads [0-9]+ tokens for one turn",
    ),
    "missing stop token": ({"drop_stop": True}, "the server does not stop there"),
    "adapter scale off by 4": ({"adapter_scale": 4.0}, "adapter 4 times as strong"),
    "adapter ignored": ({"ignore_adapter": True}, "the server ignores the adapter"),
    OTHER_BASE: ({}, "another base model"),
    "prompt truncated": ({"truncate_prompt_tokens": 250}, "the server cuts a prompt"),
    "server dies": ({"die_after_pieces": 3}, "the server stopped answering after"),
    "does not load": ({"load_error": "out of memory"}, "out of memory"),
}
OF_ADAPTERS = ("adapter scale off by 4", "adapter ignored")
USUAL = "0.33.0"
QUICK = {(USUAL, "missing stop token"), (USUAL, "adapter scale off by 4")}


MERGING = ("0.24.0-go", "0.34.2")


def way_on(generation: str) -> Way:
    """Return the way that is planted on: each of the three somewhere."""
    if generation in MERGING:
        return "merged"
    return "adapter" if GENERATIONS[generation].adapters == "served" else "mixed"


PLANTED_ON = [
    (generation, fault)
    for generation in GENERATIONS
    for fault in PLANTED
    if fault not in OF_ADAPTERS or way_on(generation) == "adapter"
]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Scene]]:
    """Version 1 is deployed and what the chatbot talks to; version 2 is trained."""
    with ExitStack() as stack:

        @cache
        def on(generation: str) -> Scene:
            merges = generation in MERGING
            folder = tmp_path_factory.mktemp("deployed")
            types = MERGEABLE if merges else None
            here = stack.enter_context(scene(folder, generation, types=types))
            here.trained.add_run(1, qalora=merges)
            here.bench().models.deployment.deploy()
            here.trained.add_run(2, qalora=merges)
            return here

        yield on


@pytest.fixture
def deployed(
    request: pytest.FixtureRequest,
    scenes: Callable[[str], Scene],
    monkeypatch: pytest.MonkeyPatch,
) -> Scene:
    found = scenes(getattr(request, "param", USUAL))
    monkeypatch.setenv("OLLAMA_MODELS", str(found.server.root))
    return found


@contextmanager
def faulty(server: StandIn, faults: Mapping[str, Any]) -> Iterator[None]:
    for name, value in faults.items():
        setattr(server.faults, name, value)
    try:
        yield
    finally:
        for name, value in vars(Faults()).items():
            setattr(server.faults, name, value)


@pytest.mark.parametrize(
    ("deployed", "fault"),
    [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in PLANTED_ON],
    indirect=["deployed"],
)
def test_what_is_wrong_is_named_and_undone(deployed: Scene, tmp_path: Path, fault: str) -> None:
    faults, said = PLANTED[fault]
    if fault == OTHER_BASE:
        faults = {"wrong_base": write_base(tmp_path / "other.gguf", seed=9)}
    before = deployed.digests()
    with faulty(deployed.server, faults), pytest.raises(DeploymentError, match=said) as caught:
        deployed.bench().models.deployment.deploy(
            "run2", way=way_on(deployed.server.generation.key)
        )
    assert "what was there stands" in caught.value.message
    assert caught.value.next_command.startswith(
        ("fine-tuning ", "ollama ", "OLLAMA_CONTEXT_LENGTH")
    )
    assert deployed.digests() == before
    undone = deployed.bench().models.versions.find("support:2").deployments[-1]
    assert undone.state == "undone"
    assert re.search(said, undone.reason)
    assert deployed.bench().models.access.chatbot_model() == ALIAS
    with deployed.bench().models.access.open_served(ALIAS) as model:
        assert "".join(model.reply(ask("Hello.")))


@pytest.mark.slow
def test_an_adapter_that_is_ignored_is_merged_instead(deployed: Scene) -> None:
    with faulty(deployed.server, {"ignore_adapter": True}):
        done = deployed.bench().models.deployment.deploy("run2", switch=False)
    assert done.deployed.way == "mixed"
    (attempt,) = done.deployed.attempts
    assert (attempt.way, "ignores the adapter" in attempt.reason) == ("adapter", True)
    assert (
        deployed.bench().models.aliases.switcher().withdraw("support:2") == "fine_tuned_support:2"
    )


# Other servers, other occasions


def test_fine_tuning_serve_is_deployed_to_as_ollama_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = write_trained(tmp_path / "mine")
    trained.add_run()
    with serving_models(tmp_path / "theirs", context_tokens=2048, token=TOKEN) as url:
        with pytest.raises(RuntimeFailedError, match="without its token") as caught:
            trained.bench(url).models.deployment.deploy()
        assert "OLLAMA_API_KEY" in caught.value.next_command
        monkeypatch.setenv("OLLAMA_API_KEY", TOKEN)
        bench = trained.bench(url)
        done = bench.models.deployment.deploy()
        assert done.deployed.way == "adapter"
        assert outcomes(done) == HOLDS
        assert bench.models.access.chatbot_models()[:2] == [SERVED, ALIAS]
        with bench.models.access.open_served(ALIAS) as model:
            assert "".join(model.reply(ask("Hello.")))
        assert bench.models.aliases.rollback().version == "support:base"


def test_only_what_is_better_is_deployed_on_its_own_and_without_ollama_here(
    tmp_path: Path,
) -> None:
    trained = write_trained(tmp_path, without=TEMPLATE_KEY)
    trained.add_run()
    assert (
        trained.bench(auto_deploy=False).models.deployment.deploy_if_better("run1", "promote")
        is None
    )
    for outcome in ("reject", "hold", ""):
        assert trained.bench().models.deployment.deploy_if_better("run1", outcome) is None
    assert not trained.bench().models.register.exists
    done = trained.bench().models.deployment.deploy_if_better("run1", "promote")
    assert done is not None
    assert (done.deployed.runtime, done.deployed.way) == ("embedded", "adapter")
    assert outcomes(done)["output"] == "holds"
    bench = trained.bench()
    assert bench.models.access.chatbot_models() == [SERVED, ALIAS]
    assert bench.models.access.chatbot_model() == ALIAS
    with bench.models.access.open_served(ALIAS) as model:
        assert "".join(model.reply(ask("Hello.")))
