"""Workspaces of several people on one server: no name is ever taken from whoever gave it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from fine_tuning.core.errors import DeploymentError, FineTuningError
from fine_tuning.core.ports import Progress, ServedModel
from fine_tuning.model_management.deploy_strategies import DeployStrategy, Way
from fine_tuning.model_management.deployment_target import Deployable, Made
from fine_tuning.model_management.model_deployer import Deployer
from fine_tuning.model_management.model_registry import ModelRegistry
from fine_tuning.model_management.model_switcher import ModelSwitcher
from fine_tuning.model_management.name_ownership import DEFAULT_PREFIX, family_prefix
from fine_tuning.model_management.proof_parts import ENDING, OUTPUT, PROMPT, Proof, ProofPart
from fine_tuning.model_management.versions import served_name
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_recipe import OllamaRecipe
from fine_tuning.runtimes.ollama_runtime import OllamaRuntime
from tests.model_management.ollama_serving import BASE, GO_CHATML, write_base
from tests.model_management.registered import new_version, registry
from tests.ollama_stand_in.server import StandIn

pytestmark = pytest.mark.real_input("names of two workspaces")
STEPS = 200
FAMILY = "support"


class SystemTarget:
    """An Ollama whose versions differ in their system prompt alone: made in no time."""

    def __init__(self, runtime: OllamaRuntime, owner: str) -> None:
        self.runtime, self.name, self._owner = runtime, runtime.name, owner

    def server(self) -> str:
        return f"Ollama {self.runtime.client.version()}"

    def strategies(self, what: Deployable, only: Way | None) -> Sequence[DeployStrategy]:
        del what, only
        return [DeployStrategy(way="adapter", reason="cheap")]

    def make(
        self, name: str, strategy: DeployStrategy, what: Deployable, progress: Progress | None
    ) -> Made:
        recipe = OllamaRecipe(base=BASE, system=f"{what.version} of {self._owner}")
        self.runtime.draft(name, recipe, progress)
        return Made(strategy=strategy)

    @contextmanager
    def served(self, name: str) -> Iterator[ServedModel]:
        yield self.runtime.served(name)

    def base_served(self, what: Deployable) -> ServedModel | None:
        del what
        return None


def proven(served: ServedModel, base: ServedModel | None) -> Proof:
    """Prove nothing: these tests are about names."""
    del base
    names = (PROMPT, ENDING, OUTPUT)
    parts = tuple(ProofPart(name=one, outcome="holds", sentence="") for one in names)
    return Proof(model=served.name, parts=parts)


class Actor:
    """A workspace of somebody, over one server."""

    def __init__(self, home: Path, url: str, *, owner: str = "", versions: int = 3) -> None:
        self.home, self.owner, self.prefix = home, owner or home.name, DEFAULT_PREFIX
        self.runtime = OllamaRuntime(OllamaClient(url))
        home.mkdir(parents=True, exist_ok=True)
        self.base = write_base(home / "base.gguf")
        for number in range(1, versions + 1):
            self.books.register(new_version(home, f"{self.owner}-{number}", base_name=BASE))

    @property
    def books(self) -> ModelRegistry:
        return registry(self.home)

    @property
    def switcher(self) -> ModelSwitcher:
        return ModelSwitcher(
            self.books, self.runtime, runtime_name=self.runtime.name, prefix=self.prefix
        )

    def deploy(self, number: int) -> str:
        """Deploy as the workbench does: the champion's name is looked at first."""
        prefix = family_prefix(self.books, self.runtime.name, FAMILY, self.prefix)
        self.switcher.check_free(FAMILY, f"fine-tuning deploy {FAMILY}:{number}")
        what = Deployable(
            version=f"{FAMILY}:{number}",
            served_as=served_name(prefix, FAMILY, number),
            base_name=BASE,
            base_path=self.base,
            base_digest="",
            adapter=self.home / "none.gguf",
            is_mergeable=False,
            merged=lambda _way, _progress: self.home,
            prompt=lambda _messages, _tools=(): "",
        )
        target = SystemTarget(self.runtime, self.owner)
        return Deployer(self.books, target, proven).deploy(what).name

    def switch(self, number: int) -> str:
        return self.switcher.switch(f"{FAMILY}:{number or 'base'}").alias

    def rollback(self) -> str:
        before = self.switcher.journal.current(self.switcher.alias_of(FAMILY))
        done = self.switcher.rollback(FAMILY)
        assert before is not None
        assert done.version != (before.version or f"{FAMILY}:base")
        return done.alias

    def forget(self, number: int) -> str:
        return self.switcher.withdraw(f"{FAMILY}:{number}", force=True)

    def follow(self, command: str) -> None:
        """Take the prefix a refusal names, once: the family keeps it."""
        found = re.search(r"model_name_prefix=(\S+)", command)
        assert found
        self.prefix = found[1]


class Hand:
    """Somebody who copies and removes models by hand, under names a workspace might want."""

    owner = "hand"

    def __init__(self, server: StandIn) -> None:
        self._server, self._runtime = server, OllamaRuntime(OllamaClient(server.url))
        self._own: list[str] = []

    def play(self, dice: random.Random) -> Sequence[str]:
        """Now and then copy the base to a free name, or remove a copy; return the names copied."""
        tag = dice.choice(["1", "2", "champion", "base"])
        name = f"fine_tuned_{dice.choice(['', '2_', '3_', '4_', '5_'])}{FAMILY}:{tag}"
        chance = dice.random()
        if chance < 0.05 and name not in self._server.names():
            self._runtime.point_alias(name, BASE)
            self._own.append(name)
            return [name]
        if chance > 0.97 and self._own:
            self._runtime.delete(self._own.pop())
        return []


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with StandIn(tmp_path / "ollama", generation="0.33.0") as stand_in:
        stand_in.add_model(BASE, write_base(tmp_path / "tiny.gguf"), template=GO_CHATML)
        yield stand_in


def names(server: StandIn) -> dict[str, str]:
    return {name: server.digest(name) for name in server.names()}


def test_no_foreign_name_changes_in_two_hundred_steps(tmp_path: Path, server: StandIn) -> None:
    dice = random.Random(15)
    actors = [Actor(tmp_path / one, server.url) for one in ("ann-1", "ann-2", "ben-1", "ben-2")]
    hand = Hand(server)
    owners = dict.fromkeys(server.names(), hand.owner)
    refused = done = 0
    for _ in range(STEPS):
        actor, number = dice.choice(actors), dice.randint(1, 3)
        if dice.random() < 0.1:
            actor.prefix = DEFAULT_PREFIX
        for name in hand.play(dice):
            owners[name] = hand.owner
        owners = {name: owner for name, owner in owners.items() if name in server.names()}
        before = names(server)
        work = dice.choice(
            [
                lambda: actor.deploy(number),  # noqa: B023 - called at once
                lambda: actor.switch(number),  # noqa: B023
                lambda: actor.switch(0),  # noqa: B023
                actor.rollback,
                lambda: actor.forget(number),  # noqa: B023
            ]
        )
        try:
            work()
            done += 1
        except FineTuningError as error:
            if "did not make" in error.message:
                refused += 1
                assert names(server) == before
                actor.follow(error.next_command or "")
        after = names(server)
        changed = {name for name, _ in before.items() ^ after.items()}
        assert {owners.get(name, actor.owner) for name in changed} <= {actor.owner}
        owners |= dict.fromkeys(changed, actor.owner)
        assert not any("-new" in name for name in after)
    assert refused >= 3
    assert done > STEPS / 4
    assert {*owners.values()} == {hand.owner, *(actor.owner for actor in actors)}


def test_the_remedy_works_and_is_followed_once(tmp_path: Path, server: StandIn) -> None:
    first, second = Actor(tmp_path / "one", server.url), Actor(tmp_path / "two", server.url)
    first.deploy(1)
    first.switch(1)
    before = names(server)
    asked = len(server.requests)
    with pytest.raises(DeploymentError, match="did not make") as refused:
        second.deploy(1)
    assert {method for method, _ in server.requests[asked:]} == {"GET"}  # before any work
    assert names(server) == before
    command = refused.value.next_command or ""
    assert command.startswith("fine-tuning deploy support:1 --set deployment.model_name_prefix=")
    second.follow(command)
    assert second.deploy(1) == "fine_tuned_2_support:1"
    assert second.switch(1) == "fine_tuned_2_support:champion"
    second.prefix = DEFAULT_PREFIX
    assert second.deploy(2) == "fine_tuned_2_support:2"
    assert second.switch(2) == "fine_tuned_2_support:champion"
    assert second.rollback() == "fine_tuned_2_support:champion"
    assert {name: names(server)[name] for name in before} == before


def test_a_version_is_refused_where_only_its_own_name_is_taken(
    tmp_path: Path, server: StandIn
) -> None:
    actor = Actor(tmp_path / "one", server.url)
    other = OllamaRuntime(OllamaClient(server.url))
    other.point_alias("Fine_Tuned_Support:2", BASE)  # names are compared without case
    assert actor.deploy(1) == "fine_tuned_support:1"
    with pytest.raises(DeploymentError, match="fine_tuned_support:2"):
        actor.deploy(2)
    assert server.digest("fine_tuned_support:2") == server.digest(BASE)


def test_what_someone_put_in_the_place_of_a_version_stays(tmp_path: Path, server: StandIn) -> None:
    actor = Actor(tmp_path / "one", server.url)
    name = actor.deploy(1)
    other = OllamaRuntime(OllamaClient(server.url))
    other.create("mine:latest", OllamaRecipe(base=BASE, system="Mine."))
    other.point_alias(name, "mine:latest")
    theirs = server.digest(name)
    with pytest.raises(DeploymentError, match="as support:1 was deployed"):
        actor.switch(1)
    with pytest.raises(DeploymentError, match="someone changed since"):
        actor.deploy(1)
    assert actor.forget(1) == name
    assert server.digest(name) == theirs


def test_drafts_of_two_workspaces_have_names_of_their_own(tmp_path: Path, server: StandIn) -> None:
    first, second = Actor(tmp_path / "one", server.url), Actor(tmp_path / "two", server.url)
    assert first.books.mark() != second.books.mark()
    assert first.books.mark() == first.books.mark()
    first.deploy(1)
    draft = f"fine_tuned_support:1-new-{first.books.mark()}"
    OllamaRuntime(OllamaClient(server.url)).point_alias(draft, BASE)
    mine = "fine_tuned_support:1-new"
    OllamaRuntime(OllamaClient(server.url)).point_alias(mine, BASE)
    second.prefix = "two_"
    second.deploy(1)
    assert {draft, mine} <= server.names()
    first.deploy(2)
    assert draft not in server.names()  # its own is tidied up
    assert mine in server.names()
