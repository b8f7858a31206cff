"""What OpenAI's interface answers, as types (OpenAI API reference: chat, completions, models)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from fine_tuning.runtimes.llama_api import TokenProbability, ToolCallDelta


class CachedTokens(TypedDict):
    """How many of a prompt's tokens need not be computed again."""

    cached_tokens: int


class TokenUsage(TypedDict):
    """What a reply took, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class WholeCall(TypedDict):
    """A call of a tool; ``arguments`` is JSON in a text."""

    id: str
    type: str
    function: dict[str, str]


class AssistantMessage(TypedDict, total=False):
    """A reply."""

    role: str
    content: str | None
    refusal: None
    reasoning_content: str
    tool_calls: list[WholeCall]


class MessageDelta(TypedDict, total=False):
    """Some of a reply."""

    role: str
    content: str
    reasoning_content: str
    tool_calls: list[ToolCallDelta]


class Said(TypedDict, total=False):
    """The one field of a choice that holds the reply: of a chat, of its stream, or of a text."""

    message: AssistantMessage
    delta: MessageDelta
    text: str


class ChatProbabilities(TypedDict):
    """The tokens of a chat's choice."""

    content: Sequence[TokenProbability]
    refusal: None


class TextProbabilities(TypedDict):
    """The tokens of a text's choice, in columns."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class AnswerChoice(Said, total=False):
    """A reply in its place."""

    index: int
    logprobs: ChatProbabilities | TextProbabilities | None
    finish_reason: str | None


class Head(TypedDict):
    """What every answer to one request begins with."""

    id: str
    created: int
    model: str
    system_fingerprint: str


class OpenAiChunk(Head):
    """Some of an answer, as a stream sends it."""

    object: str
    choices: list[AnswerChoice]


class OpenAiAnswer(OpenAiChunk):
    """A whole answer, or the chunk that ends a stream."""

    usage: TokenUsage


class ListedModel(TypedDict):
    """A model's row of /v1/models."""

    id: str
    object: str
    created: int
    owned_by: str
