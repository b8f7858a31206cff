"""Which base models are installed, which of them can be trained, and which fit this machine."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from fine_tuning.core.errors import FineTuningError
from fine_tuning.runtimes.base_model import BaseModel, list_base_models, resolve_base_model
from fine_tuning.runtimes.load_check import check_model
from fine_tuning.workbench.base import WorkbenchBase

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


class BaseChoices(WorkbenchBase):
    """What a user picks a base model by."""

    def base_choices(self) -> list[BaseChoice]:
        """Return what is installed, the embedded model first, and the settings' own file."""
        found = {model.name: model for model in list_base_models()}
        wanted = self.settings.training.base_model
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
    from fine_tuning.engine.architecture import ARCHITECTURES  # noqa: PLC0415 - torch is slow to load

    try:
        kind = check_model(path).architecture
    except FineTuningError as error:
        return error.message
    return "" if kind in ARCHITECTURES else f"models of kind {kind} cannot be trained yet"
