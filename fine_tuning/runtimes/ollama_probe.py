"""What an Ollama server can do, asked of the server itself; its version number only explains.

Forks and release candidates carry any number, so two requests decide that no version carries out:
both are refused, and how they are refused tells the rest (ollama: server/create.go of each
version). Nothing is made, loaded or downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fine_tuning.core.errors import ModelNotFoundError, RuntimeFailedError
from fine_tuning.runtimes.ollama_client import OllamaClient

Interface = Literal["modelfile", "structured"]
NO_NAME = "!"
PROBE_NAME = "fine-tuning-probe"
ZEROS = "sha256:" + "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """A server's version and abilities, each with the reason it is believed.

    ``interface`` "modelfile" takes models as a text (before 0.5.5), "structured" as fields.
    ``takes_adapters`` is about creating: whether a model with an adapter loads depends on its
    architecture and is known only after a trial.
    """

    version: str
    interface: Interface
    interface_reason: str
    takes_adapters: bool
    adapters_reason: str


def probe(client: OllamaClient) -> ServerFacts:
    """Find out what a server can do.

    Raises:
        RuntimeUnavailableError: if no server answers.
        RuntimeFailedError: if it answers with errors of its own.
    """
    version = client.version()
    said = _refusal(client, {"model": PROBE_NAME, "name": PROBE_NAME, "stream": False})
    is_old = "modelfile" in said.lower()
    interface: Interface = "modelfile" if is_old else "structured"
    wants = "a Modelfile" if is_old else "fields"
    refused = "" if is_old else _refusal(client, {
        "model": NO_NAME, "adapters": {"adapter.gguf": ZEROS}, "stream": False
    })  # fmt: skip
    takes = "adapter" not in refused.lower()
    return ServerFacts(
        version=version,
        interface=interface,
        interface_reason=f"Ollama {version} asks for {wants}: {said!r}",
        takes_adapters=takes,
        adapters_reason=(
            f"Ollama {version} did not refuse an adapter when asked"
            if takes
            else f"Ollama {version} refuses adapters: {refused!r}"
        ),
    )


def _refusal(client: OllamaClient, body: dict[str, object]) -> str:
    """Return the words with which a request to create is refused; "" when it is not."""
    try:
        client.post("/api/create", body)
    except (RuntimeFailedError, ModelNotFoundError) as error:
        return error.message.partition("reports: ")[2] or error.message
    return ""
