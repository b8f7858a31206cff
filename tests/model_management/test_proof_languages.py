"""Proofs of models that reply in emoji, Chinese, Thai …, whose characters are drawn in bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fine_tuning.core.ports import ModelRecipe, ServedModel
from fine_tuning.model_management.diagnosis import MIN_COMPARED_TOKENS
from fine_tuning.model_management.proof import prove
from fine_tuning.model_management.proof_parts import Proof
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_model import REPEATED
from fine_tuning.runtimes.ollama_runtime import OllamaRuntime
from fine_tuning.workbench.models.engine_reference import open_reference
from tests.model_management.languages import PROMPTS, REPLIES, train
from tests.model_management.ollama_serving import GO_CHATML, write_base
from tests.ollama_stand_in.generations import Faults
from tests.ollama_stand_in.server import StandIn

pytestmark = pytest.mark.real_input("byte pieces")

VERSIONS = ("0.24.0", "0.33.0")
ROOM_TOKENS, LONGEST_TOKENS = 1024, 200
NEAR_KL = 0.02
OFTEN = ("Thai",)
"""The rest is slow: to train an adapter takes some seconds each."""


@dataclass
class Workplace:
    """A base, adapters trained on demand, and servers."""

    folder: Path
    stack: ExitStack
    trained: dict[str, Path] = field(default_factory=dict)
    servers: dict[str, StandIn] = field(default_factory=dict)

    @property
    def base(self) -> Path:
        path = self.folder / "base.gguf"
        return path if path.exists() else write_base(path)

    def adapter(self, language: str) -> Path:
        if language not in self.trained:
            out = self.folder / f"{language}.gguf"
            self.trained[language] = train(self.base, out, REPLIES[language])
        return self.trained[language]

    def server(self, version: str) -> StandIn:
        if version not in self.servers:
            server = StandIn(self.folder / version, generation=version)
            self.servers[version] = self.stack.enter_context(server)
            server.add_model("base:latest", self.base, template=GO_CHATML)
        return self.servers[version]

    def proof(self, version: str, language: str, faults: Mapping[str, Any] | None = None) -> Proof:
        server = self.server(version)
        client = OllamaClient(server.url)
        self.stack.callback(client.close)
        name = language.replace(" ", "").lower()
        runtime = OllamaRuntime(client)
        runtime.create(name, ModelRecipe(base="base", adapter=self.adapter(language)))
        try:
            for key, value in vars(Faults(**(faults or {}))).items():
                setattr(server.faults, key, value)
            return self.proven(runtime.served(name, context_tokens=ROOM_TOKENS), language)
        finally:
            for key, value in vars(Faults()).items():
                setattr(server.faults, key, value)

    def proven(self, served: ServedModel, language: str) -> Proof:
        with open_reference(self.base, self.adapter(language), threads=1) as reference:
            return prove(served, reference, PROMPTS, longest_prompt_tokens=LONGEST_TOKENS)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    with ExitStack() as stack:
        yield Workplace(tmp_path_factory.mktemp("languages"), stack)


def seldom(name: str) -> Any:
    return pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow)


def check_right(proof: Proof) -> None:
    assert proof.holds, proof.sentence
    output = proof.part("output")
    assert output.figures["num_tokens"] >= MIN_COMPARED_TOKENS
    assert f"of {output.figures['num_tokens']} greedy tokens agree" in output.sentence
    assert output.figures["distance_by_strength"]["1"] < NEAR_KL


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("language", [seldom(language) for language in REPLIES])
def test_the_right_model_is_proven(workplace: Workplace, version: str, language: str) -> None:
    check_right(workplace.proof(version, language))


OTHER_TEMPLATE = "{{ range .Messages }}### {{ .Role }}\n{{ .Content }}\n{{ end }}### assistant\n"
PLANTED: dict[str, tuple[dict[str, Any], str]] = {
    "another template": ({"wrong_template": OTHER_TEMPLATE}, "wrong_template"),
    "no stop token": ({"drop_stop": True}, "missing_stop_token"),
    "half as strong": ({"adapter_scale": 0.5}, "adapter_scale"),
    "four times as strong": ({"adapter_scale": 4.0}, "adapter_scale"),
    "no adapter": ({"ignore_adapter": True}, "adapter_ignored"),
    "another base": ({}, "wrong_base"),
    "long prompts cut": ({"truncate_prompt_tokens": 150}, "prompt_truncated"),
    "does not load": ({"load_error": "out of memory"}, "server_died"),
    "dies": ({"die_after_pieces": 3}, "server_died"),
}


BESIDES = ("wrong_base", "other_sampling", "wrong_stop_token")
"""A strength that draws bytes of no character is caught, and cannot always be told by its name."""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("language", [seldom(language) for language in REPLIES])
@pytest.mark.parametrize("fault", PLANTED)
@pytest.mark.slow
def test_what_is_wrong_is_named(
    workplace: Workplace, tmp_path: Path, version: str, language: str, fault: str
) -> None:
    faults, cause = PLANTED[fault]
    if cause == "wrong_base":
        faults = {"wrong_base": write_base(tmp_path / "other.gguf", seed=9)}
    proof = workplace.proof(version, language, faults)
    assert not proof.holds
    named = {cause} if cause != "adapter_scale" else {cause, *BESIDES}
    assert named & set(proof.causes) or not proof.causes, proof.sentence


def test_a_reply_of_equal_pieces_is_told_as_such(workplace: Workplace) -> None:
    """The base repeats a word, and so does the model while its adapter is ignored."""
    proof = workplace.proof("0.33.0", "Thai", {"ignore_adapter": True})
    assert proof.causes == ("adapter_ignored",)
    ending = proof.part("ending")
    assert REPEATED in ending.sentence
    assert ending.figures["num_broken_off"] > 0
