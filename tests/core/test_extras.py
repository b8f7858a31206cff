"""What is said when a library of an extra is missing."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fine_tuning.core import extras
from fine_tuning.core.errors import MissingDependencyError

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
FOR_DEVELOPERS = {"all", "dev", "docs"}
IMPORTED_AS = {"alt-profanity-check": "profanity_check"}


def imported(extra: str) -> set[str]:
    """Return the import names of what an extra asks for itself."""
    names = {canonicalize_name(Requirement(line).name) for line in EXTRAS[extra]}
    return {
        IMPORTED_AS.get(name, name.replace("-", "_")) for name in names if name != "fine-tuning"
    }


@pytest.mark.parametrize("extra", sorted(set(EXTRAS) - FOR_DEVELOPERS))
def test_every_library_of_an_extra_leads_to_it(extra: str) -> None:
    assert imported(extra) <= set(extras.LIBRARIES[extra])
    assert extra in extras.PURPOSES


def test_no_other_extra_is_named() -> None:
    assert set(extras.LIBRARIES) == set(EXTRAS) - FOR_DEVELOPERS


def test_the_sentence_names_the_library_and_the_command() -> None:
    error = ModuleNotFoundError("No module named 'wordllama'", name="wordllama.inference")
    if "wordllama" in packages_distributions():
        pytest.skip("wordllama is installed here")
    told = extras.missing_extra(error)
    assert isinstance(told, MissingDependencyError)
    assert told.message == "similarity of meaning needs wordllama, which is not installed"
    assert told.next_command == "pip install 'fine-tuning[embed]'"
    assert told.exit_code == 13


@pytest.mark.parametrize(
    "name",
    ["fine_tuning.no_such_module", "numpy.no_such_module", "torch.no_such_module", None],
)
def test_a_fault_that_no_extra_mends_is_left_alone(name: str | None) -> None:
    assert extras.missing_extra(ModuleNotFoundError("broken", name=name)) is None


def test_an_installed_extra_is_let_through() -> None:
    extras.require("train")
    assert extras.missing_libraries("train") == ()


def test_a_missing_extra_stops_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "LIBRARIES", {"train": ("no_such_library",)})
    with pytest.raises(MissingDependencyError, match="needs no_such_library") as caught:
        extras.require("train")
    assert re.fullmatch(r"pip install 'fine-tuning\[train\]'", caught.value.next_command)
