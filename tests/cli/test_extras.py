"""What the command says in an install that lacks an extra, and that it works as far as it can."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fine_tuning
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import MissingDependencyError
from fine_tuning.core.extras import LIBRARIES
from fine_tuning.jobs.job_queue import JobQueue

ROOT = Path(__file__).resolve().parents[2]
LIGHT = tuple(name for libraries in LIBRARIES.values() for name in libraries)


def run_without(
    hidden: tuple[str, ...], folder: Path, *code: str
) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter in which some libraries cannot be imported."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({hidden!r}))"
    variables = {"FINE_TUNING_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", "\n".join((hide, *code))],
        check=False, capture_output=True, text=True, cwd=folder, env={**os.environ, **variables},
    )  # fmt: skip


def command(
    hidden: tuple[str, ...], folder: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run the command where some libraries are missing."""
    code = f"from fine_tuning.cli.main import main; sys.exit(main({list(arguments)!r}))"
    return run_without(hidden, folder, code)


@pytest.mark.parametrize(
    ("verb", "library", "extra"),
    [
        ("demo", "torch", "train"),
        ("demo", "xllamacpp", "train"),
        ("serve", "uvicorn", "serve"),
        ("app", "streamlit", "app"),
    ],
)
def test_a_verb_names_what_is_missing_and_the_command(
    verb: str, library: str, extra: str, tmp_path: Path
) -> None:
    done = command((library,), tmp_path, verb)
    assert done.returncode == MissingDependencyError.exit_code, done.stderr
    *_, sentence, following = done.stderr.strip().splitlines()
    assert sentence.startswith("Error: ")
    assert sentence.endswith(f" needs {library}, which is not installed")
    assert following == f"Next: pip install 'fine-tuning[{extra}]'"


def test_a_light_install_imports_cleans_and_exports(tmp_path: Path) -> None:
    logging = (
        "import fine_tuning",
        "logger = fine_tuning.ConversationLogger('chats.jsonl')",
        "logger.log_conversation('When is the library open?', 'From nine to five, every day.')",
    )
    assert run_without(LIGHT, tmp_path, *logging).returncode == 0
    for arguments in (["import", "chats.jsonl"], ["clean"], ["export"], ["stats"], ["--help"]):
        done = command(LIGHT, tmp_path, *arguments)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "home" / "exports" / "chatml.jsonl").read_text(encoding="utf-8")


def test_doctor_says_what_is_not_installed(tmp_path: Path) -> None:
    done = command(LIGHT, tmp_path, "doctor", "--json")
    assert done.returncode == 0, done.stderr
    for extra in LIBRARIES:
        assert f"pip install 'fine-tuning[{extra}]'" in done.stdout


def test_a_public_name_names_what_is_missing(tmp_path: Path) -> None:
    code = (
        "import fine_tuning",
        "try:",
        "    fine_tuning.TokenizerUtils",
        "except fine_tuning.FineTuningError as error:",
        "    print(error)",
    )
    done = run_without(("tokenizers",), tmp_path, *code)
    assert done.stdout.splitlines() == [
        "reading a tokenizer needs tokenizers, which is not installed",
        "Next: pip install 'fine-tuning[train]'",
    ], done.stderr


@pytest.mark.parametrize(
    ("call", "library", "extra"),
    [
        ("train.train()", "torch", "train"),
        ("train.forecast()", "torch", "train"),
        ("train.resume('a-run')", "torch", "train"),
        ("evaluate.evaluate('a-run')", "torch", "train"),
        ("evaluate.evaluate('a-run')", "sacrebleu", "evaluate"),
        ("chat.server.local_models()", "xllamacpp", "train"),
        ("chat.server.serve()", "uvicorn", "serve"),
    ],
)
def test_a_facade_names_what_is_missing_and_the_command(
    call: str, library: str, extra: str, tmp_path: Path
) -> None:
    code = (
        "from pathlib import Path",
        "import fine_tuning",
        "settings = fine_tuning.load_settings()",
        "workspace = fine_tuning.Workspace.open(Path('home'), settings)",
        "try:",
        f"    fine_tuning.Workbench(settings, workspace).{call}",
        "except fine_tuning.FineTuningError as error:",
        "    print(error)",
    )
    done = run_without((library,), tmp_path, *code)
    sentence, following = done.stdout.splitlines() or ["", done.stderr]
    assert sentence.endswith(f" needs {library}, which is not installed")
    assert following == f"Next: pip install 'fine-tuning[{extra}]'"


JOB_THAT_NEEDS_TORCH = """
from fine_tuning.jobs.kinds import JobKind, later, register

register(JobKind(name="load", title="Load", params=dict, work=later("torch:load"), module=__name__))
"""


def test_a_job_names_what_is_missing_and_the_command(tmp_path: Path) -> None:
    (tmp_path / "needing.py").write_text(JOB_THAT_NEEDS_TORCH, encoding="utf-8")
    hide = "import sys; sys.modules['torch'] = None"
    work = "from fine_tuning.jobs.job_process import main; sys.exit(main(sys.argv[1:]))"
    home = Workspace(home=tmp_path / "home")
    program = f"{hide}; sys.path.insert(0, {str(tmp_path)!r}); {work}"
    command_line = [sys.executable, "-c", program, str(home.home), ""]
    queue = JobQueue(home.jobs, lambda job: [*command_line, job.id])
    job = queue.add("load", {}, {}, module="needing")
    deadline = time.monotonic() + 60
    while (ended := queue.job(job.id)).state not in {"finished", "failed"}:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert ended.sentence == "training a model needs torch, which is not installed"
    assert ended.next_command == "pip install 'fine-tuning[train]'"


def test_a_fault_of_our_own_is_not_taken_for_a_missing_extra(tmp_path: Path) -> None:
    done = command(("fine_tuning.workbench.demo",), tmp_path, "demo")
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


def test_the_version_is_said(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fine_tuning", "--version"],
        check=False, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"fine-tuning {fine_tuning.__version__}\n")
    assert command(LIGHT, tmp_path, "--version").stdout == done.stdout
