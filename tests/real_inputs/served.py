"""A server over small models, for requests that real clients send."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from fine_tuning.runtimes.embedded_runtime import EmbeddedRuntime
from fine_tuning.runtimes.loadable import LoadableModel
from fine_tuning.runtimes.serving.app import make_app
from fine_tuning.runtimes.serving.embedded_catalog import EmbeddedCatalog
from fine_tuning.runtimes.serving.origins import Visitors
from fine_tuning.runtimes.serving.pool import PoolLimits
from fine_tuning.runtimes.serving.server import serving
from tests.data_preparation.strict_templates import HYBRID
from tests.runtimes.tiny_chat import write_tiny_chat

ROOM = 4096


@contextmanager
def served_models(
    *, token: str = "", visitors: Visitors | None = None, room: int = ROOM
) -> Iterator[httpx.Client]:
    """Serve ``handbook``, ``embedded`` (the same) and ``thinker``, whose template can think."""
    with tempfile.TemporaryDirectory(prefix="served-") as name:
        folder = Path(name)
        path = write_tiny_chat(folder / "tiny.gguf", llama__context_length=16_384)
        models = [
            LoadableModel(name=name, base_path=path, size_bytes=path.stat().st_size)
            for name in ("handbook", "embedded")
        ]
        models.append(LoadableModel(name="thinker", base_path=path, template=HYBRID))
        runtime = EmbeddedRuntime(folder / "models")
        catalog = EmbeddedCatalog(runtime, folder / "blobs", lambda: models)
        limits = PoolLimits(parallel=1, context_tokens=room, threads=1)
        app = make_app(catalog, limits, token=token, visitors=visitors)
        with (
            serving(app) as url,
            httpx.Client(base_url=url, timeout=120, trust_env=False) as client,
        ):
            yield client
