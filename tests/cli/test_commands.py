"""The command line as its users meet it: answers, errors, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fine_tuning.core.errors import ModelNotFoundError, OutOfMemoryError
from tests.cli.running import run, run_json

CHATS = [
    {"user_message": f"What is rule {i} of the house?", "bot_response": f"Rule {i}: be kind."}
    for i in range(12)
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINE_TUNING_HOME", str(tmp_path / "home"))
    file = tmp_path / "chats.jsonl"
    lines = [json.dumps(chat) for chat in CHATS] + ["{torn"]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def test_data_from_file_to_data_set(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(home / "chats.jsonl")
    first = run_json(capsys, "import", file)
    assert (first["new"], first["known"], len(list(first["skipped"]))) == (12, 0, 1)  # type: ignore[call-overload]
    again = run_json(capsys, "import", file)
    assert (again["new"], again["known"]) == (0, 12)
    assert run_json(capsys, "stats")["total_conversations"] == 12
    assert run_json(capsys, "clean")["in"] == 12
    exported = run_json(capsys, "export")
    assert Path(str(exported["alpaca"])).is_file()
    prepared = run_json(capsys, "prepare", "--base", "embedded")
    splits = prepared["splits"]
    assert isinstance(splits, dict)
    assert (
        sum(split["conversations"] for split in splits.values())
        == run_json(capsys, "clean")["kept"]
    )


def test_a_dry_run_tells_the_forecast_and_begins_no_run(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "import", str(home / "chats.jsonl"))
    splits = run_json(capsys, "prepare", "--base", "embedded")["splits"]
    assert isinstance(splits, dict)
    num_steps = 3 * -(-splits["train"]["conversations"] // 4)  # 3 epochs, 4 chats a step
    (dataset,) = (path.name for path in (home / "home" / "datasets").iterdir())
    command = ["train", "--dry-run", "--base", "embedded", "--dataset", dataset]
    known = run_json(capsys, *command)
    assert known["num_steps"] == num_steps
    assert float(str(known["forecast_time_s"])) > 0
    assert float(str(known["forecast_memory_bytes"])) > 100e6
    assert float(str(known["forecast_disk_bytes"])) > 1e6
    assert "GiB of memory" in str(known["message"])
    code, out, err = run(capsys, *command, "--set", "training.memory_budget=0.1")
    assert code == OutOfMemoryError.exit_code, err
    assert out == ""
    assert "expected at most 0.1 GiB" in err
    runs = home / "home" / "fine_tuned_models"
    assert not runs.exists() or not any(runs.iterdir())


def test_a_run_goes_on_from_a_version(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "import", str(home / "chats.jsonl"))
    run(capsys, "prepare", "--base", "embedded")
    (dataset,) = (path.name for path in (home / "home" / "datasets").iterdir())
    short = ("training.max_steps=1", "training.lora_r=4", "training.learning_rate=1e-3")
    command = ["train", "--base", "embedded", "--dataset", dataset]
    command += [part for each in short for part in ("--set", each)]
    first = run_json(capsys, *command, "--run-id", "first")
    goes_on = [*command, "--set", "training.lora_r=8", "--from", str(first["version"])]
    second = run_json(capsys, *goes_on, "--run-id", "second")
    assert second["base_validation_loss"] == pytest.approx(first["last_validation_loss"], rel=1e-4)
    manifest = home / "home" / "fine_tuned_models" / "second" / "manifest.json"
    recorded = json.loads(manifest.read_text(encoding="utf-8"))
    assert recorded["parents"] == [first["version"]]
    assert recorded["plan"]["rank"] == 4
    shown = run_json(capsys, "models", "show", str(second["version"]))
    assert shown["started_from"] == [first["version"]]
    code, _, err = run(capsys, *command, "--from", "nobody:7")
    assert code == ModelNotFoundError.exit_code
    assert "nobody:7" in err
    code, _, err = run(capsys, "train", "--resume", "second", "--from", str(first["version"]))
    assert "expected --resume alone" in err


def test_tables_for_people(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "import", str(home / "chats.jsonl"))
    code, out, _ = run(capsys, "clean")
    assert code == 0
    assert "kept" in out


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["stats", "--set", "training.lora_rr=8"], 2, "the nearest in section training is lora_r"),
        (["export"], 3, "No conversations to train on"),
        (["train", "--base", "embedded"], 3, "No conversations to train on"),
        (["train", "--resume", "nothing"], 10, "no run 'nothing'"),
        (["evaluate", "latest"], 4, "no finished run is called 'latest'"),
        (["chat", "--model", "no/such:model"], 4, "no finished run is called 'no/such:model'"),
        (["import", "missing.jsonl"], 9, "missing.jsonl does not exist"),
        (["compare", "base", "x", "--questions", "none.jsonl"], 3, "none.jsonl"),
        (["stats", "--config", "none.yaml"], 2, "none.yaml"),
    ],
)
def test_one_sentence_and_an_exit_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINE_TUNING_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    found, out, err = run(capsys, *arguments)
    assert sentence in err
    assert found == code
    assert out == ""
    assert "Traceback" not in err


def test_an_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "trian")
    assert code == 2
    assert "trian" in err


def test_doctor_says_what_is_slow_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    health = run_json(capsys, "doctor")["health"]
    assert isinstance(health, dict)
    assert {"kernels", "compute dtype", "sqlite", "base models"} <= health.keys()
    assert ":" in health["kernels"]


@pytest.mark.parametrize("content", ["", "[1, 2]\n", "GGUF\x03"])
def test_a_file_without_conversations_is_no_success(
    home: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    file = home / "nothing.jsonl"
    file.write_text(content, encoding="utf-8")
    code, _, err = run(capsys, "import", str(file))
    assert code == 3
    assert "holds no conversation" in err


def test_a_resumed_run_keeps_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "train", "--resume", "x", "--set", "training.max_steps=2")
    assert code == 2
    assert "expected --resume alone" in err


def test_an_empty_message_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "chat", "--model", "embedded", "--message", " ")
    assert code == 2
    assert "the message is empty" in err
    assert not (home / "home").exists()


@pytest.mark.usefixtures("home")
def test_the_demo_is_offered_before_it_ran(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "chat", "--model", "demo")
    assert code == 4
    assert "Next: fine-tuning demo" in err


@pytest.mark.usefixtures("home")
def test_a_full_disk_is_one_sentence() -> None:
    command = [sys.executable, "-m", "fine_tuning", "stats"]
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 9
    assert "could not be written" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("home")
def test_one_turn_too_long_does_not_end_the_chat() -> None:
    command = [sys.executable, "-m", "fine_tuning", "chat", "--model", "embedded"]
    lines = "word " * 6000 + "\n/bad\n/quit\n"
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "4096" in done.stderr
    assert "There is no recorded reply to rate yet." in done.stderr
