"""Classifiers of inappropriate content behind one protocol, and what each was measured to miss.

``words`` needs nothing but this package; ``profanex`` (a larger word list) and ``toxicity`` (a
linear model that also knows insults without swear words) come with the ``moderation`` extra. None
of them understands irony, quotation or context, and all know English best.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from fine_tuning.core.errors import ConfigError, MissingDependencyError
from fine_tuning.data_collection.text_filters import may_swear, swear_word
from fine_tuning.data_collection.text_repair import SEPARATOR

DEFAULT_THRESHOLD = 0.8
CLASSIFIERS: tuple[str, ...] = ("words", "profanex", "toxicity")
_SHOWN_CHARS = 60
_TEXTS_AT_ONCE = 8


class ModerationBackend(Protocol):
    """Says what is inappropriate in texts.

    * ``classify`` MUST return one finding per text, in order: words for what was found, or None.
    """

    name: str

    def classify(self, texts: Sequence[str]) -> list[str | None]:
        """Return what is inappropriate in each text, or None."""
        ...


class WordClassifier:
    """Swear words behind their disguises; see ``text_filters``."""

    name = "words"

    def classify(self, texts: Sequence[str]) -> list[str | None]:
        """Return the first swear word of each text as it is written there."""
        found: list[str | None] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            some = texts[start : start + _TEXTS_AT_ONCE]
            is_hinted = may_swear(SEPARATOR.join(some))
            found += [swear_word(t) if is_hinted and may_swear(t) else None for t in some]
        return [repr(word) if word else None for word in found]


class ProfanexClassifier:
    """The word list of ``profanex``.

    Raises:
        MissingDependencyError: on construction, if the package is not installed.
    """

    name = "profanex"

    def __init__(self) -> None:
        self._filter = _package("profanex").Filter()

    def classify(self, texts: Sequence[str]) -> list[str | None]:
        """Return the first match of each text."""
        found = (self._filter.find(text) for text in texts)
        return [repr(str(hits[0].text)) if hits else None for hits in found]


class ToxicityClassifier:
    """The linear model of ``alt-profanity-check``.

    Args:
        threshold: The probability from which a text counts; below 0.8 harmless identity words do.

    Raises:
        MissingDependencyError: on construction, if the package is not installed.
    """

    name = "toxicity"

    def __init__(self, threshold: float = DEFAULT_THRESHOLD) -> None:
        self.threshold = threshold
        self._probabilities = _package("profanity_check").predict_prob

    def classify(self, texts: Sequence[str]) -> list[str | None]:
        """Return the probability of each text that reaches the threshold."""
        if not texts:
            return []
        return [
            f"{' '.join(text.split())[:_SHOWN_CHARS]!r} (toxicity {probability:.2f})"
            if probability >= self.threshold
            else None
            for text, probability in zip(texts, self._probabilities(list(texts)), strict=True)
        ]


def toxicity_classifiers(
    names: Collection[str], threshold: float = DEFAULT_THRESHOLD
) -> tuple[ModerationBackend, ...]:
    """Return the classifiers of these names.

    Raises:
        ConfigError: if a name is unknown.
        MissingDependencyError: if a classifier's package is not installed.
    """
    made: list[ModerationBackend] = []
    for name in names:
        if name == "words":
            made.append(WordClassifier())
        elif name == "profanex":
            made.append(ProfanexClassifier())
        elif name == "toxicity":
            made.append(ToxicityClassifier(threshold))
        else:
            raise ConfigError(
                f"moderation has no classifier {name!r}, expected {', '.join(CLASSIFIERS)}"
            )
    return tuple(made)


def _package(name: str) -> Any:  # noqa: ANN401 - a module without types
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"{name} is not installed, expected the moderation extra",
            next_command="pip install 'fine-tuning[moderation]'",
        ) from error
