"""The documentation is whole: it builds without a warning, offline, and leaves no command out."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import typer

import fine_tuning
from fine_tuning.cli.main import app
from scripts.import_graph import needed_edges, packages
from tests.docs.pages import DOCS, ROOT, name_of, pages

# What a browser loads by itself; a link that a reader may click is none of it.
LOADED = re.compile(
    r"""(?:<(?:script|img|iframe|source)\b[^>]*\bsrc|<link\b[^>]*\bhref)=["'](?://|https?:)"""
    r"""|url\(["']?(?://|https?:)|@import""",
    flags=re.IGNORECASE,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(folder / ".t")]
    done = subprocess.run(
        [*command, str(DOCS), str(folder / "html")], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_the_site_builds_without_warnings_and_has_every_page(site: Path) -> None:
    for page in pages():
        if page.parent != ROOT:
            assert (site / name_of(page)).with_suffix(".html").is_file()
    assert len(list((site / "decisions").glob("*.html"))) >= 9


def test_a_page_loads_nothing_from_another_host(site: Path) -> None:
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        found = LOADED.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path.name}: {found and found.group()}"


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = {
        f"{page.parent.relative_to(DOCS) / line.strip()}.md"
        for page in DOCS.rglob("*.md")
        for body in re.findall(r"^```{toctree}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
        for line in body.splitlines()
        if line.strip() and not line.startswith(":")
    }
    shown = {name_of(page) for page in pages() if page.parent != ROOT}
    assert shown - {"index.md"} <= listed


def verbs(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if hasattr(command, "commands"):
            yield from verbs(command, f"{path} {name}")


VERBS = dict(verbs(cast("Any", typer.main.get_command(app)), "fine-tuning"))


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_and_option_is_in_the_reference(verb: str) -> None:
    text = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    sections = re.split(r"^### ", text, flags=re.MULTILINE)
    (section,) = [one for one in sections if one.partition("\n")[0] == verb]
    for parameter in VERBS[verb].params:
        for option in parameter.opts if parameter.param_type_name == "option" else ():
            assert option in section


def test_every_public_name_is_in_the_reference() -> None:
    text = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    assert [name for name in fine_tuning.__all__ if f"fine_tuning.{name}" not in text] == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_links_to_other_hosts_are_addresses(page: Path) -> None:
    for link in re.findall(r"\]\((https?:[^)]*)\)", page.read_text(encoding="utf-8")):
        address = urlsplit(link)
        assert address.scheme == "https", link
        assert re.fullmatch(r"[\w-]+(\.[\w-]+)+", address.netloc), link


def test_the_picture_shows_the_imports_no_chain_stands_for() -> None:
    edges = needed_edges({"a": frozenset("bc"), "b": frozenset("c"), "c": frozenset()})
    assert edges == [("a", "b"), ("b", "c")]
    house = packages()
    below = {name: i for i, row in enumerate(house.rows) for name in row}
    assert all(below[a] < below[b] for a, targets in house.imports.items() for b in targets)
