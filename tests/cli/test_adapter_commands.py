"""models import, models modelfile: as their users meet them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fine_tuning.cli.main import main
from fine_tuning.core.errors import ModelNotFoundError
from fine_tuning.runtimes.ollama_modelfile import parse_modelfile
from tests.workbench.trained import Trained, write_trained


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    monkeypatch.setenv("FINE_TUNING_HOME", str(tmp_path / "mine"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return write_trained(tmp_path / "theirs")


def test_an_adapter_is_imported_shown_and_its_modelfile_printed(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    source = trained.add_run() / "adapter" / "adapter.gguf"
    base = ("--base", str(trained.base))
    assert main(["models", "import", str(source), *base, "--family", "support"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "support:1" in told
    assert "fine-tuning compare base support:1" in told
    assert main(["models", "import", str(source), *base, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["is_new"], again["version"]["name"]) == (False, "support:1")
    assert main(["models", "show", "support:1"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "none: the adapter was imported from" in shown
    assert main(["models", "modelfile", "support:1"]) == 0
    printed = capsys.readouterr().out
    assert main(["models", "modelfile", "support:1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["modelfile"] == printed
    found = parse_modelfile(printed)
    assert (found.base, found.adapters) == (str(trained.base), ("./adapter/adapter.gguf",))


def test_a_folder_that_is_not_there_is_said_with_what_to_do(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["models", "import", "nowhere", "--base", f"{trained.base}-neither"])
    assert code == ModelNotFoundError.exit_code
    error = capsys.readouterr().err
    assert "there is no nowhere, expected a folder of PEFT or a GGUF adapter" in error
    assert "Next: ls ." in error
