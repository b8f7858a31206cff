"""What a run tells about itself, one event at a time; ``events.jsonl`` holds them in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from fine_tuning.core.json_value import JsonObject, JsonValue, trusted

EventKind = Literal[
    "started", "step", "validation", "checkpoint", "resumed", "remark", "finished", "failed"
]
Value = float | int | str | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """One event of a run.

    ``time`` is ISO 8601 in UTC, ``step`` the number of optimizer steps done. ``values`` carry
    their unit in their name (``loss``, ``validation_loss``, ``tokens_per_s``, ``memory_bytes``,
    ``eta_s``, ``learning_rate``, ``grad_norm``, ``message``).
    """

    kind: EventKind
    time: str
    step: int = 0
    values: Mapping[str, Value] = field(default_factory=dict)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return one flat JSON object."""
        return {"kind": self.kind, "time": self.time, "step": self.step, **self.values}

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read the form :meth:`to_dict` writes."""
        own, line = {"kind", "time", "step"}, trusted(raw)
        return cls(
            kind=line["kind"],
            time=line["time"],
            step=int(line.get("step", 0)),
            values={key: value for key, value in line.items() if key not in own},
        )
