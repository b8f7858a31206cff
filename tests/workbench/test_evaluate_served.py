"""What is judged is what is served: replies from Ollama or the embedded runtime, by their names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import DeploymentError, RuntimeFailedError, RuntimeUnavailableError
from fine_tuning.workbench.workbench import Workbench
from tests.ollama_stand_in.generations import Faults
from tests.ollama_stand_in.server import StandIn
from tests.workbench.trained import NAME, TOPICS, write_base

RUN = "short"


def bench_in(home: Path, url: str = "", *, max_reply_tokens: int = 8) -> Workbench:
    """Open a workspace whose models are served by Ollama, or without an address in this process."""
    where = {"runtime": "ollama", "ollama_base_url": url} if url else {"runtime": "embedded"}
    settings = {
        "training": {"base_model": NAME, "threads": 1, "max_steps": 2, "learning_rate": 1e-2},
        "data_preparation": {"train_ratio": 0.5, "validation_ratio": 0.1, "test_ratio": 0.4},
        "deployment": {"family": "support", **where},
        "evaluation": {
            "test_prompts": ["Hello.", "Say yes."],
            "max_reply_tokens": max_reply_tokens,
            "max_replies": 3,
            "ability_probe": False,
        },
    }
    return Workbench(Settings.model_validate(settings), Workspace(home=home))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """A server with a tiny base."""
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch, StandIn(folder, generation="0.33.0") as server:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("OLLAMA_MODELS", str(server.root))
        server.add_model(NAME, write_base(folder / "base.gguf"))
        yield server


@pytest.fixture(autouse=True)
def _store(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(server.root))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def home(server: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace with a run on that base, not deployed yet."""
    bench = bench_in(tmp_path_factory.mktemp("home"), server.url)
    logger = bench.data.logger()
    for number, topic in enumerate(TOPICS):
        asked = f"Please tell me thing number {number} about {topic} in one sentence."
        logger.log_conversation(asked, f"Of {topic} I know fact {number}.", session_id=str(number))
    bench.train.train(bench.data.prepare(), run_id=RUN)
    return bench.context.workspace.home


@pytest.fixture(scope="module")
def untouched(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the workspace in which nothing was ever deployed."""
    return Path(shutil.copytree(home, tmp_path_factory.mktemp("copy") / "home"))


@pytest.mark.usefixtures("deployed")
def test_what_is_not_deployed_cannot_be_judged_as_served(server: StandIn, untouched: Path) -> None:
    with pytest.raises(DeploymentError, match="support:1 is not deployed") as caught:
        bench_in(untouched, server.url).evaluate.evaluate(RUN, served=True)
    assert caught.value.next_command == "fine-tuning deploy support:1"


@pytest.fixture(scope="module")
def deployed(server: StandIn, home: Path, untouched: Path) -> StandIn:  # noqa: ARG001 - first
    """The server once the run is deployed there."""
    bench_in(home, server.url).models.deployment.deploy(RUN)
    return server


def test_replies_come_from_the_server_and_likelihoods_from_the_engine(
    deployed: StandIn, home: Path
) -> None:
    bench = bench_in(home, deployed.url)
    here = bench.evaluate.evaluate(RUN)
    there = bench.evaluate.evaluate(RUN, served=True)
    assert there.held_out[1].to_dict() == here.held_out[1].to_dict()
    told = there.provenance["served"]
    assert told[RUN].startswith("fine_tuned_support:1 on ollama http://")
    assert told["base"].startswith(f"{NAME} on ollama http://")
    assert deployed.digest("fine_tuned_support:1").removeprefix("sha256:") in told[RUN]
    assert here.provenance["served"] is None
    for one in there.models:
        assert one.deployment["success"]
        assert one.deployment["tokens_per_s"] > 0
        assert one.replies is not None
    # The same weights and greedy replies: what is served says what the engine's model says.
    assert [model.prompts for model in there.models] == [model.prompts for model in here.models]


def test_what_is_served_otherwise_is_judged_otherwise(deployed: StandIn, home: Path) -> None:
    bench = bench_in(home, deployed.url, max_reply_tokens=9)
    deployed.faults.ignore_adapter = True
    try:
        report = bench.evaluate.evaluate(RUN, served=True)
    finally:
        deployed.faults.ignore_adapter = False
    base, tuned = report.models
    assert base.prompts == tuned.prompts


def test_a_server_that_dies_is_named_with_the_item_and_nothing_is_lost(
    deployed: StandIn, home: Path
) -> None:
    bench = bench_in(home, deployed.url, max_reply_tokens=7)
    deployed.faults.die_after_pieces = 3
    try:
        with pytest.raises(
            (RuntimeFailedError, RuntimeUnavailableError), match="asking base stopped at item"
        ):
            bench.evaluate.evaluate(RUN, served=True)
    finally:
        for name, value in vars(Faults()).items():
            setattr(deployed.faults, name, value)
    assert bench.evaluate.evaluate(RUN, served=True).models[1].deployment["success"]


def test_the_embedded_runtime_is_judged_by_its_names_too(home: Path) -> None:
    bench = bench_in(home)
    with pytest.raises(DeploymentError, match="is not deployed on embedded"):
        bench.evaluate.evaluate(RUN, served=True)
    bench.models.deployment.deploy(RUN, switch=False)
    report = bench.evaluate.evaluate(RUN, served=True)
    assert report.provenance["served"][RUN].startswith("fine_tuned_support:1 on embedded")
    assert report.models[1].deployment["success"]
