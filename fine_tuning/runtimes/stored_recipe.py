"""What the embedded runtime keeps of a model, as it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fine_tuning.core.json_value import JsonObject

SCHEMA = "ft-embedded/2"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecipe:
    """What is known of a model; ``adapter_digest`` "" means there is no adapter.

    The base is found again at ``base_path``, or by its name should Ollama have moved it, and must
    still have its digest; an unchanged size and time of change spare reading it all.
    """

    name: str
    base: str
    base_path: str
    base_digest: str
    base_size_bytes: int
    base_mtime_ns: int
    adapter_digest: str
    adapter_size_bytes: int
    template: str
    system: str
    parameters: JsonObject
    messages: Sequence[Sequence[str]] = ()
    license: str = ""
    go_template: str = ""
    schema: str = SCHEMA
