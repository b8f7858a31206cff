"""Switching and rolling back on every generation of Ollama: one name, and what answers to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fine_tuning.core.errors import DeploymentError, RuntimeFailedError
from tests.model_management.ollama_serving import (
    ALIAS,
    BASE,
    GO_CHATML,
    SERVED,
    deployer,
    make_home,
    runtime,
    said_by,
    switcher,
    words_of,
)
from tests.model_management.registered import registry
from tests.ollama_stand_in.generations import GENERATIONS
from tests.ollama_stand_in.server import StandIn

QUICK = ("0.3.14", "0.40.0")
ONE, TWO = f"{SERVED}:1", f"{SERVED}:2"


@pytest.mark.parametrize(
    "generation",
    [one if one in QUICK else pytest.param(one, marks=pytest.mark.slow) for one in GENERATIONS],
)
def test_the_alias_answers_as_what_it_was_switched_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generation: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    home = make_home(tmp_path / "home")
    with StandIn(tmp_path / "ollama", generation=generation) as server:
        server.add_model(BASE, home.base, template=GO_CHATML)
        for number in (1, 2):
            words = words_of(home, number)
            deployer(home, server.url, words).deploy(home.deployable(number))
        mover = switcher(home, server.url)

        def answers_as(name: str) -> None:
            assert server.digest(ALIAS) == server.digest(name)
            served = runtime(server.url).served
            assert said_by(served(ALIAS)) == said_by(served(name))
            assert server.names() == {BASE, ONE, TWO, ALIAS}

        first = mover.switch("support:1")
        assert (first.alias, first.before, first.changed) == (ALIAS, "support:base", True)
        answers_as(ONE)
        assert mover.switch("support:2").before == "support:1"
        answers_as(TWO)
        with pytest.raises(DeploymentError, match="support:2 stays"):
            mover.withdraw("support:2")
        back = mover.rollback("support")
        assert (back.version, back.before, back.warm_up_s) == ("support:1", "support:2", 0.0)
        answers_as(ONE)
        assert mover.rollback("support").version == "support:base"
        answers_as(BASE)
        with pytest.raises(DeploymentError, match="from its start"):
            mover.rollback("support")
        mover.switch("support:1")
        assert mover.withdraw("support:2") == TWO
        assert server.names() == {BASE, ONE, ALIAS}
        assert registry(home.path).find("support:champion").name == "support:1"


def test_what_does_not_load_or_is_gone_is_not_switched_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    home = make_home(tmp_path / "home")
    with StandIn(tmp_path / "ollama", generation="0.33.0") as server:
        server.add_model(BASE, home.base, template=GO_CHATML)
        for number in (1, 2):
            words = words_of(home, number)
            deployer(home, server.url, words).deploy(home.deployable(number))
        mover = switcher(home, server.url)
        mover.switch("support:1")
        server.faults.load_error = "out of memory"
        with pytest.raises(RuntimeFailedError, match="out of memory"):
            mover.switch("support:2")
        server.faults.load_error = ""
        runtime(server.url).delete(TWO)
        with pytest.raises(DeploymentError, match="is gone from ollama"):
            mover.switch("support:2")
        assert server.digest(ALIAS) == server.digest(ONE)
        assert mover.journal.begun() == []
