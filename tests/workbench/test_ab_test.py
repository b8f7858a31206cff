"""A/B tests as they stand: who answers whom, and what was recorded of each side since it began."""

from __future__ import annotations

from pathlib import Path

import pytest

from fine_tuning.core.ports import Sampling
from fine_tuning.data_collection.chat_session import ChatSession
from fine_tuning.data_collection.chat_turns import TRIAL
from fine_tuning.model_management.alias_history import AliasHistory
from fine_tuning.workbench.models.ab_test import Tally
from fine_tuning.workbench.workbench import Workbench
from tests.model_management.registered import ALIAS, point, split
from tests.workbench.test_chat_sessions import Parrot
from tests.workbench.trained import write_trained

SERVED = "fine_tuned_support:2"


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    """Two versions; the alias points at the first, the second is deployed beside it."""
    trained = write_trained(tmp_path)
    for number in (1, 2):
        trained.add_run(number)
    bench = trained.bench()
    registry = bench.models.register.registry()
    point(AliasHistory(registry, "embedded"), "support:1")
    registry.deployments.record("support:2", "embedded", SERVED, digest="d")
    return bench


def journal(bench: Workbench) -> AliasHistory:
    return AliasHistory(bench.models.register.registry(), "embedded")


def replied(bench: Workbench, version: str, thumb: int = 0, *, note: str = "") -> ChatSession:
    talk = bench.chat.session()
    asked = talk.ask("Hello there")
    list(talk.reply(asked, Parrot(), Sampling(), note=note, version=version))
    if thumb:
        talk.rate(thumb, reply_id=talk.conversation().path()[-1].id)
    return talk


def test_it_is_told_who_answers_to_a_name(bench: Workbench) -> None:
    found = bench.models.aliases.answering(ALIAS.upper(), "someone")
    assert (found.version, found.is_drawn) == ("support:1", False)
    assert bench.models.aliases.answering(SERVED).version == "support:2"
    assert bench.models.aliases.answering("llama3.2", "someone").version == ""
    split(journal(bench), "support:2")
    sessions = [f"session-{number}" for number in range(40)]
    routes = {one: bench.models.aliases.answering(ALIAS, one) for one in sessions}
    assert {route.version for route in routes.values()} == {"support:1", "support:2"}
    assert all(route.is_drawn for route in routes.values())
    assert {one: bench.models.aliases.answering(ALIAS, one) for one in sessions} == routes
    assert not bench.models.aliases.answering(ALIAS).is_drawn, "who has no session draws none"
    point(journal(bench), "")
    assert bench.models.aliases.answering(ALIAS, "someone").version == "support:base"


def test_nothing_is_known_where_nothing_was_trained(tmp_path: Path) -> None:
    bench = write_trained(tmp_path).bench()
    assert bench.models.aliases.answering("llama3.2", "someone").model == "llama3.2"
    assert bench.models.ab_tests.splits() == []
    assert not bench.context.workspace.models.exists()


def test_thumbs_are_told_per_version_since_it_began(bench: Workbench) -> None:
    replied(bench, "support:1", 1)
    assert bench.models.ab_tests.splits() == []
    split(journal(bench), "support:2")
    for thumb in (1, 1, -1, 0):
        replied(bench, "support:2", thumb)
    first = replied(bench, "support:1", 1)
    first.rate(-1, reply_id=first.conversation().path()[-1].id)  # the last word counts
    asked = first.ask("And now?")
    list(first.reply(asked, Parrot(), Sampling(), version="support:1"))
    replied(bench, "support:2", -1, note=TRIAL)
    replied(bench, "")
    (found,) = bench.models.ab_tests.splits()
    assert (found.champion.num_sessions, found.champion.up, found.champion.down) == (1, 0, 1)
    tuned = found.challenger
    assert (tuned.version, tuned.num_sessions, tuned.up, tuned.down) == ("support:2", 4, 2, 1)
    assert found.num_sessions == 5
    assert found.words.startswith(f"{ALIAS}: 50 % support:1, 50 % support:2, since 20")
    assert tuned.words == "support:2: 4 sessions, 3 thumbs, 67 % up (95 %: 21 to 94 %)"
    assert tuned.to_dict()["share_up"] == pytest.approx(2 / 3)


def test_the_range_is_wilsons() -> None:
    """Newcombe, Statistics in Medicine 17, 1998, table I: 81 of 263, 15 of 148, 0 of 20."""
    for up, thumbs, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)):
        tally = Tally(version="v", share=0.5, up=up, down=thumbs - up)
        assert tally.interval == pytest.approx((low, high), abs=1e-4)
    none_up = Tally(version="v", share=0.5, down=20).interval
    assert none_up == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert Tally(version="v", share=0.5, num_sessions=1).words == "v: 1 session, no thumb yet"
