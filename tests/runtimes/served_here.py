"""``fine-tuning serve`` over the real model, for the contract suites."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from fine_tuning.runtimes.embedded_runtime import EmbeddedRuntime
from fine_tuning.runtimes.loadable import LoadableModel
from fine_tuning.runtimes.serving.app import make_app
from fine_tuning.runtimes.serving.embedded_catalog import EmbeddedCatalog
from fine_tuning.runtimes.serving.local import LocalModels
from fine_tuning.runtimes.serving.pool import PoolLimits
from fine_tuning.runtimes.serving.server import serving
from tests.runtimes.models import model_path


@contextmanager
def serving_models(folder: Path, *, context_tokens: int = 512, token: str = "") -> Iterator[str]:
    limits = PoolLimits(parallel=1, context_tokens=context_tokens, threads=1)
    with serving(make_app(_catalog(folder), limits, token=token)) as url:
        yield url


@contextmanager
def local_models(folder: Path, *, context_tokens: int = 512) -> Iterator[LocalModels]:
    limits = PoolLimits(parallel=1, context_tokens=context_tokens, threads=1)
    with closing(LocalModels(_catalog(folder), limits)) as models:
        yield models


def _catalog(folder: Path) -> EmbeddedCatalog:
    base = LoadableModel(name="base", base_path=model_path())
    return EmbeddedCatalog(EmbeddedRuntime(folder / "served"), folder / "blobs", lambda: [base])
