"""What a training run is asked to do: the numbers of the optimizer, the schedule and the stops.

Knows nothing of configuration files, models or folders; whoever reads a configuration maps its
keys to these fields. All mistakes are reported at once, before any weight is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self, get_args

from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.core.item import Item

Schedule = Literal["linear", "cosine", "constant"]
Mode = Literal["quality", "fast"]
ComputeDtype = Literal["auto", "float32", "bfloat16"]
AdapterForm = Literal["lora", "mergeable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """The numbers of one run.

    Raises:
        ConfigError: on construction, if a field is out of range; the message names all such fields.
    """

    rank: int = 16
    """Rank r of the two LoRA factors, 1 or more."""
    alpha: float = 32.0
    """LoRA's scale: the product of the factors is multiplied by alpha / rank."""
    ranks: Mapping[str, int] = field(default_factory=dict)
    """Ranks of their own, by a weight's name ("blk.0.attn_q.weight") or a layer's ("attn_q")."""
    alphas: Mapping[str, float] = field(default_factory=dict)
    """Scales of their own, in the same way."""
    use_rslora: bool = False
    """Scale by alpha / sqrt(rank) instead (arXiv 2312.03732)."""
    targets: tuple[str, ...] = ()
    """Linear layers of each block to adapt, such as "attn_q"; empty adapts all of them."""
    adapter: AdapterForm = "lora"
    """lora, or mergeable: on weights of 4 and 5 bits the adapter reads sums over blocks of 32, so
    that it folds into them (QA-LoRA, arXiv 2309.14717)."""
    eight_bit: tuple[str, ...] = ()
    """Linear layers that keep plain LoRA in a mergeable adapter, and are merged into 8 bits."""
    adapter_reason: str = ""
    """Why that adapter; recorded."""
    learning_rate: float = 2e-4
    """Peak learning rate; LoRA wants about ten times that of full fine-tuning."""
    finds_rate: bool = False
    """Look for the learning rate before the first step; the one found takes its place."""
    rate_reason: str = ""
    """Why that rate, where it was looked for; recorded."""
    num_epochs: int = 3
    """Passes over the training split."""
    batch_size: int = 4
    """Sequences, or groups of them, in one pass through the model; sets the memory needed, not the
    result."""
    gradient_accumulation: int = 1
    """Batches per optimizer step; the result depends on batch_size x gradient_accumulation only."""
    warmup_ratio: float = 0.03
    """Share of all steps in which the learning rate climbs to its peak, 0 to 1."""
    schedule: Schedule = "linear"
    """How the learning rate falls after its peak: linear, cosine or constant."""
    min_learning_rate_ratio: float = 0.0
    """Share of the peak learning rate at which the fall ends, 0 to 1."""
    weight_decay: float = 0.0
    """Decoupled weight decay of AdamW (arXiv 1711.05101)."""
    adam_betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of AdamW's two moments, each in [0, 1)."""
    max_grad_norm: float = 1.0
    """Gradients of a larger norm are scaled down to this one; 0 never clips."""
    patience: int = 3
    """Evaluations without a lower validation loss after which the run stops; the best adapter is
    kept. 0 trains to the end and keeps the last adapter."""
    evaluate_every: int = 0
    """Steps between evaluations on the validation split, besides those at each epoch's end; 0 for
    none besides."""
    checkpoint_every: int = 50
    """Steps between checkpoints; 0 leaves it to the clock."""
    checkpoint_every_s: float = 120.0
    """Seconds between checkpoints; 0 leaves it to the steps."""
    max_steps: int = 0
    """Optimizer steps after which the run ends, whatever the epochs say; 0 for no limit."""
    seed: int = 42
    """Decides the adapter's first values and the order of the sequences."""
    threads: int = 0
    """Processor threads; 0 takes what the processor offers. The number taken is recorded, because
    results are identical to the last bit only with the same one."""
    mode: Mode = "quality"
    """quality adapts all layers; fast the last quarter, and computes the layers below once."""
    memory_budget: float = 0.0
    """GiB the process may occupy; 0 takes most of what is free. It decides how the run is computed,
    not its result."""
    compute_dtype: ComputeDtype = "auto"
    """Number format of the matrix products: auto, the fastest on this processor; float32 or
    bfloat16. The one taken is recorded."""

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

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        raw = asdict(self)
        raw["targets"], raw["adam_betas"] = list(self.targets), list(self.adam_betas)
        return raw

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read the form :meth:`to_dict` writes; unknown keys are ignored.

        Raises:
            ConfigError: if a value is out of range.
        """
        known = {spec.name for spec in fields(cls)}
        values = {key: value for key, value in raw.items() if key in known}
        for key in ("targets", "eight_bit", "adam_betas"):
            if key in values:
                values[key] = tuple(values[key])
        return cls(**values)


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
