"""The Modelfile of a version: what Ollama needs to serve it, whoever creates it there.

A model from files inherits nothing, so everything the base brings is said again, and the template
its server lacks is learnt from training's own prompts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from fine_tuning.core.conversation import Message
from fine_tuning.core.errors import FineTuningError
from fine_tuning.core.run import Run
from fine_tuning.model_management.artefacts import MERGED, write_modelfile
from fine_tuning.model_management.versions import ModelVersion
from fine_tuning.runtimes.base_model import BaseModel
from fine_tuning.runtimes.base_prompts import added_stop, legacy_prompts
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.runtimes.go_template import infer_go_template
from fine_tuning.runtimes.ollama_modelfile import NO_TEMPLATE, Modelfile
from fine_tuning.runtimes.ollama_recipe import sent_again
from fine_tuning.workbench.catalog import Catalog

logger = logging.getLogger(__name__)
MODELFILE = "modelfile"
MODELFILE_NAME = "Modelfile"
PROMPT_TOKENS = 256
"""Room for the prompts a template is learnt from; none is computed."""


class TrainedPrompts(Protocol):
    """What a model was trained on: its prompts, and what ends a turn."""

    @property
    def end_of_turn(self) -> str:
        """What the template writes after a reply."""
        ...

    def prompt(self, messages: Sequence[Message]) -> str:
        """Return the prompt of messages, generation prompt included."""
        ...


class Modelfiles:
    """What makes a version servable elsewhere.

    Args:
        catalog: Base models, runs and versions.
        threads: Compute threads of the embedded runtime; None leaves them to it.
    """

    def __init__(self, catalog: Catalog, *, threads: int | None = None) -> None:
        self._catalog = catalog
        self._threads = threads

    def find(self, name: str) -> Path:
        """Return the Modelfile of a version, written anew when it is gone.

        Raises:
            ModelNotFoundError: if there is no such version, or its files were pruned.
            FineTuningError: as :meth:`write` raises.
        """
        run = self._catalog.runs.find(name)
        version = self._catalog.register.register(run)
        found = next((one.path for one in version.present if one.kind == MODELFILE), None)
        return found if found and found.is_file() else self.write(run)

    def write(
        self,
        run: Run,
        *,
        served: Modelfile | None = None,
        prompts: TrainedPrompts | None = None,
    ) -> Path:
        """Write the Modelfile of a run's version into its folder and register it.

        It names the merged file where there is one, which every version of Ollama takes, else the
        base and the adapter.

        Args:
            run: The run.
            served: What a server says of the version it serves; None takes what the base brings.
            prompts: Training's own prompts, where they are at hand.

        Returns:
            The path of the Modelfile.

        Raises:
            DataError: if a text of the base fits into no Modelfile.
            FineTuningError: if the base is gone, or llama.cpp cannot load it.
        """
        base, version = self._catalog.bases.of_run(run), self._catalog.register.register(run)
        merged = _merged_file(version)
        path = run.folder / MODELFILE_NAME
        write_modelfile(
            path,
            merged or base.path,
            self.serving_settings(base, served, prompts),
            None if merged else run.adapter_file,
        )
        self._catalog.register.registry().add_artefact(version.name, MODELFILE, path)
        return path

    def keep(
        self,
        run: Run,
        *,
        told: Callable[[], Modelfile] | None = None,
        prompts: TrainedPrompts | None = None,
    ) -> None:
        """Write the Modelfile of a version beside other work, which does not fail for it.

        Args:
            run: The run.
            told: Asks the server what it serves the version with.
            prompts: Training's own prompts, where they are at hand.
        """
        try:
            self.write(run, served=told() if told else None, prompts=prompts)
        except FineTuningError as error:
            logger.warning("run %s got no Modelfile: %s", run.run_id, error.message)

    def serving_settings(
        self,
        base: BaseModel,
        served: Modelfile | None = None,
        prompts: TrainedPrompts | None = None,
    ) -> Modelfile:
        """Return all that a model made from files needs besides them.

        Args:
            base: The base a version was trained on.
            served: What a server says of the version; None takes what the base brings.
            prompts: Training's own prompts; None renders them anew.

        Raises:
            FineTuningError: as llama.cpp raises that loads the base.
        """
        current = base.settings if served is None else served
        if current.template.strip() == NO_TEMPLATE:
            current = replace(current, template="")
        wrote = base.prompts or legacy_prompts(base)
        template = wrote.go or current.template
        stop: tuple[str, ...] = ()
        if wrote.jinja or wrote.go or not (template or current.renderer):
            learnt, turn_end = _learnt(prompts) if prompts else self._learnt_of(base)
            template = template or ("" if current.renderer else learnt)
            stop = added_stop(base, turn_end)
        again = sent_again(current, system=wrote.system, stop=stop)
        return replace(again, template=template, messages=again.messages or wrote.messages)

    def _learnt_of(self, base: BaseModel) -> tuple[str, str]:
        with EmbeddedServer(
            base.path,
            context_tokens=PROMPT_TOKENS,
            threads=self._threads,
            prompts=base.prompts or legacy_prompts(base),
        ) as server:
            return _learnt(server)


def _learnt(prompts: TrainedPrompts) -> tuple[str, str]:
    """Return the Go template of training's prompts, "" if there is none, and the turn's end."""
    return infer_go_template(prompts.prompt) or "", prompts.end_of_turn.strip()


def _merged_file(version: ModelVersion) -> Path | None:
    found = next((one.path for one in version.present if one.kind == MERGED), None)
    return found if found and found.is_file() else None
