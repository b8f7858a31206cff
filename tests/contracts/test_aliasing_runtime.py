"""The laws of the port ``AliasingRuntime``, run against every implementation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fine_tuning.core.errors import DeploymentError, ModelNotFoundError
from fine_tuning.core.ports import AliasingRuntime, ModelRecipe
from tests.contracts.runtime_cases import REAL, Case, embedded, ollama, served_here
from tests.runtimes.models import write_adapter

OLLAMAS = [
    pytest.param(ollama("0.3.14"), id="ollama-0.3.14", marks=pytest.mark.slow),
    pytest.param(ollama("0.33.0"), id="ollama-0.33.0"),
    pytest.param(ollama("0.40.0"), id="ollama-0.40.0"),
]


@pytest.fixture(params=[embedded, *OLLAMAS, served_here, REAL])
def case(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Case]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with ExitStack() as stack:
        made: Case = request.param(tmp_path, stack)
        adapter = write_adapter(tmp_path / "adapter.gguf") if made.takes_adapters else None
        made.runtime.create("one", ModelRecipe(base=made.base, adapter=adapter, system="One."))
        made.runtime.create("two", ModelRecipe(base=made.base))
        yield made


def names(runtime: AliasingRuntime) -> set[str]:
    return {info.name for info in runtime.list()}


def test_an_alias_is_its_target_everywhere(case: Case) -> None:
    before = case.runtime.show("one"), case.runtime.show("two")
    there = names(case.runtime)
    made = case.runtime.point_alias("alias", "one")
    for runtime in (case.runtime, case.again()):
        assert runtime.show("alias") == made
        assert made.digest == runtime.show("one").digest != runtime.show("two").digest
    moved = case.runtime.point_alias("alias", "two")
    assert moved.digest == case.runtime.show("two").digest
    assert (case.runtime.show("one"), case.runtime.show("two")) == before
    assert names(case.runtime) == there | {made.name}


def test_an_alias_stays_what_it_was_made(case: Case) -> None:
    one, there = case.runtime.show("one").name, names(case.runtime)
    made = case.runtime.point_alias("alias", "one")
    case.runtime.create("one", ModelRecipe(base=case.base))
    assert case.runtime.show("one").digest != made.digest
    assert case.runtime.show("alias") == made
    case.runtime.delete("one")
    assert case.again().show("alias") == made
    case.runtime.warm_up("alias")
    case.runtime.delete("alias")
    assert names(case.runtime) == there - {one}


def test_an_unknown_target_changes_nothing(case: Case) -> None:
    before = case.runtime.list()
    for alias in ("alias", "other"):
        with pytest.raises(ModelNotFoundError):
            case.runtime.point_alias(alias, "never-there")
    with pytest.raises(DeploymentError):
        case.runtime.point_alias("../no name", "one")
    assert case.runtime.list() == before


def test_warming_up_changes_nothing(case: Case) -> None:
    before = case.runtime.list()
    case.runtime.warm_up("one")
    with pytest.raises(ModelNotFoundError):
        case.runtime.warm_up("never-there")
    assert case.runtime.list() == before
