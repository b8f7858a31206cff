"""The files around the code agree with it and with each other."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


def test_the_changelog_knows_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[([^\]]+)\]", text, flags=re.MULTILINE)
    assert versions[0] == "Unreleased" or versions[0] == PROJECT["version"]
    kinds = set(re.findall(r"^### (\w+)", text, flags=re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
