"""A heuristic score of how much a conversation can teach, with the parts it is made of.

Each part is between 0 and 1 and looks at the replies alone; the score is their geometric mean, so
that one bad part is not bought back by others. It orders conversations (which of two near
duplicates to keep, which to look at first); it is no measure of truth. Rules after Gopher (Rae et
al. 2021, arXiv 2112.11446, appendix A.1.1).
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from fine_tuning.core.conversation import Conversation, Message
from fine_tuning.data_collection.text_filters import cut_off, refusal

_WORD = re.compile(r"\w+")
GOOD_WORDS = 40  # a reply of so many words has full marks for length
GOOD_VARIETY = 0.5  # share of different words in a text of up to 200 words
MOST_SYMBOLS = 0.4  # share of characters that are neither letters, digits nor spaces
GOOD_RATIO = 0.35  # zlib's size of a text over its own; loops go far below
_MIN_RATIO_BYTES = 300
_PART_FLOOR = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The parts of a score, each from 0 (bad) to 1 (good).

    ``length``: words of the replies. ``variety``: different words. ``prose``: few symbols.
    ``density``: not compressible like a loop. ``answer``: no refusal, no echo of the question.
    ``ending``: not cut off.
    """

    length: float
    variety: float
    prose: float
    density: float
    answer: float
    ending: float

    @property
    def score(self) -> float:
        """The geometric mean of the parts."""
        parts = self.parts().values()
        return math.exp(sum(math.log(max(part, _PART_FLOOR)) for part in parts) / len(parts))

    def parts(self) -> dict[str, float]:
        """Return the parts by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def quality(conversation: Conversation) -> Quality:
    """Return the quality of the replies on a conversation's current branch."""
    return exchange_quality(conversation.path())


def exchange_quality(path: Sequence[Message]) -> Quality:
    """Return the quality of the replies among messages, measured by what was asked there."""
    replies = [message for message in path if message.role == "assistant" and message.weight]
    text = "\n".join(message.text for message in replies)
    words = [word.casefold() for word in _WORD.findall(text)]
    asked = {message.text.strip().casefold() for message in path if message.role == "user"}
    is_poor = [
        refusal(reply.text) is not None or reply.text.strip().casefold() in asked
        for reply in replies
    ]
    is_cut = [cut_off(reply.text) is not None for reply in replies]
    return Quality(
        length=min(1.0, len(words) / GOOD_WORDS / max(1, len(replies))),
        variety=_variety(words),
        prose=_prose(text),
        density=_density(text),
        answer=1 - _share(is_poor),
        ending=1 - _share(is_cut),
    )


def _variety(words: list[str]) -> float:
    some = words[:200]
    return min(1.0, len(set(some)) / len(some) / GOOD_VARIETY) if some else 0.0


def _prose(text: str) -> float:
    symbols = sum(not char.isalnum() and not char.isspace() for char in text)
    return max(0.0, 1 - symbols / len(text) / MOST_SYMBOLS) if text else 0.0


def _density(text: str) -> float:
    written = text.encode("utf-8", "surrogatepass")
    if len(written) < _MIN_RATIO_BYTES:
        return 1.0
    return min(1.0, len(zlib.compress(written, 1)) / len(written) / GOOD_RATIO)


def _share(flags: list[bool]) -> float:
    return sum(flags) / len(flags) if flags else 1.0
