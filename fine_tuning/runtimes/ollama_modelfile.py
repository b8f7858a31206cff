"""The Modelfile, Ollama's text form of a model: read, and written so that it is read back.

Grammar: ollama, parser/parser.go (commands at a line's start in any case, arguments bare, in
double quotes, or between triple quotes over several lines). Knows nothing of servers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fine_tuning.core.errors import DataError

NO_TEMPLATE = "{{ .Prompt }}"
"""What Ollama shows for a model that has no template."""

_COMMAND = re.compile(
    r"(FROM|ADAPTER|TEMPLATE|SYSTEM|PARAMETER|RENDERER|PARSER|REQUIRES|LICENSE|MESSAGE|DRAFT)\b",
    re.IGNORECASE,
)
_TRIPLE = '"""'
Value = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Modelfile:
    """A model as its Modelfile says it; "" and empty where it says nothing.

    ``base`` is a model name, a path, or ``@sha256:<hex>`` for an uploaded blob, and so are the
    ``adapters``. A parameter given several times (``stop``) is a tuple of texts.
    """

    base: str
    adapters: tuple[str, ...] = ()
    template: str = ""
    system: str = ""
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    parameters: Mapping[str, Value | Sequence[str]] = field(default_factory=dict)
    messages: tuple[tuple[str, str], ...] = ()
    licenses: tuple[str, ...] = ()

    def to_text(self) -> str:
        """Return the Modelfile."""
        lines = [f"FROM {self.base}"]
        lines += [f"ADAPTER {path}" for path in self.adapters]
        texts = {
            "TEMPLATE": self.template,
            "SYSTEM": self.system,
            "RENDERER": self.renderer,
            "PARSER": self.parser,
            "REQUIRES": self.requires,
        }
        lines += [f"{command} {_quoted(text)}" for command, text in texts.items() if text]
        for key, value in self.parameters.items():
            values = value if isinstance(value, (list, tuple)) else (value,)
            lines += [f"PARAMETER {key} {_quoted(_written(item))}" for item in values]
        lines += [f"LICENSE {_quoted(text)}" for text in self.licenses]
        lines += [f"MESSAGE {role} {_quoted(text)}" for role, text in self.messages]
        return "\n".join(lines) + "\n"


def parse_modelfile(text: str) -> Modelfile:
    """Read a Modelfile.

    Raises:
        DataError: if it has no FROM, a quotation without an end, or a command Ollama lacks.
    """
    single: dict[str, str] = {}
    several: dict[str, list[str]] = {"ADAPTER": [], "LICENSE": []}
    parameters: dict[str, Value | tuple[str, ...]] = {}
    messages: list[tuple[str, str]] = []
    for command, argument in _commands(text):
        if command == "PARAMETER":
            key, value = _split(argument)
            _add_parameter(parameters, key, _unquoted(value))
        elif command == "MESSAGE":
            role, said = _split(argument)
            messages.append((role, _unquoted(said)))
        elif command in several:
            several[command].append(_unquoted(argument))
        else:
            single[command] = _unquoted(argument)
    if not single.get("FROM"):
        raise DataError("the Modelfile has no FROM line, expected one naming a model")
    return Modelfile(
        base=single["FROM"],
        adapters=tuple(several["ADAPTER"]),
        template=single.get("TEMPLATE", ""),
        system=single.get("SYSTEM", ""),
        renderer=single.get("RENDERER", ""),
        parser=single.get("PARSER", ""),
        requires=single.get("REQUIRES", ""),
        parameters=parameters,
        messages=tuple(messages),
        licenses=tuple(several["LICENSE"]),
    )


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield (command, raw argument); an argument in triple quotes spans lines."""
    position = 0
    while position < len(text):
        end = _line_end(text, position)
        line = text[position:end]
        position = end + 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _COMMAND.match(line.lstrip())
        if not found:
            raise DataError(
                f"the Modelfile has the line {line.strip()[:60]!r}, expected a command: FROM, "
                "ADAPTER, TEMPLATE, SYSTEM, PARAMETER, RENDERER, PARSER, REQUIRES, LICENSE, MESSAGE"
            )
        yield found[1].upper(), line.lstrip()[found.end() :].strip(" \t\r")


def _line_end(text: str, start: int) -> int:
    """Return where the command beginning at ``start`` ends: its line, or its closing quotes."""
    line_end = text.find("\n", start)
    line_end = len(text) if line_end < 0 else line_end
    opening = text.find('"', start, line_end)
    if opening < 0 or text[start:opening].lstrip().startswith("#"):
        return line_end
    quotes = _TRIPLE if text.startswith(_TRIPLE, opening) else '"'
    closing = text.find(quotes, opening + len(quotes))
    if closing < 0:
        if quotes == _TRIPLE:
            raise DataError('the Modelfile has """ without its end, expected another """')
        return line_end
    after = text.find("\n", closing + len(quotes))
    return len(text) if after < 0 else max(after, line_end)


def _split(argument: str) -> tuple[str, str]:
    head, _, tail = argument.partition(" ")
    return head, tail.strip(" \t")


def _unquoted(text: str) -> str:
    for quotes in (_TRIPLE, '"'):
        if len(text) >= 2 * len(quotes) and text.startswith(quotes) and text.endswith(quotes):
            return text[len(quotes) : -len(quotes)]
    return text


def _quoted(text: str) -> str:
    """Quote a text as Ollama does when it shows a model (parser.go, quote)."""
    if '"' in text:
        return f"{_TRIPLE}{text}{_TRIPLE}"
    plain = text.strip() == text and "\n" not in text and text
    return text if plain else f'"{text}"'


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def parameter_value(text: str) -> Value:
    """Return a parameter's value: true, false, a number, or the text itself."""
    if text in {"true", "false"}:
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _add_parameter(parameters: dict[str, Value | tuple[str, ...]], key: str, text: str) -> None:
    if key != "stop":
        parameters[key] = parameter_value(text)
        return
    earlier = parameters.get(key, ())
    parameters[key] = (*(earlier if isinstance(earlier, tuple) else ()), text)
