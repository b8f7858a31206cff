"""deploy and rollback as their users meet them, with the real proof, without Ollama."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cli.test_registry_commands import run, run_json
from tests.workbench.trained import TOPICS, Trained, write_trained

SERVED, ALIAS = "fine_tuned_support:1", "fine_tuned_support:champion"


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    made = write_trained(tmp_path)
    made.add_run()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINE_TUNING_HOME", str(made.home))
    monkeypatch.setenv("FINE_TUNING__DEPLOYMENT__FAMILY", "support")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    questions = {"evaluation": {"test_prompts": [f"Tell me about {one}." for one in TOPICS]}}
    Path("settings.yaml").write_text(yaml.safe_dump(questions), encoding="utf-8")
    return made


SETTINGS = ("--config", "settings.yaml")
HERE = ("--to", "embedded", *SETTINGS)


def test_a_version_is_deployed_once_shown_and_rolled_back(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run_json(capsys, "deploy", *HERE)
    assert (done["version"], done["name"], done["way"]) == ("support:1", SERVED, "adapter")
    assert [part["outcome"] for part in done["proof"]["parts"]] == ["holds"] * 5
    assert done["switched"]["alias"] == ALIAS
    code, out, err = run(capsys, "deploy", "support:1", *HERE)
    assert code == 0
    assert "support:1 was deployed already." in err
    for words in (SERVED, "proof: output", "holds", ALIAS):
        assert words in out
    back = run_json(capsys, "rollback", "--set", "deployment.runtime=embedded")
    assert (back["before"], back["version"]) == ("support:1", "support:base")
    assert trained.bench().models.versions.find("support:1").deployments[-1].state == "active"


def test_the_doctor_tidies_what_a_killed_deployment_left(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = trained.bench()
    bench.models.register.register(bench.models.runs.find("run1"))
    url = "http://127.0.0.1:9"
    staged = {"staged": f"{SERVED}-new", "replaces": ""}
    for runtime in ("embedded", f"ollama {url}"):
        bench.models.register.registry().deployments.begin("support:1", runtime, SERVED, staged)
    _, _, err = run(capsys, "doctor", "--set", "deployment.runtime=embedded")
    assert f"{SERVED} was undone: the process ended before the model was proven" in err
    told = f"support:1 to ollama {url} did not end; next: fine-tuning deploy support:1"
    assert told in " ".join(err.split())
    elsewhere = ("--set", "deployment.runtime=ollama", "--set", f"deployment.ollama_base_url={url}")
    code, _, err = run(capsys, "doctor", *elsewhere)
    assert code == 0
    assert "could not be tidied yet: no Ollama server answers" in " ".join(err.split())
    (left,) = bench.models.register.registry().deployments.unfinished()
    bench.models.register.registry().deployments.undo(left.id, "tested")
    assert bench.models.deployment.recover() == []


@pytest.mark.usefixtures("trained")
def test_what_cannot_be_deployed_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = {
        ("nobody:1", *HERE): "nobody:1",
        (*HERE, "--way", "merged"): "'merged' is no way to serve this model here",
        (*HERE, "--set", "deployment.runtime=ollama"): "expected one of them",
        ("--to", "ollama", "--set", "deployment.ollama_base_url=http://127.0.0.1:9", *SETTINGS): (
            "no Ollama server answers"
        ),
    }
    for arguments, said in wrong.items():
        code, out, err = run(capsys, "deploy", *arguments)
        assert code not in {0, 1}, err
        assert not out
        assert said in " ".join(err.split())
        assert "Traceback" not in err
    assert run_json(capsys, "models")["aliases"] == []
