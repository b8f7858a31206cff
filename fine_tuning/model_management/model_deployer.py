"""Deploys a version so that it is served as it was trained, or leaves everything as it was.

A model is made under a name of its own, tried and proven there, and only then takes its place. What
was begun is written down first: a killed deployment is finished or undone by the next one, by what
the runtime answers. Which model a chatbot gets is the switcher's business.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from fine_tuning.core.errors import (
    DeploymentError,
    FineTuningError,
    ModelNotFoundError,
    RuntimeUnavailableError,
)
from fine_tuning.core.json_value import JsonObject, JsonValue, object_at, trusted
from fine_tuning.core.naming import canonical_json
from fine_tuning.core.ports import ModelInfo, Progress, ServedModel
from fine_tuning.model_management.deploy_strategies import WORDS, DeployStrategy, Way
from fine_tuning.model_management.deployment_target import Deployable, DeploymentTarget, Made
from fine_tuning.model_management.model_registry import ModelRegistry
from fine_tuning.model_management.name_ownership import NameOwnership
from fine_tuning.model_management.proof_parts import Proof
from fine_tuning.model_management.proof_terms import TERMS, terms_of, why_not_proven
from fine_tuning.model_management.remedies import OF_ADAPTERS, remedy
from fine_tuning.model_management.versions import Deployment
from fine_tuning.storage.atomic import write_file

logger = logging.getLogger(__name__)
STAGED = "-new"
PLACED = "placed"
"""Where an outcome names the digest that took its place."""
DOCTOR = "fine-tuning doctor"
RECOVERY_WAIT_S = 1.0

Prove = Callable[[ServedModel, ServedModel | None], Proof]
"""Proves a served model; the second is its base on the same server, where that has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A way that was tried and failed, and why."""

    way: Way
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A version that answers.

    ``decisions`` says what was found out and chosen, each with its reason; ``attempts`` the better
    ways that failed. ``changed`` is false when the version was deployed already.
    """

    version: str
    runtime: str
    name: str
    digest: str
    size_bytes: int
    way: Way | None = None
    reason: str = ""
    decisions: JsonObject = field(default_factory=dict)
    attempts: Sequence[Attempt] = ()
    proof: JsonObject = field(default_factory=dict)
    changed: bool = True

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {
            "version": self.version,
            "runtime": self.runtime,
            "name": self.name,
            "digest": self.digest,
            "size_bytes": self.size_bytes,
            "way": self.way,
            "reason": self.reason,
            "decisions": dict(self.decisions),
            "attempts": [{"way": one.way, "reason": one.reason} for one in self.attempts],
            "proof": dict(self.proof),
            "changed": self.changed,
        }


class Deployer:
    """Deploys versions to one runtime.

    Args:
        registry: Where deployments are written down.
        target: The runtime.
        prove: Asked of every model before it takes its place; see ``proof.prove``.
    """

    def __init__(self, registry: ModelRegistry, target: DeploymentTarget, prove: Prove) -> None:
        self._registry = registry
        self._target = target
        self._prove = prove
        self._names = NameOwnership(registry, target.runtime, target.name)

    def deploy(
        self, what: Deployable, *, only: Way | None = None, progress: Progress | None = None
    ) -> Deployed:
        """Serve a version.

        Args:
            what: The version.
            only: The one way to try; None tries the best first.
            progress: Told how far long work is.

        Raises:
            DeploymentError: if the name is a model of someone else, or no way leads to a model that
                is proven; then nothing has changed.
            RuntimeUnavailableError: if no server answers.
            StorageError: if another deployment is under way, or the registry cannot be written.
        """
        with self._registry.locked("deploy"):
            self._recover()
            there = self._standing(what, only)
            if there is not None:
                return there
            self.check_free(what)
            return self._deploy_anew(what, only, progress)

    def check_free(self, what: Deployable) -> None:
        """Refuse, before any work, to deploy under a name that is a model of someone else.

        Raises:
            DeploymentError: if it is; the next command takes another name.
        """
        command = f"fine-tuning deploy {what.version}"
        family = what.version.rpartition(":")[0]
        self._names.refuse_foreign(what.served_as, family, command)

    def _deploy_anew(
        self, what: Deployable, only: Way | None, progress: Progress | None
    ) -> Deployed:
        """Make, prove and place a model; whatever happens is written down before it does."""
        strategies = self._target.strategies(what, only)
        existing = self._show(what.served_as)
        staged = self._staged(what.served_as)
        begun = self._registry.deployments.begin(
            what.version,
            self._target.name,
            what.served_as,
            {"staged": staged, "replaces": existing.digest if existing else ""},
        )
        try:
            made, attempts, proof = self._try_in_order(staged, strategies, what, only, progress)
            digest = self._target.runtime.show(staged).digest
            self._write_outcome(begun.id, self._outcome(what, made, proof), digest)
            info = self._take_place(staged, what)
        except BaseException as error:
            self._undo(begun, error)
            raise
        kept = self._outcome(what, made, proof)
        self._registry.deployments.finish(begun.id, digest=info.digest, proof=kept)
        self._outcome_path(begun.id).unlink(missing_ok=True)
        return replace(
            self._answering(what, info),
            way=made.strategy.way,
            reason=made.strategy.reason,
            decisions=made.decisions,
            attempts=attempts,
            proof=proof.to_dict(),
        )

    def recover(self) -> list[str]:
        """Finish or undo what killed deployments left; returns a sentence for each.

        Raises:
            RuntimeUnavailableError: if no server answers.
            StorageError: if a deployment is under way.
        """
        with self._registry.locked("deploy", wait_s=RECOVERY_WAIT_S):
            return self._recover()

    def _recover(self) -> list[str]:
        told = []
        for left in self._registry.deployments.unfinished(self._target.name):
            info = self._show(left.name)
            self._remove(str(left.details.get("staged", "")))
            outcome = self._outcome_path(left.id)
            proof = json.loads(outcome.read_bytes()) if outcome.exists() else {}
            if info is not None and _has_placed(left, info.digest, proof):
                proof.pop(PLACED, "")
                self._registry.deployments.finish(left.id, digest=info.digest, proof=proof)
                told.append(f"{left.name} had been proven before the process ended; it stays")
            else:
                # Until it is proven nothing has its name: what is there belongs to someone.
                reason = "the process ended before the model was proven"
                self._registry.deployments.undo(left.id, reason)
                told.append(f"{left.name} was undone: {reason}")
            outcome.unlink(missing_ok=True)
        self._sweep()
        for sentence in told:
            logger.info(sentence)
        return told

    def _sweep(self) -> None:
        """Remove staged models a server finished after the process that asked for them ended."""
        known = {
            self._staged(deployment.name)
            for version in self._registry.versions()
            for deployment in version.deployments
            if deployment.runtime == self._target.name
        }
        for info in self._target.runtime.list():
            if info.name in known:
                self._remove(info.name)

    def _standing(self, what: Deployable, only: Way | None) -> Deployed | None:
        """Return what is deployed already, proven again where its proof holds no more."""
        before = self._registry.find(what.version).deployed_on(self._target.name)
        info = self._show(what.served_as)
        if before is None or info is None or before.name != what.served_as:
            return None
        way: Way | None = trusted(before.proof.get("way"))
        if info.digest != before.digest or only not in {None, way}:
            return None
        terms = terms_of(what, self._target.server())
        why = why_not_proven(before.proof, terms)
        proof = self._proven_again(what, before, info, why) if why else before.proof
        if proof is None:
            return None
        return replace(
            self._answering(what, info),
            way=way,
            reason=str(proof.get("reason", "")),
            decisions=object_at(proof, "decisions"),
            proof=proof,
            changed=bool(why),
        )

    def _proven_again(
        self, what: Deployable, before: Deployment, info: ModelInfo, why: str
    ) -> JsonObject | None:
        """Prove a model that stands; None when it is not proven, and must be made anew."""
        with self._target.served(what.served_as) as served:
            proof = self._prove(served, self._target.base_served(what))
        if not proof.holds:
            logger.info("%s is made anew: %s", what.served_as, proof.sentence)
            return None
        server = self._target.server()
        kept: dict[str, JsonValue] = {
            **before.proof,
            **proof.to_dict(),
            "decisions": {
                **object_at(before.proof, "decisions"),
                "server": server,
                "proven again": why,
            },
            TERMS: terms_of(what, server),
        }
        self._registry.deployments.record(
            what.version, self._target.name, what.served_as, digest=info.digest, proof=kept
        )
        return kept

    def _try_in_order(
        self,
        staged: str,
        strategies: Sequence[DeployStrategy],
        what: Deployable,
        only: Way | None,
        progress: Progress | None,
    ) -> tuple[Made, list[Attempt], Proof]:
        """Try the ways in order until one is proven.

        Raises:
            DeploymentError: if none is; the sentence says why of each.
        """
        attempts: list[Attempt] = []
        next_command = ""
        for strategy in strategies:
            self._remove(staged)
            try:
                made = self._target.make(staged, strategy, what, progress)
            except RuntimeUnavailableError:
                raise
            except FineTuningError as error:
                attempts.append(Attempt(way=strategy.way, reason=error.message))
                next_command = error.next_command or DOCTOR
                continue
            with self._target.served(staged) as served:
                proof = self._prove(served, self._target.base_served(what))
            if proof.holds:
                return made, attempts, proof
            attempts.append(Attempt(way=strategy.way, reason=proof.sentence))
            next_command = remedy(proof, what.version, self._target.name, only)
            if not set(proof.causes) <= OF_ADAPTERS or not proof.causes:
                break
        reasons = "; ".join(f"{WORDS[attempt.way]}: {attempt.reason}" for attempt in attempts)
        raise DeploymentError(
            f"{what.version} was not deployed to {self._target.name}, and what was there stands: "
            f"{reasons}",
            next_command=next_command,
        )

    def _staged(self, name: str) -> str:
        """Return the name of this workspace's draft of a model; others have drafts of their own."""
        return f"{name}{STAGED}-{self._registry.mark()}"

    def _take_place(self, staged: str, what: Deployable) -> ModelInfo:
        """Let the proven model answer under its name, unless someone took that meanwhile."""
        self.check_free(what)
        info = self._target.runtime.point_alias(what.served_as, staged)
        self._remove(staged)
        return info

    def _undo(self, begun: Deployment, error: BaseException) -> None:
        """Remove what was staged; a runtime that is gone is tidied by the next deployment."""
        try:
            self._remove(str(begun.details["staged"]))
            info = self._show(begun.name)
        except FineTuningError:
            return
        outcome = self._outcome_path(begun.id)
        proof = json.loads(outcome.read_bytes()) if outcome.exists() else {}
        if info is not None and _has_placed(begun, info.digest, proof):
            return  # It took its place: the next deployment finishes it.
        self._registry.deployments.undo(begun.id, str(error).partition("\n")[0] or repr(error))
        outcome.unlink(missing_ok=True)

    def _write_outcome(self, deployment_id: int, outcome: JsonObject, digest: str) -> None:
        """Keep what was proven, should the process end before the registry knows it."""
        content = canonical_json({**outcome, PLACED: digest}).encode()
        write_file(self._outcome_path(deployment_id), content)

    def _outcome(self, what: Deployable, made: Made, proof: Proof) -> dict[str, JsonValue]:
        """Return what the registry keeps of a proven deployment."""
        return {
            **proof.to_dict(),
            "way": made.strategy.way,
            "reason": made.strategy.reason,
            "decisions": dict(made.decisions),
            TERMS: terms_of(what, self._target.server()),
        }

    def _outcome_path(self, deployment_id: int) -> Path:
        return self._registry.folder / f".deployment-{deployment_id}.json"

    def _answering(self, what: Deployable, info: ModelInfo) -> Deployed:
        return Deployed(
            version=what.version,
            runtime=self._target.name,
            name=info.name,
            digest=info.digest,
            size_bytes=info.size_bytes,
        )

    def _show(self, name: str) -> ModelInfo | None:
        try:
            return self._target.runtime.show(name)
        except ModelNotFoundError:
            return None

    def _remove(self, name: str) -> None:
        if name:
            with suppress(ModelNotFoundError):
                self._target.runtime.delete(name)


def _has_placed(begun: Deployment, digest: str, outcome: JsonObject) -> bool:
    """Tell whether what a name answers as now is what a deployment put there."""
    if not outcome or digest == begun.details.get("replaces", ""):
        return False
    return digest == outcome.get(PLACED, digest)  # earlier versions did not write the digest
