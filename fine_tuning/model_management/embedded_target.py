"""Deployment to the embedded runtime, when no Ollama answers: base and adapter side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version

from fine_tuning.core.ports import ModelRecipe, Progress, ServedModel
from fine_tuning.model_management.deploy_strategies import DeployStrategy, Way, deploy_strategies
from fine_tuning.model_management.deployment_target import Deployable, Made
from fine_tuning.runtimes.embedded_runtime import EmbeddedRuntime
from fine_tuning.runtimes.embedded_served import EmbeddedServedModel

NAME = "embedded"
LLAMA_CPP = "xllamacpp"


class EmbeddedTarget:
    """The embedded runtime of a workspace (model_management.deployment_target.DeploymentTarget).

    Args:
        runtime: The runtime.
        reason: Why it is used.
    """

    def __init__(self, runtime: EmbeddedRuntime, *, reason: str) -> None:
        self._runtime = runtime
        self._reason = reason

    @property
    def name(self) -> str:
        """What the registry calls this runtime."""
        return NAME

    @property
    def runtime(self) -> EmbeddedRuntime:
        """The runtime."""
        return self._runtime

    def server(self) -> str:
        """Return the version of llama.cpp in this process."""
        return f"llama.cpp of {LLAMA_CPP} {version(LLAMA_CPP)}"

    def strategies(self, what: Deployable, only: Way | None) -> Sequence[DeployStrategy]:
        """Return the one way: llama.cpp applies adapters exactly."""
        return deploy_strategies(
            takes_adapters=True,
            adapters_reason=self._reason,
            is_mergeable=what.is_mergeable,
            only=only or "adapter",
            version=what.version,
        )

    def make(
        self, name: str, strategy: DeployStrategy, what: Deployable, progress: Progress | None
    ) -> Made:
        """Make a model; it loads, and renders by the template training used.

        Raises:
            DeploymentError: if it does not load.
        """
        is_beside = strategy.way == "adapter"
        base = what.base_path if is_beside else what.merged(strategy.way, progress)
        recipe = ModelRecipe(
            base=str(base),
            adapter=what.adapter if is_beside else None,
            template=what.chat_template,
            go_template=what.go_template,
            messages=what.messages,
            system=what.system or None,
            parameters=what.settings.parameters,
        )
        self._runtime.create(name, recipe, progress)
        return Made(
            strategy=strategy, decisions={"server": "llama.cpp in this process", "base": str(base)}
        )

    @contextmanager
    def served(self, name: str) -> Iterator[ServedModel]:
        """Load a model, and free it afterwards."""
        with self._runtime.open_chat(name) as server:
            yield EmbeddedServedModel(server)

    def base_served(self, what: Deployable) -> ServedModel | None:
        """Return nothing: prompts are rendered by training's own template, with tools, too."""
        del what
        return None
