"""Models to talk to: their names, which one answers a session, and how each is opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fine_tuning.core.errors import ModelNotFoundError
from fine_tuning.core.json_value import number_at
from fine_tuning.core.ports import ChatModel
from fine_tuning.model_management.embedded_target import NAME
from fine_tuning.model_management.ollama_target import OllamaTarget
from fine_tuning.runtimes.context_room import room_like
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.runtimes.embedded_runtime import EmbeddedRuntime
from fine_tuning.workbench.base_models import CHAT_CONTEXT_TOKENS
from fine_tuning.workbench.catalog import Catalog
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.models.aliases import Aliases
from fine_tuning.workbench.runs import DEMO


class ModelAccess:
    """Opens models to talk to.

    Args:
        context: Settings and workspace.
        catalog: Base models, runs and versions.
        aliases: Which model answers a session.
    """

    def __init__(self, context: Context, catalog: Catalog, aliases: Aliases) -> None:
        self._context = context
        self._catalog = catalog
        self._aliases = aliases

    def chatbot_models(self) -> list[str]:
        """Return the names a chatbot can ask its runtime for, those made here first."""
        names = [info.name for info in self._aliases.target().runtime.list()]
        prefix = self._context.settings.deployment.model_name_prefix
        ours = [name for name in names if prefix and name.startswith(prefix)]
        return sorted(ours) + sorted(set(names) - set(ours))

    def chatbot_model(self, session_id: str = "") -> str:
        """Return the name that answers a session: the family's alias, or its challenger.

        Before anything was deployed it is the base model of the settings.
        """
        if not self._aliases.all_aliases():
            return self._context.settings.training.base_model
        return (
            self._aliases.router(self._context.settings.deployment.family).route(session_id).model
        )

    @contextmanager
    def open_served(self, name: str) -> Iterator[ChatModel]:
        """Open a model of the runtime to talk to.

        Raises:
            ModelNotFoundError: if it has no model of that name.
            RuntimeUnavailableError: if Ollama was asked for or is in use, and does not answer.
        """
        target = self._aliases.target()
        if isinstance(target, OllamaTarget):
            yield target.runtime.served(target.runtime.show(name).name)
        else:
            with self._open_here(name) as server:
                yield server.chat_model

    def open_chat(self, name: str | None) -> EmbeddedServer:
        """Load what a user wants to talk to.

        Args:
            name: A run, a version (see :class:`RunLocator`) or a base model; None takes the
                newest run, and without one the base model of the settings.

        Returns:
            A server that holds the model until it is closed.

        Raises:
            ModelNotFoundError: if neither a run nor a base model has that name.
        """
        try:
            run = self._catalog.runs.find(name or "latest")
        except ModelNotFoundError as no_run:
            try:
                return self._catalog.bases.open(self._catalog.bases.find(name))
            except ModelNotFoundError as no_base:
                if name is None:
                    raise ModelNotFoundError(
                        f"no run is finished yet, and {no_base.message}",
                        next_command="fine-tuning chat --model embedded, or fine-tuning demo",
                    ) from no_base
                if name == DEMO:
                    raise no_run from no_base
                raise ModelNotFoundError(
                    f"{no_run.message}; nor is it a base model: {no_base.message}",
                    next_command=no_base.next_command,
                ) from no_base
        base = self._catalog.bases.of_run(run)
        return self._catalog.bases.open(base, run.adapter_file, name=f"{run.run_id} on {base.name}")

    def _open_here(self, name: str) -> EmbeddedServer:
        """Load what the embedded runtime serves by a name, else what else has it."""
        runtime = EmbeddedRuntime(self._context.workspace.models / NAME)
        try:
            model = runtime.loadable(name)
        except ModelNotFoundError:
            return self.open_chat(name)
        parameters, settings = model.parameters, self._context.settings
        room = room_like(model.base_path, CHAT_CONTEXT_TOKENS, settings.serving.context_tokens)
        return runtime.open_chat(
            name,
            context_tokens=int(number_at(parameters, "num_ctx") or room),
            threads=int(number_at(parameters, "num_thread") or 0) or settings.training.threads,
            reuse_prompt=True,
        )
