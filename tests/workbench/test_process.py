"""What a command loads before it does anything."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from fine_tuning.workbench.process import (
    COMPILED_KEPT,
    SPIN_COUNT,
    gc_paused,
    limit_spinning,
)

SELDOM_NEEDED = {
    "jinja2",
    "lm_eval",
    "matplotlib",
    "nltk",
    "sacrebleu",
    "scipy",
    "starlette",
    "streamlit",
    "transformers",
    "uvicorn",
    "xllamacpp",
}


def test_opening_the_workbench_loads_no_library_of_a_single_verb() -> None:
    code = "import sys, fine_tuning.workbench.workbench; print(*sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert set(said.split()) & SELDOM_NEEDED == set()


def test_no_garbage_is_collected_while_a_library_is_loaded() -> None:
    with gc_paused("a_library_nobody_has"):
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), gc_paused("a_library_nobody_has"):
        raise ImportError
    assert gc.isenabled()


def test_a_loaded_library_changes_nothing() -> None:
    frozen = gc.get_freeze_count()
    with gc_paused("sys"):
        assert gc.isenabled()
    assert gc.get_freeze_count() <= frozen
    gc.disable()
    try:
        with gc_paused("a_library_nobody_has"):
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_setting_of_the_users_own_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        monkeypatch.setenv(name, "")  # put back after the test, whatever it was
        monkeypatch.delenv(name)
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    limit_spinning()
    assert os.environ["GOMP_SPINCOUNT"] == SPIN_COUNT
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == COMPILED_KEPT
    assert os.environ["LRU_CACHE_CAPACITY"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    limit_spinning()
    assert "GOMP_SPINCOUNT" not in os.environ
