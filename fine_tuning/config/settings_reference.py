"""The schema, told in words: what each setting accepts, and the files generated from it.

Knows the schema only; ``scripts/generate.py`` decides where the texts are written.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from fine_tuning.config.schema import Settings

WIDTH = 96
TEXT = "text (in quotes if it looks like a number)"
# These say nothing in a file that shows an example right below.
_EVIDENT = (TEXT, f"a list of {TEXT}", "true or false")
_SMALL = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting as a reader meets it; ``accepts`` and ``meaning`` are sentences' parts."""

    section: str
    key: str
    default: Any
    accepts: str
    meaning: str

    @property
    def dotted(self) -> str:
        """The name used with ``--set``."""
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"FINE_TUNING__{self.section}__{self.key}".upper()


@cache
def settings_reference() -> Mapping[str, tuple[Setting, ...]]:
    """Return all settings by section, in the order of the schema."""
    reference = {}
    for section, field in Settings.model_fields.items():
        model = type(field.default)
        reference[section] = tuple(
            Setting(
                section=section,
                key=key,
                default=field.default.model_dump(mode="json")[key],
                accepts=_accepts(shape),
                meaning=" ".join(shape["description"].split()),
            )
            for key, shape in model.model_json_schema()["properties"].items()
        )
    return reference


def section_meaning(section: str) -> str:
    """Return the sentence under a section's heading."""
    return " ".join((type(Settings.model_fields[section].default).__doc__ or "").split())


def _accepts(shape: Mapping[str, Any]) -> str:
    """Say in words what a piece of JSON schema accepts."""
    if "anyOf" in shape:
        return " or ".join(_accepts(option) for option in shape["anyOf"])
    if "const" in shape:
        return str(shape["const"])
    if "enum" in shape:
        return _one_of(shape["enum"])
    kind = shape["type"]
    if kind == "array":
        items = shape["items"]
        return f"a list of {_accepts(items) if 'enum' not in items else _any_of(items['enum'])}"
    words = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "string": _text(shape.get("pattern", "")),
        "null": "null",
    }
    return words[kind] + _range(shape)


def _text(pattern: str) -> str:
    """Say in words which text a pattern accepts."""
    if pattern.startswith("^http"):
        return "an address that starts with http:// or https://"
    if pattern.startswith("^["):
        return "text of letters, digits, _, . and -"
    return TEXT


def _range(shape: Mapping[str, Any]) -> str:
    """Say in words which numbers are inside."""
    bounds = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    parts = [f"{words} {yaml_value(shape[key])}" for key, words in bounds.items() if key in shape]
    return f" {' and '.join(parts)}" if parts else ""


def _one_of(words: Sequence[str]) -> str:
    """Join words of which one is taken."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _any_of(words: Sequence[str]) -> str:
    """Join words of which several may be taken."""
    return f"any of {', '.join(words)}"


def yaml_value(value: Any) -> str:  # noqa: ANN401 - any setting's value
    """Write a value the way the settings file does: ``2e-4``, ``true``, ``["a", "b"]``."""
    if not isinstance(value, float):
        return json.dumps(value, ensure_ascii=False)
    if 0 < value < _SMALL:
        mantissa, exponent = f"{value:e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.12g}"


def settings_file() -> str:
    """Return the commented ``fine_tuning_config.yaml`` that holds every default."""
    lines = [
        "# All settings of the fine-tuning system, at their defaults.",
        "# Stronger than this file are environment variables (FINE_TUNING__TRAINING__LORA_R=8)",
        "# and, strongest, --set training.lora_r=8 on the command line.",
    ]
    for section, settings in settings_reference().items():
        lines += ["", f"# {section_meaning(section)}", f"{section}:"]
        for index, setting in enumerate(settings):
            evident = setting.accepts in _EVIDENT
            comment = setting.meaning + ("" if evident else f" Accepts {setting.accepts}.")
            lines += [""] if index else []
            lines += textwrap.wrap(
                comment,
                WIDTH,
                initial_indent="  # ",
                subsequent_indent="  # ",
                break_on_hyphens=False,
            )
            lines.append(f"  {setting.key}: {yaml_value(setting.default)}")
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """Return the reference page of all settings, in Markdown."""
    lines = [
        "# Settings",
        "",
        "<!-- Made from fine_tuning/config/schema.py by `make docs`; edit that file. -->",
        "",
        "A setting is taken from the strongest place that names it: `--set section.key=value`,",
        "then the variable `FINE_TUNING__SECTION__KEY`, then the settings file (`--config`, else",
        "`fine_tuning/config/fine_tuning_config.yaml`), then the default below. Unknown keys are",
        "refused. Relative paths start at the workspace (`--home`, else `FINE_TUNING_HOME`, else",
        "`./fine_tuning_home`). A word such as `yes` or `no` is text unless the setting is a",
        "switch, and `2e-4` is a number.",
    ]
    for section, settings in settings_reference().items():
        lines += ["", f"## {section}", "", section_meaning(section), ""]
        for setting in settings:
            default = f"`{yaml_value(setting.default)}`"
            lines += [
                f"- **`{setting.key}`** (default {default}; {setting.accepts})",
                f"  {setting.meaning}",
            ]
    return "\n".join(lines) + "\n"
