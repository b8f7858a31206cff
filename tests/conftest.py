"""What every test relies on: no settings from outside, and the same examples on every run."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what the shell of the person who runs the tests may have set."""
    for name in list(os.environ):
        if name.startswith(("FINE_TUNING", "OLLAMA_")):
            monkeypatch.delenv(name)
