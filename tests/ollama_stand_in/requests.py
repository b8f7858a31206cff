"""What a request may hold: Go's decoder ignores unknown fields and refuses wrong types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class RefusedError(Exception):
    """A request that is answered with an error and a status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


_TEXTS = ("model", "name", "from", "modelfile", "path", "template", "system", "quantize",
          "renderer", "parser", "requires", "prompt", "source", "destination")  # fmt: skip
_FLAGS = ("stream", "raw", "verbose", "logprobs", "_debug_render_only", "insecure", "truncate")
_MAPS = ("files", "adapters", "parameters", "options", "info")
_LISTS = ("messages", "tools", "images", "context")
_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    **dict.fromkeys(_TEXTS, (str, "string")),
    **dict.fromkeys(_FLAGS, (bool, "bool")),
    **dict.fromkeys(_MAPS, (dict, "map")),
    **dict.fromkeys(_LISTS, (list, "slice")),
    "top_logprobs": (int, "int"),
}
_GO_KINDS = {str: "string", bool: "bool", int: "number", float: "number", list: "array"}


def decode(body: bytes) -> dict[str, Any]:
    """Return a request's fields.

    Raises:
        RefusedError: with Go's own words, for no body, bad JSON and wrong types.
    """
    if not body:
        raise RefusedError(400, "missing request body")
    try:
        raw = json.loads(body)
    except ValueError as error:
        raise RefusedError(400, f"invalid character in JSON: {error}") from error
    if not isinstance(raw, dict):
        raise RefusedError(400, "json: cannot unmarshal value into Go value of type api.Request")
    for key, value in raw.items():
        kind, go_name = _KINDS.get(key, (object, ""))
        if value is not None and (
            not isinstance(value, kind) or (kind is int and isinstance(value, bool))
        ):
            found = _GO_KINDS.get(type(value), "object")
            raise RefusedError(
                400, f"json: cannot unmarshal {found} into Go struct field .{key} of type {go_name}"
            )
    return {key: value for key, value in raw.items() if value is not None}


OPTIONS: Mapping[str, type] = {
    **dict.fromkeys(
        ("num_keep", "seed", "num_predict", "top_k", "repeat_last_n", "num_ctx", "num_batch",
         "num_gpu", "main_gpu", "num_thread", "draft_num_predict"), int),
    **dict.fromkeys(
        ("top_p", "min_p", "typical_p", "tfs_z", "temperature", "repeat_penalty",
         "presence_penalty", "frequency_penalty"), float),
    "use_mmap": bool, "use_mlock": bool, "low_vram": bool, "numa": bool, "penalize_newline": bool,
    "mirostat": int, "mirostat_tau": float, "mirostat_eta": float, "f16_kv": bool,
    "vocab_only": bool, "stop": list,
}  # fmt: skip


def check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as Ollama takes them: unknown ones are passed over, wrong types refused."""
    taken: dict[str, Any] = {}
    for key, value in options.items():
        kind = OPTIONS.get(key)
        if kind is None:
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits = number if kind in (int, float) else isinstance(value, kind)
        if not fits:
            word = {int: "integer", float: "float32", bool: "boolean", list: "string array"}[kind]
            raise RefusedError(400, f'option "{key}" must be of type {word}')
        taken[key] = kind(value) if kind in (int, float) else value
    return taken
