"""The package as a stranger gets it: built, installed and used in an environment of its own."""

from __future__ import annotations

import pytest

from scripts import check_wheel


@pytest.mark.slow
def test_the_demo_runs_from_the_wheel(capsys: pytest.CaptureFixture[str]) -> None:
    """`make wheel` checks the light install; this one takes gigabytes and minutes."""
    check_wheel.check("all")
    assert "Talk to it" in capsys.readouterr().out
