"""What the doctor tells of Ollama: where it is, what it can do, its store, what is served there.

Everything is asked of the server; without one there is one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime

from fine_tuning.core.errors import FineTuningError
from fine_tuning.core.finding import Finding
from fine_tuning.core.json_value import object_at, text_at
from fine_tuning.model_management.model_registry import ModelRegistry
from fine_tuning.model_management.registry_file import DATABASE_FILE
from fine_tuning.model_management.versions import Deployment
from fine_tuning.runtimes.ollama_client import START_SERVER, OllamaClient
from fine_tuning.runtimes.ollama_host import address_source, server_address
from fine_tuning.runtimes.ollama_probe import ServerFacts
from fine_tuning.runtimes.ollama_runtime import OllamaRuntime
from fine_tuning.runtimes.server_store import ServerStore, server_store
from fine_tuning.workbench.base_models import BaseModels
from fine_tuning.workbench.context import Context

CHECK = "Ollama"
SERVER = "Ollama "
"""How a proof's decisions begin the name of the server it was made on."""


class OllamaCheckup:
    """Asks the server of the settings.

    Args:
        context: Settings, workspace and clock.
        bases: The base models.
    """

    def __init__(self, context: Context, bases: BaseModels) -> None:
        self._context = context
        self._bases = bases
        self._setting = context.settings.deployment.ollama_base_url

    def facts(self, findings: list[Finding]) -> dict[str, str]:
        """Return what is known of the server by heading.

        Args:
            findings: Gets what stands in the way.
        """
        source = address_source(self._setting)
        try:
            with closing(OllamaClient(self._setting)) as client:
                runtime = OllamaRuntime(client)
                server, names = runtime.facts(), [info.name for info in runtime.list()]
                name, url = runtime.name, client.url
        except FineTuningError as error:
            findings.append(self._not_reached(error))
            return {"Ollama": f"not reached at {self._address()} ({source})"}
        findings += _adapters(server)
        store = server_store(self._setting)
        findings += _store_findings(store)
        return {
            "Ollama": f"{server.version} at {url}, {len(names)} models; address: {source}",
            "Ollama and adapters": server.adapters_reason,
            "Ollama's store": _store_words(store),
            "Ollama's models that train": self._trainable(),
            "Deployed on Ollama": self._deployed(name, names, server.version, findings),
        }

    def _address(self) -> str:
        try:
            return server_address(self._setting)
        except FineTuningError:
            return self._setting

    def _not_reached(self, error: FineTuningError) -> Finding:
        is_needed = self._context.settings.deployment.runtime == "ollama"
        return Finding(
            check=CHECK,
            severity="stop" if is_needed else "note",
            title="Ollama does not answer",
            detail=f"{error.message}; without it the embedded runtime serves",
            fix=error.next_command or START_SERVER,
        )

    def _trainable(self) -> str:
        choices = [one for one in self._bases.choices() if one.source == "ollama"]
        return ", ".join(one.name for one in choices if one.can_train) or "none"

    def _deployed(
        self, runtime: str, names: Sequence[str], version: str, findings: list[Finding]
    ) -> str:
        """Return what of this workspace is served there, each with its proof's age."""
        folder = self._context.workspace.models
        if not (folder / DATABASE_FILE).exists():
            return "nothing"
        there = {name.lower() for name in names}
        words = []
        for model in ModelRegistry(folder).versions():
            served = model.deployed_on(runtime)
            if served is None:
                continue
            if served.name.lower() not in there:
                findings.append(_again(served, f"{served.name} is gone from Ollama", ""))
            elif (proven_on := _proven_on(served)) not in ("", version):
                findings.append(
                    _again(
                        served,
                        f"{served.name} is not proven on Ollama {version}",
                        f"it was proven on {proven_on}, and another version may serve otherwise",
                    )
                )
            words.append(f"{served.name}, {self._proof_words(served)}")
        return "; ".join(words) or "nothing"

    def _proof_words(self, served: Deployment) -> str:
        server = _proven_on(served)
        if not served.proof:
            return "not proven"
        days = max(0, (self._context.clock.now() - datetime.fromisoformat(served.created_at)).days)
        ago = "today" if days == 0 else f"{days} day{'' if days == 1 else 's'} ago"
        return f"proven {ago}" + (f" on Ollama {server}" if server else "")


def _proven_on(served: Deployment) -> str:
    """Return the version of Ollama a deployment was proven on; "" if it was not recorded."""
    told = text_at(object_at(served.proof, "decisions"), "server")
    return told.removeprefix(SERVER) if told.startswith(SERVER) else ""


def _again(served: Deployment, title: str, detail: str) -> Finding:
    return Finding(
        check=CHECK,
        severity="warning",
        title=title,
        detail=detail,
        fix=f"fine-tuning deploy {served.version}",
    )


def _adapters(facts: ServerFacts) -> Iterator[Finding]:
    if not facts.takes_adapters:
        yield Finding(
            check=CHECK,
            severity="note",
            title="this Ollama takes no adapters",
            detail=f"{facts.adapters_reason}; tuned models are merged into a file of their own",
        )


def _store_words(store: ServerStore | None) -> str:
    if store is None or not store.told:
        return "not told by the server: it has no model whose file it names"
    if store.root is None:
        return f"{store.told}, which is not on this machine"
    return f"{store.root}" if _is_readable(store) else f"{store.root}, which may not be read"


def _is_readable(store: ServerStore) -> bool:
    """Tell whether the manifests and the weights of a store can be read."""
    if store.root is None:
        return False
    try:
        return any((store.root / "blobs").iterdir()) and any(store.root.glob("manifests*/*"))
    except OSError:
        return False


def _store_findings(store: ServerStore | None) -> Iterator[Finding]:
    if store is None or not store.told or _is_readable(store):
        return
    is_here = store.root is not None
    yield Finding(
        check=CHECK,
        severity="warning",
        title="Ollama's models cannot be read from here, so that none of them can be trained",
        detail=f"the server keeps them in {store.told}, which "
        + ("belongs to another user" if is_here else "is a container's, or another machine's"),
        fix="sudo usermod -aG ollama $USER, and log in again"
        if is_here
        else "mount that folder here and set OLLAMA_MODELS to where it is",
    )
