"""The doctor tells of Ollama: where, which, its store, what trains, and what is proven there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_runtime import OllamaRuntime
from fine_tuning.workbench.workbench import Workbench
from tests.ollama_stand_in.generations import GENERATIONS
from tests.ollama_stand_in.server import StandIn
from tests.workbench.on_ollama import trained_on_ollama
from tests.workbench.trained import NAME, write_trained


def deployed(bench: Workbench, url: str, name: str, server: str) -> None:
    """Write a deployment down as one that was proven on a server."""
    OllamaRuntime(OllamaClient(url)).point_alias(name, NAME)
    books = bench.models.register.registry()
    books.deployments.record(
        "support:1",
        OllamaRuntime(OllamaClient(url)).name,
        name,
        digest="d",
        proof={"holds": True, "decisions": {"server": server}},
    )


def test_without_a_server_there_is_one_line(tmp_path: Path) -> None:
    facts, findings = write_trained(tmp_path).bench("http://127.0.0.1:9").doctor.ollama()
    assert facts == {"Ollama": "not reached at http://127.0.0.1:9 (deployment.ollama_base_url)"}
    assert [(one.title, one.severity) for one in findings] == [("Ollama does not answer", "stop")]


def test_a_server_is_told_with_its_store_and_what_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trained_on_ollama(tmp_path) as (trained, server):
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        bench = trained.bench("http://localhost:11434")
        facts, findings = bench.doctor.ollama()
    assert facts["Ollama"] == f"0.33.0 at {server.url}, 1 models; address: OLLAMA_HOST"
    assert "did not refuse an adapter" in facts["Ollama and adapters"]
    assert facts["Ollama's store"] == str(server.root)
    assert facts["Ollama's models that train"] == NAME
    assert facts["Deployed on Ollama"] == "nothing"
    assert findings == []


def test_a_proof_of_another_version_and_a_model_that_is_gone_are_told(tmp_path: Path) -> None:
    with trained_on_ollama(tmp_path) as (trained, server):
        trained.add_run(1)
        bench = trained.bench(server.url)
        deployed(bench, server.url, "fine_tuned_support:1", "Ollama 0.33.0")
        facts, findings = bench.doctor.ollama()
        assert facts["Deployed on Ollama"] == (
            "fine_tuned_support:1, proven today on Ollama 0.33.0"
        )
        assert findings == []
        server.generation = replace(GENERATIONS["0.33.0"], version="0.34.7")
        _, findings = bench.doctor.ollama()
        (finding,) = findings
        assert finding.title == "fine_tuned_support:1 is not proven on Ollama 0.34.7"
        assert finding.fix == "fine-tuning deploy support:1"
        OllamaRuntime(OllamaClient(server.url)).delete("fine_tuned_support:1")
        _, findings = bench.doctor.ollama()
        assert [one.title for one in findings] == ["fine_tuned_support:1 is gone from Ollama"]


def test_adapters_are_told_by_what_the_server_says_not_by_its_version(tmp_path: Path) -> None:
    trained = write_trained(tmp_path)
    with StandIn(tmp_path / "ollama", generation="0.40.0") as server:
        server.generation = replace(GENERATIONS["0.40.0"], version="0.33.0")
        facts, findings = trained.bench(server.url).doctor.ollama()
    assert "refuses adapters" in facts["Ollama and adapters"]
    assert "this Ollama takes no adapters" in [one.title for one in findings]
    assert facts["Ollama's store"].startswith("not told by the server")
