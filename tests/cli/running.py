"""Runs commands in this process, as their users type them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fine_tuning.cli.main import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Return a command's exit code, answer and errors."""
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return the answer of a command that succeeds, as a program reads it."""
    code, out, err = run(capsys, *arguments, "--json")
    assert code == 0, err
    value = json.loads(out)
    assert isinstance(value, dict)
    return value
