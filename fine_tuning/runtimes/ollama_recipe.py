"""What a new model on Ollama is made of, in the words each generation of its interface takes.

Versions before 0.5.5 read a Modelfile, later ones fields (ollama: api/types.go, CreateRequest).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fine_tuning.core.json_value import JsonValue, trusted
from fine_tuning.core.ports import ModelRecipe
from fine_tuning.runtimes.base_model import EMBEDDED, resolve_base_model
from fine_tuning.runtimes.ollama_modelfile import Modelfile

# Refused as a model's parameter by 0.34.1 and later.
DROPPED_PARAMETERS = ("typical_p",)
BLOB = re.compile(r"sha256[-:]([0-9a-fA-F]{64})$")


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaRecipe(ModelRecipe):
    """A recipe with what only Ollama knows; "" and empty are inherited from a base by name.

    ``renderer`` and ``parser`` name code inside Ollama that replaces the template; ``messages``
    are (role, text) pairs put before every conversation, ``requires`` the oldest version of Ollama
    that serves the base rightly, ``capabilities`` what 0.35 and later are told it can do.
    ``base_digest`` and ``adapter_digest`` spare reading files whose digest is known.
    """

    renderer: str = ""
    parser: str = ""
    requires: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    licenses: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    base_digest: str = ""
    adapter_digest: str = ""


def sent_again(settings: Modelfile, *, system: str = "", stop: Sequence[str] = ()) -> Modelfile:
    """Return a base's settings for a model made from files, which inherits none of them.

    Args:
        settings: The base's.
        system: Its system prompt where the settings have none.
        stop: Texts that end a reply besides the base's own.
    """
    parameters = {k: v for k, v in settings.parameters.items() if k not in DROPPED_PARAMETERS}
    if stop:
        old = parameters.get("stop", ())
        texts = tuple(old) if isinstance(old, (list, tuple)) else (str(old),)
        parameters["stop"] = tuple(dict.fromkeys((*texts, *stop)))
    return replace(settings, system=settings.system or system, parameters=parameters)


def recipe_of(
    settings: Modelfile, *, adapter: Path | None = None, digest: str = ""
) -> OllamaRecipe:
    """Return the recipe of a model whose Modelfile names a file as its base.

    Args:
        settings: The Modelfile; ``adapters`` in it are passed over.
        adapter: The adapter's file, if there is one.
        digest: ``sha256:<64 hex>`` of the base, when it is known.
    """
    parameters = {
        key: list(value) if isinstance(value, (list, tuple)) else value
        for key, value in settings.parameters.items()
    }
    return OllamaRecipe(
        base=settings.base,
        adapter=adapter,
        base_digest=digest,
        template=settings.template or None,
        system=settings.system or None,
        parameters=parameters or None,
        renderer=settings.renderer,
        parser=settings.parser,
        requires=settings.requires,
        messages=settings.messages,
        licenses=settings.licenses,
        capabilities=settings.capabilities,
    )


def local_base(base: str) -> Path | None:
    """Return the file a recipe's base stands for; None when it is a name on the server.

    Raises:
        MissingDependencyError: if it is the embedded model, and that is not installed.
    """
    if base == EMBEDDED:
        return resolve_base_model(base).path
    is_file = base.lower().endswith(".gguf") or BLOB.search(Path(base).name) is not None
    return Path(base).expanduser() if is_file else None


def as_fields(recipe: ModelRecipe, base: str, adapter: str) -> dict[str, JsonValue]:
    """Return a request of 0.5.5 and later; only what is said is sent."""
    more = recipe if isinstance(recipe, OllamaRecipe) else OllamaRecipe(base=recipe.base)
    fields: dict[str, JsonValue] = {
        "files": {"model.gguf": base} if base else None,
        "from": None if base else recipe.base,
        "adapters": {"adapter.gguf": adapter} if adapter else None,
        "template": recipe.template,
        "system": recipe.system,
        "parameters": trusted(recipe.parameters or {}),
        "renderer": more.renderer,
        "parser": more.parser,
        "requires": more.requires,
        "license": list(more.licenses),
        "capabilities": list(more.capabilities),
        "messages": [{"role": role, "content": text} for role, text in more.messages],
    }
    return {key: value for key, value in fields.items() if value}


def as_text(recipe: ModelRecipe, base: str, adapter: str) -> dict[str, JsonValue]:
    """Return a request of versions before 0.5.5: a Modelfile that names uploaded blobs."""
    more = recipe if isinstance(recipe, OllamaRecipe) else OllamaRecipe(base=recipe.base)
    modelfile = Modelfile(
        base=f"@{base}" if base else recipe.base,
        adapters=(f"@{adapter}",) if adapter else (),
        template=recipe.template or "",
        system=recipe.system or "",
        parameters=trusted(recipe.parameters or {}),
        messages=more.messages,
        licenses=more.licenses,
    )
    return {"modelfile": modelfile.to_text()}
