"""YAML text to plain values that remember their line, by the rules of YAML 1.2's core schema.

PyYAML follows YAML 1.1, which reads ``2e-4`` as text, ``no`` as false and ``12:30`` as 750. Here
``2e-4`` is a number, and only ``true`` and ``false`` are truth values. Aliases (which can grow a
small file without bound), tags, repeated keys and deep nesting are refused with their line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import yaml

from fine_tuning.core.errors import ConfigError

MAX_DEPTH = 20
_PLAIN = (
    (re.compile(r"(?:~|null|Null|NULL|)\Z"), lambda _: None),
    (re.compile(r"(?:true|True|TRUE)\Z"), lambda _: True),
    (re.compile(r"(?:false|False|FALSE)\Z"), lambda _: False),
    (re.compile(r"[-+]?[0-9]+\Z"), int),
    (re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"), float),
    (re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z"), lambda text: float(text.replace(".", ""))),
    (re.compile(r"\.(?:nan|NaN|NAN)\Z"), lambda _: float("nan")),
)
# Python refuses to convert longer runs of digits (its guard against quadratic time).
_MAX_DIGITS = 4000


@dataclass(frozen=True, slots=True)
class Entry:
    """A value of a mapping and the line (from 1) its key stands on."""

    value: Any
    line: int


def plain_scalar(text: str) -> Any:  # noqa: ANN401 - any scalar
    """Return what an unquoted word means: null, a truth value, a number, else the text itself."""
    if len(text) <= _MAX_DIGITS:
        for pattern, convert in _PLAIN:
            if pattern.match(text):
                return convert(text)
    return text


def parse_value(text: str) -> Any:  # noqa: ANN401 - any value a setting can have
    """Return the value of one setting written on a command line or in an environment variable.

    Lists and quoted text follow YAML; everything else is taken as one word or sentence, so that
    colons and number signs need no quotes.

    Raises:
        ConfigError: if a list or a quote is not closed.
    """
    text = text.strip()
    if text[:1] not in {"[", '"', "'"}:
        return plain_scalar(text)
    return _Reader(text).document()


def parse_mapping(text: str) -> Mapping[str, Entry]:
    """Return the mapping a YAML text holds; nested mappings are mappings of entries too.

    Raises:
        ConfigError: if the text is not YAML, not a mapping, or uses what this module refuses.
    """
    document = _Reader(text).document()
    if document is None:
        return {}
    if not isinstance(document, Mapping):
        raise ConfigError(f"the text is {_kind(document)}, expected sections such as 'training:'")
    return document


def bare(value: Any) -> Any:  # noqa: ANN401 - any YAML value
    """Return a value without the lines."""
    if isinstance(value, Entry):
        return bare(value.value)
    if isinstance(value, Mapping):
        return {key: bare(item) for key, item in value.items()}
    return [bare(item) for item in value] if isinstance(value, list) else value


class _Reader:
    """Builds values from PyYAML's events, which cost no more memory than the text."""

    def __init__(self, text: str) -> None:
        self._events = yaml.parse(text, Loader=yaml.SafeLoader)

    def document(self) -> Any:  # noqa: ANN401 - any YAML value
        """Return the only document's value, or None when there is none."""
        try:
            next(self._events)
            if isinstance(next(self._events), yaml.StreamEndEvent):
                return None
            value = self._value(next(self._events), 0)
            next(self._events)
            if not isinstance(following := next(self._events), yaml.StreamEndEvent):
                raise ConfigError(f"line {_line(following)} starts a second document, expected one")
        except yaml.YAMLError as error:
            raise ConfigError(_yaml_sentence(error)) from error
        return value

    def _value(self, event: yaml.Event, depth: int) -> Any:  # noqa: ANN401 - any YAML value
        """Return the value that starts with an event."""
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError(
                f"line {_line(event)} uses the alias *{event.anchor}, expected the value itself"
            )
        tag = getattr(event, "tag", None)
        if tag not in {None, "!"}:
            raise ConfigError(f"line {_line(event)} uses the tag {tag}, expected none")
        if depth > MAX_DEPTH:
            raise ConfigError(f"line {_line(event)} is nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(depth)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
                items.append(self._value(event, depth + 1))
            return items
        scalar = cast("yaml.ScalarEvent", event)
        return plain_scalar(scalar.value) if scalar.implicit[0] else scalar.value

    def _mapping(self, depth: int) -> dict[str, Entry]:
        """Return a mapping, up to its end."""
        entries: dict[str, Entry] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            line = _line(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise ConfigError(
                    f"line {line} has a key that is not a word, expected 'key: value'"
                )
            if event.value in entries:
                raise ConfigError(
                    f"line {line} sets {event.value!r} again, expected it once; "
                    f"line {entries[event.value].line} has it already"
                )
            entries[event.value] = Entry(self._value(next(self._events), depth + 1), line)
        return entries


def _line(event: yaml.Event) -> int:
    """Return the line an event starts on, from 1."""
    return cast("yaml.Mark", event.start_mark).line + 1


def _kind(value: object) -> str:
    """Name a document's kind."""
    return "a list" if isinstance(value, list) else f"only {str(value)[:40]!r}"


def _yaml_sentence(error: yaml.YAMLError) -> str:
    """Put a parser's complaint into one sentence."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        problem = (error.problem or error.context or "it cannot be read").strip()
        return f"line {error.problem_mark.line + 1} is not YAML: {problem}"
    return f"the text is not YAML: {' '.join(str(error).split())}"
