"""The stand-in of Ollama answers as the recorded servers did, but for a written list."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from tests.ollama_stand_in.generations import GENERATIONS, Generation
from tests.recordings.replay import VERSIONS, recorded, replay
from tests.recordings.served import prepared, recorded_server

SHARE = 0.95
NO_EMOJI = "the recorded model began with an emoji's first token, of which nothing is sent"
OTHER_SUMS = "its own engine's sums differ a little: its reply did not repeat one character"
FIRST_ENDS = "its own engine went on behind 512 equal words, where llama.cpp's first token ends it"
ON_PURPOSE: dict[str, dict[str, str]] = {
    "0.24.0": {
        "api-050": FIRST_ENDS,
        "api-051": FIRST_ENDS,
        "repeat-001": OTHER_SUMS,
        "repeat-002": OTHER_SUMS,
        "repeat-003": OTHER_SUMS,
    },
    "0.33.0": {
        "deploy-029": NO_EMOJI,
        "deploy-031": NO_EMOJI,
        "deploy-033": NO_EMOJI,
        "deploy-035": NO_EMOJI,
    },
}
CLIENTS = ("cli", "api", "js", "special", "repeat")


def check(folder: Path, version: str, clients: Collection[str]) -> None:
    with recorded_server(folder, version) as server:
        outcomes = list(replay(server.url, recorded(version, clients), prepared(server, folder)))
    others = {one.exchange.name: one.differences for one in outcomes if one.differences}
    assert {name: others[name] for name in others if name not in ON_PURPOSE[version]} == {}
    assert len(outcomes) - len(others) >= SHARE * len(outcomes)


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_clients_are_answered_as_recorded(tmp_path: Path, version: str) -> None:
    check(tmp_path, version, CLIENTS)


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_a_deployment_is_answered_as_recorded(tmp_path: Path, version: str) -> None:
    check(tmp_path, version, (*CLIENTS, "deploy"))


@pytest.mark.parametrize("generation", GENERATIONS.values(), ids=lambda one: one.key)
def test_every_generation_says_where_it_comes_from(generation: Generation) -> None:
    says_recording = generation.source.startswith("the recording of")
    assert says_recording == (generation.key in VERSIONS)
    assert says_recording or "no recording" in generation.source or "Neither" in generation.source
