"""What a request may hold: Go's decoder ignores unknown fields and refuses wrong types."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


class RefusedError(Exception):
    """A request that is answered with an error and a status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


_TEXTS = ("model", "name", "from", "modelfile", "path", "template", "system", "quantize",
          "renderer", "parser", "requires", "prompt", "suffix", "source",
          "destination")  # fmt: skip
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
        found = _GO_KINDS.get(type(raw), "value")
        raise RefusedError(400, f"json: cannot unmarshal {found} into Go value of type api.Request")
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


_WORDS = {int: "integer", float: "float32", bool: "boolean", list: "array"}


def check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as Ollama takes them, those of the model included.

    Unknown ones are passed over. Wrong types are refused when the model is scheduled, and so with
    the status of a failure (api/types.go, FromMap).
    """
    taken: dict[str, Any] = {}
    for key, value in options.items():
        kind = OPTIONS.get(key)
        if kind is None or value is None:
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits = number if kind in (int, float) else isinstance(value, kind)
        if not fits:
            raise RefusedError(500, f'option "{key}" must be of type {_WORDS[kind]}')
        taken[key] = kind(value) if kind in (int, float) else value
    return taken


def roles_lowered(messages: Any) -> list[dict[str, Any]]:
    """Return messages with their roles in small letters; any role is taken.

    Raises:
        RefusedError: if one is no object, or its role or content is no text.
    """
    taken: list[dict[str, Any]] = []
    for message in messages or ():
        if not isinstance(message, dict):
            raise RefusedError(400, "json: cannot unmarshal into Go value of type api.Message")
        for key in ("role", "content"):
            if not isinstance(message.get(key) or "", str):
                raise RefusedError(
                    400, f"json: cannot unmarshal into Go struct field Message.{key} of type string"
                )
        said = {key: value for key, value in message.items() if value is not None}
        taken.append({"content": "", **said, "role": str(message.get("role") or "").lower()})
    return taken


_SPAN = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
DEFAULT_KEEP_S = 300.0


def keep_alive_s(value: Any) -> float:
    """Return how long a model stays in memory; below 0 is for ever (api/types.go, Duration).

    Raises:
        RefusedError: for what is neither a number of seconds nor a duration of Go's.
    """
    if value is None:
        return DEFAULT_KEEP_S
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str):
        raise RefusedError(400, f"Unsupported type: {type(value).__name__}")
    if value in ("0", "+0", "-0"):
        return 0.0
    spans = _SPAN.findall(value)
    if not spans or "".join(spans) != value:
        raise RefusedError(400, f"time: invalid duration {json.dumps(value)}")
    sign = -1 if value.startswith("-") else 1
    total = 0.0
    for span in spans:
        unit = next(u for u in ("ns", "us", "µs", "ms", "s", "m", "h") if span.endswith(u))
        total += abs(float(span.removesuffix(unit))) * _SECONDS[unit]
    return sign * total
