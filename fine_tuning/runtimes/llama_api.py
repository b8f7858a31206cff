"""What llama-server answers, as types: one per JSON object it sends.

Source: llama.cpp, tools/server/README.md, server-task.cpp (``to_json`` of each result). Fields that
are not read here are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Required, TypedDict


class TokenProbability(TypedDict, total=False):
    """A token with its natural log-probability, and the likeliest in its place."""

    token: Required[str]
    logprob: Required[float]
    id: int
    bytes: Sequence[int]
    top_logprobs: Sequence[TokenProbability]


class Timings(TypedDict):
    """What a reply took: times in milliseconds, tokens found in the cache, tokens per second."""

    cache_n: int
    prompt_ms: float
    predicted_ms: float
    predicted_per_second: float


class Usage(TypedDict):
    """How many tokens were read and written."""

    prompt_tokens: int
    completion_tokens: int


class FunctionDelta(TypedDict, total=False):
    """Some of a call's function; texts are parts to be joined."""

    name: str | None
    arguments: str | None


class ToolCallDelta(TypedDict, total=False):
    """Some of a tool call; ``index`` tells several calls apart."""

    index: int
    id: str | None
    type: str
    function: FunctionDelta | None


class ReplyDelta(TypedDict, total=False):
    """Some of an assistant's message."""

    content: str | None
    reasoning_content: str | None
    tool_calls: Sequence[ToolCallDelta] | None


class TokenProbabilities(TypedDict, total=False):
    """The probabilities of a choice's tokens."""

    content: Sequence[TokenProbability] | None


class Choice(TypedDict, total=False):
    """A reply's next part in the stream of a chat."""

    delta: ReplyDelta | None
    logprobs: TokenProbabilities | None
    finish_reason: str | None


class ErrorObject(TypedDict, total=False):
    """Why a request failed; the token counts come with ``exceed_context_size_error``."""

    code: int
    type: str
    message: str
    n_prompt_tokens: int
    n_ctx: int


class CompletionAnswer(TypedDict):
    """A whole answer of ``/completion``."""

    content: str
    stop_type: str
    stopping_word: str
    tokens_evaluated: int
    tokens_predicted: int
    timings: Timings
    completion_probabilities: Sequence[TokenProbability]


class StreamEvent(TypedDict, total=False):
    """One event of a stream: of ``/completion``, or of ``/v1/chat/completions``."""

    content: str
    stop: bool
    stop_type: str
    tokens_evaluated: int
    tokens_predicted: int
    completion_probabilities: Sequence[TokenProbability]
    choices: Sequence[Choice]
    usage: Usage | None
    timings: Timings | None
    error: ErrorObject


class TokenList(TypedDict):
    """The answer of ``/tokenize``."""

    tokens: list[int]


class TokenPiece(TypedDict):
    """A token and its text; its bytes where they are no valid text."""

    id: int
    piece: str | Sequence[int]


class PieceList(TypedDict):
    """The answer of ``/tokenize`` with ``with_pieces``."""

    tokens: list[TokenPiece]


class RenderedPrompt(TypedDict):
    """The answer of ``/apply-template``."""

    prompt: str


class EmbeddingRow(TypedDict):
    """The vector of one text, which ``index`` tells."""

    index: int
    embedding: list[float]


class EmbeddingList(TypedDict):
    """The answer of ``/v1/embeddings``."""

    data: list[EmbeddingRow]
    usage: Usage
