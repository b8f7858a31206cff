"""The page Doctor in every state: fresh, in trouble, checked, and what its report holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest
from streamlit.testing.v1 import AppTest

from fine_tuning.config.loader import load_settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import RuntimeFailedError
from fine_tuning.integration.app import doctor
from fine_tuning.workbench.doctor import doctor as checkup
from fine_tuning.workbench.doctor.doctor import Checkup, engine_findings
from fine_tuning.workbench.workbench import Workbench
from tests.integration.app.scenes import labels, log_conversations, page, press, settle_in, words
from tests.ollama_stand_in.server import StandIn
from tests.workbench.trained import Trained, write_trained

NOBODY = "http://127.0.0.1:9"
"""The port of a service nobody runs."""


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    made = write_trained(tmp_path)
    settle_in(made, monkeypatch)
    monkeypatch.setenv("FINE_TUNING__DEPLOYMENT__OLLAMA_BASE_URL", NOBODY)
    return made


@pytest.fixture
def bench(trained: Trained) -> Workbench:  # noqa: ARG001 - the environment is that of a home
    settings = load_settings(None, environment=_environment())
    return Workbench(settings, Workspace.open(None, settings))


def _environment() -> dict[str, str]:
    import os  # noqa: PLC0415

    return {name: value for name, value in os.environ.items() if name.startswith("FINE_TUNING")}


@pytest.fixture(autouse=True)
def _look_anew() -> None:
    doctor._checkup.clear()


def show(**session: Any) -> AppTest:
    """Return the page; how training computes is found out by the first test, and known after."""
    return page("doctor", **session)


def report(app: AppTest) -> str:
    return str(app.code[0].value)


def test_a_fresh_workspace_says_what_to_do_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINE_TUNING_HOME", str(tmp_path / "fresh"))
    app = show()
    assert "Chat with your bot" in words(app)
    assert "so there is no data to check" in words(app)
    assert "Start a chat" in labels(app)
    assert "The workspace is empty" in words(app)
    assert not app.error
    assert not (tmp_path / "fresh" / "conversations.jsonl").exists()


def test_it_names_programs_models_data_and_disk(bench: Workbench) -> None:
    log_conversations(bench)
    text = report(show())
    for name in ("Python: 3.", "PyTorch: ", "llama.cpp (xllamacpp): ", "SQLite: 3.", "Streamlit: "):
        assert name in text
    assert f"Ollama: not reached at {NOBODY}" in text
    assert f"{bench.context.store.count():,} in conversations.jsonl" in text
    assert "kernels: " in text
    assert "compute dtype: " in text
    assert "conversations.jsonl: " in text
    assert "Next: " in text
    assert "Of tea I know" not in text
    assert "I know 1" not in text, "no word of a conversation"


def test_trouble_is_named_with_what_helps(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_conversations(bench)
    with bench.context.workspace.conversations.open("a") as log:
        log.write("no json\n")
    monkeypatch.setenv("FINE_TUNING__TRAINING__BASE_MODEL", "nobody:7b")
    memory = psutil.virtual_memory()._replace(available=1 << 30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    usage = shutil.disk_usage("/")._replace(free=1 << 30)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 97.0)  # noqa: ARG005
    text = report(show())
    for found in (
        "warning: only 1.0 GiB of memory are free -> close other programs",
        "warning: only 1.0 GiB of disk are free",
        "note: the processor is 97% busy",
        "note: Ollama does not answer -> ollama serve",
        "warning: the base model of the settings, nobody:7b, cannot be used -> ollama pull",
        "warning: 1 lines of the log cannot be read -> look at line",
    ):
        assert found in text


def test_the_next_step_names_what_the_last_cleaning_left_out_most(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINE_TUNING__DATA_COLLECTION__MIN_CONVERSATION_LENGTH", "47")
    monkeypatch.setenv("FINE_TUNING__TRAINING__BASE_MODEL", "embedded")
    log_conversations(bench)
    settings = load_settings(None, environment=_environment())
    strict = Workbench(settings, Workspace.open(None, settings))
    counts = strict.data.clean().counts["exchanges"]
    text = report(show())
    told = f"too short: {counts['left_out']['too_short']} of {counts['in']} exchanges are left out"
    assert f"Next: Much is left out, above all {told}." in text
    assert "warning: " in text
    assert f"{counts['kept']} of {counts['in']} exchanges reach training, as last cleaned" in text
    monkeypatch.setenv("FINE_TUNING__DATA_COLLECTION__MIN_CONVERSATION_LENGTH", "1")
    settings = load_settings(None, environment=_environment())
    Workbench(settings, Workspace.open(None, settings)).data.clean()
    doctor._checkup.clear()
    assert "more exchanges make a training worthwhile" in report(show())


def test_a_workspace_that_cannot_be_read_comes_first(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.context.workspace.home.mkdir(parents=True)
    (bench.context.workspace.home / "c.db").write_bytes(
        b"this is no database, but it is long " * 20
    )
    monkeypatch.setenv("FINE_TUNING__DATA_COLLECTION__LOG_FILE", "c.db")
    app = show()
    assert "stop: the conversations cannot be read" in report(app)
    assert app.info[0].value.startswith("First of all")


def test_ollama_is_needed_when_the_settings_say_so(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_conversations(bench)
    monkeypatch.setenv("FINE_TUNING__DEPLOYMENT__RUNTIME", "ollama")
    app = show()
    assert "stop: Ollama does not answer" in report(app)


@pytest.mark.parametrize(("generation", "takes"), [("0.33.0", True), ("0.34.2", False)])
def test_an_ollama_that_answers_is_named_with_what_it_takes(
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    generation: str,
    takes: bool,
) -> None:
    with StandIn(tmp_path / "ollama", generation=generation) as server:
        server.add_model("stand-in:1", trained.base)
        monkeypatch.setenv("FINE_TUNING__DEPLOYMENT__OLLAMA_BASE_URL", server.url)
        text = report(show())
    assert f"Ollama: {generation} at {server.url}, 1 models" in text
    assert ("note: this Ollama takes no adapters" in text) is not takes


@pytest.mark.parametrize(
    ("facts", "titles"),
    [
        ({"kernels": "C++ avx512: best", "compute dtype": "bfloat16: AMX"}, []),
        (
            {"kernels": "torch: not built", "compute dtype": "float32: no AMX"},
            ["without its own C++ kernels", "in float32"],
        ),
    ],
)
def test_what_makes_training_slow_is_told(facts: dict[str, str], titles: list[str]) -> None:
    found = [one.title for one in engine_findings(facts)]
    assert len(found) == len(titles)
    assert all(title in told for title, told in zip(titles, found, strict=True))


def test_the_data_is_checked_on_demand(bench: Workbench) -> None:
    log_conversations(bench)
    app = press(show(), "Check the data")
    assert not app.error
    assert "Training data too small" in words(app)
    assert "Training data too small" in report(app)


def test_a_check_that_fails_is_a_sentence(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_conversations(bench)
    monkeypatch.setattr(checkup, "PROCESS", "fine_tuning.nothing_here")
    app = press(show(), "Compare them")
    assert len(app.error) == 1
    assert "no answer" in app.error[0].value
    with pytest.raises(RuntimeFailedError, match="No module named"):
        bench.doctor.check_data()


def test_an_error_of_the_process_is_raised_with_its_next_step(bench: Workbench) -> None:
    log_conversations(bench)
    with pytest.raises(RuntimeFailedError, match="nobody"):
        bench.doctor.check_agreement("nobody:7b")


def test_agreement_is_said_in_words(bench: Workbench) -> None:
    log_conversations(bench)
    one = {
        "name": "embedded", "num_positions": 512, "mean_kl": 0.00123, "max_kl": 0.02,
        "top1_agreement": 0.981, "dtype": "float32", "holds": True,
    }  # fmt: skip
    pairs = [one, {**one, "name": "embedded + run 7", "holds": False}]
    app = show(**{doctor.PARITY: pairs})
    assert "they agree" in app.success[-1].value
    assert "98.1%" in app.success[-1].value
    assert "do not agree" in app.error[0].value
    assert "parity FAILS: embedded + run 7" in report(app)


def test_looking_again_looks_again(bench: Workbench) -> None:
    app = show()
    log_conversations(bench)
    app.run()
    assert "0 in conversations.jsonl" in report(app), "known for half a minute"
    press(app, "Check again")
    assert "0 in conversations.jsonl" not in report(app)


def test_a_checkup_is_plain_values(bench: Workbench) -> None:
    found = bench.doctor.checkup()
    assert isinstance(found, Checkup)
    json.dumps([dict(found.facts), dict(found.disk_bytes)])
    assert sum(found.disk_bytes.values()) == sum(
        path.stat().st_size for path in bench.context.workspace.home.rglob("*") if path.is_file()
    )
