"""The syntax tree of a template (Go: text/template/parse/node.go)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from fine_tuning.core.errors import DataError


class GoTemplateError(DataError):
    """A Go template that does not parse, fails while it runs, or does not end."""


@dataclass(slots=True)
class TextNode:
    """TextNode between actions."""

    text: str


@dataclass(slots=True)
class Constant:
    """A literal: text, number, truth value, or nil."""

    value: str | int | float | bool | None


@dataclass(slots=True)
class FieldPath:
    """Fields of the dot: ``.A.B``; no names is the dot itself."""

    names: tuple[str, ...]


@dataclass(slots=True)
class Variable:
    """A variable with fields: ``$x.A``; the name keeps its sign."""

    name: str
    names: tuple[str, ...]


@dataclass(slots=True)
class FunctionName:
    """A function by its name."""

    name: str


@dataclass(slots=True)
class Chain:
    """Fields of a pipeline in parentheses: ``(…).A.B``."""

    pipe: Pipe
    names: tuple[str, ...]


@dataclass(slots=True)
class Command:
    """A function or value with its arguments."""

    arguments: list[Constant | FieldPath | Variable | FunctionName | Chain | Pipe]


@dataclass(slots=True)
class Pipe:
    """Commands joined by ``|``; ``names`` are the variables that get its value."""

    commands: list[Command]
    names: tuple[str, ...] = ()
    is_declared: bool = True


@dataclass(slots=True)
class Action:
    """A pipeline whose value is written."""

    pipe: Pipe


@dataclass(slots=True)
class Branch:
    """``if``, ``with`` or ``range`` with what follows ``else``."""

    kind: Literal["if", "with", "range"]
    pipe: Pipe
    body: Body
    otherwise: Body | None = None


@dataclass(slots=True)
class Call:
    """``template "name" pipeline``."""

    name: str
    pipe: Pipe | None


@dataclass(slots=True)
class Jump:
    """``break`` or ``continue``."""

    kind: Literal["break", "continue"]


Node = TextNode | Action | Branch | Call | Jump


@dataclass(slots=True)
class Body:
    """Nodes in a row."""

    nodes: list[Node] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        """Yield its nodes, and those inside them."""
        for node in self.nodes:
            yield node
            if isinstance(node, Branch):
                yield from node.body.walk()
                if node.otherwise is not None:
                    yield from node.otherwise.walk()
