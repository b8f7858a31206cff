"""Models: what a user talks to, and what becomes of a run that is good."""

from __future__ import annotations

from fine_tuning.core.errors import ModelNotFoundError
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.workbench.base import WorkbenchBase
from fine_tuning.workbench.runs import DEMO


class Models(WorkbenchBase):
    """What a user does with models."""

    def open_chat(self, name: str | None) -> EmbeddedServer:
        """Load what a user wants to talk to.

        Args:
            name: A run (see :meth:`find_run`) or a base model; None takes the newest run, and
                without one the base model of the settings.

        Raises:
            ModelNotFoundError: if neither a run nor a base model has that name.
        """
        try:
            run = self.find_run(name or "latest")
        except ModelNotFoundError as no_run:
            try:
                return self.open_model(self.base_model(name))
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
        base = self.base_of(run)
        return self.open_model(base, run.adapter_path, name=f"{run.run_id} on {base.name}")
