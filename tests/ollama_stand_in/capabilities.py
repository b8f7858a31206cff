"""What a model can do, and so which of its templates is used (ollama: server/images.go).

Templates are judged by the words in them, as Ollama judges a GGUF's: it parses the Go ones, whose
variables are words, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TOOLS, THINKING, INSERT, VISION = "tools", "thinking", "insert", "vision"


def of_go(template: str) -> set[str]:
    """Return what a Go template has: its variables say."""
    words = {TOOLS: ".Tools", THINKING: ".Thinking"}
    return {name for name, word in words.items() if word in template}


def of_jinja(template: str) -> set[str]:
    """Return what a GGUF's own template has."""
    words = {TOOLS: "tools", THINKING: "</think>"}
    return {name for name, word in words.items() if word in template}


def prefers_jinja(jinja: str, go: str) -> bool:
    """Tell whether the GGUF's own is used though there is a Go one (shouldPreferChatTemplate)."""
    more, has = of_jinja(jinja), of_go(go)
    go_answers = ".ToolCalls" in go and '"tool"' in go
    jinja_answers = "tool_calls" in jinja and ("'tool'" in jinja or '"tool"' in jinja)
    if more > has:
        return not go_answers or jinja_answers
    return more == has and TOOLS in has and jinja_answers and not go_answers


def capabilities(config: Mapping[str, Any], go: str, jinja: str) -> set[str]:
    """Return all a model can do; ``go`` is "" when the GGUF's own template is used."""
    # A built-in parser brings its own tools and thinking.
    by_parser = {TOOLS} if config.get("parser") else set()
    by_words = {INSERT} if ".Suffix" in go else set()
    return {"completion", *by_parser, *by_words, *(of_go(go) if go else of_jinja(jinja))}
