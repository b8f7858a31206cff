"""The files around the code agree with it and with each other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import fine_tuning
from scripts.freeze import WITHOUT_DEPENDENCIES, pins, requirements, roots
from scripts.generate import generated_files

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if "==" in line
)
REQUIREMENTS = requirements("dev")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "fine_tuning/README.md"])
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))


@pytest.mark.parametrize("path", generated_files(), ids=lambda path: path.name)
def test_a_generated_file_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generated_files()[path], "run make docs"


def test_requirements_are_those_of_the_whole_system() -> None:
    lines = (ROOT / "fine_tuning" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == requirements("all")
    assert set(PROJECT["dependencies"]) < set(requirements("all")) < set(requirements("dev"))


@pytest.mark.parametrize("line", REQUIREMENTS)
def test_every_dependency_is_pinned_inside_its_range(line: str) -> None:
    requirement = Requirement(line)
    pinned = {canonicalize_name(name): version for name, version in CONSTRAINTS.items()}
    assert canonicalize_name(requirement.name) in pinned, "run make freeze"
    assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)])


def test_torch_is_the_version_the_numbers_were_measured_with() -> None:
    assert CONSTRAINTS["torch"] == "2.13.0"


def test_dependencies_stand_in_alphabetical_order() -> None:
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        names = [canonicalize_name(Requirement(line).name) for line in group]
        assert names == sorted(names)


def test_freezing_follows_needs_and_extras_and_cuts_build_tags() -> None:
    assert set(pins([Requirement("jinja2")])) == {"jinja2", "markupsafe"}
    assert set(pins([Requirement("fsspec")])) == {"fsspec"}
    assert set(pins([Requirement("fsspec[tqdm]")])) == {"fsspec", "tqdm"}
    assert "+" not in pins([Requirement("torch")])["torch"]
    with pytest.raises(PackageNotFoundError):
        pins([Requirement("no-such-package-at-all")])


def test_constraints_hold_nothing_that_nobody_needs() -> None:
    assert set(CONSTRAINTS) <= {*pins(roots()), WITHOUT_DEPENDENCIES}, "run make freeze"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_on_pages_exist(page: Path) -> None:
    known = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"(?:`|^\s*\$?\s*)make ([a-z-]+)", text, flags=re.MULTILINE)
    assert set(named) <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_on_pages_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    reference = (ROOT / "docs" / "reference" / "config.md").read_text(encoding="utf-8")
    for section, key in re.findall(r"--set (\w+)\.(\w+)=", text):
        assert section == "section" or f"**`{key}`**" in reference


def test_make_alone_lists_what_there_is() -> None:
    shown = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("setup", "demo", "test", "test-slow", "check", "format", "docs", "clean"):
        assert re.search(rf"^  make {target} ", shown.stdout, flags=re.MULTILINE)


def test_ci_is_a_program_without_mistakes_in_its_grammar() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)


def test_decisions_are_numbered_without_gaps_and_say_why() -> None:
    assert [page.name[:4] for page in DECISIONS] == [
        f"{number:04}" for number in range(1, len(DECISIONS) + 1)
    ]
    for page in DECISIONS:
        headings = re.findall(r"^## (\w+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], page.name


def test_the_package_says_the_version_it_is_built_as() -> None:
    assert fine_tuning.__version__ == PROJECT["version"]


def test_the_changelog_knows_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[([^\]]+)\](?: - (\d{4}-\d\d-\d\d))?$", text, flags=re.MULTILINE)
    versions = [version for version, _ in headings]
    assert versions[0] == "Unreleased" or versions[0] == PROJECT["version"]
    released = [(Version(version), date) for version, date in headings if version != "Unreleased"]
    assert all(date for _, date in released)
    assert released == sorted(released, reverse=True)
    assert Version(PROJECT["version"]) >= released[0][0]
    assert Version(PROJECT["version"]).is_devrelease == (versions[0] == "Unreleased")
    kinds = set(re.findall(r"^### (\w+)", text, flags=re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def hooks() -> list[dict[str, Any]]:
    """Return the hooks a commit is checked with."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    return [hook for repository in config["repos"] for hook in repository["hooks"]]


def test_a_commit_is_checked_by_the_programs_of_the_environment() -> None:
    assert [hook["id"] for hook in hooks()] == [
        "ruff-format",
        "ruff-check",
        "mypy",
        "import-linter",
    ]
    assert all(hook["language"] == "system" for hook in hooks())
    assert all(hook["entry"].startswith(".venv/bin/") for hook in hooks())


def test_the_hooks_run_without_a_network(tmp_path: Path) -> None:
    """In a repository of its own, a commit in disorder is refused and laid out."""
    environment = {**os.environ, "PRE_COMMIT_HOME": str(tmp_path / "cache")}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    for name in (".pre-commit-config.yaml", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / ".venv").symlink_to(sys.prefix)
    messy = tmp_path / "messy.py"
    messy.write_text('"""A module."""\nX = {  "a":1}\n', encoding="utf-8")
    run("git", "init", "-q")
    run("git", "add", "messy.py", ".pre-commit-config.yaml")
    pre_commit = str(Path(sys.prefix) / "bin" / "pre-commit")
    first = run(pre_commit, "run", "ruff-format")
    assert first.returncode == 1, first.stdout + first.stderr
    assert messy.read_text(encoding="utf-8") == '"""A module."""\n\nX = {"a": 1}\n'
    run("git", "add", "messy.py")
    for hook in ("ruff-format", "ruff-check"):
        again = run(pre_commit, "run", hook)
        assert again.returncode == 0, again.stdout + again.stderr
