"""The fields of Ollama's and OpenAI's requests, and of what they may hold.

As lenient as the two servers are: unknown fields have no effect, null and absent are the same, a
whole number may be written with a point. What has the wrong type is an error, as there (ollama:
api/types.go; OpenAI's API reference).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from fine_tuning.core.errors import DataError

logger = logging.getLogger(__name__)


def _whole(value: object) -> object:
    """Return a number without a fraction as a whole one: JSON knows only one kind."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Name = Annotated[str, StringConstraints(max_length=500)]
Integer = Annotated[int, BeforeValidator(_whole)]
Role = Annotated[str, BeforeValidator(_lower), StringConstraints(max_length=100)]
Stop = str | list[str]
Json = dict[str, JsonValue]
EmbeddingInput = str | list[str] | list[Integer] | list[list[Integer]]
KeepAlive = str | float | int
Think = bool | str
TopLogprobs = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=20)]
_DURATION = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h)")
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class OptionTypeError(Exception):
    """An option of the wrong type; Ollama answers it with 500 and this sentence."""


class Request(BaseModel):
    """A request's JSON object."""

    model_config = ConfigDict(
        extra="ignore", strict=True, allow_inf_nan=False, populate_by_name=True, frozen=True
    )

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, raw: object) -> object:
        """Take null as absent."""
        if not isinstance(raw, Mapping):
            return raw
        return {key: value for key, value in raw.items() if value is not None}


class Options(Request):
    """Ollama's options that have an effect here; those of loading are the server's to decide."""

    temperature: float | None = None
    top_k: Integer | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_last_n: Integer | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: Integer | None = None
    num_predict: Integer | None = None
    stop: list[str] | None = None
    num_ctx: Integer | None = None
    num_keep: Integer | None = None
    num_batch: Integer | None = None
    num_gpu: Integer | None = None
    main_gpu: Integer | None = None
    num_thread: Integer | None = None
    draft_num_predict: Integer | None = None
    use_mmap: bool | None = None


_OPTION_KINDS = {"list": "array", "float": "float32", "bool": "boolean", "int": "integer"}


def read_options(raw: Mapping[str, JsonValue]) -> Options:
    """Return the options of a request; unknown ones are named in the log and have no effect.

    Args:
        raw: The options by name.

    Raises:
        OptionTypeError: if one has the wrong type.
    """
    unknown = [key for key in raw if key not in Options.model_fields]
    if unknown:
        logger.warning("options without effect: %s", ", ".join(map(str, unknown))[:500])
    try:
        return Options.model_validate(raw)
    except ValidationError as error:
        name = str(error.errors(include_url=False)[0]["loc"][0])
        annotation = str(Options.model_fields[name].annotation)
        kind = next(word for key, word in _OPTION_KINDS.items() if key in annotation)
        raise OptionTypeError(f'option "{name}" must be of type {kind}') from None


def keep_alive_s(value: KeepAlive | None) -> float | None:
    """Return how long a model stays loaded, in seconds; negative for ever, None for the default.

    Args:
        value: A number of seconds, or a duration as Go writes it ("5m", "1h30m", "-1").

    Raises:
        DataError: if it is neither.
    """
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        return float(value)
    text = value.strip()
    if re.fullmatch(r"[+-]?\d+(?:\.\d+)?", text):
        return float(text)
    sign = -1.0 if text.startswith("-") else 1.0
    pieces = _DURATION.findall(text)
    if not pieces or "".join(pieces) != text:
        raise DataError(f'time: invalid duration "{value[:100]}"')
    return sign * sum(_seconds(piece.lstrip("+-")) for piece in pieces)


def _seconds(piece: str) -> float:
    unit = re.sub(r"[\d.]", "", piece)
    return float(piece.removesuffix(unit)) * _UNITS_S[unit]


class ReplyRequest(Request):
    """What /api/chat and /api/generate share."""

    model: Name = ""
    stream: bool | None = None
    format: str | Json | None = None
    options: Json | None = None
    keep_alive: KeepAlive | None = None
    think: Think | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    truncate: bool | None = None
    shift: bool | None = None
    debug_render_only: bool = Field(default=False, alias="_debug_render_only")


class OllamaMessage(Request):
    """A message of /api/chat."""

    role: Role = ""
    content: str | None = None
    name: str | None = None
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

    model: Name = ""
    input: str | list[str] | None = None
    prompt: str | None = None
    truncate: bool | None = None
    dimensions: Integer | None = None
    options: Json | None = None
    keep_alive: KeepAlive | None = None


class ModelRequest(Request):
    """A request that names a model: /api/show, /api/delete, /api/pull, /api/push."""

    model: Name | None = None
    name: Name | None = None
    verbose: bool | None = None
    system: str | None = None
    template: str | None = None
    options: Json | None = None
    insecure: bool | None = None
    stream: bool | None = None

    @property
    def wanted(self) -> str:
        """The name, by its new or its old field.

        Raises:
            DataError: if neither is there.
        """
        if not (name := self.model or self.name):
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

    role: Role = "user"
    content: str | list[Json] | None = None
    name: str | None = None
    tool_calls: list[Json] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class StreamOptions(Request):
    """OpenAI's stream_options."""

    include_usage: bool | None = None


class OpenAiAsking(Request):
    """What OpenAI's two ways of asking share."""

    model: Name = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Integer | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: Stop | None = None
    seed: Integer | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    # Beyond OpenAI's own, as local servers take them:
    top_k: Integer | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None


class ChatCompletion(OpenAiAsking):
    """POST /v1/chat/completions."""

    messages: list[OpenAiMessage] = Field(default_factory=list)
    max_completion_tokens: Integer | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    response_format: Json | None = None
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: Json | None = None


class Completion(OpenAiAsking):
    """POST /v1/completions."""

    prompt: str | list[str]
    logprobs: TopLogprobs | None = None
    suffix: str | None = None


class ResponsesRequest(Request):
    """POST /v1/responses; of what it may hold, what has an effect or is told again."""

    model: Name = ""
    input: str | list[Json] | None = None
    instructions: str | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: Integer | None = None
    tools: list[Json] | None = None
    text: Json | None = None
    reasoning: Json | None = None
    truncation: str | None = None


class MessagesRequest(Request):
    """POST /v1/messages; of what it may hold, what has an effect."""

    model: Name = ""
    messages: list[Json] | None = None
    system: str | list[Json] | None = None
    stream: bool | None = None
    max_tokens: Integer | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Integer | None = None
    stop_sequences: list[str] | None = None
    tools: list[Json] | None = None
    tool_choice: Json | None = None
    thinking: Json | None = None


class Embeddings(Request):
    """POST /v1/embeddings."""

    model: Name = ""
    input: EmbeddingInput | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Integer | None = None


Kind = TypeVar("Kind", bound=Request)


def read_request(kind: type[Kind], body: bytes) -> Kind:
    """Read a request's body.

    Raises:
        DataError: if it is not JSON, or a field has the wrong type.
    """
    if not body.strip():
        raise DataError("missing request body, expected a JSON object")
    try:
        # Not pydantic's own JSON: it would take the numbers of JSON for exact types.
        return kind.model_validate(json.loads(body))
    except ValidationError as error:
        raise DataError(_sentence(error.errors(include_url=False, include_input=False))) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"the request is not JSON: {error}") from None


def _sentence(problems: Sequence[ErrorDetails]) -> str:
    problem = problems[0]
    place = ".".join(str(step) for step in problem["loc"] if not _is_type(step)) or "the request"
    return f"field {place!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _is_type(step: object) -> bool:
    """Tell steps that name a type of a union from those that name a field."""
    return isinstance(step, str) and (step in {"str", "bool", "float", "int"} or "[" in step)
