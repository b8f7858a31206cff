"""Runs a template, within a number of steps and characters (Go: text/template/exec.go)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from fine_tuning.runtimes.go_templates.functions import FUNCTIONS, SHORT_CIRCUITS
from fine_tuning.runtimes.go_templates.go_values import (
    GoValue,
    Struct,
    formatted,
    is_true,
    plain,
    to_text,
)
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

MAX_STEPS = 2_000_000
MAX_CHARS = 32 << 20
MAX_CALLS = 100
_NOTHING = object()


class _JumpError(Exception):
    """A ``break`` or ``continue`` on its way to its loop."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Execution:
    """One run of a template.

    Args:
        bodies: Its bodies by name.
        data: The value of the first dot and of ``$``.
    """

    def __init__(self, bodies: Mapping[str, Body], data: GoValue) -> None:
        self._bodies = bodies
        self._out: list[str] = []
        self._variables: list[tuple[str, GoValue]] = [("$", data)]
        self._dot = data
        self._steps = self._chars = self._calls = 0

    def run(self, body: Body) -> str:
        """Return what a body writes.

        Raises:
            GoTemplateError: if it fails, or does not end within the limits.
        """
        try:
            self._walk(body, self._dot)
        except RecursionError as error:
            raise GoTemplateError("the Go template nests too deeply") from error
        return "".join(self._out)

    def _walk(self, body: Body, dot: GoValue) -> None:
        for node in body.nodes:
            self._step()
            if isinstance(node, TextNode):
                self._write(node.text)
            elif isinstance(node, Action):
                value = self._pipe(node.pipe, dot)
                if not node.pipe.names:
                    self._write(to_text(value))
            elif isinstance(node, Branch):
                self._branch(node, dot)
            elif isinstance(node, Call):
                self._call(node, dot)
            elif isinstance(node, Jump):
                raise _JumpError(node.kind)

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise GoTemplateError(f"the Go template does not end within {MAX_STEPS} steps")

    def _write(self, text: str) -> None:
        self._chars += len(text)
        if self._chars > MAX_CHARS:
            raise GoTemplateError(f"the Go template writes more than {MAX_CHARS} characters")
        self._out.append(text)

    @contextmanager
    def _scope(self) -> Iterator[None]:
        known = len(self._variables)
        try:
            yield
        finally:
            del self._variables[known:]

    def _branch(self, node: Branch, dot: GoValue) -> None:
        with self._scope():
            if node.kind == "range":
                self._range(node, dot)
                return
            value = self._pipe(node.pipe, dot)
            if is_true(value):
                self._walk(node.body, value if node.kind == "with" else dot)
            elif node.otherwise is not None:
                self._walk(node.otherwise, dot)

    def _range(self, node: Branch, dot: GoValue) -> None:
        bare = Pipe(node.pipe.commands)
        pairs = _pairs(self._pipe(bare, dot))
        if not pairs and node.otherwise is not None:
            self._walk(node.otherwise, dot)
        names = node.pipe.names
        for key, value in pairs:
            self._step()
            with self._scope():
                given = (key, value) if len(names) == 2 else (value,)  # noqa: PLR2004 - key, value
                for name, item in zip(names, given, strict=False):
                    self._assign(name, item, is_declared=node.pipe.is_declared)
                try:
                    self._walk(node.body, value)
                except _JumpError as jump:
                    if jump.kind == "break":
                        return

    def _call(self, node: Call, dot: GoValue) -> None:
        body = self._bodies.get(node.name)
        if body is None:
            raise GoTemplateError(f"the Go template calls {node.name!r}, which it does not define")
        value = None if node.pipe is None else self._pipe(node.pipe, dot)
        self._calls += 1
        if self._calls > MAX_CALLS:
            raise GoTemplateError(f"the Go template calls itself more than {MAX_CALLS} deep")
        outer, self._variables = self._variables, [("$", value)]
        try:
            self._walk(body, value)
        finally:
            self._variables = outer
            self._calls -= 1

    def _assign(self, name: str, value: GoValue, *, is_declared: bool) -> None:
        if not is_declared:
            for place in range(len(self._variables) - 1, -1, -1):
                if self._variables[place][0] == name:
                    self._variables[place] = (name, value)
                    return
        self._variables.append((name, value))

    def _pipe(self, pipe: Pipe, dot: GoValue) -> GoValue:
        value: GoValue = _NOTHING
        for command in pipe.commands:
            value = self._command(command, dot, value)
        for name in pipe.names:
            self._assign(name, value, is_declared=pipe.is_declared)
        return value

    def _command(self, command: Command, dot: GoValue, piped: GoValue) -> GoValue:
        self._step()
        head, *rest = command.arguments
        if not isinstance(head, FunctionName):
            if rest or piped is not _NOTHING:
                raise GoTemplateError("the Go template gives arguments to what is no function")
            if isinstance(head, Constant) and head.value is None:
                raise GoTemplateError("the Go template uses nil as a command")
            return self._operand(head, dot)
        last = [] if piped is _NOTHING else [piped]
        if head.name in SHORT_CIRCUITS:
            return self._short_circuit(head.name, rest, last, dot)
        arguments = [self._operand(argument, dot) for argument in rest] + last
        try:
            return FUNCTIONS[head.name](*arguments)
        except TypeError as error:
            raise GoTemplateError(
                f"the Go template calls {head.name} with {len(arguments)} values it does not take"
            ) from error

    def _short_circuit(
        self, name: str, rest: Sequence[GoValue], last: list[GoValue], dot: GoValue
    ) -> GoValue:
        """Return the first operand that decides ``and`` or ``or``, else the last."""
        value: GoValue = None
        operands = [*rest, *last]
        if not operands:
            raise GoTemplateError(f"the Go template calls {name} without a value")
        for place, operand in enumerate(operands):
            value = operand if place >= len(rest) else self._operand(operand, dot)
            if is_true(value) == (name == "or"):
                return value
        return value

    def _operand(self, operand: GoValue, dot: GoValue) -> GoValue:  # noqa: PLR0911 - one per kind
        if isinstance(operand, Constant):
            return operand.value
        if isinstance(operand, FieldPath):
            return _fields(dot, operand.names)
        if isinstance(operand, Variable):
            return _fields(self._variable(operand.name), operand.names)
        if isinstance(operand, Chain):
            return _fields(self._pipe(operand.pipe, dot), operand.names)
        if isinstance(operand, Pipe):
            return self._pipe(operand, dot)
        return self._command(Command([operand]), dot, _NOTHING)

    def _variable(self, name: str) -> GoValue:
        for known, value in reversed(self._variables):
            if known == name:
                return value
        raise GoTemplateError(f"the Go template names the variable {name!r}, which is undefined")


def _fields(value: GoValue, names: Sequence[str]) -> GoValue:
    for name in names:
        value = plain(value)
        if isinstance(value, Struct):
            if name not in value.fields:
                raise GoTemplateError(f"the Go template asks for {name!r}, a field there is not")
            value = value.fields[name]
        elif isinstance(value, Mapping):
            value = value.get(name)
        else:
            raise GoTemplateError(
                f"the Go template asks for {name!r} of {formatted(value)!r}, which has no fields"
            )
    return value


def _pairs(value: GoValue) -> list[tuple[GoValue, GoValue]]:
    """Return what a loop goes through: index and item, sorted key and value, or numbers."""
    value = plain(value)
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [(key, value[key]) for key in sorted(value)]
    if isinstance(value, int) and not isinstance(value, bool):
        if value > MAX_STEPS:
            raise GoTemplateError(f"the Go template does not end within {MAX_STEPS} steps")
        return [(number, number) for number in range(value)]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(enumerate(value))
    raise GoTemplateError(f"the Go template ranges over {formatted(value)!r}")
