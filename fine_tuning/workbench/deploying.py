"""Deploying: from a version in the registry to a proven model a chatbot talks to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fine_tuning.core.errors import DeploymentError, FineTuningError, ModelNotFoundError
from fine_tuning.core.ports import ChatModel, Progress, ServedModel
from fine_tuning.core.run import Run
from fine_tuning.model_management.artefacts import MERGED, is_mergeable, write_merged
from fine_tuning.model_management.deployment_target import Deployable
from fine_tuning.model_management.embedded_target import NAME
from fine_tuning.model_management.ladder import Way
from fine_tuning.model_management.model_deployer import Deployed, Deployer
from fine_tuning.model_management.model_switcher import Switched
from fine_tuning.model_management.ollama_target import OllamaTarget
from fine_tuning.model_management.proof import LONGEST_PROMPT_TOKENS, prove
from fine_tuning.model_management.proof_parts import Proof
from fine_tuning.model_management.versions import ModelVersion, served_name
from fine_tuning.runtimes.base_model import BaseModel
from fine_tuning.runtimes.embedded import EmbeddedServer, missing_template
from fine_tuning.runtimes.embedded_runtime import EmbeddedRuntime
from fine_tuning.runtimes.load_check import check_model
from fine_tuning.workbench.base import CHAT_CONTEXT_TOKENS
from fine_tuning.workbench.engine_reference import EngineReference, open_reference
from fine_tuning.workbench.modelfiles import Modelfiles
from fine_tuning.workbench.models import Models
from fine_tuning.workbench.proof_prompts import choose_prompts, has_tools

BETTER = "promote"
ARTEFACTS = "artefacts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What became of a version: where it answers, and what the chatbot's alias did."""

    deployed: Deployed
    switched: Switched | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        switched = self.switched.to_dict() if self.switched else None
        return {**self.deployed.to_dict(), "switched": switched}


class Deploying(Models, Modelfiles):
    """What a user does to have a version served."""

    def deploy(
        self, name: str | Run = "latest", *, way: Way | None = None, switch: bool = True
    ) -> Deployment:
        """Serve a version, prove it, and let the chatbot's alias answer as it.

        Args:
            name: A version or a run, by its name or itself.
            way: The one way to serve it by; None tries the best first.
            switch: Move the alias ``<prefix><family>:champion`` to it.

        Raises:
            ModelNotFoundError: if there is no such version.
            DeploymentError: if it could not be proven; then what was served before still is.
            RuntimeUnavailableError: if Ollama was asked for and does not answer.
        """
        target = self.target()
        run = self.find_run(name)
        version = self.register_run(run)
        base = self.base_of(run)
        with open_reference(
            base.path,
            run.adapter_file,
            system=base.system,
            threads=self.settings.training.threads,
        ) as reference:
            deployer = Deployer(self.registry(), target, partial(self._proof, run, reference))
            deployed = deployer.deploy(
                self._deployable(version, run, base, reference), only=way, progress=self.progress
            )
            ollama = target.runtime if isinstance(target, OllamaTarget) else None
            told = partial(ollama.settings, deployed.name) if ollama else None
            self.keep_modelfile(run, told=told, prompts=reference)
        switched = self.switch(version.name) if switch else None
        return Deployment(deployed=deployed, switched=switched)

    def deploy_if_better(self, run_name: str, outcome: str) -> Deployment | None:
        """Deploy a run when the settings ask for it and its verdict is to promote it.

        Returns:
            None when it was not the time.

        Raises:
            FineTuningError: as :meth:`deploy` raises.
        """
        if not self.settings.deployment.auto_deploy or outcome != BETTER:
            return None
        return self.deploy(run_name)

    # What a chatbot asks for

    def chatbot_models(self) -> list[str]:
        """Return the names a chatbot can ask its runtime for, those made here first."""
        names = [info.name for info in self.target().runtime.list()]
        prefix = self.settings.deployment.model_name_prefix
        ours = [name for name in names if prefix and name.startswith(prefix)]
        return sorted(ours) + sorted(set(names) - set(ours))

    def chatbot_model(self, session_id: str = "") -> str:
        """Return the name that answers a session: the family's alias, or its challenger.

        Before anything was deployed it is the base model of the settings.
        """
        if not self.pointings():
            return self.settings.training.base_model
        return self.router(self.settings.deployment.family).route(session_id).model

    @contextmanager
    def open_served(self, name: str) -> Iterator[ChatModel]:
        """Open a model of the runtime to talk to.

        Raises:
            ModelNotFoundError: if it has no model of that name.
            RuntimeUnavailableError: if Ollama was asked for or is in use, and does not answer.
        """
        target = self.target()
        if isinstance(target, OllamaTarget):
            yield target.runtime.served(target.runtime.show(name).name)
        else:
            with self._open_here(name) as server:
                yield server.chat_model

    def recover_deployments(self) -> list[str]:
        """Finish or undo what killed deployments left; returns a sentence for each.

        Asks no server when there is nothing to do. What cannot be done now is told, and done by the
        next deployment.
        """
        left = self.registry().deployments.unfinished() if self.has_registry else []
        if not left:
            return []
        try:
            done = Deployer(self.registry(), self.target(), _nothing_to_prove).recover()
        except FineTuningError as error:
            done = [f"what was left could not be tidied yet: {error.message}"]
        still = {one.id for one in self.registry().deployments.unfinished()}
        return done + [
            f"the deployment of {one.version} to {one.runtime} did not end; "
            f"next: fine-tuning deploy {one.version}"
            for one in left
            if one.id in still
        ]

    def version_of(self, name: str | Run) -> ModelVersion:
        """Find a version by its name or by its run.

        Raises:
            ModelNotFoundError: if there is none.
        """
        run = self.find_run(name)
        return self.register_run(run)

    def _open_here(self, name: str) -> EmbeddedServer:
        """Load what the embedded runtime serves by a name, else what else has it."""
        runtime = EmbeddedRuntime(self.workspace.models / NAME)
        try:
            parameters = runtime.loadable(name).parameters
        except ModelNotFoundError:
            return self.open_chat(name)
        return runtime.open_chat(
            name,
            context_tokens=parameters.get("num_ctx") or CHAT_CONTEXT_TOKENS,
            threads=parameters.get("num_thread") or self.settings.training.threads,
            reuse_prompt=True,
        )

    def _proof(
        self,
        run: Run,
        reference: EngineReference,
        served: ServedModel,
        base: ServedModel | None,
    ) -> Proof:
        data, longest = self.data_of(run), _longest_prompt_tokens(self.base_of(run))
        chosen = choose_prompts(
            data,
            self.settings.evaluation.test_prompts,
            lambda messages: reference.reads(messages, longest),
        )
        return prove(
            served,
            reference,
            chosen.prompts,
            base=base,
            told=chosen.sentence,
            is_tools_trained=has_tools(data),
            longest_prompt_tokens=longest,
            progress=self.progress,
        )

    def _deployable(
        self, version: ModelVersion, run: Run, base: BaseModel, reference: EngineReference
    ) -> Deployable:
        has_template = check_model(base.path).has_chat_template
        return Deployable(
            version=version.name,
            served_as=served_name(
                self.settings.deployment.model_name_prefix, version.family, version.number
            ),
            base_name=base.name,
            base_path=base.path,
            base_digest=base.digest(),
            adapter=run.adapter_file,
            is_mergeable=is_mergeable(run.adapter_file),
            merged=partial(self._merged, version, run, base),
            prompt=reference.prompt,
            system=base.system,
            is_tools_trained=has_tools(self.data_of(run)),
            # A template that is not the model's own may end turns with a text that is no token.
            stop=() if has_template else (reference.end_of_turn.strip(),),
        )

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
            chat_template=missing_template(check_model(base.path)),
            progress=progress,
        )
        self.registry().add_artefact(version.name, MERGED, out)
        return out


def _longest_prompt_tokens(base: BaseModel) -> int:
    """Return how long a prompt must arrive whole; half of a base's room is left to replies."""
    asked = json.loads(base.parameters).get("num_ctx", 0) if base.parameters else 0
    rooms = [room for room in (check_model(base.path).context_tokens, int(asked)) if room]
    return min([LONGEST_PROMPT_TOKENS, *(room // 2 for room in rooms)])


def _nothing_to_prove(_served: ServedModel, _base: ServedModel | None) -> Proof:
    raise DeploymentError("a model was to be proven, expected only names to be tidied")
