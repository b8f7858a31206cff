"""How a reply is drawn, in the words llama.cpp and Ollama share."""

from __future__ import annotations

from fine_tuning.core.json_value import JsonValue
from fine_tuning.core.ports import Sampling


def sampling_options(sampling: Sampling) -> dict[str, JsonValue]:
    """Return the options but for the length and the stop texts, which each server takes its way."""
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": 0.0,
        "seed": sampling.seed,
        "repeat_penalty": sampling.repeat_penalty,
    }
