"""What must be known of a model to load and serve it; where it is kept is another matter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.ports import ModelRecipe, Progress
from fine_tuning.runtimes.prompt_record import BasePrompts

LATEST = ":latest"
_NAME = re.compile(r"[^\W_][\w.:/\-@ ]{0,499}|_[\w.:/\-@ ]{0,499}|/[\w.:/\-@ ]{1,499}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadableModel:
    """A model that can be loaded.

    ``template`` "" takes the base's own, else ChatML; a ``go_template``, one of Ollama's, is
    stronger than either where there is one. ``parameters`` are Ollama's (``stop``,
    ``num_ctx``, ``temperature``, ...). ``messages`` (role, text) begin every conversation.
    """

    name: str
    base_path: Path
    adapter_path: Path | None = None
    template: str = ""
    go_template: str = ""
    system: str = ""
    parameters: JsonObject = field(default_factory=dict)
    messages: tuple[tuple[str, str], ...] = ()
    license: str = ""
    digest: str = ""
    size_bytes: int = 0
    modified_at: datetime | None = None
    parent: str = ""

    @property
    def prompts(self) -> BasePrompts:
        """What writes its prompts."""
        return BasePrompts(
            go=self.go_template,
            jinja="" if self.go_template else self.template,
            system=self.system,
            messages=self.messages,
            stop=tuple(self.stop),
        )

    @property
    def stop(self) -> tuple[str, ...]:
        """Texts that end a reply, besides the model's end-of-turn token."""
        stop = self.parameters.get("stop") or ()
        return (stop,) if isinstance(stop, str) else tuple(texts_in(stop))


class ModelCatalog(Protocol):
    """The models a server offers.

    * ``find`` MUST find every name ``models`` lists, with or without ``:latest``, in any case.
    """

    @property
    def blobs(self) -> Path:
        """The folder of uploaded files, named ``sha256-<64 hex>``."""
        ...

    def models(self) -> Sequence[LoadableModel]:
        """Return all models; those that cannot be loaded are left out."""
        ...

    def find(self, name: str) -> LoadableModel:
        """Return one model, checked to be what it was made of.

        Raises:
            ModelNotFoundError: if there is no such model.
            StorageError: if a file of it was damaged.
        """
        ...

    def create(self, name: str, recipe: ModelRecipe, progress: Progress | None = None) -> None:
        """Make a model, or replace the one of that name.

        Raises:
            DeploymentError: if it is refused; then nothing has changed.
        """
        ...

    def copy(self, source: str, destination: str) -> None:
        """Let another name answer as a model does now.

        Raises:
            ModelNotFoundError: if there is no such source.
            DeploymentError: if the destination is not a model name.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove a model.

        Raises:
            ModelNotFoundError: if there is no such model, or it may not be removed.
        """
        ...


def texts_in(value: JsonValue) -> list[str]:
    """Return the texts of a list; anything else holds none."""
    if not isinstance(value, list | tuple):
        return []
    return [item for item in value if isinstance(item, str)]


def is_model_name(name: str) -> bool:
    """Tell whether a text can name a model: letters, digits and ``_ . : / - @``.

    Args:
        name: The text.
    """
    return bool(_NAME.fullmatch(name))


def plain_name(name: str) -> str:
    """Return a name as it is compared: lower case, without ``:latest``."""
    return name.strip().lower().removesuffix(LATEST)


def tagged_name(name: str) -> str:
    """Return a name as Ollama lists it: always with a tag."""
    return name if ":" in name.rpartition("/")[2] else name + LATEST
