"""The way of a file to what a model is trained on: import, cleaning, data set, masks."""

from __future__ import annotations

from pathlib import Path

from fine_tuning.core.json_value import JsonObject
from fine_tuning.data_preparation.snapshot import SPLITS, Snapshot
from fine_tuning.runtimes.base_model import resolve_base_model
from fine_tuning.workbench.workbench import Workbench
from tests.real_inputs.pipeline import workbench
from tests.runtimes.models import copy_model

TRAIN_ALL: JsonObject = {"train_ratio": 1.0, "validation_ratio": 0.0, "test_ratio": 0.0}


def prepared(
    home: Path, *files: Path, base: str = "embedded", **preparation: object
) -> tuple[Workbench, Snapshot]:
    """Import files into a new workspace and make the data set of a base, all of it to train on."""
    bench = workbench(home, data_preparation={**TRAIN_ALL, **preparation})  # type: ignore[dict-item]
    for file in files:
        bench.data.importer.import_file(file)
    return bench, bench.data.prepare(resolve_base_model(base))


def masks_of(bench: Workbench, snapshot: Snapshot) -> list[str]:
    """Return what ``prepare --show`` prints: trained text stands in double brackets."""
    count = sum(len(snapshot.split(name).records) for name in SPLITS)
    return bench.data.reporter.masks(snapshot, count, ansi=False)


def trained_on(masks: list[str]) -> list[str]:
    """Return the texts trained on, without the end of turn."""
    return [
        part.partition("]]")[0].removesuffix("<|im_end|>")
        for mask in masks
        for part in mask.split("[[")[1:]
    ]


def base_with(path: Path, template: str) -> str:
    """Write the embedded model with another chat template, and return its file's name."""
    return str(copy_model(path, tokenizer__chat_template=template))
