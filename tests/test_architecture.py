"""What no linter checks: sizes, names, what an import costs, and who may need what."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fine_tuning"
MODULES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "scripts").glob("*.py")])
FACE = PACKAGE / "__init__.py"
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 50
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "trainer_utils"}
ALLOWED_NAMES = {
    PACKAGE / "training" / "trainer_utils.py",
    PACKAGE / "integration" / "app" / "common.py",
}
HEAVY = {"torch", "xllamacpp", "streamlit", "transformers", "peft", "pandas", "matplotlib"}
SLOW_TO_LOAD = HEAVY | {"numpy", "scipy", "nltk", "sacrebleu", "rouge_score"}
ROOMS_WITHOUT_TORCH = (
    "core", "config", "storage", "gguf", "runtimes", "jobs", "data_collection", "data_preparation",
    "evaluation", "model_management",
)  # fmt: skip


def every_module() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))


def python(code: str) -> list[str]:
    """Run code in a fresh interpreter and return the words it prints."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def names_of(rooms: tuple[str, ...]) -> list[str]:
    """Return the dotted names of all modules of some rooms."""
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for room in rooms
        for path in sorted((PACKAGE / room).rglob("*.py"))
    ]


@every_module()
def test_a_module_fits_in_the_head(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= MAX_MODULE_LINES
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            is_story = path.name == "test_fine_tuning.py"  # told in one piece
            assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES or is_story, node.name


@every_module()
def test_a_module_is_named_after_its_subject(path: Path) -> None:
    assert path in ALLOWED_NAMES or path.stem not in FORBIDDEN_NAMES


@pytest.mark.parametrize(
    "path",
    sorted(path for path in PACKAGE.rglob("__init__.py") if path != FACE),
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_a_package_runs_nothing_when_imported(path: Path) -> None:
    docstring, *rest = ast.parse(path.read_text(encoding="utf-8")).body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(docstring.value, ast.Constant)
    assert all(ast.unparse(statement).startswith("__") for statement in rest)


def test_the_public_face_only_defines() -> None:
    """The package itself names what is public; it calls nothing, and imports for types only."""
    docstring, *rest = ast.parse(FACE.read_text(encoding="utf-8")).body
    assert isinstance(docstring, ast.Expr)
    allowed = ("from __future__ import annotations", "from typing import TYPE_CHECKING")
    for statement in rest:
        if isinstance(statement, ast.If):
            is_for_types = ast.unparse(statement.test) == "TYPE_CHECKING"
            kinds = (ast.ImportFrom,) if is_for_types else (ast.FunctionDef,)
            assert ast.unparse(statement.test) in {"TYPE_CHECKING", "not TYPE_CHECKING"}
            assert all(isinstance(inner, kinds) for inner in statement.body)
        elif isinstance(statement, ast.Assign):
            ast.literal_eval(statement.value)
        else:
            assert ast.unparse(statement) in allowed


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_no_test_replaces_our_own_code(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert "mock" not in ast.unparse(node)


def test_the_tests_mirror_the_package() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    tested = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    others = {
        "browser",
        "contracts",
        "docs",
        "network",
        "ollama_stand_in",
        "real_inputs",
        "recordings",
    }
    assert tested - others - {"clients", "__pycache__"} <= rooms


def test_the_language_needs_the_standard_library_only() -> None:
    loaded = python(f"import sys, {', '.join(names_of(('core',)))}; print(*sys.modules)")
    roots = {name.split(".")[0] for name in loaded}
    # A .pth file of the environment may load what it likes before any import of ours.
    before = {name.split(".")[0] for name in python("import sys; print(*sys.modules)")}
    assert roots - before <= sys.stdlib_module_names | {"fine_tuning"}


def test_reading_the_settings_loads_nothing_heavy() -> None:
    code = "from fine_tuning.config.loader import load_settings; load_settings(environment={})"
    loaded = set(python(f"{code}; import sys; print(*sys.modules)"))
    assert not SLOW_TO_LOAD & loaded


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['fine-tuning', '--help']\n"
        "from fine_tuning.cli.main import main\n"
        "try:\n    code = main()\nexcept SystemExit as stop:\n    code = stop.code\n"
        "assert not code, code\n"
        "print('\\nMODULES', *sys.modules)"
    )
    words = python(code)
    assert "demo" in words
    assert not SLOW_TO_LOAD & set(words[words.index("MODULES") :])


@pytest.mark.parametrize("room", ROOMS_WITHOUT_TORCH)
def test_a_room_without_torch_lives_without_it(room: str) -> None:
    modules = ", ".join(names_of((room,)))
    loaded = python(
        f"import sys; sys.modules['torch'] = None; import {modules}; print(*sys.modules)"
    )
    assert not (HEAVY - {"torch"}) & set(loaded)


def test_the_linter_guards_the_same_rooms() -> None:
    """The import contract on torch names no room this file forgets."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (
        contract
        for contract in config["tool"]["importlinter"]["contracts"]
        if contract.get("forbidden_modules") == ["torch"]
    )
    rooms = {name.removeprefix("fine_tuning.") for name in contract["source_modules"]}
    assert rooms <= set(ROOMS_WITHOUT_TORCH)
