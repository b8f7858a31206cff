"""The ports a learning loop drives, on the workbench's facades and a tiny model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.errors import ConfigError, DataError, ModelNotFoundError
from fine_tuning.core.loops import (
    AdapterTrainer,
    CandidateEvaluator,
    DataPreparer,
    DeployedVersion,
    GateResult,
    SettingValue,
    TrainedVersion,
    VersionDeployer,
)
from fine_tuning.core.ports import Sampling
from fine_tuning.workbench.workbench import Workbench
from tests.workbench.trained import TOPICS, write_base


@dataclass(frozen=True)
class Stages:
    """The four ports, and nothing above them."""

    prepare: DataPreparer
    train: AdapterTrainer
    evaluate: CandidateEvaluator
    deploy: VersionDeployer


@dataclass(frozen=True)
class Search:
    """What a search left: every trial, the winner's verdict, and what answers now."""

    trials: list[TrainedVersion]
    verdict: GateResult
    deployed: DeployedVersion


def search(stages: Stages, candidates: list[Mapping[str, SettingValue]]) -> Search:
    """A loop as one of ``learning`` would be: try settings, go on from the best, let it answer."""
    data = stages.prepare.prepare_data()
    trials = [stages.train.train_adapter(data.name, settings=one) for one in candidates]
    best = min(trials, key=lambda trial: trial.validation_loss or 0.0)
    trials.append(stages.train.train_adapter(data.name, start_from=best.version))
    verdict = stages.evaluate.evaluate_candidate(trials[-1].version)
    return Search(trials, verdict, stages.deploy.deploy_version(trials[-1].version))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A workspace with sixteen recorded chats and a tiny base, all without a server."""
    home = tmp_path_factory.mktemp("home")
    base = write_base(home / "tiny.gguf")
    settings = {
        "training": {
            "base_model": str(base), "threads": 1, "max_steps": 2, "learning_rate": 1e-2,
            "lora_r": 2,
        },
        "data_preparation": {"train_ratio": 0.5, "validation_ratio": 0.1, "test_ratio": 0.4},
        "deployment": {"family": "loop", "runtime": "embedded"},
        "evaluation": {
            "test_prompts": ["Hello."], "max_reply_tokens": 4, "max_replies": 2,
            "ability_probe": False,
        },
    }  # fmt: skip
    bench = Workbench(Settings.model_validate(settings), Workspace(home=home))
    logger = bench.data.logger()
    for number, topic in enumerate(TOPICS):
        asked = f"Please tell me thing number {number} about {topic} in one sentence."
        logger.log_conversation(asked, f"Of {topic} I know fact {number}.", session_id=str(number))
    return bench


@pytest.fixture(scope="module")
def stages(bench: Workbench) -> Stages:
    """The facades, seen as ports; the type checker holds them to it."""
    return Stages(bench.data, bench.train, bench.evaluate, bench.models.deployment)


@pytest.fixture(scope="module")
def found(stages: Stages) -> Search:
    """What a search over two learning rates found."""
    rates: list[Mapping[str, SettingValue]] = [
        {"training.learning_rate": rate} for rate in (1e-3, 1e-2)
    ]
    return search(stages, rates)


def test_the_same_conversations_give_the_same_data_set(stages: Stages) -> None:
    first, second = stages.prepare.prepare_data(), stages.prepare.prepare_data()
    assert first == second
    assert first.num_train + first.num_validation + first.num_test == len(TOPICS)


def test_every_trial_is_a_version_with_its_own_settings(bench: Workbench, found: Search) -> None:
    runs = [bench.models.runs.find(trial.run_id) for trial in found.trials]
    assert [run.plan["learning_rate"] for run in runs] == [1e-3, 1e-2, 1e-2]
    assert len({trial.version for trial in found.trials}) == 3
    assert all(trial.validation_loss for trial in found.trials)


def test_a_run_that_went_on_names_its_parent(bench: Workbench, found: Search) -> None:
    best = min(found.trials[:2], key=lambda trial: trial.validation_loss or 0.0)
    versions = bench.models.versions
    assert list(versions.find(found.trials[2].version).started_from) == [best.version]
    assert [list(versions.find(trial.version).started_from) for trial in found.trials[:2]] == [
        [],
        [],
    ]


def test_the_gate_answers_with_reasons(found: Search) -> None:
    assert found.verdict.candidate == found.trials[-1].version
    assert found.verdict.reference == "base"
    assert found.verdict.outcome in {"promote", "reject", "not enough evidence"}
    assert all(reason.strip() for reason in found.verdict.reasons)
    assert found.verdict.reasons


def test_what_was_deployed_answers(bench: Workbench, found: Search) -> None:
    assert found.deployed.version == found.trials[-1].version
    with bench.models.access.open_served(found.deployed.served_as) as model:
        question = Message(id="m", role="user", content=(Part(text="Hello."),))
        assert "".join(model.reply([question], Sampling(max_tokens=4)))


def test_names_outlive_the_process(bench: Workbench, found: Search) -> None:
    other = Workbench(bench.context.settings, Workspace(home=bench.context.workspace.home))
    again = other.train.train_adapter(
        other.data.prepare_data().name, start_from=found.trials[0].version
    )
    assert list(other.models.versions.find(again.version).started_from) == [found.trials[0].version]


def test_an_error_leaves_the_registry_as_it_was(bench: Workbench, stages: Stages) -> None:
    data = stages.prepare.prepare_data().name
    before = [version.name for version in bench.models.register.registry().versions()]
    with pytest.raises(DataError):
        stages.train.train_adapter("b2:" + "0" * 64)
    with pytest.raises(ModelNotFoundError):
        stages.train.train_adapter(data, start_from="loop:99")
    with pytest.raises(ConfigError, match="lora_r"):
        stages.train.train_adapter(data, settings={"training.lora_r": 0})
    with pytest.raises(ModelNotFoundError):
        stages.evaluate.evaluate_candidate("loop:99")
    with pytest.raises(ModelNotFoundError):
        stages.deploy.deploy_version("loop:99")
    assert [version.name for version in bench.models.register.registry().versions()] == before
