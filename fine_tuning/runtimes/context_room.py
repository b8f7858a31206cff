"""The context room a model works in, and whether two rooms rotate positions alike.

Phi 3 and 4 bring two sets of rope factors: llama.cpp takes the long ones when the room of a
conversation is above the context the model was first trained with. What is trained, proven and
served must therefore agree in which side of that number the room is on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from fine_tuning.core.json_value import number_at
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.runtimes.base_model import BaseModel

LONG_FACTORS: Final = "rope_factors_long.weight"
ROOM_STEP: Final = 256
"""llama.cpp rounds a room up to a multiple of it."""


def room_of_base(base: BaseModel, served_tokens: int) -> int:
    """Return the room a base is served with: its own ``num_ctx``, else what the settings say.

    Args:
        base: The base model.
        served_tokens: The room of models that ask for none.
    """
    parameters = json.loads(base.parameters) if base.parameters else {}
    return int(number_at(parameters, "num_ctx") or served_tokens)


def long_factors_above(path: Path) -> int:
    """Return the room above which a model takes its long rope factors; 0 if it has none.

    Args:
        path: A GGUF model.

    Raises:
        GgufError: if it is not sound GGUF.
    """
    with GgufFile.open(path) as file:
        if LONG_FACTORS not in file.tensors:
            return 0
        architecture = file.get("general.architecture", str)
        trained = file.get(f"{architecture}.context_length", int, 0)
        return file.get(f"{architecture}.rope.scaling.original_context_length", int, trained)


def is_long(room_tokens: int, above: int) -> bool:
    """Tell whether llama.cpp takes the long factors in a room.

    Args:
        room_tokens: Tokens of prompt and reply of one conversation.
        above: What :func:`long_factors_above` says.
    """
    return bool(above) and -(-room_tokens // ROOM_STEP) * ROOM_STEP > above


def rotates_alike(path: Path, room_tokens: int, other_tokens: int) -> bool:
    """Tell whether a model rotates positions in one room as in the other.

    Args:
        path: A GGUF model.
        room_tokens: One room.
        other_tokens: The other.
    """
    above = long_factors_above(path)
    return is_long(room_tokens, above) == is_long(other_tokens, above)


def room_like(path: Path, needed_tokens: int, room_tokens: int) -> int:
    """Return a room with at least the tokens needed that rotates as the given room does.

    Args:
        path: A GGUF model.
        needed_tokens: What prompts and replies need.
        room_tokens: The room to be alike.

    Returns:
        The tokens needed where that is alike, or where nothing larger could be.
    """
    if rotates_alike(path, needed_tokens, room_tokens):
        return needed_tokens
    return max(needed_tokens, room_tokens)
