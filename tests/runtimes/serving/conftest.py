"""A server over small models: two bases, three adapters of the first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from fine_tuning.core.ports import ModelRecipe
from fine_tuning.runtimes.embedded_runtime import EmbeddedRuntime
from fine_tuning.runtimes.loadable import LoadableModel
from fine_tuning.runtimes.serving.app import make_app
from fine_tuning.runtimes.serving.embedded_catalog import EmbeddedCatalog
from fine_tuning.runtimes.serving.pool import Pool, PoolLimits
from fine_tuning.runtimes.serving.server import serving
from tests.runtimes.tiny_chat import write_tiny_adapter, write_tiny_chat

NAMES = ("one", "two:3", "three")


class Served(NamedTuple):
    """A server, what it serves, and a plain client of it."""

    url: str
    folder: Path
    catalog: EmbeddedCatalog
    pool: Pool
    http: httpx.Client

    def chat(self, model: str, text: str, **more: Any) -> dict[str, Any]:
        body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": False}
        options = {"temperature": 0, "num_predict": 8, **more.pop("options", {})}
        answer = self.http.post("/api/chat", json={**body, "options": options, **more})
        assert answer.status_code == 200, answer.text
        value: dict[str, Any] = answer.json()
        return value


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serving")
    write_tiny_chat(folder / "base.gguf")
    write_tiny_chat(folder / "merged.gguf", seed=5)
    runtime = EmbeddedRuntime(folder / "models")
    for seed, name in enumerate(NAMES):
        adapter = write_tiny_adapter(folder / f"{seed}.gguf", seed=100 * seed)
        runtime.create(name, ModelRecipe(base=str(folder / "base.gguf"), adapter=adapter))
    runtime.create("merged", ModelRecipe(base=str(folder / "merged.gguf"), system="Be brief."))
    return folder


def catalog(folder: Path) -> EmbeddedCatalog:
    path = folder / "base.gguf"
    base = LoadableModel(name="base", base_path=path, size_bytes=path.stat().st_size)
    runtime = EmbeddedRuntime(folder / "models")
    return EmbeddedCatalog(runtime, folder / "blobs", lambda: [base])


def open_served(folder: Path, limits: PoolLimits, token: str = "") -> Iterator[Served]:
    offered = catalog(folder)
    app = make_app(offered, limits, token=token)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with (
        serving(app) as url,
        httpx.Client(base_url=url, timeout=60, trust_env=False, headers=headers) as http,
    ):
        yield Served(url, folder, offered, app.state.pool, http)


@pytest.fixture(scope="session")
def served(models: Path) -> Iterator[Served]:
    yield from open_served(models, PoolLimits(parallel=2, context_tokens=512, threads=1))
