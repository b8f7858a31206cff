"""Base models: found by name, opened, and which of the installed ones can be trained here."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from fine_tuning.config.schema import Settings
from fine_tuning.core.errors import FineTuningError, TrainingError
from fine_tuning.core.run import Run
from fine_tuning.engine.architecture import ARCHITECTURES
from fine_tuning.gguf.fingerprint import tensor_fingerprint
from fine_tuning.runtimes.base_model import (
    BaseModel,
    known_digest,
    list_base_models,
    resolve_base_model,
)
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.runtimes.load_check import check_model

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
        return base

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
        """Load a model into the embedded runtime under a name, by default the base's."""
        return EmbeddedServer(
            base.path,
            adapter=adapter,
            context_tokens=CHAT_CONTEXT_TOKENS,
            threads=self._settings.training.threads,
            system=base.system,
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
