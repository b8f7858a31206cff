"""Words to a tree (Go: text/template/parse/parse.go)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, cast

from fine_tuning.runtimes.go_templates.lexing import ActionToken, Piece, literal, pieces
from fine_tuning.runtimes.go_templates.nodes import (
    Action,
    Body,
    Branch,
    Call,
    Chain,
    Command,
    Constant,
    FieldPath,
    FunctionName,
    GoTemplateError,
    Jump,
    Pipe,
    TextNode,
    Variable,
)

Operand = Constant | FieldPath | Variable | FunctionName | Chain | Pipe
MAX_DEPTH = 200
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "nil": None}
_BLOCKS = frozenset({"if", "with", "range"})


def parse_bodies(source: str, functions: Collection[str]) -> dict[str, Body]:
    """Return the bodies of a template by name; "" is the main one.

    Args:
        source: The template's text.
        functions: The names of the functions that exist.

    Raises:
        GoTemplateError: if it is not a template, or names a function or variable there is not.
    """
    return _TemplateParser(source, functions).parse()


class _TemplateParser:
    """Reads pieces in order; the variables in scope are checked as Go does, while parsing."""

    def __init__(self, source: str, functions: Collection[str]) -> None:
        self._pieces = iter(pieces(source))
        self._functions = functions
        self._variables = ["$"]
        self._depth = self._loops = 0
        self._bodies: dict[str, Body] = {}

    def parse(self) -> dict[str, Body]:
        body, end = self._body()
        if end:
            raise GoTemplateError(f"the Go template has {{{{{end[0].text}}}}} without a block")
        return {"": body, **self._bodies}

    def _body(self) -> tuple[Body, Sequence[ActionToken]]:
        """Return the nodes up to the ``end`` or ``else`` that closes them, and that action."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise GoTemplateError(f"the Go template nests more than {MAX_DEPTH} blocks")
        body = Body()
        for piece in self._pieces:
            if piece.tokens is None:
                body.nodes.append(TextNode(piece.text))
                continue
            word = _keyword(piece)
            if word in {"end", "else"}:
                self._depth -= 1
                return body, piece.tokens
            self._add(body, word, piece.tokens)
        self._depth -= 1
        return body, ()

    def _add(self, body: Body, word: str, tokens: Sequence[ActionToken]) -> None:
        if word in _BLOCKS:
            body.nodes.append(
                self._branch(cast("Literal['if', 'with', 'range']", word), tokens[1:])
            )
        elif word in {"define", "block"}:
            name, rest = _name(tokens)
            pipe = self._pipe(rest) if word == "block" else None
            self._define(name)
            if word == "block":
                body.nodes.append(Call(name, pipe))
        elif word == "template":
            name, rest = _name(tokens)
            body.nodes.append(Call(name, self._pipe(rest) if rest else None))
        elif word in {"break", "continue"}:
            if not self._loops:
                raise GoTemplateError(f"the Go template has {{{{{word}}}}} outside of range")
            body.nodes.append(Jump(cast("Literal['break', 'continue']", word)))
        else:
            body.nodes.append(Action(self._pipe(tokens)))

    def _define(self, name: str) -> None:
        outer, loops = self._variables, self._loops
        self._variables, self._loops = ["$"], 0
        body, end = self._body()
        _expect_end(end, name)
        self._variables, self._loops = outer, loops
        self._bodies[name] = body

    def _branch(
        self, kind: Literal["if", "with", "range"], tokens: Sequence[ActionToken]
    ) -> Branch:
        known = len(self._variables)
        pipe = self._pipe(tokens, most_names=2 if kind == "range" else 1)
        self._loops += kind == "range"
        body, end = self._body()
        self._loops -= kind == "range"
        otherwise: Body | None = None
        if end and end[0].text == "else":
            del self._variables[known + len(pipe.names) :]
            if len(end) > 1:  # else if …, else with …
                inner = end[1].text
                if inner != kind or kind == "range":
                    raise GoTemplateError(f"the Go template has {{{{else {inner}}}}} in {kind}")
                otherwise = Body([self._branch(kind, end[2:])])
                del self._variables[known:]
                return Branch(kind, pipe, body, otherwise)
            otherwise, end = self._body()
        _expect_end(end, kind)
        del self._variables[known:]
        return Branch(kind, pipe, body, otherwise)

    def _pipe(self, tokens: Sequence[ActionToken], most_names: int = 1) -> Pipe:
        names, is_declared, tokens = _assigned(tokens, most_names)
        if names and not is_declared:
            for name in names:
                self._check_variable(name)
        pipe, rest = self._commands(tokens)
        if rest:
            raise GoTemplateError(f"the Go template has an unexpected {rest[0].text!r}")
        if is_declared:
            self._variables += names
        return Pipe(pipe.commands, names, is_declared)

    def _commands(self, tokens: Sequence[ActionToken]) -> tuple[Pipe, Sequence[ActionToken]]:
        commands: list[Command] = []
        while True:
            command, tokens = self._command(tokens)
            commands.append(command)
            if not tokens or tokens[0].text != "|":
                break
            tokens = tokens[1:]
        for command in commands[1:]:
            if isinstance(command.arguments[0], Constant):
                raise GoTemplateError("the Go template pipes a value into one that is no function")
        return Pipe(commands), tokens

    def _command(self, tokens: Sequence[ActionToken]) -> tuple[Command, Sequence[ActionToken]]:
        command = Command([])
        while tokens and tokens[0].text not in {"|", ")"}:
            operand, tokens = self._operand(tokens)
            command.arguments.append(operand)
        if not command.arguments:
            raise GoTemplateError("the Go template has an empty command")
        return command, tokens

    def _operand(  # noqa: C901, PLR0911 - one per kind
        self, tokens: Sequence[ActionToken]
    ) -> tuple[
        Constant | FieldPath | Variable | FunctionName | Chain | Pipe, Sequence[ActionToken]
    ]:
        token, rest = tokens[0], tokens[1:]
        if token.text == "(" and token.kind == "sign":
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise GoTemplateError(f"the Go template nests more than {MAX_DEPTH} parentheses")
            pipe, rest = self._commands(rest)
            self._depth -= 1
            if not rest or rest[0].text != ")":
                raise GoTemplateError("the Go template has a parenthesis that is not closed")
            names, rest = _chained(rest[1:])
            return (Chain(pipe, names) if names else pipe), rest
        if token.kind in {"string", "raw", "char", "number"}:
            return Constant(literal(token)), rest
        if token.kind == "dot":
            return FieldPath(()), rest
        if token.kind == "field":
            names, rest = _chained(rest)
            return FieldPath((token.text[1:], *names)), rest
        if token.kind == "variable":
            self._check_variable(token.text)
            names, rest = _chained(rest)
            return Variable(token.text, names), rest
        if token.kind == "word":
            return self._word(token.text), rest
        raise GoTemplateError(f"the Go template has an unexpected {token.text!r}")

    def _word(self, word: str) -> Constant | FunctionName:
        if word in _CONSTANTS:
            return Constant(_CONSTANTS[word])
        if word not in self._functions:
            raise GoTemplateError(
                f"the Go template calls {word!r}, a function Ollama does not have"
            )
        return FunctionName(word)

    def _check_variable(self, name: str) -> None:
        if name not in self._variables:
            raise GoTemplateError(
                f"the Go template names the variable {name!r}, which is undefined"
            )


def _keyword(piece: Piece) -> str:
    tokens = piece.tokens or ()
    if not tokens:
        raise GoTemplateError("the Go template has an empty action")
    return tokens[0].text if tokens[0].kind == "word" else ""


def _name(tokens: Sequence[ActionToken]) -> tuple[str, Sequence[ActionToken]]:
    if len(tokens) < 2 or tokens[1].kind not in {"string", "raw"}:  # noqa: PLR2004 - word, name
        raise GoTemplateError(f"the Go template has {tokens[0].text} without a name")
    return str(literal(tokens[1])), tokens[2:]


def _expect_end(end: Sequence[ActionToken], what: str) -> None:
    if not end or end[0].text != "end":
        raise GoTemplateError(f"the Go template does not close {what} with {{{{end}}}}")


def _chained(tokens: Sequence[ActionToken]) -> tuple[tuple[str, ...], Sequence[ActionToken]]:
    """Return the fields that stand directly behind an operand."""
    names: list[str] = []
    while tokens and tokens[0].kind == "field" and not tokens[0].follows_blank:
        names.append(tokens[0].text[1:])
        tokens = tokens[1:]
    return tuple(names), tokens


def _assigned(
    tokens: Sequence[ActionToken], most_names: int
) -> tuple[tuple[str, ...], bool, Sequence[ActionToken]]:
    """Return the variables a pipeline is assigned to, whether they are new, and the pipeline."""
    place = next((i for i, token in enumerate(tokens) if token.kind == "assign"), None)
    if place is None:
        return (), True, tokens
    names = [token for token in tokens[:place] if token.text != ","]
    if not 0 < len(names) <= most_names or any(token.kind != "variable" for token in names):
        raise GoTemplateError("the Go template assigns to what is no variable")
    return tuple(token.text for token in names), tokens[place].text == ":=", tokens[place + 1 :]
