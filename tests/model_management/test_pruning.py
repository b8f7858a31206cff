"""What may be pruned: never what is deployed, pointed at, or needed to roll back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fine_tuning.core.errors import ConfigError, DeploymentError
from fine_tuning.model_management.alias_history import AliasHistory
from fine_tuning.model_management.model_registry import ModelRegistry
from fine_tuning.model_management.pruning import Pruner, disk_use
from tests.model_management.registered import ALIAS, new_version, point, register, registry, split


def test_old_versions_go_and_their_lineage_stays(tmp_path: Path) -> None:
    made = [register(tmp_path, f"run{i}") for i in range(5)]
    books = registry(tmp_path)
    pruner = Pruner(books)
    plan = pruner.plan(keep=2)
    assert [item.version for item in plan.prunable] == ["support:1", "support:2", "support:3"]
    assert plan.size_bytes == 6000
    assert all(artefact.path.is_file() for v in made for artefact in v.artefacts)
    assert pruner.prune(keep=2) == plan
    for version in made[:3]:
        found = books.find(version.name)
        assert found.adapter_path is None
        assert found.size_bytes == 0
        assert not any(artefact.path.exists() for artefact in version.artefacts)
        with pytest.raises(DeploymentError, match="pruned"):
            books.deployments.begin(version.name, "embedded", "x")
    assert all(artefact.path.is_file() for v in made[3:] for artefact in v.artefacts)
    assert disk_use(books.versions(), {}, {}).size_bytes == 4000
    assert len(books.versions()) == 5
    assert pruner.prune(keep=2).prunable == ()
    assert register(tmp_path, "run9").name == "support:6"


def test_every_reason_to_stay_is_told(tmp_path: Path) -> None:
    for i in range(8):
        register(tmp_path, f"run{i}")
    books, journal = registry(tmp_path), AliasHistory(registry(tmp_path), "embedded")
    books.deployments.record("support:1", "embedded", "a", digest="d")
    books.deployments.begin("support:2", "embedded", "b")
    point(journal, "support:3")
    point(journal, "support:4")
    split(journal, "support:5")
    point(journal, "support:6", done=False)
    plan = Pruner(books).prune(keep=1)
    assert [item.version for item in plan.prunable] == ["support:7"]
    assert plan.kept == {
        "support:1": "it is deployed as a on embedded",
        "support:2": "it is being deployed as b on embedded",
        "support:3": f"{ALIAS} can be rolled back to it",
        "support:4": f"{ALIAS} is it",
        "support:5": f"it answers a share of {ALIAS}",
        "support:6": f"{ALIAS} is being switched to it",
        "support:8": "it is among the newest of support (1 stay)",
    }


def test_what_is_not_ours_or_shared_stays(tmp_path: Path) -> None:
    home = tmp_path / "home"
    outside = tmp_path / "outside.gguf"
    outside.write_bytes(b"someone's")
    shared = home / "models" / "merged.gguf"
    for run in ("run1", "run2"):
        register(home, run)
    books = registry(home)
    shared.write_bytes(b"merged")
    books.add_artefact("support:1", "merged", outside)
    link = home / "models" / "link"
    link.symlink_to(tmp_path)
    books.add_artefact("support:1", "merged", link / "outside.gguf")
    for version in ("support:1", "support:2"):
        books.add_artefact(version, "merged", shared)
    (item,) = Pruner(books).prune(keep=1).prunable
    assert len(item.artefacts) == 2
    assert outside.read_bytes() == b"someone's"
    assert shared.read_bytes() == b"merged"
    assert "not in the workspace" in Pruner(books).plan(keep=1).kept["support:1"]


def test_a_killed_prune_is_finished_by_the_next(tmp_path: Path) -> None:
    first, second = register(tmp_path, "run1"), register(tmp_path, "run2")
    books = registry(tmp_path)
    with books.database.writing() as connection:
        connection.execute("UPDATE artefact SET state = 'removing' WHERE version_id = 1")
    first.artefacts[1].path.unlink()
    Pruner(books).prune(keep=2)
    assert not any(one.path.exists() for one in first.artefacts)
    assert {one.state for one in books.find("support:1").artefacts} == {"removed"}
    assert books.verify(second.name) == []


@pytest.mark.parametrize("numbers", [{"keep": 0}, {"keep": -1}, {"steps": 0}])
def test_a_rule_that_keeps_nothing_is_refused(tmp_path: Path, numbers: dict[str, int]) -> None:
    register(tmp_path, "run1")
    with pytest.raises(ConfigError, match="1 or more"):
        Pruner(registry(tmp_path)).prune(**numbers)


NUM_VERSIONS = 6
number = st.integers(1, NUM_VERSIONS)
step = st.one_of(
    st.tuples(st.sampled_from(["deploy", "begin", "undo", "retire", "archive", "promote"]), number),
    st.tuples(st.sampled_from(["switch", "switching", "split"]), number),
    st.tuples(st.sampled_from(["rollback", "prune", "end split"]), st.just(0)),
)


@dataclass
class Model:
    """What must stay, kept beside the registry in plain values."""

    books: ModelRegistry
    journal: AliasHistory
    active: dict[str, int] = field(default_factory=dict)
    begun: dict[int, int] = field(default_factory=dict)
    past: list[int] = field(default_factory=list)
    share: int = 0
    opened: int = 0
    champion: int = 0

    def needed(self, steps: int) -> set[int]:
        pointed = set(self.past[-1 - steps :])
        kept = {*self.active.values(), *self.begun.values(), *pointed, self.share, self.opened}
        return (kept | {self.champion}) - {0}

    def apply(self, what: str, one: int) -> None:
        name = f"support:{one}"
        getattr(self, what.replace(" ", "_"))(name, one)

    def _is_there(self, name: str) -> bool:
        return self.books.find(name).adapter_path is not None

    def deploy(self, name: str, one: int) -> None:
        if self._is_there(name):
            self.books.deployments.record(name, "embedded", f"n{one % 3}", digest="d")
            self.active[f"n{one % 3}"] = one

    def begin(self, name: str, one: int) -> None:
        if self._is_there(name):
            self.begun[self.books.deployments.begin(name, "ollama", "x").id] = one

    def undo(self, _: str, __: int) -> None:
        if self.begun:
            self.books.deployments.undo(self.begun.popitem()[0], "why not")

    def retire(self, _: str, one: int) -> None:
        self.books.deployments.retire("embedded", f"n{one % 3}")
        self.active.pop(f"n{one % 3}", None)

    def archive(self, name: str, one: int) -> None:
        if one in {self.champion, self.share, self.opened}:
            with pytest.raises(DeploymentError, match="cannot be archived"):
                self.books.archive(name)
        else:
            assert self.books.archive(name).stage == "archived"

    def promote(self, name: str, one: int) -> None:
        stage = "champion" if one == self.champion else "challenger"
        assert self.books.promote(name).stage == stage

    def switch(self, name: str, one: int) -> None:
        if self._is_there(name) and not self.opened:
            point(self.journal, name)
            self.past.append(one)
            self.champion, self.share = one, 0

    def switching(self, name: str, one: int) -> None:
        if self._is_there(name) and not self.opened:
            point(self.journal, name, done=False)
            self.opened = one

    def rollback(self, _: str, __: int) -> None:
        # The switcher refuses a version whose files are gone.
        if len(self.past) > 1 and not self.opened and self._is_there(f"support:{self.past[-2]}"):
            point(self.journal, "", back=True)
            self.past.pop()
            self.champion, self.share = self.past[-1], 0

    def split(self, name: str, one: int) -> None:
        if self._is_there(name):
            split(self.journal, name)
            self.share = one

    def end_split(self, _: str, __: int) -> None:
        self.journal.end_split(ALIAS)
        self.share = 0

    def prune(self, _: str, __: int) -> None:
        before = {one for one in range(1, NUM_VERSIONS + 1) if self._is_there(f"support:{one}")}
        Pruner(self.books).prune(keep=1, steps=2)
        # Promoted may be what was pruned long ago: only what was there can stay.
        for one in self.needed(2) & before:
            assert self.books.verify(f"support:{one}") == []
            assert self._is_there(f"support:{one}")


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(step, max_size=20))
def test_nothing_needed_is_ever_pruned(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    home = tmp_path_factory.mktemp("home")
    books = registry(home)
    for i in range(NUM_VERSIONS):
        books.register(new_version(home, f"run{i}"))
    model = Model(books, AliasHistory(books, "embedded"))
    for what, one in [*steps, ("prune", 0)]:
        model.apply(what, one)
    present = {one for one in range(1, NUM_VERSIONS + 1) if model._is_there(f"support:{one}")}
    # And what nobody needs does go: the rule is no excuse to keep everything.
    assert present <= model.needed(2) | {NUM_VERSIONS}
    books.close()
