"""Three deployed versions on the embedded runtime, made once and copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

from fine_tuning.core.ports import ModelRecipe
from fine_tuning.model_management.model_registry import ModelRegistry
from fine_tuning.model_management.model_switcher import ModelSwitcher
from fine_tuning.runtimes.base_model import resolve_base_model
from fine_tuning.runtimes.embedded_runtime import EmbeddedRuntime
from tests.model_management.registered import ALIAS, register, registry
from tests.runtimes.models import write_adapter

RUNTIME = "embedded"
NUM_VERSIONS = 3


class AlreadyWarm(EmbeddedRuntime):
    """The embedded runtime without its trial loads, for tests that are not about loading."""

    def warm_up(self, name: str) -> None:
        self.show(name)


def embedded(home: Path) -> EmbeddedRuntime:
    return EmbeddedRuntime(home / "models" / RUNTIME)


def deploy(books: ModelRegistry, runtime: EmbeddedRuntime, name: str, adapter: Path) -> None:
    served = f"fine_tuned_{name}"
    info = runtime.create(served, ModelRecipe(base="embedded", adapter=adapter))
    books.deployments.record(name, RUNTIME, served, digest=info.digest)


def make_home(home: Path) -> Path:
    digest = resolve_base_model("embedded").digest()
    for number in range(1, NUM_VERSIONS + 1):
        version = register(home, f"run{number}", base_digest=digest)
        adapter = write_adapter(home / f"a{number}.gguf", alpha=64.0 * number)
        deploy(registry(home), embedded(home), version.name, adapter)
    registry(home).close()
    return home


def copy_home(made: Path, home: Path) -> Path:
    shutil.copytree(made, home)
    return home


def switcher(home: Path, runtime: EmbeddedRuntime | None = None) -> ModelSwitcher:
    runtime = runtime or AlreadyWarm(home / "models" / RUNTIME)
    return ModelSwitcher(registry(home), runtime, runtime_name=RUNTIME)


def answers_as(home: Path) -> str:
    """What the alias answers as, told by the runtime alone; "" if it does not answer."""
    runtime = embedded(home)
    names = {info.name: info.digest for info in runtime.list()}
    if ALIAS not in names:
        return ""
    (found,) = (n for n, digest in names.items() if digest == names[ALIAS] and n != ALIAS)
    return found.removeprefix("fine_tuned_")
