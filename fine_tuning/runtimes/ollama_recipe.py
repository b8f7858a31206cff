"""What a new model on Ollama is made of, in the words each generation of its interface takes.

Versions before 0.5.5 read a Modelfile, later ones fields (ollama: api/types.go, CreateRequest).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tuning.core.ports import ModelRecipe
from fine_tuning.runtimes.base_model import EMBEDDED, resolve_base_model
from fine_tuning.runtimes.ollama_modelfile import Modelfile

BLOB = re.compile(r"sha256[-:]([0-9a-fA-F]{64})$")


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaRecipe(ModelRecipe):
    """A recipe with what only Ollama knows; "" and empty are inherited from a base by name.

    ``renderer`` and ``parser`` name code inside Ollama that replaces the template; ``messages``
    are (role, text) pairs put before every conversation. ``base_digest`` and ``adapter_digest``
    spare reading files whose digest is known.
    """

    renderer: str = ""
    parser: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    base_digest: str = ""
    adapter_digest: str = ""


def local_base(base: str) -> Path | None:
    """Return the file a recipe's base stands for; None when it is a name on the server.

    Raises:
        MissingDependencyError: if it is the embedded model, and that is not installed.
    """
    if base == EMBEDDED:
        return resolve_base_model(base).path
    is_file = base.lower().endswith(".gguf") or BLOB.search(Path(base).name) is not None
    return Path(base).expanduser() if is_file else None


def as_fields(recipe: ModelRecipe, base: str, adapter: str) -> dict[str, Any]:
    """Return a request of 0.5.5 and later; only what is said is sent."""
    more = recipe if isinstance(recipe, OllamaRecipe) else OllamaRecipe(base=recipe.base)
    fields: dict[str, Any] = {
        "files": {"model.gguf": base} if base else None,
        "from": None if base else recipe.base,
        "adapters": {"adapter.gguf": adapter} if adapter else None,
        "template": recipe.template,
        "system": recipe.system,
        "parameters": dict(recipe.parameters or {}),
        "renderer": more.renderer,
        "parser": more.parser,
        "messages": [{"role": role, "content": text} for role, text in more.messages],
    }
    return {key: value for key, value in fields.items() if value}


def as_text(recipe: ModelRecipe, base: str, adapter: str) -> dict[str, Any]:
    """Return a request of versions before 0.5.5: a Modelfile that names uploaded blobs."""
    more = recipe if isinstance(recipe, OllamaRecipe) else OllamaRecipe(base=recipe.base)
    modelfile = Modelfile(
        base=f"@{base}" if base else recipe.base,
        adapters=(f"@{adapter}",) if adapter else (),
        template=recipe.template or "",
        system=recipe.system or "",
        parameters=dict(recipe.parameters or {}),
        messages=more.messages,
    )
    return {"modelfile": modelfile.to_text()}
