"""On Windows, which has no ``fcntl``, the program says in one sentence what to use instead."""

from __future__ import annotations

import subprocess
import sys

import pytest

SENTENCE = "fine-tuning runs on Linux and macOS; on Windows, use WSL"
WITHOUT_LOCKS = "import sys; sys.modules['fcntl'] = None; "


def run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_LOCKS + code]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_the_command_line_says_so_without_a_traceback() -> None:
    done = run("from fine_tuning.__main__ import main; sys.exit(main())")
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {SENTENCE}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["ConversationLogger", "Workbench"])
def test_what_locks_files_is_refused_by_the_same_sentence(name: str) -> None:
    done = run(f"from fine_tuning import {name}; {name}")
    assert done.returncode == 1
    assert f"ImportError: {SENTENCE}" in done.stderr
