"""The base's weights as a run wants them: opened for it, or by someone before it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from fine_tuning.core.errors import ConfigError
from fine_tuning.core.run import SERVED_CONTEXT_TOKENS
from fine_tuning.engine.decoder import Decoder
from fine_tuning.training.fresh_adapter import folds
from fine_tuning.training.plan import TrainingPlan
from fine_tuning.training.run_folder import RunSettings
from fine_tuning.training.run_lifecycle import memory_errors


@contextmanager
def opened(settings: RunSettings, decoder: Decoder | None = None) -> Iterator[Decoder]:
    """Open the base's weights as the method wants them, in the run's arithmetic if it has one.

    Raises:
        ConfigError: if a decoder that is open already is not what this would open.
    """
    name, plan = settings.compute_dtype, settings.plan
    dtype: torch.dtype | None = getattr(torch, name) if name else None
    if decoder is not None:
        _refuse_other_decoder(decoder, settings, dtype)
        yield decoder
        return
    with memory_errors(settings, lambda: "loading the model"):
        opening = open_decoder(
            Path(settings.base_path),
            plan,
            dtype,
            settings.kernels or None,
            context_tokens=settings.context_tokens,
        )
    with opening as own:
        yield own


def open_decoder(
    path: Path,
    plan: TrainingPlan,
    dtype: torch.dtype | None,
    kernels: str | None = None,
    *,
    context_tokens: int = SERVED_CONTEXT_TOKENS,
) -> Decoder:
    """Open a base as a plan's adapter sees it; None leaves dtype and kernels to the processor.

    Args:
        path: The base.
        plan: The run's.
        dtype: Compute dtype.
        kernels: Kernel set by name.
        context_tokens: The context room it will be served with.
    """
    # A mergeable adapter learns on the weights as its merge will write them.
    requantized = partial(folds, plan) if plan.adapter == "mergeable" else None
    return Decoder.open(
        path,
        dtype=dtype,
        kernels=kernels,
        requantized=requantized,
        served_context_tokens=context_tokens,
    )


def _refuse_other_decoder(
    decoder: Decoder, settings: RunSettings, dtype: torch.dtype | None
) -> None:
    names = decoder.linear_shapes
    requantized = frozenset(name for name in names if folds(settings.plan, name))
    is_other_base = decoder.path.absolute() != Path(settings.base_path)
    if is_other_base or decoder.requantized != requantized or dtype not in (None, decoder.dtype):
        raise ConfigError(
            f"run {settings.run_id} was handed {decoder.path} open in {decoder.dtype} with "
            f"{len(decoder.requantized)} weights as a merge writes them, expected "
            f"{settings.base_path} in {dtype or decoder.dtype} with {len(requantized)}",
            next_command="open it with the trainer of this plan: trainer.open(base)",
        )
