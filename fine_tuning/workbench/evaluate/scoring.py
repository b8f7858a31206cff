"""Scores examples by the engine, each result kept by its content.

What a model finds likely is asked of it once; what it finds of a first reply is known with the
conversation. Loads the engine's libraries with the first model that is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fine_tuning.core.example import TokenizedExample
from fine_tuning.core.json_value import trusted
from fine_tuning.core.naming import content_name
from fine_tuning.core.run import SERVED_CONTEXT_TOKENS
from fine_tuning.evaluation.cache import ResultCache
from fine_tuning.evaluation.relevance import first_replies

if TYPE_CHECKING:
    from fine_tuning.engine.decoder import Decoder
    from fine_tuning.engine.lora import LoraAdapter
    from fine_tuning.engine.step import ExampleScore

SCORE_BATCH = 64


def open_decoder(path: Path, context_tokens: int = SERVED_CONTEXT_TOKENS) -> Decoder:
    """Open a model in the engine, whose libraries are loaded with the first one.

    Args:
        path: The base model.
        context_tokens: The context room it is served with.

    Raises:
        FineTuningError: as the engine raises.
    """
    from fine_tuning.engine.decoder import Decoder  # noqa: PLC0415 - torch is slow to load

    return Decoder.open(path, served_context_tokens=context_tokens)


def scoring(
    decoder: Decoder, adapter: LoraAdapter | None, name: str, cache: ResultCache | None
) -> Callable[[Sequence[TokenizedExample]], list[ExampleScore]]:
    """Return a function that scores examples, those known to the cache without the engine.

    Args:
        decoder: The opened base.
        adapter: What is added to it.
        name: The content name of both.
        cache: Where scores are kept; None keeps none.
    """
    from fine_tuning.engine.step import (  # noqa: PLC0415 - torch is slow to load
        ExampleScore,
        score_targets,
    )

    def score(examples: Sequence[TokenizedExample]) -> list[ExampleScore]:
        names = [_score_name(name, example) for example in examples]
        known_scores = {
            key: ExampleScore(tuple(raw[0]), tuple(bit == "1" for bit in raw[1]), raw[2])
            for key, raw in trusted(cache.find(names) if cache else {}).items()
        }
        examples_by_key = dict(zip(names, examples, strict=True))
        missing = [key for key in examples_by_key if key not in known_scores]
        for start in range(0, len(missing), SCORE_BATCH):
            keys = missing[start : start + SCORE_BATCH]
            scores = score_targets(decoder, adapter, [examples_by_key[key] for key in keys])
            new = dict(zip(keys, scores, strict=True))
            if cache:
                begun = _first_scores(name, [examples_by_key[key] for key in keys], scores)
                cache.keep({key: _plain(value) for key, value in {**begun, **new}.items()})
            known_scores |= new
        return [known_scores[key] for key in names]

    return score


def _score_name(model: str, example: TokenizedExample) -> str:
    return content_name(["score/1", model, example.ids, example.mask])


def _first_scores(
    model: str, examples: Sequence[TokenizedExample], scores: Sequence[ExampleScore]
) -> dict[str, ExampleScore]:
    """Return the scores of each example's first reply, which nothing behind it can change."""
    from fine_tuning.engine.step import ExampleScore  # noqa: PLC0415 - torch is slow to load

    found = {}
    learnt = [pair for pair in zip(examples, scores, strict=True) if pair[0].num_targets]
    firsts = first_replies([example for example, _ in learnt])
    for first, (_, score) in zip(firsts, learnt, strict=True):
        count = first.num_targets
        found[_score_name(model, first)] = ExampleScore(
            score.log_probabilities[:count], score.correct[:count], len(first.ids) - 1
        )
    return found


def _plain(score: ExampleScore) -> list[Any]:
    bits = "".join("1" if bit else "0" for bit in score.correct)
    return [list(score.log_probabilities), bits, score.num_tokens]
