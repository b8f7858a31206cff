"""Settings from four places: defaults < file < environment < ``--set``; all errors at once.

Each error line names the setting, its value, the place it came from and what is accepted. Knows
nothing of what the settings are used for.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fine_tuning.config.schema import Settings
from fine_tuning.config.settings_reference import settings_reference
from fine_tuning.config.yaml_text import bare, parse_mapping, parse_value
from fine_tuning.core.errors import ConfigError
from fine_tuning.core.json_value import JsonObject, JsonValue

PREFIX = "FINE_TUNING__"
SHIPPED_FILE = Path(__file__).with_name("fine_tuning_config.yaml")
MAX_FILE_BYTES = 256 * 1024
_SHOWN_VALUE_CHARS = 80
_MANUAL = f"compare with {SHIPPED_FILE}, which explains every setting"


@dataclass(frozen=True, slots=True)
class Given:
    """A value somebody gave: dotted key, value, and the place in words."""

    dotted: str
    value: Any
    place: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and, for each dotted key that is not at its default place, where it came from."""

    settings: Settings
    places: Mapping[str, str]


def load_settings(
    path: Path | str | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    overrides: Sequence[str] = (),
) -> Settings:
    """Return the settings in force.

    Args:
        path: The settings file; None reads the shipped ``fine_tuning_config.yaml``.
        environment: Variables such as ``FINE_TUNING__TRAINING__LORA_R=8``; others are left alone.
        overrides: ``section.key=value`` each, the strongest; the last of equals wins.

    Raises:
        ConfigError: if the file cannot be read, a key is unknown or a value is refused; the
            message lists every such finding, one a line.
    """
    return load_with_places(path, environment=environment, overrides=overrides).settings


def load_with_places(
    path: Path | str | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    overrides: Sequence[str] = (),
) -> Loaded:
    """Return the settings in force and where each came from; see :func:`load_settings`.

    Args:
        path: As in :func:`load_settings`.
        environment: As in :func:`load_settings`.
        overrides: As in :func:`load_settings`.

    Raises:
        ConfigError: as :func:`load_settings`.
    """
    problems: list[str] = []
    given: dict[str, Given] = {}
    for source in (
        _from_file(Path(path) if path is not None else SHIPPED_FILE, problems),
        _from_environment(environment, problems),
        _from_overrides(overrides, problems),
    ):
        for item in source:
            if (complaint := _unknown(item)) is None:
                given[item.dotted] = item
            else:
                problems.append(complaint)
    settings = _validated(given, problems)
    return Loaded(settings, {dotted: item.place for dotted, item in given.items()})


def with_values(settings: Settings, values: JsonObject, *, place: str = "chosen") -> Settings:
    """Return settings with others in place of some.

    Args:
        settings: What holds else.
        values: By dotted key, such as ``training.lora_r``; Python values, not texts.
        place: Where they come from, for the message.

    Raises:
        ConfigError: as :func:`load_settings`.
    """
    problems: list[str] = []
    given = {
        f"{section}.{key}": Given(f"{section}.{key}", value, "in force")
        for section, fields in settings.model_dump().items()
        for key, value in fields.items()
    }
    for dotted, value in values.items():
        item = Given(dotted, value, place)
        if (complaint := _unknown(item)) is None:
            given[dotted] = item
        else:
            problems.append(complaint)
    return _validated(given, problems)


def _validated(given: Mapping[str, Given], problems: list[str]) -> Settings:
    """Return the settings, or raise with what was found here and before."""
    nested: dict[str, dict[str, JsonValue]] = {}
    for dotted, item in given.items():
        section, key = dotted.split(".")
        nested.setdefault(section, {})[key] = item.value
    settings = None
    try:
        settings = Settings.model_validate(nested)
    except ValidationError as error:
        problems.extend(_refusals(error, given))
    if settings is None or problems:
        count = "one setting is" if len(problems) == 1 else f"{len(problems)} settings are"
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigError(f"{count} not accepted:\n{lines}", next_command=_MANUAL)
    return settings


def _from_file(path: Path, problems: list[str]) -> Iterator[Given]:
    """Yield what a settings file gives.

    Raises:
        ConfigError: if the file cannot be read as YAML.
    """
    text = _read(path)
    try:
        sections = parse_mapping(text)
    except ConfigError as error:
        raise ConfigError(f"settings file {path}: {error.message}") from error
    for section, entry in sections.items():
        place = f"{path}:{entry.line}"
        if section in settings_reference() and isinstance(entry.value, Mapping):
            for key, inner in entry.value.items():
                yield Given(f"{section}.{key}", bare(inner), f"{path}:{inner.line}")
        elif section not in settings_reference():
            yield Given(section, bare(entry), place)
        elif entry.value is not None:
            problems.append(
                f"{section} = {_shown(bare(entry))} ({place}): "
                "expected keys below it, such as "
                f"'{settings_reference()[section][0].key}: …'"
            )


def _read(path: Path) -> str:
    """Return a settings file's text.

    Raises:
        ConfigError: if it is missing, a folder, too large, unreadable or not UTF-8.
    """
    try:
        if path.is_dir():
            raise ConfigError(f"settings file {path} is a folder, expected a YAML file")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(
            f"settings file {path} does not exist", next_command=f"cp {SHIPPED_FILE} {path}"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"settings file {path} cannot be read: {error}") from error
    if len(content) > MAX_FILE_BYTES:
        limit = MAX_FILE_BYTES // 1024
        raise ConfigError(f"settings file {path} is larger than {limit} KiB, expected a few KiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"settings file {path} is not UTF-8 text: byte {error.start} is "
            f"0x{content[error.start]:02x}"
        ) from error


def _from_environment(environment: Mapping[str, str], problems: list[str]) -> Iterator[Given]:
    """Yield what environment variables give."""
    for name in sorted(environment):
        if name.upper().startswith(PREFIX):
            dotted = name[len(PREFIX) :].lower().replace("__", ".")
            yield from _given(dotted, environment[name], f"environment variable {name}", problems)


def _from_overrides(overrides: Iterable[str], problems: list[str]) -> Iterator[Given]:
    """Yield what ``--set`` gives."""
    for override in overrides:
        dotted, equals, text = override.partition("=")
        if equals:
            yield from _given(dotted.strip(), text, f"--set {dotted.strip()}", problems)
        else:
            problems.append(f"--set {override}: expected section.key=value")


def _given(dotted: str, text: str, place: str, problems: list[str]) -> Iterator[Given]:
    """Yield one value from its text, unless the text is torn."""
    try:
        yield Given(dotted, parse_value(text), place)
    except ConfigError as error:
        problems.append(f"{dotted} = {_shown(text)} ({place}): {error.message}")


def _unknown(item: Given) -> str | None:
    """Return the complaint about a key nobody knows, with the nearest one; None if it is known."""
    known = {setting.dotted for group in settings_reference().values() for setting in group}
    if item.dotted in known:
        return None
    found = f"{item.dotted} ({item.place})"
    section, _, key = item.dotted.rpartition(".")
    homes = [dotted for dotted in sorted(known) if dotted.split(".")[1] == key]
    if homes:
        return f"{found}: unknown setting; section {homes[0].split('.')[0]} has it: {homes[0]}"
    if section in settings_reference():
        keys = [setting.key for setting in settings_reference()[section]]
        near = difflib.get_close_matches(key, keys, n=1, cutoff=0.0)
        return f"{found}: unknown setting; the nearest in section {section} is {near[0]}"
    names = [*settings_reference(), *sorted(known)]
    if near := difflib.get_close_matches(item.dotted, names, n=1):
        return f"{found}: unknown setting; the nearest name is {near[0]}"
    return f"{found}: unknown setting; the sections are {', '.join(settings_reference())}"


def _refusals(error: ValidationError, given: Mapping[str, Given]) -> Iterator[str]:
    """Yield one line per refused setting; a union reports a value once per option."""
    accepts = {s.dotted: s.accepts for group in settings_reference().values() for s in group}
    details = error.errors(include_url=False)
    # The schema's own words say more than the generated ones, so they are heard first.
    details.sort(key=lambda detail: detail["type"] != "value_error")
    seen: set[str] = set()
    for detail in details:
        dotted = ".".join(str(piece) for piece in detail["loc"][:2])
        if dotted in seen:
            continue
        seen.add(dotted)
        item = given.get(dotted)
        value = item.value if item is not None else detail["input"]
        place = item.place if item is not None else "default"
        own_words = detail["type"] == "value_error"
        expected = str(detail["ctx"]["error"]) if own_words else accepts[dotted]
        yield f"{dotted} = {_shown(value)} ({place}): expected {expected}"


def _shown(value: object) -> str:
    """Return a value short enough for one line."""
    text = repr(value)
    return text if len(text) <= _SHOWN_VALUE_CHARS else f"{text[: _SHOWN_VALUE_CHARS - 1]}…"
