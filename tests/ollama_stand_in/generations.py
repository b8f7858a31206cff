"""What differs between Ollama's versions, and the faults a test may plant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One kind of Ollama server.

    ``source`` says where its behaviour comes from: a recording the stand-in is held to, the source
    of that version, or what was announced of versions whose source was not at hand.

    ``adapters`` is what becomes of a LoRA: "served", "not by this engine" (accepted at create,
    fails to load: the Go engine), or "refused" at create. ``native`` servers run llama-server: they
    render the GGUF's own Jinja template when a model has no TEMPLATE (the others then use the bare
    prompt), join the pieces of a character into one entry of probabilities, keep half the room free
    when they shorten a prompt, refuse images a model cannot see, and list what a model can do.
    ``embeds`` servers answer with embeddings of a model made for chats.
    ``rewrites_files`` servers pass an uploaded model through llama-quantize: its digest changes.
    """

    key: str
    version: str
    source: str
    api: Literal["modelfile", "structured"] = "structured"
    adapters: Literal["served", "not by this engine", "refused"] = "served"
    renders: bool = True
    logprobs: bool = True
    native: bool = False
    embeds: bool = True
    rewrites_files: bool = False
    layout: Literal["manifests", "manifests-v2"] = "manifests"

    def since(self, version: str) -> bool:
        """Tell whether it is of a version or a later one."""
        return _numbers(self.version) >= _numbers(version)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in _NUMBER.findall(version)]


RECORDING = "the recording of {0} in tests/recordings, and Ollama's source, tag v{0}"
ANNOUNCED = (
    "that of 0.33.0 but for what was announced: adapters are refused at create, and quantizing{}. "
    "Neither source nor recording was at hand"
)
_ALL = (
    Generation(
        key="0.3.14",
        version="0.3.14",
        source="Ollama's source, tag v0.3.14 (server/routes.go, server/model.go, llm/server.go); "
        "no recording",
        api="modelfile",
        renders=False,
        logprobs=False,
    ),
    Generation(
        key="0.9.6",
        version="0.9.6",
        source="Ollama's source, tag v0.9.6 (server/create.go, server/routes.go, llm/server.go, "
        "runner/llamarunner); no recording",
        renders=False,
        logprobs=False,
    ),
    Generation(key="0.24.0", version="0.24.0", source=RECORDING.format("0.24.0")),
    Generation(
        key="0.24.0-go",
        version="0.24.0",
        source="that of 0.24.0; for a model its Go engine loads, tag v0.24.0, "
        "runner/ollamarunner/runner.go; no recording",
        adapters="not by this engine",
    ),
    Generation(
        key="0.33.0",
        version="0.33.0",
        source=RECORDING.format("0.33.0") + "-rc2",
        native=True,
        embeds=False,
        rewrites_files=True,
    ),
    Generation(
        key="0.34.2",
        version="0.34.2",
        source=ANNOUNCED.format(""),
        native=True,
        embeds=False,
        adapters="refused",
    ),
    Generation(
        key="0.40.0",
        version="0.40.0",
        source=ANNOUNCED.format("; manifests lie in another folder"),
        native=True,
        embeds=False,
        adapters="refused",
        layout="manifests-v2",
    ),
)
GENERATIONS = {generation.key: generation for generation in _ALL}


@dataclass(kw_only=True)
class Faults:
    """What a server does wrong; all off by default, and changeable while it runs.

    wrong_template: this Go template is used in place of the model's, whoever made it.
    drop_stop: end-of-turn tokens and stop texts no longer end a reply.
    adapter_scale: adapters are applied with this factor.
    ignore_adapter: models with an adapter are served without it.
    wrong_base: this GGUF file is served in place of every model's weights.
    truncate_prompt_tokens: only the last so many tokens of a prompt are read, without a word.
    die_after_pieces: the connection breaks after so many pieces of a reply.
    error_after_pieces: a line {"error": ...} follows after so many pieces of a reply.
    create_error: create fails with this text after its first line; nothing is made.
    break_on: requests to this path (such as "/api/copy") get no answer, and do nothing.
    load_error: loading a model with an adapter or from a new file fails with this text.
    slow_s: every request takes so much longer.
    shown_root: /api/show names files below this folder, as a server in a container does.
    """

    wrong_template: str | None = None
    drop_stop: bool = False
    adapter_scale: float = 1.0
    ignore_adapter: bool = False
    wrong_base: Path | None = None
    truncate_prompt_tokens: int | None = None
    die_after_pieces: int | None = None
    error_after_pieces: int | None = None
    create_error: str = ""
    break_on: str = ""
    load_error: str = ""
    slow_s: float = 0.0
    shown_root: str = ""
