"""Chooses the runtime tuned models are deployed to: Ollama where one answers, else llama.cpp here.

The choice comes with its reason, and both are shown.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from fine_tuning.config.schema import DeploymentSettings
from fine_tuning.core.errors import RuntimeUnavailableError
from fine_tuning.core.run import SERVED_CONTEXT_TOKENS
from fine_tuning.model_management.deployment_target import DeploymentTarget
from fine_tuning.model_management.embedded_target import NAME, EmbeddedTarget
from fine_tuning.model_management.ollama_target import OllamaTarget
from fine_tuning.runtimes.embedded_runtime import EmbeddedRuntime
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_runtime import OllamaRuntime


def open_target(
    deployment: DeploymentSettings,
    models: Path,
    *,
    used: Collection[str] = (),
    context_tokens: int = SERVED_CONTEXT_TOKENS,
) -> DeploymentTarget:
    """Return the runtime to deploy to.

    Args:
        deployment: The settings.
        models: The workspace's folder of models.
        used: Names of runtimes that serve models of this workspace already: one of them is not
            left because it does not answer at the moment.
        context_tokens: Room that llama.cpp here gives models that ask for none.

    Raises:
        RuntimeUnavailableError: if Ollama was asked for or is in use, and does not answer.
        RuntimeFailedError: if it answers with errors.
    """
    embedded = EmbeddedRuntime(models / NAME, context_tokens=context_tokens)
    if deployment.runtime == "embedded":
        return EmbeddedTarget(embedded, reason="deployment.runtime is embedded")
    ollama = OllamaRuntime(OllamaClient(deployment.ollama_base_url))
    try:
        ollama.facts()
    except RuntimeUnavailableError as error:
        ollama.client.close()
        if deployment.runtime == "ollama" or ollama.name in used:
            raise
        return EmbeddedTarget(
            embedded, reason=f"{error.message}, so llama.cpp in this process serves"
        )
    return OllamaTarget(ollama)
