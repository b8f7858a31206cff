"""What a training run is asked to do: the numbers of the optimizer, the schedule and the stops.

Ranges, defaults and sentences of what a user can set stand in ``config.schema`` alone; a field of a
plan says which setting it holds, and what it holds where that is left open. Knows nothing of files,
models or folders. All mistakes are reported at once, before any weight is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal, Self, get_args

from fine_tuning.config.schema import ComputeDtype, Mode, Schedule, TrainingSettings
from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.core.item import Item
from fine_tuning.core.json_shape import ShapeError, build
from fine_tuning.core.json_value import JsonObject, JsonValue

AdapterForm = Literal["lora", "mergeable"]
ALL_LINEAR: Final = "all-linear"
_USUAL: Final = TrainingSettings()
SETTING: Final = "setting"
"""The key of a field's metadata under which its :class:`SettingLink` lies."""


@dataclass(frozen=True, slots=True)
class SettingLink:
    """Which setting a field of a plan holds.

    Attributes:
        name: The setting within ``training``.
        left_open: The value by which a setting says "none" or "all"; that is null or a word.
        held: What the plan holds in its place: a number that is no setting, such as 0.
        has_open: Whether the setting can be left open.
    """

    name: str
    left_open: str | None = None
    held: object = None
    has_open: bool = False

    def to_plan(self, value: object) -> object:
        """Return the value of a plan for that of the setting."""
        return self.held if self.has_open and value == self.left_open else value

    def to_setting(self, value: JsonValue) -> JsonValue:
        """Return what the setting says for a value of a plan, as JSON."""
        return self.left_open if self.has_open and value == _json(self.held) else value


def _of(name: str) -> Any:  # noqa: ANN401 - a field, of the type its annotation names
    return _linked(SettingLink(name))


def _of_open(name: str, held: object, left_open: str | None = None) -> Any:  # noqa: ANN401 - as above
    return _linked(SettingLink(name, left_open, held, has_open=True))


def _linked(link: SettingLink) -> Any:  # noqa: ANN401 - as above
    default = link.to_plan(getattr(_USUAL, link.name))
    return field(default=default, metadata={SETTING: link})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """The numbers of one run; those with a link are described under their setting.

    Raises:
        ConfigError: on construction, if a field is out of range; the message names all such fields.
    """

    rank: int = _of("lora_r")
    alpha: float = _of("lora_alpha")
    ranks: Mapping[str, int] = field(default_factory=dict)
    """Ranks of their own, by a weight's name ("blk.0.attn_q.weight") or a layer's ("attn_q")."""
    alphas: Mapping[str, float] = field(default_factory=dict)
    """Scales of their own, in the same way."""
    use_rslora: bool = _of("use_rslora")
    targets: tuple[str, ...] = _of_open("target_modules", (), ALL_LINEAR)
    adapter: AdapterForm = "lora"
    """lora, or mergeable: on weights of 4 and 5 bits the adapter reads sums over blocks of 32, so
    that it folds into them (QA-LoRA, arXiv 2309.14717)."""
    eight_bit: tuple[str, ...] = _of("eight_bit_modules")
    adapter_reason: str = ""
    """Why that adapter; recorded."""
    learning_rate: float = _of("learning_rate")
    finds_rate: bool = False
    """Look for the learning rate before the first step; the one found takes its place."""
    rate_reason: str = ""
    """Why that rate, where it was looked for; recorded."""
    num_epochs: int = _of("num_epochs")
    batch_size: int = _of("batch_size")
    gradient_accumulation: int = _of("gradient_accumulation")
    warmup_ratio: float = _of("warmup_ratio")
    schedule: Schedule = _of("schedule")  # noqa: RUF009 - makes a field
    min_learning_rate_ratio: float = 0.0
    """Share of the peak learning rate at which the fall ends, 0 to 1."""
    weight_decay: float = _of("weight_decay")
    adam_betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of AdamW's two moments, each in [0, 1)."""
    max_grad_norm: float = _of_open("max_grad_norm", 0.0)
    patience: int = _of_open("early_stopping_patience", 0)
    evaluate_every: int = _of_open("evaluate_every", 0)
    checkpoint_every: int = _of_open("checkpoint_every_steps", 0)
    checkpoint_every_s: float = _of_open("checkpoint_every_s", 0.0)
    max_steps: int = _of_open("max_steps", 0)
    seed: int = _of("seed")
    threads: int = 0
    """Processor threads; 0 takes what the processor offers. The number taken is recorded, because
    results are identical to the last bit only with the same one."""
    mode: Mode = _of("mode")  # noqa: RUF009 - makes a field
    memory_budget: float = _of_open("memory_budget", 0.0)
    compute_dtype: ComputeDtype = _of("compute_dtype")  # noqa: RUF009 - makes a field

    def __post_init__(self) -> None:
        """Name every field that is out of range."""
        problems = [
            f"{name} is {getattr(self, name)!r}, expected {expected}"
            for name, (holds, expected) in self._ranges().items()
            if not holds
        ]
        if problems:
            raise ConfigError("; ".join(problems))

    def _ranges(self) -> dict[str, tuple[bool, str]]:
        counts = ("evaluate_every", "checkpoint_every", "max_steps", "patience", "threads", "seed")
        positive = ("rank", "num_epochs", "batch_size", "gradient_accumulation")
        ratios = ("warmup_ratio", "min_learning_rate_ratio")
        amounts = ("weight_decay", "max_grad_norm", "checkpoint_every_s", "memory_budget")
        return {
            **{name: (getattr(self, name) >= 1, "1 or more") for name in positive},
            **{name: (getattr(self, name) >= 0, "0 or more") for name in counts},
            **{name: (0 <= getattr(self, name) <= 1, "a number from 0 to 1") for name in ratios},
            **{name: (0 <= getattr(self, name) < math.inf, "0 or more") for name in amounts},
            "ranks": (all(rank >= 1 for rank in self.ranks.values()), "1 or more each"),
            "alphas": (all(0 < a < math.inf for a in self.alphas.values()), "more than 0 each"),
            "alpha": (0 < self.alpha < math.inf, "more than 0"),
            "learning_rate": (0 < self.learning_rate < math.inf, "more than 0"),
            "adam_betas": (
                len(self.adam_betas) == 2  # noqa: PLR2004 - the two moments of Adam
                and all(0 <= beta < 1 for beta in self.adam_betas),
                "two numbers from 0 to below 1",
            ),
            "adapter": (self.adapter in get_args(AdapterForm), " or ".join(get_args(AdapterForm))),
            "mode": (self.mode in get_args(Mode), " or ".join(get_args(Mode))),
            "schedule": (self.schedule in get_args(Schedule), " or ".join(get_args(Schedule))),
            "compute_dtype": (
                self.compute_dtype in get_args(ComputeDtype),
                " or ".join(get_args(ComputeDtype)),
            ),
        }

    @property
    def sequences_per_step(self) -> int:
        """Sequences behind one optimizer step."""
        return self.batch_size * self.gradient_accumulation

    @classmethod
    def from_settings(cls, training: TrainingSettings, **decided: Any) -> Self:  # noqa: ANN401 - fields of it
        """Return the plan of settings.

        Args:
            training: The settings.
            decided: Fields that no setting fills, or that take another value than it.

        Raises:
            ConfigError: if a value is out of range.
        """
        asked = {name: link.to_plan(getattr(training, link.name)) for name, link in links().items()}
        return cls(**{**asked, **decided})

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values: equal to what comes back from a file."""
        return {name: _json(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read the form :meth:`to_dict` writes; unknown keys are ignored.

        Raises:
            ConfigError: if a value is out of range, or of another kind.
        """
        try:
            return build(raw, cls)
        except ShapeError as error:
            raise ConfigError(f"a plan cannot be read: {error}") from error


def links() -> Mapping[str, SettingLink]:
    """Return the settings that fields of a plan hold, by field."""
    return {
        one.name: one.metadata[SETTING] for one in fields(TrainingPlan) if SETTING in one.metadata
    }


def _json(value: object) -> Any:  # noqa: ANN401 - a value of JSON
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """The sequences of a run: what is learnt, and what tells when to stop.

    ``snapshot`` is the content name of the data set they come from, recorded in the manifest.
    """

    train: Sequence[Item]
    validation: Sequence[Item] = ()
    snapshot: str = ""

    def learnable(self) -> TrainingData:
        """Return the data without items that have nothing to learn: no target of any weight.

        Raises:
            DataError: if no training sequence has a target.
        """
        train = [item for item in self.train if any(item.weights)]
        if not train:
            raise DataError(
                f"the training split holds {len(self.train)} sequences and none with a token to "
                "learn, expected at least one",
                next_command="fine-tuning prepare",
            )
        validation = [item for item in self.validation if any(item.weights)]
        return TrainingData(train=train, validation=validation, snapshot=self.snapshot)

    @property
    def num_sequences(self) -> int:
        """Sequences of both splits."""
        return len(self.train) + len(self.validation)
