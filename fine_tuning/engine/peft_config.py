"""What a PEFT configuration says of its adapter: how it scales, and whether it is factors alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from fine_tuning.core.errors import TrainingError
from fine_tuning.engine.peft_patterns import named_by

MERGE_FIRST = (
    "merge it in Python (PEFT: merge_and_unload), convert the model to GGUF, and use it as the base"
)
_USUAL: Mapping[str, object] = MappingProxyType(
    {
        "peft_type": "LORA",
        "bias": "none",
        **dict.fromkeys(
            ("use_dora", "fan_in_fan_out", "lora_bias", "use_qalora", "use_bdlora"), False
        ),
        **dict.fromkeys(
            (
                "modules_to_save",
                "trainable_token_indices",
                "layer_replication",
                "target_parameters",
                "alora_invocation_tokens",
                "arrow_config",
                "kasa_config",
                "monteclora_config",
            )
        ),
    }
)
"""What a configuration says of an adapter that is low-rank factors and nothing else."""
_KEEPS_BASE = ("true", "false", "none", "gaussian", "eva", "orthogonal")
"""Ways to begin that leave the base as it is (peft, tuners/lora/layer.py)."""
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Ways to begin that take something out of the base, which the factors alone do not tell."""
_CONVERT = (
    "in PEFT, save_pretrained with path_initial_model_for_weight_conversion: the adapter is then "
    "one of the base as it is"
)


@dataclass(frozen=True, slots=True)
class PeftScales:
    """The numbers of a PEFT config that scale pairs (peft, tuners/lora/layer.py, update_layer)."""

    rank: int
    alpha: float
    use_rslora: bool
    alphas: Mapping[str, float]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """Read them.

        Args:
            config: ``adapter_config.json`` as an object.

        Returns:
            The rank, the alpha and what differs by module.

        Raises:
            KeyError: if a number is missing.
            TypeError: if one is of another type.
            ValueError: if one is out of range.
        """
        alphas = {str(k): float(v) for k, v in dict(config.get("alpha_pattern") or {}).items()}
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
        if rank < 1 or not all(math.isfinite(x) and x for x in (alpha, *alphas.values())):
            raise ValueError(f"its rank is {rank} and its alpha {alpha}, expected more than 0")
        return cls(rank, alpha, bool(config.get("use_rslora", False)), alphas)

    @property
    def common(self) -> float:
        """The scale of pairs that no pattern names."""
        return self._scale(self.alpha, self.rank)

    def of_modules(self, ranks: Mapping[str, int]) -> dict[str, float]:
        """Return each pair's scale.

        Args:
            ranks: The rank of each module's pair.

        Raises:
            TrainingError: if a pattern is no regular expression, or takes too long.
        """
        named = named_by(self.alphas, list(ranks)) if self.alphas else {}
        return {
            module: self._scale(self.alphas[named[module]] if module in named else self.alpha, rank)
            for module, rank in ranks.items()
        }

    def _scale(self, alpha: float, rank: int) -> float:
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def refuse_more_than_factors(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse an adapter that changes more than its factors tell.

    Args:
        folder: Where it lies, for the message.
        config: Its configuration.

    Raises:
        TrainingError: if it changes the base itself, or whole modules, or may do so.
    """
    for key, expected in _USUAL.items():
        found = config.get(key, expected)
        if found != expected and found:
            raise TrainingError(
                f"{folder} has {key} {found!r}, expected {expected!r}: nothing but factors of "
                "linear layers can be served beside a GGUF model",
                next_command=MERGE_FIRST,
            )
    begun = str(config.get("init_lora_weights", True)).lower()
    if begun in _KEEPS_BASE:
        return
    if begun.startswith(_CHANGES_BASE):
        said = f"began by {begun}, which takes its factors out of the base"
    else:
        said = f"began by {begun!r}, which is not known to leave the base as it is"
    raise TrainingError(
        f"{folder} {said}; expected an adapter of the base as it is", next_command=_CONVERT
    )


_TEXT_PARTS = frozenset(("base_model", "model", "language_model", "text_model", "decoder"))
_OTHER_PARTS = ("vision", "visual", "audio", "image", "multi_modal", "mm_", "speech", "projector")


def refuse_other_parts(folder: Path, names: Sequence[str]) -> None:
    """Refuse factors of a part that is not the text model, such as one that sees pictures.

    Args:
        folder: Where the adapter lies, for the message.
        names: The tensors' names.

    Raises:
        TrainingError: if there are such.
    """
    others = [name for name in names if _other_part(name)]
    if not others:
        return
    how_many = "all" if len(others) == len(names) else f"{len(others)} of {len(names)}"
    raise TrainingError(
        f"{folder} changes {_other_part(others[0])}, which is not the text model ({how_many} of "
        f"its tensors, such as {others[0]}); only text is trained and served here",
        next_command="train the adapter with target_modules of the language model only",
    )


def _other_part(name: str) -> str:
    """Return the part before the layers that is none of the text model's; "" if there is none."""
    head = name.partition(".layers.")[0] if ".layers." in name else name
    for part in head.split("."):
        if part.startswith(_OTHER_PARTS) or part.endswith("_projector"):
            return part
        if ".layers." in name and part not in _TEXT_PARTS:
            return part
    return ""
