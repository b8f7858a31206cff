"""The laws of the port ``ModelRuntime``, run against every implementation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fine_tuning.core.errors import DeploymentError, ModelNotFoundError
from fine_tuning.core.ports import ModelRecipe
from tests.contracts.runtime_cases import REAL, Case, embedded, ollama, served_here
from tests.runtimes.models import normal, write_adapter

OLLAMAS = [pytest.param(ollama(key), id=f"ollama-{key}") for key in ("0.3.14", "0.33.0")]


@pytest.fixture(params=[embedded, *OLLAMAS, served_here, REAL])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    with ExitStack() as stack:
        yield request.param(tmp_path, stack)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "adapter.gguf")


@pytest.fixture
def bad_adapter(tmp_path: Path) -> Path:
    name = "blk.0.attn_q.weight"
    return write_adapter(
        tmp_path / "bad.gguf",
        {f"{name}.lora_a": normal(8, 512), f"{name}.lora_b": normal(576, 8)},
    )


def test_what_was_created_is_shown_and_listed_everywhere(case: Case, adapter: Path) -> None:
    before = {info.name for info in case.runtime.list()}
    made = case.runtime.create("tuned", ModelRecipe(base=case.base, adapter=adapter))
    for runtime in (case.runtime, case.again()):
        assert runtime.show("tuned") == made
        assert {info.name for info in runtime.list()} - before == {made.name}
    assert made.size_bytes > adapter.stat().st_size
    assert made.digest


def test_creating_again_replaces(case: Case, adapter: Path) -> None:
    first = case.runtime.create("tuned", ModelRecipe(base=case.base))
    second = case.runtime.create("tuned", ModelRecipe(base=case.base, adapter=adapter))
    assert second.digest != first.digest
    assert [info for info in case.runtime.list() if info.name == first.name] == [second]
    same = case.runtime.create("tuned", ModelRecipe(base=case.base, adapter=adapter))
    assert same.digest == second.digest


def test_a_refused_recipe_changes_nothing(case: Case, bad_adapter: Path, tmp_path: Path) -> None:
    case.runtime.create("tuned", ModelRecipe(base=case.base))
    before = case.runtime.list()
    recipes = [
        ModelRecipe(base=case.base, adapter=bad_adapter),
        ModelRecipe(base=case.base, adapter=tmp_path / "missing.gguf"),
        ModelRecipe(base="no-such-model:tag"),
    ]
    for name in ("tuned", "other"):
        for recipe in recipes:
            with pytest.raises(DeploymentError):
                case.runtime.create(name, recipe)
            assert case.runtime.list() == before


def test_deleting_removes_one_and_only_one(case: Case) -> None:
    for name in ("a", "b"):
        case.runtime.create(name, ModelRecipe(base=case.base))
    kept = case.runtime.show("b")
    case.runtime.delete("a")
    with pytest.raises(ModelNotFoundError):
        case.runtime.show("a")
    assert case.again().show("b") == kept
    before = case.runtime.list()
    for unknown in ("a", "never-there"):
        with pytest.raises(ModelNotFoundError):
            case.runtime.delete(unknown)
    assert case.runtime.list() == before


def test_progress_counts_up_to_its_total(case: Case) -> None:
    seen: list[tuple[str, int, int]] = []
    case.runtime.create("a", ModelRecipe(base=case.base), lambda *step: seen.append(step))
    assert seen
    assert all(what and 0 <= done <= total for what, done, total in seen)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert seen[-1][1] == seen[-1][2]
