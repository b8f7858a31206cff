"""Bases that stretch their context: YaRN, and Phi's factors, which depend on the room in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fine_tuning.core.errors import DeploymentError, UnsupportedModelError
from fine_tuning.core.run import Run
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.step import next_token_logits
from fine_tuning.engine.trainable import check_trainable
from fine_tuning.gguf.types import TensorType
from fine_tuning.model_management.versions import IMPORTED
from fine_tuning.runtimes.base_model import BaseModel, resolve_base_model
from fine_tuning.runtimes.context_room import room_like, room_of_base, rotates_alike
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.workbench.models.deployed_room import proven_room
from tests.engine.test_parity import TOP, VOCABULARY, Agreement, random_ids, served, write_sized
from tests.engine.tiny import MODELS, TinyModel
from tests.runtimes.vocabulary import first_tokens

pytestmark = pytest.mark.real_input("bases that stretch their context")

MAX_MEAN_KL, OTHER_KL = 0.02, 0.05
YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}
YARNS: dict[str, tuple[str, dict[str, Any]]] = {
    "deepseek-r1:8b": ("qwen3", {**YARN, "context_length": 131072}),
    "qwen3, stretched by hand": (
        "qwen3",
        {**YARN, "rope.scaling.original_context_length": 32768, "context_length": 131072},
    ),
    "qwen2.5, stretched by hand": ("qwen2", {**YARN, "context_length": 131072}),
    "yarn-llama": ("llama", {**YARN, "rope.scaling.factor": 16.0}),
    "gemma3 with yarn": ("gemma3", {**YARN, "rope.scaling.original_context_length": 1024}),
}
LONG = {"context_length": 131072, "rope.scaling.attn_factor": 1.19}
PHIS: dict[str, dict[str, Any]] = {
    "phi3-mini-128k": {"rope.scaling.original_context_length": 4096},
    "an odd first context": {"rope.scaling.original_context_length": 4000},
    "type named": {
        "rope.scaling.original_context_length": 4096,
        "rope.scaling.type": "longrope",
    },
}


@pytest.fixture(scope="module")
def tokenizer() -> dict[str, Any]:
    return first_tokens(resolve_base_model("embedded").path, VOCABULARY)


def written(folder: Path, model: TinyModel, tokenizer: Mapping[str, Any]) -> Path:
    return write_sized(folder / "base.gguf", model, TensorType.F32, tokenizer)


def agreement(path: Path, *, trained_for: int, served_with: int) -> Agreement:
    """Compare the engine in one room with llama.cpp in another."""
    ids = random_ids(32)
    with Decoder.open(path, dtype=torch.float32, served_context_tokens=trained_for) as decoder:
        found = next_token_logits(decoder, None, ids).log_softmax(-1)
    with EmbeddedServer(path, context_tokens=served_with, threads=1) as server:
        return Agreement.of(found, served(server, ids, TOP), ids)


@pytest.mark.parametrize("name", YARNS)
def test_yarn_is_trained_as_it_is_served(
    tmp_path: Path, tokenizer: Mapping[str, Any], name: str
) -> None:
    architecture, keys = YARNS[name]
    model = MODELS[architecture]
    path = written(tmp_path, replace(model, keys={**model.keys, **keys}), tokenizer)
    check_trainable(path)
    assert agreement(path, trained_for=4096, served_with=512).mean_kl < MAX_MEAN_KL


@pytest.mark.parametrize("name", PHIS)
def test_the_factors_are_those_of_the_room(
    tmp_path: Path, tokenizer: Mapping[str, Any], name: str
) -> None:
    model = replace(MODELS["phi3"], keys={**LONG, **PHIS[name]})
    path = written(tmp_path, model, tokenizer)
    for room in (2048, 8192):
        found = agreement(path, trained_for=room, served_with=room)
        assert found.mean_kl < MAX_MEAN_KL, room
    assert agreement(path, trained_for=2048, served_with=8192).mean_kl > OTHER_KL
    assert not rotates_alike(path, 2048, 8192)
    assert room_like(path, 2048, 8192) == 8192
    assert room_like(path, 3000, 2048) == 3000


def run_for(room: int | None, method: str = "qlora") -> Run:
    manifest: Any = {"run_id": "r", "method": method}
    return Run(Path("r"), manifest if room is None else manifest | {"context_tokens": room})


def test_a_deployment_into_another_room_is_refused_before_any_work(
    tmp_path: Path, tokenizer: Mapping[str, Any]
) -> None:
    model = replace(MODELS["phi3"], keys={**LONG, **PHIS["phi3-mini-128k"]})
    path = written(tmp_path, model, tokenizer)
    assert proven_room(run_for(4096), path, 2048) == 4096
    assert proven_room(run_for(16384), path, 8192) == 16384
    assert proven_room(run_for(None), path, 4096) == 4096  # runs of earlier versions
    assert proven_room(run_for(None, IMPORTED), path, 8192) == 8192
    for trained_for, room in ((4096, 8192), (None, 8192), (8192, 4096)):
        with pytest.raises(DeploymentError, match="rotates positions by other factors") as caught:
            proven_room(run_for(trained_for), path, room)
        assert f"--set serving.context_tokens={trained_for or 4096}" in caught.value.next_command
    plain = written(tmp_path, MODELS["llama"], tokenizer)
    assert proven_room(run_for(4096), plain, 131072) == 4096


@pytest.mark.parametrize(
    ("parameters", "room"), [("", 4096), ('{"num_ctx": 8192}', 8192), ('{"top_p": 1}', 4096)]
)
def test_a_bases_own_room_is_stronger_than_the_settings(parameters: str, room: int) -> None:
    base = BaseModel(name="m", path=Path("m"), source="ollama", size_bytes=1, parameters=parameters)
    assert room_of_base(base, 4096) == room


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("llama", {"rope.scaling.type": "longrope"}),
        ("qwen3", {"rope.scaling.type": "dynamic"}),
        ("llama", {"expert_count": 8}),
    ],
)
def test_what_cannot_be_trained_is_told_with_a_base_that_can(
    tmp_path: Path, tokenizer: Mapping[str, Any], name: str, keys: dict[str, Any]
) -> None:
    model = MODELS[name]
    path = written(tmp_path, replace(model, keys={**model.keys, **keys}), tokenizer)
    with pytest.raises(UnsupportedModelError) as caught:
        check_trainable(path)
    assert "qwen3:8b" in caught.value.next_command
