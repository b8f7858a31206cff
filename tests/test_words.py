"""One word per idea: modules and the texts people read keep to ``docs/glossary.md``."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from fine_tuning.config.settings_reference import settings_reference
from tests.cli.every_command import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fine_tuning"
GLOSSARY = ROOT / "docs" / "glossary.md"
SURFACES = ("cli", "integration", "pages")
LABEL_TABLES = {"LABELS", "ANSWERS", "OUTCOMES"}
"""Constants outside the surfaces that hold what a metric or a verdict is called for people."""
NO_MODULES = (
    "talking", "noting", "judged", "shelf", "wording", "measuring", "residue", "queueing",
)  # fmt: skip
PAGES = PACKAGE / "integration" / "app"
"""A page is called what the facade is called that it shows."""
SHARED_MODULE_NAMES = {
    "kinds": "jobs that are stored name the module that registers their kind",
}
KEYS_OF_STORED_FORMS = {"residue"}
"""They keep their names: who reads the JSON of a command relies on them."""
MAX_HELP_WIDTH = 80


@cache
def terms() -> dict[str, tuple[str, ...]]:
    """Return the words that are not used, by the term that is used for them."""
    rows = re.findall(r"^\|(.+)\|(.+)\|(.*)\|$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        term.strip(): tuple(word.strip() for word in unused.split(",") if word.strip())
        for term, _, unused in rows
        if term.strip() != "Term" and not term.startswith("-")
    }


@cache
def unused_words() -> re.Pattern[str]:
    """Return what finds a word that is not used, whole and in either case."""
    words = sorted({word for unused in terms().values() for word in unused}, key=len, reverse=True)
    return re.compile(rf"\b({'|'.join(map(re.escape, words))})\b", re.IGNORECASE)


def literals(tree: ast.AST) -> Iterator[str]:
    """Yield the texts of a module that are no docstrings, the fixed parts of f-strings too."""
    bare = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.value


def tables(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the tables of labels of a module."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(one, ast.Name) and one.id in LABEL_TABLES for one in targets):
            yield node


def modules(*rooms: str) -> list[Path]:
    """Return the modules of rooms of the package."""
    return sorted(path for room in rooms for path in (PACKAGE / room).rglob("*.py"))


def said_by(path: Path) -> list[str]:
    """Return what a module says to people."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.relative_to(PACKAGE).parts[0] in SURFACES:
        return list(literals(tree))
    return [text for table in tables(tree) for text in literals(table)]


def misused(texts: list[str]) -> list[str]:
    """Return the texts that hold an unused word, each with the word."""
    return [
        f"{hit[0]!r} in {text!r}"
        for text in texts
        if text not in KEYS_OF_STORED_FORMS and (hit := unused_words().search(text))
    ]


def repeated(names: Iterable[str]) -> set[str]:
    """Return the names that stand there more than once."""
    return {name for name, count in Counter(names).items() if count > 1}


def test_the_glossary_has_a_row_for_every_idea() -> None:
    assert len(terms()) > 60
    for term in ("conversation", "feedback", "consent", "run", "judge model", "verdict", "loss"):
        assert term in terms()
    assert set(NO_MODULES) <= {word for unused in terms().values() for word in unused}


def test_no_term_is_an_unused_word() -> None:
    assert not misused(list(terms()))


@pytest.mark.parametrize("word", NO_MODULES)
def test_no_module_has_a_private_word_for_its_name(word: str) -> None:
    assert [path for path in PACKAGE.rglob("*.py") if path.stem == word] == []


def test_no_two_classes_have_one_name() -> None:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in modules(".")]
    names = [n.name for tree in trees for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    assert len(names) > 500
    assert repeated(names) == set()


def test_no_two_modules_have_one_name() -> None:
    names = [
        path.stem
        for path in modules(".")
        if not path.is_relative_to(PAGES) and not path.stem.startswith("__")
    ]
    assert repeated(names) == set(SHARED_MODULE_NAMES), "an exception needs its reason"


def test_judge_and_verdict_each_name_one_thing() -> None:
    stems = {path.stem for path in modules(".") if {"judge", "verdict"} & set(path.stem.split("_"))}
    assert stems == {"judge", "pairwise_judge", "verdict"}


@pytest.mark.parametrize(
    "path", modules(*SURFACES), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_what_a_surface_says_keeps_to_the_glossary(path: Path) -> None:
    assert misused(said_by(path)) == []


def test_labels_of_metrics_and_verdicts_keep_to_the_glossary() -> None:
    labels = [text for path in modules(".") for text in said_by(path)]
    assert any("Perplexity" in text for text in labels)
    assert misused(labels) == []


def test_sentences_of_settings_keep_to_the_glossary() -> None:
    meanings = [one.meaning for section in settings_reference().values() for one in section]
    assert len(meanings) > 50
    assert misused(meanings) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_keeps_to_the_glossary(name: str) -> None:
    command = COMMANDS[name]
    helps = [command.help or "", *(getattr(one, "help", "") or "" for one in command.params)]
    assert all(helps[:1]), "a command says what it does"
    assert misused(helps) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_terminal_in_whole_lines(name: str) -> None:
    context = click.Context(COMMANDS[name], info_name="fine-tuning", terminal_width=MAX_HELP_WIDTH)
    text = COMMANDS[name].get_help(context)
    assert max(map(len, text.splitlines())) <= MAX_HELP_WIDTH
    assert "..." not in text.partition("Commands:")[2], "a command's line is cut"
