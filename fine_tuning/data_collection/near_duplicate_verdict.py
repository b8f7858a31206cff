"""Whether two texts that share most of their words say the same: numbers, names and code decide."""

from __future__ import annotations

import re
from collections import Counter

_FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_NAME = re.compile(r"(?<=[^\W\d_] )[A-Z][\w'’-]*")


def is_same_in_substance(first: str, second: str) -> bool:
    """Tell whether two texts that are alike differ in wording only.

    Args:
        first: A text.
        second: A text that shares most word triples with it.

    Returns:
        False if they differ in numbers, in names inside of sentences, or in code.
    """
    for pattern in (_NUMBER, _NAME, _FENCE):
        if Counter(pattern.findall(first)) != Counter(pattern.findall(second)):
            return False
    return True
