"""The Modelfile, Ollama's text form of a model: read, written so that it is read back, explained.

Grammar: ollama, parser/parser.go (commands at a line's start in any case, arguments bare, in
double quotes, or between triple quotes over several lines). Knows nothing of servers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject

NO_TEMPLATE = "{{ .Prompt }}"
"""What Ollama shows for a model that has no template."""
LAST_WITH_ADAPTERS = "0.34.0"
"""Later versions refuse ADAPTER (ollama: server/create.go, errAdaptersUnsupported)."""
FIRST_WITH_RENDERERS = "0.12.0"
FIRST_WITH_JINJA = "0.30.0"
"""The first version that renders a GGUF's own template when there is no TEMPLATE."""

FIRST_WITH_CAPABILITIES = "0.35.0"

_COMMAND = re.compile(
    r"(FROM|ADAPTER|TEMPLATE|SYSTEM|PARAMETER|RENDERER|PARSER|REQUIRES|LICENSE|MESSAGE|DRAFT"
    r"|CAPABILITY)\b",
    re.IGNORECASE,
)
# Words of later versions, in capitals as Ollama writes them: a typed text is none.
_OTHER_COMMAND = re.compile(r"([A-Z][A-Z_]{2,31})(?=[ \t]+\S)")
_SEVERAL = ("FROM", "ADAPTER", "DRAFT", "CAPABILITY", "LICENSE")
_SINGLE = ("TEMPLATE", "SYSTEM", "RENDERER", "PARSER", "REQUIRES")
_HEAD = re.compile(r"[ \t]*(\w+)[ \t]*")
_LINE_END = re.compile(r"[\r\n]")
_NUMBERS = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")
_BLANK = " \t\r\n"
_TRIPLE = '"""'
_SHOW = "ollama show --modelfile NAME shows a sound one"
Value = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Modelfile:
    """A model as its Modelfile says it; "" and empty where it says nothing.

    ``base`` is a model name, a path, or ``@sha256:<hex>`` for an uploaded blob, and so are the
    ``adapters`` and ``projectors`` (further FROM lines: the part that sees pictures). A parameter
    given several times (``stop``) is a tuple of texts. ``others`` are (word, argument) pairs of
    words that this version does not know; they are written back as they were.
    """

    base: str
    adapters: tuple[str, ...] = ()
    template: str = ""
    system: str = ""
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    parameters: JsonObject = field(default_factory=dict)
    messages: tuple[tuple[str, str], ...] = ()
    licenses: tuple[str, ...] = ()
    projectors: tuple[str, ...] = ()
    drafts: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    others: tuple[tuple[str, str], ...] = ()

    def to_text(self) -> str:
        """Return the Modelfile.

        Raises:
            DataError: if a text holds three double quotes at the end of a line, which is how a
                quotation ends.
        """
        lines = [f"FROM {_quoted(self.base)}"]
        several = {
            "ADAPTER": self.adapters,
            "DRAFT": self.drafts,
            "FROM": self.projectors,
            "CAPABILITY": self.capabilities,
        }
        lines += [f"{command} {_quoted(item)}" for command in several for item in several[command]]
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
        lines += [f"{word} {_quoted(text)}" for word, text in self.others]
        lines += [f"LICENSE {_quoted(text)}" for text in self.licenses]
        lines += [f"MESSAGE {role} {_quoted(text)}" for role, text in self.messages]
        return "\n".join(lines) + "\n"


def parse_modelfile(text: str) -> Modelfile:
    """Read a Modelfile.

    Raises:
        DataError: if it has no FROM, a quotation without an end, or a line that is no command.
    """
    single: dict[str, str] = {}
    several: dict[str, list[str]] = {command: [] for command in _SEVERAL}
    others: list[tuple[str, str]] = []
    parameters: dict[str, Value | tuple[str, ...]] = {}
    messages: list[tuple[str, str]] = []
    for command, word, argument in _commands(text):
        if command == "PARAMETER":
            _add_parameter(parameters, word, argument)
        elif command == "MESSAGE":
            messages.append((word, argument))
        elif command in several:
            several[command].append(argument)
        elif command in _SINGLE:
            single[command] = argument
        else:
            others.append((command, argument))
    base, *projectors = several["FROM"] or [""]
    if not base:
        raise DataError(
            "the Modelfile has no FROM line, expected one naming a model", next_command=_SHOW
        )
    return Modelfile(
        base=base,
        projectors=tuple(projectors),
        drafts=tuple(several["DRAFT"]),
        capabilities=tuple(several["CAPABILITY"]),
        others=tuple(others),
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


def _commands(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield (command, a parameter's or message's first word, argument without its quotes)."""
    position = 1 if text.startswith("\ufeff") else 0
    while position < len(text):
        if text[position] in _BLANK:
            position += 1
            continue
        if text[position] == "#":
            position = _newline(text, position)
            continue
        found = _COMMAND.match(text, position) or _OTHER_COMMAND.match(text, position)
        if not found:
            line = text[position : _newline(text, position)].strip()
            raise DataError(
                f"the Modelfile has the line {line[:60]!r}, expected a command: FROM, "
                "ADAPTER, TEMPLATE, SYSTEM, PARAMETER, RENDERER, PARSER, REQUIRES, CAPABILITY, "
                "DRAFT, LICENSE or MESSAGE",
                next_command=_SHOW,
            )
        command, word, position = found[1].upper(), "", found.end()
        if command in ("PARAMETER", "MESSAGE") and (head := _HEAD.match(text, position)):
            word, position = head[1], head.end()
        end = _value_end(text, position)
        yield command, word, _unquoted(text[position:end].strip(_BLANK))
        position = end


def _newline(text: str, start: int) -> int:
    """Return where the line ends."""
    found = _LINE_END.search(text, start)
    return found.start() if found else len(text)


def _value_end(text: str, start: int) -> int:
    """Return the end of the first line at whose end every quotation is closed."""
    end = _newline(text, start)
    begin = start + len(text[start:end]) - len(text[start:end].lstrip(_BLANK))
    quotes = next((q for q in (_TRIPLE, '"') if text.startswith(q, begin)), "")
    while quotes:
        last = end
        while text[last - 1] in _BLANK:
            last -= 1
        if last - begin >= 2 * len(quotes) and text.endswith(quotes, begin, last):
            break
        if end < len(text):
            end = _newline(text, end + 1)
        elif quotes == _TRIPLE:
            raise DataError(
                'the Modelfile has """ without its end, expected another """', next_command=_SHOW
            )
        else:  # Ollama shows a text that begins with a quote as it is.
            return _newline(text, start)
    return end


def _unquoted(text: str) -> str:
    for quotes in (_TRIPLE, '"'):
        if len(text) >= 2 * len(quotes) and text.startswith(quotes) and text.endswith(quotes):
            return text[len(quotes) : -len(quotes)]
    return text


def _quoted(text: str) -> str:
    """Quote a text so that Ollama reads it back (parser.go: quote, unquote, ParseFile).

    Raises:
        DataError: if no quotation can hold it.
    """
    if '"' in text:
        if _closes_early(text):
            raise DataError(
                f"the text {text[:40]!r} has three double quotes at the end of a line, which no "
                "Modelfile can hold",
                next_command="deploy to the server instead: fine-tuning deploy",
            )
        return f"{_TRIPLE}{text}{_TRIPLE}"
    is_plain = text and text.strip() == text and not _LINE_END.search(text)
    return text if is_plain else f'"{text}"'


def _closes_early(text: str) -> bool:
    """Tell whether Ollama, which passes over what is not printable, would find an end within."""
    *heads, _ = _LINE_END.split(text)
    kept = ("".join(c for c in head if c.isprintable()).rstrip(" ") for head in heads)
    return any(head.endswith(_TRIPLE) for head in kept)


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


def served_by(modelfile: Modelfile) -> list[str]:
    """Return sentences on which versions of Ollama take a Modelfile, and what they make of it."""
    oldest = [FIRST_WITH_RENDERERS] if modelfile.renderer or modelfile.parser else []
    oldest += [FIRST_WITH_CAPABILITIES] if modelfile.capabilities else []
    oldest += [modelfile.requires] if _version(modelfile.requires) else []
    since = max(oldest, key=_version, default="")
    if not modelfile.adapters:
        versions = f"For Ollama {since} and later." if since else "For every version of Ollama."
    elif since and _version(since) > _version(LAST_WITH_ADAPTERS):
        versions = (
            f"For no version of Ollama: it asks for {since}, and those after {LAST_WITH_ADAPTERS} "
            "refuse ADAPTER; a merged model (fine-tuning models export) is taken."
        )
    else:
        versions = (
            f"For Ollama {f'{since} to' if since else 'up to'} {LAST_WITH_ADAPTERS}: later "
            "versions refuse ADAPTER and take a merged model (fine-tuning models export)."
        )
    told = [versions]
    if not modelfile.template and not modelfile.renderer:
        told.append(
            f"It has no TEMPLATE: versions before {FIRST_WITH_JINJA} would not write the prompts "
            "it was trained on."
        )
    if modelfile.others:
        words = ", ".join(sorted({word for word, _ in modelfile.others}))
        told.append(f"It has words kept as they were, which only later versions know: {words}.")
    lost = sorted({c for c in modelfile.to_text() if not c.isprintable() and c not in "\t\r\n"})
    if lost:
        codes = ", ".join(f"U+{ord(c):04X}" for c in lost[:4])
        told.append(f"Ollama leaves out characters of it that are not printable ({codes}).")
    return told


def _version(text: str) -> tuple[int, ...]:
    """Return a version's numbers; nothing when it is none."""
    found = _NUMBERS.match(text)
    return tuple(int(number or 0) for number in found.groups()) if found else ()
