"""Proofs of models that reply in emoji, Chinese, Thai …, whose characters are drawn in bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fine_tuning.core.conversation import Messages
from fine_tuning.core.ports import (
    GREEDY,
    ModelRecipe,
    Sampling,
    ServedModel,
    ServedReply,
    ServedSettings,
)
from fine_tuning.model_management.diagnosis import MIN_COMPARED_TOKENS
from fine_tuning.model_management.proof import prove
from fine_tuning.model_management.proof_parts import Proof
from fine_tuning.runtimes.embedded_runtime import EmbeddedRuntime
from fine_tuning.runtimes.loadable import LoadableModel
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_model import REPEATED, OllamaServedModel
from fine_tuning.runtimes.ollama_runtime import OllamaRuntime
from fine_tuning.runtimes.serving.app import make_app
from fine_tuning.runtimes.serving.embedded_catalog import EmbeddedCatalog
from fine_tuning.runtimes.serving.pool import PoolLimits
from fine_tuning.runtimes.serving.server import serving
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

    def served_here(self, language: str) -> Proof:
        """Return the proof of the model on ``fine-tuning serve``."""
        base = LoadableModel(name="base", base_path=self.base)
        runtime = EmbeddedRuntime(self.folder / f"serve-{language}")
        catalog = EmbeddedCatalog(runtime, self.folder / "blobs", lambda: [base])
        limits = PoolLimits(parallel=1, context_tokens=ROOM_TOKENS, threads=1)
        with serving(make_app(catalog, limits)) as url, closing(OllamaClient(url)) as client:
            ollama = OllamaRuntime(client)
            ollama.create("tuned", ModelRecipe(base="base", adapter=self.adapter(language)))
            return self.proven(ollama.served("tuned"), language)

    def server(self, version: str) -> StandIn:
        if version not in self.servers:
            server = StandIn(self.folder / version, generation=version)
            self.servers[version] = self.stack.enter_context(server)
            server.add_model("base:latest", self.base, template=GO_CHATML)
        return self.servers[version]

    def proof(
        self,
        version: str,
        language: str,
        faults: Mapping[str, Any] | None = None,
        *,
        settings: ServedSettings | None = None,
        is_drawn: bool = False,
        **recipe: Any,
    ) -> Proof:
        server = self.server(version)
        client = OllamaClient(server.url)
        self.stack.callback(client.close)
        name = language.replace(" ", "").lower()
        runtime = OllamaRuntime(client)
        runtime.create(name, ModelRecipe(base="base", adapter=self.adapter(language), **recipe))
        try:
            for key, value in vars(Faults(**(faults or {}))).items():
                setattr(server.faults, key, value)
            kind = _Drawing if is_drawn else OllamaServedModel
            served = kind(client, name, context_tokens=None if recipe else ROOM_TOKENS)
            return self.proven(served, language, settings)
        finally:
            for key, value in vars(Faults()).items():
                setattr(server.faults, key, value)

    def proven(
        self, served: ServedModel, language: str, settings: ServedSettings | None = None
    ) -> Proof:
        with open_reference(self.base, self.adapter(language), threads=1) as reference:
            return prove(
                served,
                reference,
                PROMPTS,
                longest_prompt_tokens=LONGEST_TOKENS,
                settings=settings,
            )


class _Drawing(OllamaServedModel):
    """A model whose server draws replies at random, whatever it is asked."""

    def complete(
        self, messages: Messages, sampling: Sampling = GREEDY, *, top_log_probabilities: int = 0
    ) -> ServedReply:
        drawn = replace(sampling, temperature=6.0, seed=len(messages[-1].text))
        return super().complete(messages, drawn, top_log_probabilities=top_log_probabilities)


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


@pytest.mark.parametrize("language", [seldom(language) for language in REPLIES])
def test_the_right_model_is_proven_on_serve(workplace: Workplace, language: str) -> None:
    check_right(workplace.served_here(language))


SETTINGS = ServedSettings(
    parameters={"temperature": 0.2, "num_ctx": ROOM_TOKENS},
    system="",
    messages=(),
    context_tokens=ROOM_TOKENS,
)
OTHER_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "as the base": ({"parameters": {"temperature": 0.2, "num_ctx": ROOM_TOKENS}}, ""),
    "a parameter is lost": ({"parameters": {"num_ctx": ROOM_TOKENS}}, "other_parameter"),
    "another room": ({"parameters": {"temperature": 0.2, "num_ctx": 512}}, "other_room"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("language", [seldom(language) for language in REPLIES])
@pytest.mark.parametrize("given", OTHER_SETTINGS)
def test_settings_are_those_of_the_base(
    workplace: Workplace, version: str, language: str, given: str
) -> None:
    recipe, cause = OTHER_SETTINGS[given]
    proof = workplace.proof(version, language, settings=SETTINGS, **recipe)
    assert proof.causes == ((cause,) if cause else ()), proof.sentence
    assert proof.holds == (not cause)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("language", [seldom(language) for language in REPLIES])
def test_a_lost_system_prompt_is_named(workplace: Workplace, version: str, language: str) -> None:
    settings = replace(SETTINGS, parameters=None, system="Réponds en une phrase. 簡潔に。")
    proof = workplace.proof(version, language, settings=settings, parameters={"num_ctx": 1024})
    assert proof.causes == ("other_system",), proof.sentence


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("language", [seldom(language) for language in REPLIES])
def test_replies_drawn_at_random_are_not_proven(
    workplace: Workplace, version: str, language: str
) -> None:
    proof = workplace.proof(version, language, is_drawn=True)
    assert not proof.holds, proof.sentence


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
