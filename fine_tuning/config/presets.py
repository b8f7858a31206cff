"""Named sets of training settings, from which a person picks before looking at any number.

What a set does not name stays as the settings in force have it. The rates were measured on the
embedded model (docs/LOG.md): chats in the hundreds want more than the schema's cautious default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fine_tuning.core.errors import ConfigError
from fine_tuning.core.json_value import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A set of settings by dotted key, with a sentence on when to take it."""

    name: str
    meaning: str
    values: JsonObject


QUICK = Preset(
    name="quick",
    meaning="A first look: the upper quarter of the model, two epochs. "
    "About half the time, and most of the gain.",
    values={"training.mode": "fast", "training.num_epochs": 2, "training.learning_rate": 1e-3},
)
BALANCED = Preset(
    name="balanced",
    meaning="The usual choice: every layer, three epochs.",
    values={"training.mode": "quality", "training.num_epochs": 3, "training.learning_rate": 1e-3},
)
THOROUGH = Preset(
    name="thorough",
    meaning="For a model you will keep: twice the rank, up to six epochs, stopped early when the "
    "validation loss falls no further.",
    values={
        "training.mode": "quality",
        "training.num_epochs": 6,
        "training.learning_rate": 5e-4,
        "training.lora_r": 32,
        "training.lora_alpha": 64.0,
    },
)
PRESETS: Mapping[str, Preset] = {one.name: one for one in (QUICK, BALANCED, THOROUGH)}


def find_preset(name: str) -> Preset:
    """Return a preset.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}, expected one of {', '.join(PRESETS)}")
    return PRESETS[name]
