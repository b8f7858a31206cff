"""Ollama's answers: values of this project in the words of its interface (ollama: api/types.go)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TypedDict

import numpy as np

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonValue
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.values import MetadataValue, StringArray
from fine_tuning.runtimes.llama_api import FunctionDelta, TokenProbability, ToolCallDelta
from fine_tuning.runtimes.loadable import LoadableModel, tagged_name
from fine_tuning.runtimes.ollama_answers import (
    ListedDetails,
    MessagePart,
    ModelDetails,
    ModelRow,
    OllamaCall,
    ShownModel,
    StreamLine,
)
from fine_tuning.runtimes.ollama_modelfile import Modelfile
from fine_tuning.runtimes.serving.pieces import ReplyPiece
from fine_tuning.runtimes.serving.pool import Engine
from fine_tuning.runtimes.serving.requests import ChatRequest, GenerateRequest, OllamaMessage
from fine_tuning.runtimes.serving.work import ReplyOutcome

NS_PER_S = 1e9
TEMPLATE_KEY = "tokenizer.chat_template"
MANY = 64
NO_IMAGES = "the request holds images, and the embedded runtime reads only text"
NEVER = datetime(2318, 1, 1, tzinfo=UTC)
SIZES = ((1e9, "B"), (1e6, "M"))


def now() -> str:
    """Return the time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def message(raw: OllamaMessage) -> dict[str, object]:
    """Return a message in OpenAI's form.

    Raises:
        DataError: if it holds images.
    """
    if raw.images:
        raise DataError(NO_IMAGES)
    turn: dict[str, object] = {"role": raw.role, "content": raw.content or ""}
    if raw.tool_calls:
        turn["tool_calls"] = [_call(call, index) for index, call in enumerate(raw.tool_calls)]
    optional = {
        "reasoning_content": raw.thinking,
        "name": raw.tool_name,
        "tool_call_id": raw.tool_call_id,
    }
    return turn | {key: value for key, value in optional.items() if value}


def _call(raw: Mapping[str, object], index: int) -> dict[str, object]:
    function = raw.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise DataError(f"a tool call holds {function!r}, expected an object with a 'name'")
    arguments = function.get("arguments") or {}
    return {
        "id": str(raw.get("id") or f"call_{index}"),
        "type": "function",
        "function": {"name": function["name"], "arguments": json.dumps(arguments)},
    }


def calls(deltas: Sequence[ToolCallDelta]) -> list[OllamaCall]:
    """Join OpenAI's deltas of tool calls into Ollama's whole calls."""
    joined: dict[int, dict[str, str]] = {}
    for delta in deltas:
        call = joined.setdefault(delta.get("index", 0), {"name": "", "arguments": ""})
        function: FunctionDelta = delta.get("function") or {}
        call["name"] += function.get("name") or ""
        call["arguments"] += function.get("arguments") or ""
    return [
        {
            "function": {
                "index": index,
                "name": call["name"],
                "arguments": _object(call["arguments"]),
            }
        }
        for index, call in sorted(joined.items())
    ]


def _object(text: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(text or "{}")
    except ValueError:
        return {"arguments": text}
    return value


def response_format(wanted: str | Mapping[str, object] | None) -> dict[str, object]:
    """Return llama-server's field for Ollama's ``format``.

    Raises:
        DataError: if it is neither "json" nor a schema.
    """
    if not wanted:
        return {}
    if isinstance(wanted, Mapping):
        schema = {"name": "reply", "schema": wanted}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    if wanted != "json":
        raise DataError(f"format is {wanted!r}, expected 'json' or a JSON schema")
    return {"response_format": {"type": "json_object"}}


def thinking_fields(request: ChatRequest | GenerateRequest) -> dict[str, object]:
    """Return llama-server's fields for Ollama's ``think``."""
    if request.think is None:
        return {}
    level = {"reasoning_effort": request.think} if isinstance(request.think, str) else {}
    return {"chat_template_kwargs": {"enable_thinking": bool(request.think), **level}}


def log_probabilities(told: Sequence[TokenProbability], top: int) -> list[TokenProbability]:
    """Return tokens with their probabilities."""
    tokens = [_token(one) for one in told]
    if top:
        for token, one in zip(tokens, told, strict=True):
            token["top_logprobs"] = [_token(o) for o in (one.get("top_logprobs") or ())[:top]]
    return tokens


def _token(one: TokenProbability) -> TokenProbability:
    token: TokenProbability = {"token": one["token"], "logprob": one["logprob"]}
    if "bytes" in one:
        token["bytes"] = one["bytes"]
    return token


def chat_line(name: str, piece: ReplyPiece, top: int | None) -> StreamLine:
    """Return one line of a chat's stream."""
    said: MessagePart = {"role": "assistant", "content": piece.text}
    if piece.thinking:
        said["thinking"] = piece.thinking
    line: StreamLine = {"model": name, "created_at": now(), "message": said, "done": False}
    return _with_probabilities(line, piece, top)


def generate_line(name: str, piece: ReplyPiece, top: int | None) -> StreamLine:
    """Return one line of a generation's stream."""
    line: StreamLine = {"model": name, "created_at": now(), "response": piece.text}
    if piece.thinking:
        line["thinking"] = piece.thinking
    line["done"] = False
    return _with_probabilities(line, piece, top)


def _with_probabilities(line: StreamLine, piece: ReplyPiece, top: int | None) -> StreamLine:
    if top is not None and piece.log_probabilities:
        line["logprobs"] = log_probabilities(piece.log_probabilities, top)
    return line


def figures(outcome: ReplyOutcome) -> StreamLine:
    """Return what the last line of a reply tells."""
    return {
        "done": True,
        "done_reason": "length" if outcome.reason == "length" else "stop",
        "total_duration": _ns(outcome.total_s),
        "load_duration": _ns(outcome.load_s),
        "prompt_eval_count": outcome.prompt_tokens,
        "prompt_eval_duration": _ns(outcome.prompt_s),
        "eval_count": outcome.reply_tokens,
        "eval_duration": _ns(outcome.reply_s),
    }


def _ns(seconds: float) -> int:
    return int(seconds * NS_PER_S)


def listed(model: LoadableModel) -> ModelRow:
    """Return a model's row of /api/tags."""
    facts = _facts(model.base_path, model.base_path.stat().st_mtime_ns)
    family = str(facts["metadata"].get("general.architecture", ""))
    told: ListedDetails = {
        **details(model),
        "context_length": facts["metadata"].get(f"{family}.context_length"),
        "embedding_length": facts["metadata"].get(f"{family}.embedding_length"),
    }
    return {
        "name": tagged_name(model.name),
        "model": tagged_name(model.name),
        "modified_at": (model.modified_at or datetime.fromtimestamp(0, UTC)).isoformat(),
        "size": model.size_bytes,
        "digest": model.digest.partition(":")[2] or model.digest,
        "details": told,
        "capabilities": capabilities(model),
    }


def running(model: LoadableModel, engine: Engine) -> ModelRow:
    """Return a loaded model's row of /api/ps."""
    row = listed(model)
    del row["modified_at"], row["capabilities"]
    row["details"] = details(model)
    row["size"] = engine.size_bytes
    row["size_vram"] = 0
    left = timedelta(seconds=engine.left_s)
    row["expires_at"] = (NEVER if engine.left_s < 0 else datetime.now(UTC) + left).isoformat()
    row["context_length"] = engine.server.context_tokens
    return row


def details(model: LoadableModel) -> ModelDetails:
    """Return what Ollama tells of every model."""
    facts = _facts(model.base_path, model.base_path.stat().st_mtime_ns)
    family = str(facts["metadata"].get("general.architecture", ""))
    return {
        "parent_model": model.parent,
        "format": "gguf",
        "family": family,
        "families": [family],
        "parameter_size": _size(facts["num_parameters"]),
        "quantization_level": facts["quantization"],
    }


def capabilities(model: LoadableModel) -> list[str]:
    """Return what a model can do, by its template (ollama: server/images.go, Capabilities)."""
    template = _template(model)
    can = {
        "tools": "tools" in template.lower(),
        "thinking": "think" in template.lower(),
        "insert": ".Suffix" in template,
    }
    told = ["completion", *(name for name, holds in can.items() if holds)]
    facts = _facts(model.base_path, model.base_path.stat().st_mtime_ns)["metadata"]
    family = facts.get("general.architecture", "")
    return ["embedding"] if f"{family}.pooling_type" in facts else told


def _template(model: LoadableModel) -> str:
    facts = _facts(model.base_path, model.base_path.stat().st_mtime_ns)
    own = str(facts["metadata"].get(TEMPLATE_KEY, ""))
    return model.go_template or model.template or own


def shown(model: LoadableModel, *, is_verbose: bool = False) -> ShownModel:
    """Return the answer of /api/show; lists only if it is verbose."""
    facts = _facts(model.base_path, model.base_path.stat().st_mtime_ns)
    metadata = facts["metadata"]
    template = _template(model)
    modelfile = Modelfile(
        base=str(model.base_path),
        adapters=(str(model.adapter_path),) if model.adapter_path else (),
        system=model.system,
        parameters=model.parameters,
    )
    answer: ShownModel = {
        "modelfile": modelfile.to_text(),
        "parameters": "\n".join(
            f"{key:<30} {json.dumps(one) if isinstance(one, str) else one}"
            for key, value in model.parameters.items()
            for one in (value if isinstance(value, (list, tuple)) else (value,))
        ),
        "template": template,
        "details": details(model),
        "model_info": {
            "general.parameter_count": facts["num_parameters"],
            **{
                key: value if is_verbose or not isinstance(value, list) else None
                for key, value in metadata.items()
                if key != TEMPLATE_KEY
            },
        },
        "tensors": facts["tensors"],
        "capabilities": capabilities(model),
        "modified_at": (model.modified_at or datetime.fromtimestamp(0, UTC)).isoformat(),
    }
    if model.system:
        answer["system"] = model.system
    if model.license:
        answer["license"] = model.license
    if model.messages:
        answer["messages"] = [{"role": role, "content": text} for role, text in model.messages]
    return answer


class FileFacts(TypedDict):
    """What a model's file says of it: its small metadata, and how large it is in what type."""

    metadata: dict[str, JsonValue]
    num_parameters: int
    quantization: str
    tensors: list[JsonValue]


@lru_cache(maxsize=64)
def _facts(path: Path, _mtime_ns: int) -> FileFacts:
    """Read a file's small metadata once."""
    with GgufFile.open(path) as file:
        metadata = {key: _plain(value) for key, value in file.metadata.items()}
        sizes: dict[str, int] = {}
        for info in file.tensors.values():
            count = int(np.prod(info.shape, dtype=np.int64))
            sizes[info.type.name] = sizes.get(info.type.name, 0) + count
        tensors: list[JsonValue] = [
            {"name": name, "type": info.type.name, "shape": [int(n) for n in info.shape]}
            for name, info in file.tensors.items()
        ]
    return {
        "metadata": metadata,
        "num_parameters": sum(sizes.values()),
        "quantization": max(sizes, key=lambda kind: sizes[kind]) if sizes else "",
        "tensors": tensors,
    }


def _plain(value: MetadataValue) -> JsonValue:
    """Return a value as JSON; a long list is left out, as Ollama does."""
    if isinstance(value, StringArray):
        return list(value) if len(value) <= MANY else None
    if isinstance(value, np.ndarray):
        numbers: JsonValue = value.tolist() if value.size <= MANY else None
        return numbers
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value


def _size(count: int) -> str:
    for unit, letter in SIZES:
        if count >= unit:
            return f"{count / unit:.1f}{letter}"
    return str(count)
