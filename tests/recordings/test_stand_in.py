"""The stand-in of Ollama answers as the recorded servers did, but for a written list."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recordings.replay import VERSIONS, recorded, replay
from tests.recordings.served import prepared, recorded_server

SHARE = 0.95
NO_EMOJI = "the recorded model began with an emoji's first token, of which nothing is sent"
OTHER_SUMS = "its own engine's sums differ a little: its reply did not repeat one character"
ON_PURPOSE: dict[str, dict[str, str]] = {
    "0.24.0": {
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


@pytest.mark.parametrize("version", VERSIONS)
def test_it_answers_as_recorded(tmp_path: Path, version: str) -> None:
    with recorded_server(tmp_path, version) as server:
        outcomes = list(replay(server.url, recorded(version), prepared(server, tmp_path)))
    others = {one.exchange.name: one.differences for one in outcomes if one.differences}
    assert {name: others[name] for name in others if name not in ON_PURPOSE[version]} == {}
    assert len(outcomes) - len(others) >= SHARE * len(outcomes)
    assert set(ON_PURPOSE[version]) <= set(others), "a line of the list is no longer needed"
