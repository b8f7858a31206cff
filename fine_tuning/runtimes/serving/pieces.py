"""A piece of a reply, whichever way it came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fine_tuning.runtimes.llama_api import TokenProbability, ToolCallDelta


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyPiece:
    """Some of a reply, as it comes; ``tool_calls`` are OpenAI's deltas."""

    text: str = ""
    thinking: str = ""
    tool_calls: Sequence[ToolCallDelta] = ()
    log_probabilities: Sequence[TokenProbability] = ()
