"""A trained workspace whose base model a stand-in of Ollama serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ollama_stand_in.server import StandIn
from tests.workbench.trained import NAME, Trained, write_trained


@contextmanager
def trained_on_ollama(folder: Path) -> Iterator[tuple[Trained, StandIn]]:
    """Yield the workspace and the server, which takes adapters."""
    trained = write_trained(folder)
    with StandIn(folder, generation="0.33.0") as server:
        server.add_model(NAME, trained.base)
        yield trained, server
