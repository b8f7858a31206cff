"""A Modelfile as Ollama's own parser reads it, apart from the one under test.

Source: ollama, parser/parser.go (ParseFile, unquote): a value ends at the first line's end at which
its quotation is closed, and what Go does not call printable is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from fine_tuning.runtimes.ollama_modelfile import parameter_value
from tests.ollama_stand_in.requests import OPTIONS, RefusedError

COMMANDS = ("from", "adapter", "template", "system", "license", "message", "parameter")
LATER_COMMANDS = ("renderer", "parser", "requires")
ROLES = ("system", "user", "assistant")
_LINE = re.compile(r"([^\r\n]*)([\r\n]|\Z)")
_WORD = re.compile(r"(\w+)[ \t](.*)", re.ASCII)


def read_request(text: str, *, knows_later: bool = False) -> dict[str, Any]:
    """Return a Modelfile in the words of the newer interface; ``adapters`` is a list of values.

    Raises:
        RefusedError: for what the parser refuses; ``knows_later`` allows the commands of 0.12.
    """
    texts: dict[str, str] = {}
    lists: dict[str, list[Any]] = {"adapters": [], "license": [], "messages": []}
    parameters: dict[str, Any] = {}
    for command, word, value in _commands(text, knows_later=knows_later):
        if command == "parameter":
            if word not in OPTIONS:
                raise RefusedError(500, f"unknown parameter '{word}'")
            is_stop = word == "stop"
            parameters[word] = (
                [*parameters.get(word, ()), value] if is_stop else parameter_value(value)
            )
        elif command == "message":
            lists["messages"].append({"role": word, "content": value})
        elif command in ("adapter", "license"):
            lists["adapters" if command == "adapter" else command].append(value)
        else:
            texts[command] = value
    if not texts.get("from"):
        raise RefusedError(400, "no FROM line")
    return {**texts, **lists, "parameters": parameters}


def _commands(text: str, *, knows_later: bool) -> Iterator[tuple[str, str, str]]:
    """Yield (command, a parameter's name or a message's role, value)."""
    head, value = ("", ""), ""
    for line, end in _LINE.findall(text):
        rest = line
        if not head[0]:
            if not line.strip() or line.strip().startswith("#"):
                continue
            *head, rest = _begun(line, COMMANDS + (LATER_COMMANDS if knows_later else ()))
        value += "".join(c for c in rest if c.isprintable() or c == "\t")
        found = _unquote(value.strip())
        if found is None:
            value += end
            continue
        yield head[0], head[1], found
        head, value = ("", ""), ""
    if head[0]:
        raise RefusedError(400, "unexpected EOF")


def _begun(line: str, known: Sequence[str]) -> tuple[str, str, str]:
    """Return a line's command, its parameter's name or role, and where its value begins."""
    command, rest = _word(line.lstrip(" \t"), "command must be one of")
    command, word = command.lower(), ""
    if command not in known:
        raise RefusedError(400, f"command must be one of {known}")
    if command in ("parameter", "message"):
        word, rest = _word(rest, "unexpected EOF")
    if command == "message" and word not in ROLES:
        raise RefusedError(400, f"message role must be one of {ROLES}")
    return command, word, rest


def _word(line: str, refusal: str) -> tuple[str, str]:
    found = _WORD.fullmatch(line)
    if not found:
        raise RefusedError(400, refusal)
    return found[1], found[2]


def _unquote(text: str) -> str | None:
    """Return a value without its quotes; None while its quotation is open."""
    if text.startswith('"""'):
        return text[3:-3] if len(text) >= 6 and text.endswith('"""') else None
    if text.startswith('"'):
        return text[1:-1] if len(text) >= 2 and text.endswith('"') else None
    return text
