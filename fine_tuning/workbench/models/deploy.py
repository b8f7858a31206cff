"""Deploying: from a version in the registry to a proven model a chatbot talks to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fine_tuning.core.errors import DeploymentError, FineTuningError
from fine_tuning.core.loops import DeployedVersion
from fine_tuning.core.ports import Progress, ServedModel, ServedSettings
from fine_tuning.core.run import Run
from fine_tuning.model_management.artefacts import MERGED, is_mergeable, write_merged
from fine_tuning.model_management.deploy_strategies import Way
from fine_tuning.model_management.deployment_target import Deployable
from fine_tuning.model_management.model_deployer import Deployed, Deployer
from fine_tuning.model_management.model_switcher import Switched
from fine_tuning.model_management.name_ownership import family_prefix
from fine_tuning.model_management.ollama_target import OllamaTarget
from fine_tuning.model_management.proof import LONGEST_PROMPT_TOKENS, prove
from fine_tuning.model_management.proof_parts import Proof
from fine_tuning.model_management.versions import ModelVersion, served_name
from fine_tuning.runtimes.base_model import BaseModel
from fine_tuning.runtimes.base_prompts import added_stop, legacy_prompts
from fine_tuning.runtimes.context_room import long_factors_above, room_of_base
from fine_tuning.runtimes.load_check import check_model
from fine_tuning.workbench.catalog import Catalog
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.models.aliases import Aliases
from fine_tuning.workbench.models.deployed_room import proven_room
from fine_tuning.workbench.models.engine_reference import EngineReference, open_reference
from fine_tuning.workbench.models.modelfiles import Modelfiles
from fine_tuning.workbench.models.proof_prompts import choose_prompts, has_tools

BETTER = "promote"
ARTEFACTS = "artefacts"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployResult:
    """What became of a version: where it answers, and what the chatbot's alias did."""

    deployed: Deployed
    switched: Switched | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        switched = self.switched.to_dict() if self.switched else None
        return {**self.deployed.to_dict(), "switched": switched}


class VersionDeployment:
    """Has versions served.

    Args:
        context: Settings and progress.
        catalog: Base models, data sets, runs and versions.
        aliases: The runtime, and the names a chatbot asks for.
        modelfiles: What Ollama needs to serve a version elsewhere.
    """

    def __init__(
        self, context: Context, catalog: Catalog, aliases: Aliases, modelfiles: Modelfiles
    ) -> None:
        self._context = context
        self._catalog = catalog
        self._aliases = aliases
        self._modelfiles = modelfiles

    def deploy(
        self, name: str | Run = "latest", *, way: Way | None = None, switch: bool = True
    ) -> DeployResult:
        """Serve a version, prove it, and let the chatbot's alias answer as it.

        Args:
            name: A version or a run, by its name or itself.
            way: The one way to serve it by; None tries the best first.
            switch: Move the alias ``<prefix><family>:champion`` to it.

        Returns:
            The version as it is served, and the move of the alias if there was one.

        Raises:
            ModelNotFoundError: if there is no such version.
            DeploymentError: if it could not be proven; then what was served before still is.
            RuntimeUnavailableError: if Ollama was asked for and does not answer.
        """
        target = self._aliases.target()
        run = self._catalog.runs.find(name)
        version = self._catalog.register.register(run)
        base = self._catalog.bases.of_run(run)
        if switch:
            again = f"fine-tuning deploy {version.name}"
            self._aliases.switcher().check_free(version.family, again)
        room = room_of_base(base, self._context.settings.serving.context_tokens)
        proven_in = proven_room(run, base.path, room)
        with open_reference(
            base.path,
            run.adapter_file,
            prompts=base.prompts,
            context_tokens=proven_in,
            threads=self._context.settings.training.threads,
        ) as reference:
            rotates = long_factors_above(base.path) > 0
            what = self._deployable(
                version, run, base, reference, room_tokens=proven_in if rotates else 0
            )
            prove_it = partial(self._proof, run, reference, what.settings)
            deployer = Deployer(self._catalog.register.registry(), target, prove_it)
            deployed = deployer.deploy(what, only=way, progress=self._context.progress)
            ollama = target.runtime if isinstance(target, OllamaTarget) else None
            served_settings = partial(ollama.settings, deployed.name) if ollama else None
            self._modelfiles.keep(run, told=served_settings, prompts=reference)
        switched = self._aliases.switcher().switch(version.name) if switch else None
        return DeployResult(deployed=deployed, switched=switched)

    def deploy_version(self, version: str) -> DeployedVersion:
        """Serve a version and give it to the chatbot; see :class:`core.loops.VersionDeployer`.

        Returns:
            The version, and the name to ask the runtime for.
        """
        made = self.deploy(version)
        return DeployedVersion(version=made.deployed.version, served_as=made.deployed.name)

    def deploy_if_better(self, run_name: str, outcome: str) -> DeployResult | None:
        """Deploy a run when the settings ask for it and its verdict is to promote it.

        Args:
            run_name: The run.
            outcome: What its verdict says.

        Returns:
            None when it was not the time.

        Raises:
            FineTuningError: as :meth:`deploy` raises.
        """
        if not self._context.settings.deployment.auto_deploy or outcome != BETTER:
            return None
        return self.deploy(run_name)

    def recover(self) -> list[str]:
        """Finish or undo what killed deployments left; returns a sentence for each.

        Asks no server when there is nothing to do. What cannot be done now is told, and done by the
        next deployment.
        """
        left = (
            self._catalog.register.registry().deployments.unfinished()
            if self._catalog.register.exists
            else []
        )
        if not left:
            return []
        try:
            done = Deployer(
                self._catalog.register.registry(), self._aliases.target(), _nothing_to_prove
            ).recover()
        except FineTuningError as error:
            done = [f"what was left could not be tidied yet: {error.message}"]
        still = {one.id for one in self._catalog.register.registry().deployments.unfinished()}
        return done + [
            f"the deployment of {one.version} to {one.runtime} did not end; "
            f"next: fine-tuning deploy {one.version}"
            for one in left
            if one.id in still
        ]

    def _proof(
        self,
        run: Run,
        reference: EngineReference,
        settings: ServedSettings,
        served: ServedModel,
        base: ServedModel | None,
    ) -> Proof:
        data, longest = (
            self._catalog.datasets.of_run(run),
            _longest_prompt_tokens(self._catalog.bases.of_run(run)),
        )
        chosen = choose_prompts(
            data,
            self._context.settings.evaluation.test_prompts,
            lambda messages: reference.reads(messages, longest),
        )
        return prove(
            served,
            reference,
            chosen.prompts,
            base=base,
            prompt_source=chosen.sentence,
            is_tools_trained=has_tools(data),
            longest_prompt_tokens=longest,
            settings=settings,
            progress=self._context.progress,
        )

    def _deployable(
        self,
        version: ModelVersion,
        run: Run,
        base: BaseModel,
        reference: EngineReference,
        *,
        room_tokens: int,
    ) -> Deployable:
        prompts = base.prompts or legacy_prompts(base)
        return Deployable(
            version=version.name,
            served_as=self._served_as(version),
            base_name=base.name,
            base_path=base.path,
            base_digest=base.digest(),
            adapter=run.adapter_file,
            is_mergeable=is_mergeable(run.adapter_file),
            merged=partial(self._merged, version, run, base),
            prompt=reference.prompt,
            system=prompts.system,
            parameters=dict(base.settings.parameters),
            messages=prompts.messages,
            chat_template=prompts.jinja or None,
            go_template=prompts.go,
            is_tools_trained=has_tools(self._catalog.datasets.of_run(run)),
            stop=added_stop(base, reference.end_of_turn),
            room_tokens=room_tokens,
        )

    def _served_as(self, version: ModelVersion) -> str:
        """Return the name a version gets, with the prefix its family has on this runtime."""
        prefix = family_prefix(
            self._catalog.register.registry(),
            self._aliases.target().name,
            version.family,
            self._context.settings.deployment.model_name_prefix,
        )
        return served_name(prefix, version.family, version.number)

    def _merged(
        self,
        version: ModelVersion,
        run: Run,
        base: BaseModel,
        _way: Way,
        progress: Progress | None,
    ) -> Path:
        """Return the merged file of a version, written when it is not there."""
        found = next((one.path for one in version.present if one.kind == MERGED), None)
        if found is not None and found.is_file():
            return found
        out = run.folder / ARTEFACTS / f"{MERGED}.gguf"
        write_merged(
            base.path,
            run.adapter_file,
            out,
            chat_template=base.prompts.jinja if base.prompts else "",
            progress=progress,
        )
        self._catalog.register.registry().add_artefact(version.name, MERGED, out)
        return out


def _longest_prompt_tokens(base: BaseModel) -> int:
    """Return how long a prompt must arrive whole; half of a base's room is left to replies."""
    asked = json.loads(base.parameters).get("num_ctx", 0) if base.parameters else 0
    rooms = [room for room in (check_model(base.path).context_tokens, int(asked)) if room]
    return min([LONGEST_PROMPT_TOKENS, *(room // 2 for room in rooms)])


def _nothing_to_prove(_served: ServedModel, _base: ServedModel | None) -> Proof:
    raise DeploymentError("a model was to be proven, expected only names to be tidied")
