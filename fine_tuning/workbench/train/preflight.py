"""Preflight: what would spoil a training, found before it begins, each with what helps."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.data_account import DataAccount
from fine_tuning.core.errors import DataError, FineTuningError, OutOfMemoryError
from fine_tuning.core.finding import Finding
from fine_tuning.data_collection.cleaning import Cleaning
from fine_tuning.data_collection.cleaning_steps import STEP_NAMES
from fine_tuning.data_collection.data_cleaner import DataCleaner
from fine_tuning.data_collection.recording_checks import left_private, recorded_findings
from fine_tuning.data_preparation.data_set_checks import data_set_findings
from fine_tuning.data_preparation.formatter import examples_from
from fine_tuning.data_preparation.manifest import DatasetManifest
from fine_tuning.data_preparation.preparation_account import preparation_accounts
from fine_tuning.data_preparation.snapshot import Snapshot
from fine_tuning.runtimes.base_model import BaseModel
from fine_tuning.workbench.base_models import BaseModels
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.data.cleaning_pipeline import kept_of
from fine_tuning.workbench.data.data import Data

if TYPE_CHECKING:
    from fine_tuning.training.forecast import Forecast

GIB = 1 << 30


class Preflight:
    """What a user looks at last before training.

    Args:
        context: Settings and progress.
        data: Cleans and prepares.
        bases: The base models.
        forecast: Computes what memory and disk a training on a data set would take.
    """

    def __init__(
        self,
        context: Context,
        data: Data,
        bases: BaseModels,
        forecast: Callable[[Snapshot, BaseModel], Forecast],
    ) -> None:
        self._context = context
        self._data = data
        self._bases = bases
        self._forecast = forecast

    def check(self, base: BaseModel | None = None) -> list[Finding]:
        """Check the recorded conversations, and the data set they would make; keeps nothing.

        Args:
            base: The model the data set is for; None takes that of the settings, and without one
                what concerns tokens is left out and said.
        """
        run = self._data.pipeline.stream()
        kept = list(kept_of(run))
        if not kept:
            return recorded_findings(run.counts, 0)
        # Without a data set: what cleaning leaves. With one: what masking and cutting leave of it.
        pairs = sum(len(example.targets) for example in examples_from(kept))
        prepared: list[DataAccount] = []
        try:
            manifest, more = self._data_set_findings(base or self._bases.find(), kept, run)
            prepared = preparation_accounts(manifest)
            pairs = prepared[-1].kept
        except FineTuningError as error:
            more = [_not_checked(error)]
        found = recorded_findings(run.counts, pairs, prepared)
        return [*found, left_private(kept), *more]

    def _data_set_findings(
        self, base: BaseModel, kept: list[Conversation], run: Cleaning
    ) -> tuple[DatasetManifest, list[Finding]]:
        """Return the manifest of the data set there would be, and what is found in it."""
        base = self._bases.with_prompts(base)
        with tempfile.TemporaryDirectory() as folder:
            with self._bases.open(base) as server:
                builder = self._data.builder(base, server, run.clusters)
                snapshot = builder.build(kept, Path(folder), progress=self._context.progress)
                near = self._clusters_of(kept)
                found = data_set_findings(
                    snapshot, builder.recipe, lambda name: near.get(name, name)
                )
            found += _prompt_remark(base)
            # Asked when the server's memory is free again, as it is when training begins.
            return snapshot.manifest, [*found, self._room(snapshot, base)]

    def _room(self, snapshot: Snapshot, base: BaseModel) -> Finding:
        """Tell whether training on a data set fits into memory and onto the disk."""
        try:
            forecast = self._forecast(snapshot, base)
        except OutOfMemoryError as error:
            return Finding(
                check="memory",
                severity="stop",
                title=f"Memory error during training: {error.message}",
                fix=error.next_command,
            )
        except FineTuningError as error:
            return Finding(
                check="training", severity="stop", title=error.message, fix=error.next_command
            )
        numbers = {
            "needed_bytes": forecast.peak_memory_bytes,
            "budget_bytes": forecast.memory.budget_bytes,
            "disk_bytes": forecast.disk_bytes,
        }
        return Finding(
            check="memory",
            severity="good",
            title=f"training fits: {forecast.peak_memory_bytes / GIB:.1f} GiB of memory of "
            f"{forecast.memory.budget_bytes / GIB:.1f} GiB, "
            f"{forecast.disk_bytes / 1e6:.0f} MB on disk",
            detail=forecast.memory.reason,
            numbers=numbers,
        )

    def _clusters_of(self, kept: list[Conversation]) -> dict[str, str]:
        """Return the near-duplicate clusters of conversations, whatever cleaning did before."""
        similarity = self._context.settings.data_collection.near_duplicate_similarity
        looking = DataCleaner(similarity=similarity, skip=STEP_NAMES)
        run = looking.stream(kept)
        for _ in run:
            pass
        return run.clusters


def _not_checked(error: FineTuningError) -> Finding:
    """Return why there is no data set to check; one that cannot be made stops a training."""
    if isinstance(error, DataError):
        return Finding(check="tokens", severity="stop", title=error.message, fix=error.next_command)
    return Finding(
        check="tokens",
        severity="warning",
        title="tokens, masks and splits were not checked",
        detail=error.message,
        fix=error.next_command or "name a base model with --base, such as embedded",
    )


def _prompt_remark(base: BaseModel) -> list[Finding]:
    """Tell what was decided about the prompts, if the user should know."""
    remark = base.prompts.remark if base.prompts else ""
    return [Finding(check="prompts", severity="note", title=remark)] if remark else []
