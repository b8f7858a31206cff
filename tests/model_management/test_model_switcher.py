"""Switching, rolling back, splitting traffic: on the embedded runtime, with real models."""

from __future__ import annotations

from pathlib import Path

import pytest

from fine_tuning.core.errors import DeploymentError, ModelNotFoundError, RuntimeFailedError
from fine_tuning.core.ports import ModelInfo, ModelRecipe, Sampling
from fine_tuning.model_management.alias_history import splits
from fine_tuning.model_management.router import Router
from fine_tuning.runtimes.embedded_runtime import ADAPTERS
from tests.model_management.registered import register, registry
from tests.model_management.serving import (
    ALIAS,
    RUNTIME,
    AlreadyWarm,
    answers_as,
    embedded,
    switcher,
)
from tests.runtimes.models import ask


def said(home: Path, name: str) -> str:
    with embedded(home).open_chat(name, context_tokens=256) as server:
        return server.chat_model.complete(
            ask("Tell me about the sea."), Sampling(max_tokens=8)
        ).text


def stages(home: Path) -> list[str]:
    return [version.stage for version in registry(home).versions()]


def test_the_alias_says_what_its_version_says(home: Path) -> None:
    first = switcher(home, embedded(home)).switch("support:1")
    assert (first.alias, first.version, first.before) == (ALIAS, "support:1", "support:base")
    assert first.changed
    assert first.warm_up_s > 0
    words = said(home, ALIAS)
    assert words == said(home, "fine_tuned_support:1")
    switcher(home).switch("support:3")
    assert said(home, ALIAS) != words
    assert stages(home) == ["archived", "challenger", "champion"]
    assert registry(home).find(ALIAS).name == "support:3"
    back = switcher(home).rollback("support")
    assert (back.version, back.before, back.warm_up_s) == ("support:1", "support:3", 0.0)
    assert said(home, ALIAS) == words
    assert stages(home) == ["champion", "challenger", "archived"]


def test_a_killed_rollback_is_finished_and_not_done_twice(home: Path) -> None:
    mover = switcher(home)
    for name in ("support:1", "support:2"):
        mover.switch(name)
    now = mover.journal.current(ALIAS)
    assert now is not None
    earlier = mover.journal.before(now)
    assert earlier is not None
    mover.journal.begin("rollback", earlier)
    embedded(home).point_alias(ALIAS, earlier.target)
    again = switcher(home).rollback("support")
    assert (again.version, again.before, again.changed) == ("support:1", "support:2", True)
    assert (answers_as(home), stages(home)[0]) == ("support:1", "champion")
    assert mover.rollback("support").version == "support:base"


def test_rolling_back_goes_on_to_the_base_and_no_further(home: Path) -> None:
    mover = switcher(home)
    for name in ("support:1", "support:2", "support:3"):
        mover.switch(name)
    seen = [mover.rollback("support").version for _ in range(3)]
    assert seen == ["support:2", "support:1", "support:base"]
    assert answers_as(home) == "support:base"
    assert "champion" not in stages(home)
    with pytest.raises(DeploymentError, match="from its start"):
        mover.rollback("support")
    assert answers_as(home) == "support:base"
    mover.switch("support:2")
    assert mover.rollback("support").version == "support:base"


def test_switching_after_a_rollback_forgets_what_was_rolled_back(home: Path) -> None:
    mover = switcher(home)
    for name in ("support:1", "support:2"):
        mover.switch(name)
    mover.rollback("support")
    mover.switch("support:3")
    assert mover.rollback("support").version == "support:1"


def test_the_base_can_be_switched_to(home: Path) -> None:
    mover = switcher(home)
    mover.switch("support:2")
    assert mover.switch("support:base").version == "support:base"
    with pytest.raises(ModelNotFoundError, match="answers as the base model"):
        registry(home).find(ALIAS)
    assert answers_as(home) == "support:base"
    assert mover.rollback("support").version == "support:2"


def test_a_base_that_changed_is_not_rolled_back_to(home: Path) -> None:
    register(home, "run9", family="other", base_digest="sha256:gone")
    with pytest.raises(DeploymentError, match="by now, expected sha256:gone"):
        switcher(home).switch("other:base")
    assert not any("other" in info.name for info in embedded(home).list())


def test_switching_to_what_is_there_changes_nothing(home: Path) -> None:
    mover = switcher(home)
    mover.switch("support:1")
    again = mover.switch("support:1")
    assert not again.changed
    kinds = [event.kind for event in registry(home).history()]
    assert kinds.count("switch") == 1
    # Unless someone moved the alias by hand: then it is put right.
    embedded(home).point_alias(ALIAS, "fine_tuned_support:2")
    assert mover.switch("support:1").changed
    assert answers_as(home) == "support:1"


def test_what_was_not_deployed_as_proved_is_refused(home: Path) -> None:
    mover, runtime = switcher(home), embedded(home)
    mover.switch("support:1")
    register(home, "run9")
    with pytest.raises(DeploymentError, match="not deployed on embedded") as caught:
        mover.switch("support:4")
    assert caught.value.next_command == "fine-tuning deploy support:4"
    runtime.create("fine_tuned_support:2", ModelRecipe(base="embedded", system="Be evil."))
    with pytest.raises(DeploymentError, match="as support:2 was deployed"):
        mover.switch("support:2")
    runtime.delete("fine_tuned_support:3")
    with pytest.raises(DeploymentError, match="is gone from embedded"):
        mover.switch("support:3")
    with pytest.raises(ModelNotFoundError, match="support:7"):
        mover.switch("support:7")
    assert answers_as(home) == "support:1"
    assert mover.journal.begun() == []


def test_a_model_that_does_not_load_is_not_switched_to(home: Path) -> None:
    runtime = embedded(home)
    mover = switcher(home, runtime)
    mover.switch("support:1")
    recipe = home / "models" / RUNTIME / "fine_tuned_support%3A2" / "recipe.json"
    recipe.write_text(recipe.read_text().replace('"template": ""', '"template": "{% endif %}"'))
    digest = runtime.show("fine_tuned_support:2").digest
    registry(home).deployments.record("support:2", RUNTIME, "fine_tuned_support:2", digest=digest)
    with pytest.raises(RuntimeFailedError, match="does not load"):
        mover.switch("support:2")
    assert answers_as(home) == "support:1"


def test_a_model_of_someone_else_is_not_replaced(home: Path) -> None:
    runtime = embedded(home)
    theirs = runtime.create(ALIAS, ModelRecipe(base="embedded", system="Mine."))
    with pytest.raises(DeploymentError, match="did not make"):
        switcher(home).switch("support:1")
    assert runtime.show(ALIAS) == theirs


class Disobedient(AlreadyWarm):
    """Points an alias at another model than it is told, or dies on the way."""

    wrong = ""
    error: Exception | None = None

    def point_alias(self, alias: str, target: str) -> ModelInfo:
        if self.error is not None and target != "fine_tuned_support:1":
            raise self.error
        if self.wrong and target != "fine_tuned_support:1":
            target = self.wrong
        return super().point_alias(alias, target)


@pytest.mark.parametrize("start", ["", "support:1"])
def test_a_runtime_that_does_something_else_is_noticed(home: Path, start: str) -> None:
    if start:
        switcher(home).switch(start)
    runtime = Disobedient(home / "models" / RUNTIME)
    runtime.wrong = "fine_tuned_support:3"
    with pytest.raises(DeploymentError, match="put back"):
        switcher(home, runtime).switch("support:2")
    runtime.wrong, runtime.error = "", RuntimeFailedError("the server fell over")
    with pytest.raises(RuntimeFailedError, match="fell over"):
        switcher(home, runtime).switch("support:2")
    assert answers_as(home) == start
    assert switcher(home).journal.begun() == []
    details = [event.detail for event in registry(home).history() if "undone" in event.kind]
    assert len(details) == 2
    assert details[1] == "the server fell over"


def test_sessions_stay_where_they_were_drawn(home: Path) -> None:
    mover = switcher(home)
    with pytest.raises(DeploymentError, match="is nothing yet"):
        mover.split("support:2", 0.2)
    mover.switch("support:1")
    for share in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(DeploymentError, match="is not a share") as caught:
            mover.split("support:2", share)
        assert caught.value.next_command == "fine-tuning switch support:2 --share 0.2"
    with pytest.raises(DeploymentError, match="itself"):
        mover.split("support:1", 0.2)
    router = Router(registry(home), runtime=RUNTIME, alias=ALIAS)
    sessions = [f"session-{i}" for i in range(1000)]
    assert {router.route(one).model for one in sessions} == {ALIAS}
    drawn, since = {}, set()
    for share in (0.1, 0.3):
        mover.split("support:2", share)
        since |= {one.since for one in splits(registry(home))}
        routes = {one: router.route(one) for one in sessions}
        drawn[share] = {one for one, route in routes.items() if route.is_challenger}
        assert abs(len(drawn[share]) / 1000 - share) < 0.04
        assert {routes[one].model for one in drawn[share]} == {"fine_tuned_support:2"}
        others = {(r.model, r.version) for r in routes.values() if not r.is_challenger}
        assert others == {(ALIAS, "support:1")}
        assert all(route.is_drawn for route in routes.values())
    assert len(since) == 1, "another share goes on with the test"
    assert drawn[0.1] < drawn[0.3]
    fresh = Router(registry(home), runtime=RUNTIME, alias=ALIAS)
    assert {one for one in sessions if fresh.route(one).is_challenger} == drawn[0.3]
    assert mover.end_split("support")
    assert not mover.end_split("support")
    after = [router.route(one) for one in sessions]
    assert not any(route.is_challenger or route.is_drawn for route in after)
    assert splits(registry(home)) == []


def test_a_switch_ends_the_split(home: Path) -> None:
    mover = switcher(home)
    mover.switch("support:1")
    mover.split("support:2", 0.5)
    mover.switch("support:2")
    assert mover.journal.traffic(ALIAS) is None
    router = Router(registry(home), runtime=RUNTIME, alias=ALIAS)
    assert router.route("any").version == "support:2"


def test_only_what_no_alias_needs_is_withdrawn(home: Path) -> None:
    mover = switcher(home)
    mover.switch("support:1")
    mover.switch("support:2")
    ways = {"support:1": "withdraw support:1 --force", "support:2": "switch support:3"}
    for name, way_out in ways.items():
        with pytest.raises(DeploymentError, match=f"{name} stays") as caught:
            mover.withdraw(name)
        assert caught.value.next_command == f"fine-tuning {way_out}"
    with pytest.raises(DeploymentError, match="support:2 stays"):
        mover.withdraw("support:2", force=True)
    mover.split("support:3", 0.5)
    with pytest.raises(DeploymentError, match="support:3 stays") as caught:
        mover.withdraw("support:3", force=True)
    assert caught.value.next_command == "fine-tuning switch support:3 --share 0"
    mover.end_split("support")
    assert mover.withdraw("support:3") == "fine_tuned_support:3"
    with pytest.raises(ModelNotFoundError):
        embedded(home).show("fine_tuned_support:3")
    with pytest.raises(DeploymentError, match="not deployed"):
        mover.withdraw("support:3")
    assert len(list((home / "models" / RUNTIME / ADAPTERS).iterdir())) == 2
    assert mover.withdraw("support:1", force=True) == "fine_tuned_support:1"
    assert answers_as(home) == "support:2"
    with pytest.raises(DeploymentError, match="support:1 is not deployed") as caught:
        mover.rollback("support")
    assert caught.value.next_command == "fine-tuning deploy support:1"
