"""The fields of Ollama's and OpenAI's requests, and of what they may hold.

Closed to unknown fields: a misspelt one is an error, not a silent default. Fields that mean nothing
to a server on one machine are accepted and have no effect (ollama: api/types.go; OpenAI's API
reference). Types are checked strictly, as Ollama's own decoder does.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from fine_tuning.core.errors import DataError

Name = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Stop = str | list[str]
Json = dict[str, JsonValue]
KeepAlive = str | float | int
Think = bool | Literal["low", "medium", "high", "max"]
TopLogprobs = Annotated[int, Field(ge=0, le=20)]
MAX_TEXTS = 256
MAX_INT = 2**31 - 1


class Request(BaseModel):
    """A request's JSON object."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True, frozen=True
    )


class Options(Request):
    """Ollama's options; those of loading (num_thread, ...) are decided by the server.

    ``num_ctx`` holds within the room the model was loaded with; a wish for more changes nothing.
    """

    temperature: float | None = Field(default=None, ge=0)
    top_k: int | None = Field(default=None, ge=0, le=MAX_INT)
    top_p: float | None = Field(default=None, ge=0, le=1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    typical_p: float | None = Field(default=None, ge=0, le=1)
    repeat_last_n: int | None = Field(default=None, ge=-1, le=MAX_INT)
    repeat_penalty: float | None = Field(default=None, ge=0)
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    num_predict: int | None = Field(default=None, ge=-2, le=MAX_INT)
    stop: Stop | None = None
    num_ctx: int | None = Field(default=None, ge=0, le=MAX_INT)
    num_keep: int | None = None
    num_batch: int | None = None
    num_gpu: int | None = None
    main_gpu: int | None = None
    num_thread: int | None = None
    draft_num_predict: int | None = None
    numa: bool | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None
    low_vram: bool | None = None
    f16_kv: bool | None = None
    logits_all: bool | None = None
    vocab_only: bool | None = None
    embedding_only: bool | None = None
    penalize_newline: bool | None = None
    tfs_z: float | None = None
    mirostat: int | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    rope_frequency_base: float | None = None
    rope_frequency_scale: float | None = None


class ReplyRequest(Request):
    """What /api/chat and /api/generate share."""

    model: Name
    stream: bool | None = None
    format: str | Json | None = None
    options: Options | None = None
    keep_alive: KeepAlive | None = None
    think: Think | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    truncate: bool | None = None
    shift: bool | None = None
    debug_render_only: bool = Field(default=False, alias="_debug_render_only")


class OllamaMessage(Request):
    """A message of /api/chat."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[Json] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class ChatRequest(ReplyRequest):
    """POST /api/chat."""

    messages: list[OllamaMessage] | None = None
    tools: list[Json] | None = None


class GenerateRequest(ReplyRequest):
    """POST /api/generate."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None
    images: list[str] | None = None


class Embed(Request):
    """POST /api/embed and /api/embeddings."""

    model: Name
    input: str | Annotated[list[str], Field(max_length=MAX_TEXTS)] | None = None
    prompt: str | None = None
    truncate: bool | None = None
    dimensions: int | None = Field(default=None, ge=1)
    options: Options | None = None
    keep_alive: KeepAlive | None = None


class ModelRequest(Request):
    """A request that names a model: /api/show, /api/delete, /api/pull, /api/push."""

    model: Name | None = None
    name: Name | None = None
    verbose: bool | None = None
    system: str | None = None
    template: str | None = None
    options: Options | None = None
    insecure: bool | None = None
    stream: bool | None = None

    @property
    def wanted(self) -> str:
        """The name, by its new or its old field.

        Raises:
            DataError: if neither is there.
        """
        if (name := self.model or self.name) is None:
            raise DataError("the request names no model, expected the field 'model'")
        return name


class Copy(Request):
    """POST /api/copy."""

    source: Name
    destination: Name


class Create(Request):
    """POST /api/create, in its structured form (Ollama 0.5.5 and later)."""

    model: Name | None = None
    name: Name | None = None
    stream: bool | None = None
    from_: str | None = Field(default=None, alias="from")
    files: dict[str, str] | None = None
    adapters: dict[str, str] | None = None
    template: str | None = None
    system: str | None = None
    parameters: Json | None = None
    license: str | list[str] | None = None
    messages: list[Json] | None = None
    quantize: str | None = None
    renderer: str | None = None
    parser: str | None = None
    requires: str | None = None
    info: Json | None = None
    modelfile: str | None = None
    path: str | None = None


class OpenAiMessage(Request):
    """A message of /v1/chat/completions."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Json] | None = None
    name: str | None = None
    tool_calls: list[Json] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    annotations: list[object] | None = None
    audio: Json | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class StreamOptions(Request):
    """OpenAI's stream_options."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class OpenAiAsking(Request):
    """What OpenAI's two ways of asking share."""

    model: Name
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=0, le=MAX_INT)
    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, ge=0, le=1)
    n: Literal[1] | None = None
    stop: Stop | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None
    metadata: Json | None = None
    # Beyond OpenAI's own, as local servers take them:
    top_k: int | None = Field(default=None, ge=0, le=MAX_INT)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repeat_penalty: float | None = Field(default=None, ge=0)


class ChatCompletion(OpenAiAsking):
    """POST /v1/chat/completions."""

    messages: Annotated[list[OpenAiMessage], Field(min_length=1)]
    max_completion_tokens: int | None = Field(default=None, ge=0, le=MAX_INT)
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    response_format: Json | None = None
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    store: bool | None = None
    service_tier: str | None = None
    modalities: list[str] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    verbosity: str | None = None


class Completion(OpenAiAsking):
    """POST /v1/completions."""

    prompt: str | list[str]
    logprobs: TopLogprobs | None = None
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None
    suffix: Literal[""] | None = None


class Embeddings(Request):
    """POST /v1/embeddings."""

    model: Name
    input: str | Annotated[list[str], Field(max_length=MAX_TEXTS)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(default=None, ge=1)
    user: str | None = None


Kind = TypeVar("Kind", bound=Request)


def read_request(kind: type[Kind], body: bytes) -> Kind:
    """Read a request's body.

    Raises:
        DataError: if it is not JSON, or a field is unknown, missing or of the wrong type.
    """
    if not body.strip():
        raise DataError("missing request body, expected a JSON object")
    try:
        # Not pydantic's own JSON: it would take the numbers of JSON for exact types.
        return kind.model_validate(json.loads(body))
    except ValidationError as error:
        raise DataError(
            _sentence(kind, error.errors(include_url=False, include_input=False))
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"the request is not JSON: {error}") from None


def _sentence(kind: type[Request], problems: Sequence[ErrorDetails]) -> str:
    problem = problems[0]
    place = ".".join(str(step) for step in problem["loc"] if not _is_type(step)) or "the request"
    if problem["type"] == "extra_forbidden":
        names = [*kind.model_fields, *Options.model_fields, *OllamaMessage.model_fields]
        near = difflib.get_close_matches(str(problem["loc"][-1]), names, 1)
        return f"unknown field {place!r}" + (f"; the nearest is {near[0]!r}" if near else "")
    return f"field {place!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _is_type(step: object) -> bool:
    """Tell steps that name a type of a union from those that name a field."""
    return isinstance(step, str) and (step in {"str", "bool", "float", "int"} or "[" in step)
