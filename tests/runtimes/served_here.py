"""``fine-tuning serve`` over the real model, for the contract suites."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fine_tuning.runtimes.embedded_runtime import EmbeddedRuntime
from fine_tuning.runtimes.loadable import LoadableModel
from fine_tuning.runtimes.serving.app import make_app
from fine_tuning.runtimes.serving.catalog import EmbeddedCatalog
from fine_tuning.runtimes.serving.pool import PoolLimits
from fine_tuning.runtimes.serving.server import serving
from tests.runtimes.models import model_path


@contextmanager
def serving_models(folder: Path, *, context_tokens: int = 512, token: str = "") -> Iterator[str]:
    base = LoadableModel(name="base", base_path=model_path())
    catalog = EmbeddedCatalog(EmbeddedRuntime(folder / "served"), folder / "blobs", lambda: [base])
    limits = PoolLimits(parallel=1, context_tokens=context_tokens, threads=1)
    with serving(make_app(catalog, limits, token=token)) as url:
        yield url
