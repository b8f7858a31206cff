"""Serving without Ollama: the workspace's models over HTTP, on this machine or with a token."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from fine_tuning.core.errors import FineTuningError, ModelNotFoundError
from fine_tuning.core.extras import require
from fine_tuning.core.naming import content_name
from fine_tuning.model_management.embedded_target import NAME
from fine_tuning.runtimes.announcing import announced
from fine_tuning.runtimes.base_model import BaseModel, list_base_models
from fine_tuning.runtimes.embedded_runtime import EmbeddedRuntime
from fine_tuning.runtimes.go_templates.prompts import go_template
from fine_tuning.runtimes.loadable import LoadableModel
from fine_tuning.runtimes.serving.embedded_catalog import EmbeddedCatalog
from fine_tuning.runtimes.serving.listening import is_loopback, listen
from fine_tuning.runtimes.serving.pool import PoolLimits
from fine_tuning.runtimes.token_file import read_token
from fine_tuning.workbench.base_models import BaseModels
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.runs import finished_runs

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from fine_tuning.runtimes.serving.local import LocalModels

logger = logging.getLogger(__name__)

GIB = 1 << 30
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - how every address is reached from here
TOKEN_FILE = "serve.token"  # noqa: S105 - a file's name


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedAt:
    """Where a server answers, and what it offers; ``token_file`` None lets this machine in."""

    url: str
    models: tuple[str, ...]
    token_file: Path | None


class ModelServer:
    """Lets programs, and this process, talk to the workspace's models on the embedded runtime.

    Args:
        context: Settings and workspace.
        bases: The base models.
    """

    def __init__(self, context: Context, bases: BaseModels) -> None:
        self._settings = context.settings
        self._workspace = context.workspace
        self._bases = bases

    def serve(
        self,
        *,
        host: str | None = None,
        port: int | None = None,
        token_file: Path | None = None,
        started: Callable[[ServedAt], None] | None = None,
    ) -> None:
        """Answer as Ollama and as OpenAI would, until Ctrl-C.

        Args:
            host: The address to listen on; None takes the setting.
            port: The port; None takes the setting, 0 a free one.
            token_file: The file of the token every request must bring. None asks for none on this
                machine's own address, and elsewhere takes ``serve.token`` in the workspace, which
                is made when it is not there.
            started: Told once requests are answered.

        Raises:
            MissingDependencyError: if a library of the extra ``serve`` is not installed.
            RuntimeUnavailableError: if the port is taken.
            ConfigError: if the token's file can be read by others.
        """
        require("serve")
        # The web server's libraries are of no use to any other verb.
        from fine_tuning.runtimes.serving.server import serve  # noqa: PLC0415

        settings = self._settings.serving
        host = host or settings.host
        if token_file is None and not is_loopback(host):
            token_file = self._workspace.home / TOKEN_FILE
        token = read_token(token_file) if token_file else ""
        catalog = self._catalog()
        listening = listen(host, settings.port if port is None else port)
        names = tuple(model.name for model in catalog.models())
        app = self._app(catalog, token)
        here = _url(LOOPBACK.get(host, host), listening)
        with announced(self._workspace.models / NAME, here, token_file):
            if started:
                url = _url(host, listening)
                started(ServedAt(url=url, models=names, token_file=token_file))
            serve(app, listening)

    def local_models(self) -> LocalModels:
        """Return the models to talk to in this process; none is loaded yet.

        Raises:
            MissingDependencyError: if the embedded runtime's library is not installed.
        """
        require("train", "xllamacpp")
        from fine_tuning.runtimes.serving.local import LocalModels  # noqa: PLC0415 - as above

        return LocalModels(self._catalog(), self._limits())

    def servable_name(self, name: str) -> str:
        """Return the name a base model, a run or a deployed model is served by.

        Raises:
            ModelNotFoundError: if there is none of that name.
        """
        catalog = self._catalog()
        try:
            return catalog.find(name).name
        except ModelNotFoundError:
            return catalog.find(self._bases.find(name).name).name

    def _catalog(self) -> EmbeddedCatalog:
        folder = self._workspace.models / NAME
        return EmbeddedCatalog(EmbeddedRuntime(folder), folder / ".blobs", self._other_models)

    def _app(self, catalog: EmbeddedCatalog, token: str) -> Starlette:
        from fine_tuning.runtimes.serving.app import make_app  # noqa: PLC0415 - as above
        from fine_tuning.runtimes.serving.origins import Visitors  # noqa: PLC0415 - as above

        visitors = Visitors(self._settings.serving.origins, self._settings.serving.hosts)
        return make_app(catalog, self._limits(), token=token, visitors=visitors)

    def _limits(self) -> PoolLimits:
        settings = self._settings.serving
        memory_gib = settings.memory_gib or psutil.virtual_memory().total / GIB / 2
        return PoolLimits(
            parallel=settings.parallel,
            context_tokens=settings.context_tokens,
            memory_bytes=int(memory_gib * GIB),
            max_waiting=settings.max_waiting,
            threads=self._settings.training.threads,
        )

    def _other_models(self) -> list[LoadableModel]:
        """Return what can be asked besides deployed models: finished runs, and base models."""
        found: list[LoadableModel] = []
        for run in reversed(finished_runs(self._workspace)):
            try:
                base = self._bases.of_run(run)
            except FineTuningError:
                continue  # its base is gone or another by now
            found.append(_loadable(base, name=run.run_id, adapter=run.adapter_file))
        server = self._settings.deployment.ollama_base_url
        bases = {base.name: base for base in list_base_models(server=server)}
        with suppress(FineTuningError):  # the one of the settings may lie anywhere, or nowhere
            own = self._bases.find()
            bases.setdefault(own.name, own)
        return [*found, *(_loadable(base, name=base.name) for base in bases.values())]


def _loadable(base: BaseModel, *, name: str, adapter: Path | None = None) -> LoadableModel:
    changed_s = (adapter or base.path).stat().st_mtime
    named = [str(base.path), base.size_bytes, str(adapter or ""), changed_s]
    return LoadableModel(
        name=name,
        base_path=base.path,
        adapter_path=adapter,
        # A run is served by the template it was trained on, which is a Jinja template.
        go_template="" if adapter else _go_template(base),
        system=base.system,
        parameters=dict(base.settings.parameters),
        messages=base.settings.messages,
        license="\n".join(base.settings.licenses),
        digest=(not adapter and base.known_digest) or content_name(named),
        size_bytes=base.size_bytes + (adapter.stat().st_size if adapter else 0),
        modified_at=datetime.fromtimestamp(changed_s, UTC),
        parent=base.name if adapter else "",
    )


def _go_template(base: BaseModel) -> str:
    """Return the base's TEMPLATE; "" where Ollama has none, or renders by a program of its own."""
    if not base.template or base.settings.renderer:
        return ""
    try:
        go_template(base.template)
    except FineTuningError as error:
        logger.warning("the TEMPLATE of %s is passed over: %s", base.name, error.message)
        return ""
    return base.template


def _url(host: str, listening: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listening.getsockname()[1]}"
