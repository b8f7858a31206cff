"""A heuristic score of how much a conversation can teach, with the parts it is made of.

Each part is between 0 and 1 and looks at the replies alone; the score is their geometric mean, so
that one bad part is not bought back by others. It orders conversations (which of two near
duplicates to keep, which to look at first); it is no measure of truth. Rules after Gopher (Rae et
al. 2021, arXiv 2112.11446, appendix A.1.1), but for no language in particular: scripts without
spaces are read by characters, code is not measured as prose, and a short answer is an answer.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import re2

from fine_tuning.core.conversation import Conversation, Message
from fine_tuning.data_collection.fences import is_code_line, without_code
from fine_tuning.data_collection.text_filters import cut_off, refusal

_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(r"\w+")
_WORD_OR_CHAR = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])\w)+")
_HAS_UNSPACED = re2.compile(
    r"[\x{e00}-\x{eff}\x{1000}-\x{109f}\x{1780}-\x{17ff}\x{3040}-\x{30ff}\x{3400}-\x{9fff}]"
)
_SYMBOL = re.compile(
    r"[^\w\s.,;:!?'\"()\-\u0300-\u036f\u0590-\u0dff\u0e00-\u109f\u1780-\u17ff\u2010-\u201f\u2026"
    r"\u3000-\u303f\uff01-\uff1f\u00ab\u00bb\u00bf\u00a1]"
)
_MAY_BE_CODE = re2.compile(
    r"[={}();<>$#@|\[\]]|[\"'][ ]*:|(?m:^\s*(?:\w+\s*$|import\b|return\b|[\"']))|:\s*\n"
)
_TABLE = "|"
GOOD_WORDS = 40  # a reply of so many words has full marks for length
LEAST_LENGTH = 0.5  # of a reply with a word in it: a short answer may be all there is to say
GOOD_VARIETY = 0.5  # share of different words in a text of up to 200 words
MOST_SYMBOLS = 0.4  # share of characters that no sentence is written with
GOOD_RATIO = 0.35  # zlib's size of a text over its own; loops go far below
_MIN_RATIO_BYTES = 300
_PART_FLOOR = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The parts of a score, each from 0 (bad) to 1 (good).

    ``length``: words of the replies (characters, in scripts without spaces). ``variety``: different
    words. ``prose``: few symbols. ``density``: not compressible like a loop. ``answer``: no
    refusal, no echo of the question. ``ending``: not cut off.
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
    prose = _without_code(text)
    words = _words(text)
    asked = {message.text.strip().casefold() for message in path if message.role == "user"}
    is_poor = [
        refusal(reply.text) is not None or reply.text.strip().casefold() in asked
        for reply in replies
    ]
    is_cut = [cut_off(reply.text) is not None for reply in replies]
    return Quality(
        length=_length(len(words) / max(1, len(replies))),
        variety=_variety(_words(prose) if prose.strip() and prose != text else words),
        prose=_prose(prose) if prose.strip() or not text else 1.0,
        density=_density(prose if prose.strip() else text),
        answer=1 - _share(is_poor),
        ending=1 - _share(is_cut),
    )


def _words(text: str) -> list[str]:
    is_unspaced = not text.isascii() and _HAS_UNSPACED.search(text)
    return (_WORD_OR_CHAR if is_unspaced else _WORD).findall(text.casefold())


def _without_code(text: str) -> str:
    """Return a text without code and tables, whose signs and repeats are no flaws."""
    prose = without_code(text)
    if not _MAY_BE_CODE.search(prose):
        return prose
    lines = prose.split("\n")
    return "\n".join(line for line in lines if _TABLE not in line and not is_code_line(line))


def _length(words: float) -> float:
    if not words:
        return 0.0
    return min(1.0, LEAST_LENGTH + (1 - LEAST_LENGTH) * words / GOOD_WORDS)


def _variety(words: list[str]) -> float:
    some = words[:200]
    return min(1.0, len(set(some)) / len(some) / GOOD_VARIETY) if some else 0.0


def _prose(text: str) -> float:
    if not text:
        return 0.0
    return max(0.0, 1 - len(_SYMBOL.findall(text)) / len(text) / MOST_SYMBOLS)


def _density(text: str) -> float:
    written = text.encode("utf-8", "surrogatepass")
    if len(written) < _MIN_RATIO_BYTES:
        return 1.0
    return min(1.0, len(zlib.compress(written, 1)) / len(written) / GOOD_RATIO)


def _share(flags: list[bool]) -> float:
    return sum(flags) / len(flags) if flags else 1.0
