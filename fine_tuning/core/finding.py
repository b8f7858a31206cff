"""What a check found: how bad it is, with numbers, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from fine_tuning.core.json_value import JsonObject, JsonValue

Severity = Literal["stop", "warning", "note", "good"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding.

    ``check`` names what was looked at. ``stop`` means training cannot or must not go on,
    ``warning`` that it will go worse than it could, ``note`` that something is worth knowing.
    ``fix`` is what helps, "" when nothing is needed.
    """

    check: str
    severity: Severity
    title: str
    detail: str = ""
    fix: str = ""
    numbers: JsonObject = field(default_factory=dict)
    examples: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {
            "check": self.check,
            "severity": self.severity,
            "title": self.title,
            "detail": self.detail,
            "fix": self.fix,
            "numbers": dict(self.numbers),
            "examples": list(self.examples),
        }
