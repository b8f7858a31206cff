"""Base models: found by name, opened, and which of the installed ones can be trained here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import psutil

from fine_tuning.config.schema import Settings
from fine_tuning.core.errors import DataError, FineTuningError, TrainingError
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.run import Run
from fine_tuning.engine.architecture import ARCHITECTURES
from fine_tuning.gguf.fingerprint import tensor_fingerprint
from fine_tuning.model_management.versions import IMPORTED
from fine_tuning.runtimes.base_model import (
    BaseModel,
    known_digest,
    list_base_models,
    resolve_base_model,
)
from fine_tuning.runtimes.base_prompts import base_prompts, legacy_prompts
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.runtimes.load_check import check_model
from fine_tuning.runtimes.prompt_record import BasePrompts
from fine_tuning.workbench.prompt_choice import decided_prompts, with_server

PROMPTS_KEY: Final = "prompts"
"""Under it manifests record what wrote the prompts, unless that is the file's own template."""
CHAT_CONTEXT_TOKENS = 4096
GIB = 1 << 30
SHARE_FOR_WORK = 0.35
"""What training keeps beside packed weights, as a share of them: activations, adapter, moments."""
FIXED_BYTES = 2 * GIB
"""What a small model needs besides its weights, the libraries included."""
USABLE_SHARE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseChoice:
    """A base model to pick; ``reason`` says in words what speaks for or against it.

    ``needed_bytes`` is a rough figure from the file's size; a forecast measures.
    """

    name: str
    source: str
    size_bytes: int
    needed_bytes: int
    can_train: bool
    fits: bool
    reason: str


class BaseModels:
    """The base models of a user.

    Args:
        settings: The settings in force.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._decided: dict[tuple[str, str], BasePrompts] = {}

    def find(self, name: str | None = None) -> BaseModel:
        """Find a base model, by default that of the settings."""
        return resolve_base_model(name or self._settings.training.base_model)

    def of_run(self, run: Run) -> BaseModel:
        """Find the base model of a run: the weights it was trained on, in whichever file.

        Raises:
            TrainingError: if that name leads to other weights by now.
        """
        base = self.find(run.base_name)
        if not self.is_base_of(base, run):
            raise TrainingError(
                f"run {run.run_id} was trained on {run.manifest['base_digest']}, and "
                f"{run.base_name} is {base.digest()} by now, whose weights are others",
                next_command="bring that base model back under its name, or fine-tuning train",
            )
        return replace(base, prompts=self._trained_prompts(base, run))

    def with_prompts(self, base: BaseModel) -> BaseModel:
        """Return a base with what writes its prompts: Ollama's TEMPLATE where it has that name.

        Raises:
            DataError: if nothing tells what prompts look like.
            FineTuningError: as the embedded runtime raises that renders some to compare.
        """
        if base.prompts is not None:
            return base
        key = (base.name, base.digest())
        if key not in self._decided:
            self._decided[key] = decided_prompts(
                base,
                self._settings.data_preparation.chat_template,
                self._settings.deployment.ollama_base_url,
                threads=self._settings.training.threads,
            )
        return replace(base, prompts=self._decided[key])

    def of_data_set(self, made_for: Mapping[str, str]) -> BaseModel:
        """Return the base of a data set, with what wrote its prompts.

        Args:
            made_for: What its manifest says of the base.
        """
        base = self.find(made_for["name"])
        recorded = made_for.get(PROMPTS_KEY)
        return replace(base, prompts=self._recorded(base, json.loads(recorded or "{}")))

    def _trained_prompts(self, base: BaseModel, run: Run) -> BasePrompts:
        recorded = run.manifest.get(PROMPTS_KEY)
        if run.method == IMPORTED and not recorded:
            with suppress(DataError):  # such a base has no template, as ever
                return base_prompts(base, self._settings.data_preparation.chat_template)
        return self._recorded(base, recorded or {})

    def _recorded(self, base: BaseModel, recorded: JsonObject) -> BasePrompts:
        if not recorded:
            return legacy_prompts(base)
        prompts = BasePrompts.from_dict(recorded)
        return with_server(prompts, base, self._settings.deployment.ollama_base_url)

    def is_base_of(self, base: BaseModel, run: Run) -> bool:
        """Tell whether a run was trained on the weights of a base; a rewritten file counts."""
        if base.digest() == run.base_digest:
            return True
        fingerprint = self.fingerprint_of(run)
        return bool(fingerprint) and fingerprint == base.fingerprint()

    def have_one_base(self, one: Run, other: Run) -> bool:
        """Tell whether two runs were trained on the same weights."""
        if one.base_digest == other.base_digest:
            return True
        fingerprint = self.fingerprint_of(one)
        return bool(fingerprint) and fingerprint == self.fingerprint_of(other)

    def fingerprint_of(self, run: Run) -> str:
        """Return the fingerprint of the tensors a run was trained on.

        Runs of earlier versions did not record it: there it is that of the file they name, while
        that is unchanged.

        Returns:
            "" where it cannot be known any more.
        """
        path = Path(run.manifest.get("base_path", ""))
        if run.base_fingerprint or not path.is_file():
            return run.base_fingerprint
        try:
            is_unchanged = known_digest(path) == run.base_digest
            return tensor_fingerprint(path) if is_unchanged else ""
        except (OSError, FineTuningError):
            return ""

    def open(
        self, base: BaseModel, adapter: Path | None = None, *, name: str = ""
    ) -> EmbeddedServer:
        """Load a model into the embedded runtime under a name, by default the base's.

        Raises:
            DataError: if nothing tells what the base's prompts look like.
            FineTuningError: as the embedded runtime raises.
        """
        base = self.with_prompts(base)
        return EmbeddedServer(
            base.path,
            adapter=adapter,
            context_tokens=CHAT_CONTEXT_TOKENS,
            threads=self._settings.training.threads,
            prompts=base.prompts,
            name=name or base.name,
            reuse_prompt=True,
        )

    def choices(self) -> list[BaseChoice]:
        """Return what is installed, the embedded model first, and the settings' own file."""
        found = {model.name: model for model in list_base_models()}
        wanted = self._settings.training.base_model
        if wanted not in found:
            with suppress(FineTuningError):  # not installed: not to be picked
                found[wanted] = resolve_base_model(wanted)
        return [_choice(model) for model in found.values()]


def recorded_base(base: BaseModel) -> dict[str, str]:
    """Return what a data set's manifest says of its base.

    Args:
        base: The base, its prompts decided.
    """
    known = {"name": base.name, "digest": base.digest()}
    if base.prompts is None or base.prompts.is_own:
        return known
    return {**known, PROMPTS_KEY: json.dumps(base.prompts.to_dict(), ensure_ascii=False)}


def _choice(model: BaseModel) -> BaseChoice:
    needed = int(model.size_bytes * (1 + SHARE_FOR_WORK)) + FIXED_BYTES
    total = psutil.virtual_memory().total
    fits = needed <= USABLE_SHARE * total
    refusal = _refusal(model.path)
    if refusal:
        reason = refusal
    elif fits:
        reason = f"fits: about {needed / GIB:.1f} of {total / GIB:.0f} GiB"
    else:
        reason = f"too large: about {needed / GIB:.1f} GiB, and this machine has {total / GIB:.0f}"
    return BaseChoice(
        name=model.name,
        source=model.source,
        size_bytes=model.size_bytes,
        needed_bytes=needed,
        can_train=not refusal,
        fits=fits and not refusal,
        reason=reason,
    )


def _refusal(path: Path) -> str:
    """Return why a model cannot be trained; "" if its kind can."""
    try:
        kind = check_model(path).architecture
    except FineTuningError as error:
        return error.message
    return "" if kind in ARCHITECTURES else f"models of kind {kind} cannot be trained yet"
