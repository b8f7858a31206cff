"""What the registry speaks of: versions of a tuned model and everything known about one.

Values only. A version's name is its family and its number, ``support:3``; numbers count up in each
family and are never used twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from fine_tuning.core.errors import ConfigError
from fine_tuning.core.json_value import JsonObject, JsonValue, object_at, text_at

Stage = Literal["champion", "challenger", "archived"]
STAGES: tuple[Stage, ...] = get_args(Stage)
ArtefactState = Literal["present", "removing", "removed"]
DeploymentState = Literal["begun", "active", "undone", "retired"]
IMPORTED = "imported"
"""The method of versions whose adapter was trained elsewhere."""
ADAPTER = "adapter"
"""The kind of the artefact every version has: the adapter as llama.cpp reads it."""

EVENT_WORDS = {"judged": "evaluated"}
"""Kinds of events that are stored under an earlier word."""
MAX_FAMILY_CHARACTERS = 48
_FAMILY = re.compile(rf"[a-z0-9_][a-z0-9_.\-]{{0,{MAX_FAMILY_CHARACTERS - 1}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A file made for a version; ``digest`` is ``sha256:<64 hex>`` of its bytes.

    ``kind`` says what it is: ``adapter``, ``peft``, ``merged``, ``modelfile``, ``settings`` … A
    removed one is remembered.
    """

    kind: str
    path: Path
    digest: str
    size_bytes: int
    state: ArtefactState = "present"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A version under a name on a runtime.

    ``begun`` ones were left by a process that died, or are being worked on; ``active`` ones answer;
    ``undone`` ones failed, with the ``reason``; ``retired`` ones were replaced or removed.
    ``digest`` is what the runtime called the model, ``proof`` what was asked of it, ``details``
    whatever the deployer needs to undo or repeat it.
    """

    id: int
    version: str
    runtime: str
    name: str
    state: DeploymentState
    digest: str
    details: JsonObject
    proof: JsonObject
    reason: str
    created_at: str
    ended_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A remark a person left on a version."""

    text: str
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainingMark:
    """Why a version should be trained anew: it learnt from a conversation that must go."""

    conversation_id: str
    reason: str
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a family; ``version`` "" means to the family as a whole."""

    family: str
    version: str
    kind: str
    detail: str
    created_at: str

    @property
    def word(self) -> str:
        """What happened, in a word for people."""
        return EVENT_WORDS.get(self.kind, self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """What is registered: a finished run and where its data came from.

    ``conversations`` are the conversation ids of the data set by split; ``artefacts`` the files by
    kind, the one of kind ``adapter`` among them; ``parents`` the versions its weights started
    from; ``trained_at`` when its training began, ISO 8601 in UTC, "" for now. ``settings``,
    ``metrics`` and ``verdict`` are plain JSON values.
    """

    family: str
    run_id: str
    run_folder: Path
    method: str
    adapter_name: str
    base_name: str
    base_digest: str
    snapshot: str
    artefacts: Sequence[tuple[str, Path]]
    conversations: Mapping[str, Sequence[str]] = field(default_factory=dict)
    settings: JsonObject = field(default_factory=dict)
    metrics: JsonObject = field(default_factory=dict)
    verdict: JsonObject = field(default_factory=dict)
    parents: Sequence[str] = ()
    trained_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One version with all that is known about it.

    ``adapter_name`` is the content name of the adapter's numbers; ``verdict`` is empty until the
    version was evaluated. ``parents`` are the versions it follows: the one in use when it was
    trained, and ``started_from``, those whose weights it goes on from. ``retraining`` says which of
    its conversations were to be forgotten.
    """

    id: int
    family: str
    number: int
    stage: Stage
    run_id: str
    run_folder: Path
    method: str
    adapter_name: str
    base_name: str
    base_digest: str
    snapshot: str
    settings: JsonObject
    metrics: JsonObject
    verdict: JsonObject
    created_at: str
    parents: tuple[str, ...]
    started_from: tuple[str, ...]
    artefacts: tuple[Artefact, ...]
    deployments: tuple[Deployment, ...]
    notes: tuple[Note, ...]
    retraining: tuple[RetrainingMark, ...]

    @property
    def name(self) -> str:
        """Family and number, ``support:3``."""
        return f"{self.family}:{self.number}"

    @property
    def present(self) -> tuple[Artefact, ...]:
        """The artefacts that were not removed."""
        return tuple(artefact for artefact in self.artefacts if artefact.state == "present")

    @property
    def size_bytes(self) -> int:
        """Disk space of the artefacts that are there."""
        return sum(artefact.size_bytes for artefact in self.present)

    @property
    def adapter_path(self) -> Path | None:
        """The adapter's file; None once it was removed."""
        return next((one.path for one in self.present if one.kind == ADAPTER), None)

    @property
    def outcome(self) -> str:
        """The verdict's outcome; "" until the version was evaluated."""
        return str(self.verdict.get("outcome", ""))

    @property
    def data_words(self) -> str:
        """The data set's name, or why there is none."""
        if self.snapshot:
            return self.snapshot
        place = text_at(object_at(self.settings, "imported"), "from")
        return f"none: the adapter was imported from {place}" if place else "none"

    @property
    def made_word(self) -> str:
        """How it came to be: trained or imported."""
        return IMPORTED if self.method == IMPORTED else "trained"

    @property
    def parent_words(self) -> str:
        """The versions it follows and how, in words."""
        how = [f"{one} (its weights)" for one in self.started_from]
        in_use = [one for one in self.parents if one not in self.started_from]
        how += [f"{one} (in use when it was {self.made_word})" for one in in_use]
        begun = "" if self.started_from else "it started from the base"
        return "; ".join(filter(None, [", ".join(how) or "none", begun]))

    def deployed_on(self, runtime: str) -> Deployment | None:
        """Return the newest active deployment on a runtime."""
        return next(
            (d for d in reversed(self.deployments) if (d.runtime, d.state) == (runtime, "active")),
            None,
        )

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        raw = {key: getattr(self, key) for key in self.__slots__ if key != "id"}
        return {
            "name": self.name,
            **raw,
            "run_folder": str(self.run_folder),
            "parents": list(self.parents),
            "started_from": list(self.started_from),
            "size_bytes": self.size_bytes,
            "artefacts": [{**plain(a), "path": str(a.path)} for a in self.artefacts],
            "deployments": [plain(one) for one in self.deployments],
            "notes": [plain(one) for one in self.notes],
            "retraining": [plain(one) for one in self.retraining],
        }


def plain(value: Artefact | Deployment | Note | RetrainingMark | Event) -> dict[str, JsonValue]:
    """Return a value's fields."""
    return {key: getattr(value, key) for key in value.__slots__}


def family_of(base_name: str) -> str:
    """Return the family name of a base model's name or file, in lower case.

    Only what a tag of Ollama allows is left: ``mistral:7b-instruct-q4_0`` becomes
    ``mistral-7b-instruct-q4_0``, ``/models/Qwen2.gguf`` becomes ``qwen2``.
    """
    last = base_name.rstrip("/").rpartition("/")[2].lower().removesuffix(".gguf")
    words = re.sub(r"[^a-z0-9_.]+", "-", last).strip("-.")
    return words[:MAX_FAMILY_CHARACTERS].rstrip("-.") or "model"


def served_name(prefix: str, family: str, tag: object) -> str:
    """Return what a version is called on a runtime, ``fine_tuned_support:3``; or an alias."""
    return f"{prefix}{family}:{tag}"


def check_family(family: str) -> str:
    """Return a family's name in lower case.

    Raises:
        ConfigError: if it could not be a part of a model's name.
    """
    if not _FAMILY.fullmatch(family.lower()):
        raise ConfigError(
            f"{family!r} is not a family of models, expected 1 to {MAX_FAMILY_CHARACTERS} letters, "
            "digits and any of _ . -, the first no . or -",
            next_command="fine-tuning train --set deployment.family=support",
        )
    return family.lower()
