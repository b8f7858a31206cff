"""The names of ``fine_tuning.__all__``: there, typed, and loaded only when used."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import fine_tuning

ROOT = Path(__file__).resolve().parents[1]
MAX_MODULES = 10
MAX_NAMES = 15
# Errors have no methods of their own; the workbench's belong to its facades.
NOT_ASKED = {"FineTuningError", "Workbench"}
CLASSES = [
    value
    for name in fine_tuning.__all__
    if inspect.isclass(value := getattr(fine_tuning, name)) and name not in NOT_ASKED
]
METHODS = [
    pytest.param(method, id=f"{kind.__name__}.{name}")
    for kind in CLASSES
    for name, method in inspect.getmembers(kind, inspect.isfunction)
    if not name.startswith("_") and method.__qualname__.startswith(kind.__name__)
]


def modules_after(code: str) -> set[str]:
    """Return what code loads beyond what a bare interpreter has."""
    command = f"import sys; before = set(sys.modules); {code}; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", command], check=True, capture_output=True, text=True, cwd=ROOT
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("name", fine_tuning.__all__)
def test_a_public_name_resolves_to_what_its_module_defines(name: str) -> None:
    value = getattr(fine_tuning, name)
    assert name in {"__version__", getattr(value, "__name__", "")}
    assert name in dir(fine_tuning)


def test_there_are_about_a_dozen_in_order_and_no_others() -> None:
    names = [name for name in fine_tuning.__all__ if name != "__version__"]
    assert names == sorted(names)
    assert len(names) <= MAX_NAMES
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        _ = fine_tuning.no_such_name


def test_types_and_values_name_the_same_modules() -> None:
    tree = ast.parse(Path(fine_tuning.__file__).read_text(encoding="utf-8"))
    typed = {
        alias.name: node.module
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == fine_tuning._MODULES
    assert set(typed) | {"__version__"} == set(fine_tuning.__all__)


def test_importing_the_package_loads_almost_nothing() -> None:
    loaded = modules_after("import fine_tuning")
    assert len(loaded) <= MAX_MODULES
    assert {name for name in loaded if name.startswith("fine_tuning")} == {"fine_tuning"}


def test_the_logger_loads_neither_engine_nor_workbench() -> None:
    loaded = modules_after("import fine_tuning; fine_tuning.ConversationLogger")
    assert not {"torch", "fine_tuning.engine", "fine_tuning.workbench", "httpx"} & loaded


def test_a_type_checker_sees_the_types() -> None:
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "tests/public_face.py"]
    cache = ["--cache-dir", str(ROOT / ".mypy_cache")]
    done = subprocess.run([*command, *cache], check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("method", METHODS)
def test_a_public_method_explains_its_arguments(method: object) -> None:
    assert callable(method)
    text = inspect.getdoc(method) or ""
    names = [name for name in inspect.signature(method).parameters if name != "self"]
    missing = [name for name in names if f"{name}:" not in text]
    assert not missing or "see :meth:" in text.lower(), missing
