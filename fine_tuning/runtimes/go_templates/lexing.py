"""Cuts a template into texts and actions, and actions into words (Go: parse/lex.go)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from fine_tuning.runtimes.go_templates.nodes import GoTemplateError

_LEFT, _RIGHT = "{{", "}}"
_GO_STRING = re.compile(
    r'"(?:[^"\\\n]|\\(?:[abfnrtv\\"\']|x[0-9a-fA-F]{2}|[0-7]{3}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}))*"'
)
_BLANKS = " \t\r\n"
_TOKEN = re.compile(
    r"(?P<blank>[ \t\r\n]+)"
    r'|(?P<string>"(?:\\.|[^"\\\n])*")'
    r"|(?P<raw>`[^`]*`)"
    r"|(?P<char>'(?:\\.|[^'\\\n])+')"
    r"|(?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+"
    r"|\d[\d_]*(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?))"
    r"|(?P<variable>\$\w*)"
    r"|(?P<field>\.\w+)"
    r"|(?P<dot>\.)"
    r"|(?P<assign>:=|=)"
    r"|(?P<sign>[|(),])"
    r"|(?P<word>[^\W\d]\w*)"
)


@dataclass(frozen=True, slots=True)
class ActionToken:
    """A word of an action; ``follows_blank`` tells ``(x).A`` from ``(x) .A``."""

    kind: str
    text: str
    follows_blank: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """A text, or an action with its words."""

    text: str = ""
    tokens: tuple[ActionToken, ...] | None = None


def pieces(source: str) -> Iterator[Piece]:
    """Yield the texts and actions of a template, trimmed as ``{{-`` and ``-}}`` say.

    Raises:
        GoTemplateError: if an action is not closed or holds a character that has no meaning.
    """
    position, is_trimmed = 0, False
    while True:
        start = source.find(_LEFT, position)
        text = source[position:] if start < 0 else source[position:start]
        if is_trimmed:
            text = text.lstrip(_BLANKS)
        if start < 0:
            if text:
                yield Piece(text)
            return
        position = start + len(_LEFT)
        if source[position : position + 1] == "-" and source[position + 1 : position + 2] in tuple(
            _BLANKS
        ):
            text = text.rstrip(_BLANKS)
            position += 1
        if text:
            yield Piece(text)
        tokens, position, is_trimmed = _action(source, position)
        if tokens is not None:
            yield Piece(tokens=tokens)


def _action(source: str, position: int) -> tuple[tuple[ActionToken, ...] | None, int, bool]:
    """Return an action's words (None for a comment), where it ends, and whether it trims."""
    comment = re.compile(r"[ \t\r\n]*/\*").match(source, position)
    if comment:
        end = source.find("*/", comment.end())
        closing = re.compile(r"([ \t\r\n]-)?\}\}").match(source, end + 2) if end >= 0 else None
        if closing is None:
            raise GoTemplateError("the Go template has a comment that is not closed")
        return None, closing.end(), bool(closing[1])
    tokens: list[ActionToken] = []
    follows_blank = True
    while True:
        if source.startswith(_RIGHT, position):
            return tuple(tokens), position + len(_RIGHT), False
        if follows_blank and source.startswith("-}}", position) and tokens:
            return tuple(tokens), position + len("-}}"), True
        match = _TOKEN.match(source, position)
        if match is None:
            shown = source[position : position + 20]
            where = f"at {shown!r}" if shown else "before its end"
            raise GoTemplateError(f"the Go template cannot be read {where}")
        kind = str(match.lastgroup)
        position = match.end()
        if kind == "blank":
            follows_blank = True
            continue
        tokens.append(ActionToken(kind, match.group(), follows_blank))
        follows_blank = False


def literal(token: ActionToken) -> str | int | float:
    """Return the value of a text, character or number.

    Raises:
        GoTemplateError: if it is none that Go reads.
    """
    text = token.text
    try:
        if token.kind == "raw":
            return text[1:-1].replace("\r", "")
        if token.kind == "string":
            return _unquoted(text)
        if token.kind == "char":
            return ord(_unquoted(f'"{text[1:-1]}"'))
        digits = text.replace("_", "")
        if re.fullmatch(r"[+-]?0\d+", digits):
            return int(digits, 8)
        return (
            int(digits, 0)
            if re.fullmatch(r"[+-]?(?:0[xX][0-9a-fA-F]+|0[oObB][0-7]+|\d+)", digits)
            else float(digits)
        )
    except (ValueError, SyntaxError, TypeError) as error:
        raise GoTemplateError(f"the Go template holds {text!r}, which is no literal") from error


def _unquoted(text: str) -> str:
    """Return an interpreted string literal; the escapes Go has mean the same in Python.

    Raises:
        ValueError: if it has an escape Go does not have.
    """
    if not _GO_STRING.fullmatch(text):
        raise ValueError(text)
    return str(ast.literal_eval(text))
