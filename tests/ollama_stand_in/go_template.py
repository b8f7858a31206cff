"""The product's evaluator of Go templates, as the stand-in's routes ask for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fine_tuning.runtimes.go_templates.nodes import GoTemplateError
from fine_tuning.runtimes.go_templates.prompts import Thinking, go_template

__all__ = ["GoTemplateError", "Thinking", "execute", "parse", "render_chat"]

parse = go_template


def execute(source: str, data: Mapping[str, Any]) -> str:
    """Render a template for some data."""
    return go_template(source).execute(data)


def render_chat(
    source: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Any] = (),
    thinking: Thinking | None = None,
) -> str:
    """Render messages as Ollama does."""
    return go_template(source).render(messages, tools=tools, thinking=thinking)


def fill(source: str, prompt: str, suffix: str) -> str:
    """Render what asks for the text between two others."""
    return go_template(source).fill(prompt, suffix)
