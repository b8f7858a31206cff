"""What an Ollama server answers, as types: one per JSON object it sends (ollama: api/types.go).

Both sides use them: the client of a foreign server, and the server of this project. Versions differ
in what they tell, and so every field may be absent, and many may be null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from fine_tuning.core.json_value import JsonValue
from fine_tuning.runtimes.llama_api import TokenProbability


class CalledFunction(TypedDict):
    """A function a reply calls, with whole arguments."""

    index: int
    name: str
    arguments: JsonValue


class OllamaCall(TypedDict):
    """A call of a tool."""

    function: CalledFunction


class MessagePart(TypedDict, total=False):
    """An assistant's message, or some of it."""

    role: str
    content: str | None
    thinking: str | None
    tool_calls: Sequence[OllamaCall] | None


class StreamLine(TypedDict, total=False):
    """One line of a streamed answer: of a reply, or of making a model. Durations in ns."""

    status: str
    error: str
    model: str
    created_at: str
    message: MessagePart | None
    response: str
    thinking: str
    logprobs: Sequence[TokenProbability] | None
    context: Sequence[int]
    done: bool
    done_reason: str
    total_duration: int
    load_duration: int | None
    prompt_eval_count: int | None
    prompt_eval_duration: int
    eval_count: int | None
    eval_duration: int | None


class ModelDetails(TypedDict):
    """What Ollama tells of every model."""

    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class ListedDetails(ModelDetails, total=False):
    """What /api/tags tells besides; absent before 0.33."""

    context_length: JsonValue
    embedding_length: JsonValue


class ModelRow(TypedDict, total=False):
    """A model in a list: of all (/api/tags) or of the loaded ones (/api/ps)."""

    name: str | None
    model: str | None
    modified_at: str
    size: int | None
    digest: str | None
    details: ModelDetails | ListedDetails | None
    capabilities: list[str]
    size_vram: int
    expires_at: str
    context_length: int


class ModelList(TypedDict, total=False):
    """The answer of /api/tags and /api/ps."""

    models: Sequence[ModelRow] | None


class ShownModel(TypedDict, total=False):
    """The answer of /api/show; ``parameters`` a line each."""

    modelfile: str | None
    parameters: str
    template: str
    details: ModelDetails
    model_info: Mapping[str, JsonValue]
    capabilities: list[str]
    tensors: list[JsonValue]
    license: str
    messages: list[JsonValue]
    modified_at: str
    system: str | None
