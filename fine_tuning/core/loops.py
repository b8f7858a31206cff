"""What a learning loop drives: four ports whose values are names that survive a killed process.

A loop (continuous learning, search, curricula …) sees these ports and nothing above them. Their
suite is ``tests/contracts/test_loop_ports.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Outcome = Literal["promote", "reject", "not enough evidence"]
SettingValue = bool | int | float | str | None
SettingValues = Mapping[str, SettingValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedData:
    """A data set: its content name, and how many training items each split holds."""

    name: str
    num_train: int
    num_validation: int
    num_test: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedVersion:
    """A finished run as the registry knows it.

    ``validation_loss`` is in nats per trained-on token, None where nothing was held out.
    """

    version: str
    run_id: str
    validation_loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """What the gate says of a candidate against a reference; ``reasons`` are sentences."""

    candidate: str
    reference: str
    outcome: Outcome
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployedVersion:
    """A version that answers: ``served_as`` is the name to ask the runtime for."""

    version: str
    served_as: str


class DataPreparer(Protocol):
    """Turns recorded conversations into a data set.

    * The same conversations and settings MUST give the same name.
    """

    def prepare_data(self) -> PreparedData:
        """Clean what is recorded and build a data set of it.

        Raises:
            DataError: if nothing is left to train on.
        """
        ...


class AdapterTrainer(Protocol):
    """Trains adapters on data sets.

    * A version that was returned MUST be in the registry, its parents recorded.
    * After an error the registry MUST be as it was.
    """

    def train_adapter(
        self, data: str, *, start_from: str = "", settings: SettingValues | None = None
    ) -> TrainedVersion:
        """Train on a data set.

        Args:
            data: A data set's name.
            start_from: The version whose adapter training goes on from; "" starts afresh.
            settings: What differs from the settings in force, by dotted key.

        Raises:
            DataError: if there is no such data set.
            ModelNotFoundError: if there is no such version.
            ConfigError: if a setting is not accepted.
            TrainingError: if training fails.
        """
        ...


class CandidateEvaluator(Protocol):
    """Compares models on what neither was trained on."""

    def evaluate_candidate(self, candidate: str, reference: str = "base") -> GateResult:
        """Ask the gate whether a version is better than another, or than its ``base``.

        Raises:
            ModelNotFoundError: if one of them is not there.
            DataError: if nothing is held out.
        """
        ...


class VersionDeployer(Protocol):
    """Lets versions answer.

    * After an error, what answered before MUST answer still.
    """

    def deploy_version(self, version: str) -> DeployedVersion:
        """Deploy a version, prove it, and give it to the chatbot.

        Raises:
            ModelNotFoundError: if there is no such version.
            DeploymentError: if the runtime refuses it, or the proof fails.
        """
        ...
