"""On Windows the program says in one sentence what to use instead."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fine_tuning.core.unix_only import SENTENCE, require_unix


def test_only_windows_is_refused() -> None:
    require_unix()
    require_unix("posix")
    with pytest.raises(ImportError, match="on Windows, use WSL"):
        require_unix("nt")


@pytest.mark.parametrize("name", ["fine_tuning.cli.main", "fine_tuning.cli"])
def test_the_command_line_says_so_without_a_traceback(name: str) -> None:
    code = f"import os; os.name = 'nt'; import {name}"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (1, SENTENCE)
