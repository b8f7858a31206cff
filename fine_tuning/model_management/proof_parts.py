"""The result of a proof: parts that hold, fail or cannot tell, each in one sentence with figures.

Values only; ``proof`` makes them, the registry stores them, surfaces show them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self, get_args

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue, object_at, trusted

ProofOutcome = Literal["holds", "fails", "cannot tell"]
OUTCOMES: tuple[str, ...] = get_args(ProofOutcome)

Cause = Literal[
    "",
    "wrong_template",
    "prompt_truncated",
    "prompt_refused",
    "tools_refused",
    "missing_stop_token",
    "wrong_stop_token",
    "adapter_ignored",
    "adapter_scale",
    "wrong_base",
    "other_sampling",
    "other_parameter",
    "other_system",
    "other_messages",
    "other_room",
    "server_died",
]
CAUSES: tuple[str, ...] = get_args(Cause)

Excuse = Literal[
    "", "no prompts shown", "no reply was due to end", "no figures told", "no settings shown"
]
EXCUSES: tuple[str, ...] = get_args(Excuse)

PROMPT, ENDING, OUTPUT, SPEED = "prompt", "ending", "output", "speed"
SETTINGS = "settings"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofPart:
    """One question of a proof and its answer.

    ``cause`` names what is wrong when it fails, ``excuse`` why it may stay open.
    """

    name: str
    outcome: ProofOutcome
    sentence: str
    cause: Cause = ""
    excuse: Excuse = ""
    figures: JsonObject = field(default_factory=dict)

    @property
    def may_stand(self) -> bool:
        """Whether a model with this part may be served."""
        return self.outcome == "holds" or (self.outcome == "cannot tell" and bool(self.excuse))

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "outcome": self.outcome,
            "sentence": self.sentence,
            "cause": self.cause,
            "excuse": self.excuse,
            "figures": dict(self.figures),
        }

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read the form :meth:`to_dict` writes.

        Raises:
            DataError: if a field is missing or not one of its words.
        """
        part = trusted(raw)
        outcome, cause = part.get("outcome"), part.get("cause", "")
        excuse = part.get("excuse", "")
        is_known = cause in CAUSES and excuse in EXCUSES and "name" in raw
        if outcome not in OUTCOMES or not is_known:
            raise DataError(
                f"a part of a proof has outcome {outcome!r}, cause {cause!r} and excuse "
                f"{excuse!r}, expected an outcome of {', '.join(OUTCOMES)}"
            )
        return cls(
            name=str(raw["name"]),
            outcome=outcome,
            sentence=str(raw.get("sentence", "")),
            cause=cause,
            excuse=excuse,
            figures=object_at(raw, "figures"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was found about a served model."""

    model: str
    parts: tuple[ProofPart, ...]

    @property
    def holds(self) -> bool:
        """Whether the served model is the trained one.

        All parts hold, but for what no server could answer, and that part says so:

        * ``output`` must hold: it compares the replies themselves.
        * ``prompt`` may stay open where the server shows no prompts (Ollama before 0.11.5): greedy
          replies and first tokens that agree over 16 prompts or more need the same prompts.
        * ``ending`` may stay open where the trained model itself, as the engine reads the replies,
          ends none of them within the longest length asked for: there was no end to see.
        * ``settings`` may stay open where the server shows none, and in proofs of earlier versions.
        * ``speed`` is told, not checked, and may stay open.

        A part that is missing has no excuse.
        """
        return self.part(OUTPUT).outcome == "holds" and not self.open_parts

    @property
    def failures(self) -> tuple[ProofPart, ...]:
        """The parts that fail."""
        return tuple(part for part in self.parts if part.outcome == "fails")

    @property
    def open_parts(self) -> tuple[ProofPart, ...]:
        """The parts that must hold and do not."""
        parts = [self.part(name) for name in (PROMPT, ENDING, OUTPUT)]
        parts += [part for part in self.parts if part.outcome == "fails" and part not in parts]
        return tuple(part for part in parts if not part.may_stand)

    @property
    def causes(self) -> tuple[str, ...]:
        """What is wrong, in one word each."""
        return tuple(part.cause for part in self.failures)

    @property
    def sentence(self) -> str:
        """The outcome in one sentence."""
        if self.holds:
            left = [part for part in self.parts if part.outcome == "cannot tell"]
            open_ = "".join(f"; {part.name}: {part.sentence}" for part in left)
            return f"{self.model} is served as it was trained{open_}"
        said = self.failures or self.open_parts
        return f"{self.model} is not proven: " + "; ".join(part.sentence for part in said)

    def part(self, name: str) -> ProofPart:
        """Return one part; one that was not examined cannot tell."""
        missing = ProofPart(name=name, outcome="cannot tell", sentence="it was not examined")
        return next((part for part in self.parts if part.name == name), missing)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {
            "model": self.model,
            "holds": self.holds,
            "sentence": self.sentence,
            "parts": [part.to_dict() for part in self.parts],
        }

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read the form :meth:`to_dict` writes; the outcome is derived from the parts again.

        Raises:
            DataError: if the parts are missing or damaged.
        """
        parts = raw.get("parts")
        if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
            raise DataError(f"a proof's parts are {type(parts).__name__}, expected a list")
        return cls(
            model=str(raw.get("model", "")),
            parts=tuple(ProofPart.from_dict(part) for part in parts),
        )
