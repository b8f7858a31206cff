"""How conversations are spread: lengths, turns, languages, quality, times; gathered in one pass.

Memory is a few numbers for each conversation. Tokens are estimates without a model.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.token_estimate import estimate_tokens
from fine_tuning.data_collection.exchanges import exchanges_of
from fine_tuning.data_collection.language import conversation_language
from fine_tuning.data_collection.quality import quality

QUANTILES = {"p05": 0.05, "median": 0.5, "p95": 0.95}
UNKNOWN = "unknown"
_MONTH_CHARS = len("2026-11")
_MOST_NAMES = 12


class ProfileRecord(TypedDict):
    """A profile as plain JSON values: quantiles, means of quality's parts, and counts."""

    conversations: int
    exchanges: int
    turns: dict[str, float]
    exchange_chars: dict[str, float]
    tokens: dict[str, float]
    quality: dict[str, float]
    quality_parts: dict[str, float]
    languages: dict[str, int]
    sources: dict[str, int]
    models: dict[str, int]
    months: dict[str, int]


@dataclass(slots=True)
class Profile:
    """Numbers of each conversation, and how often names occur.

    ``num_exchanges`` are those trained on; what is left out of a conversation is its context.
    ``spreads`` holds, by name: turns (replies trained on), characters of those exchanges, tokens of
    the whole branch, and quality (0 to 1). ``parts`` are sums of the parts of quality.
    """

    num_conversations: int = 0
    num_exchanges: int = 0
    spreads: dict[str, array[float]] = field(
        default_factory=lambda: {
            name: array("d") for name in ("turns", "exchange_chars", "tokens", "quality")
        }
    )
    parts: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    months: Counter[str] = field(default_factory=Counter)

    def add(self, conversation: Conversation) -> None:
        """Count a conversation."""
        path = conversation.path()
        found = quality(conversation)
        self.num_conversations += 1
        trained = [exchange for exchange in exchanges_of(path) if exchange.trained]
        self.num_exchanges += len(trained)
        self.spreads["turns"].append(sum(len(exchange.trained) for exchange in trained))
        self.spreads["exchange_chars"].extend(exchange.length for exchange in trained)
        self.spreads["tokens"].append(sum(estimate_tokens(message.text) for message in path))
        self.spreads["quality"].append(found.score)
        self.parts.update(found.parts())
        self.languages[conversation_language(conversation)] += 1
        self.sources[conversation.source or UNKNOWN] += 1
        self.models.update({message.model for message in path if message.model})
        moment = conversation.created_at or (path[0].created_at if path else "")
        self.months[moment[:_MONTH_CHARS] or UNKNOWN] += 1

    def to_dict(self) -> ProfileRecord:
        """Return quantiles, means and counts as plain JSON values."""
        return {
            "conversations": self.num_conversations,
            "exchanges": self.num_exchanges,
            "turns": spread_of(self.spreads["turns"]),
            "exchange_chars": spread_of(self.spreads["exchange_chars"]),
            "tokens": spread_of(self.spreads["tokens"]),
            "quality": spread_of(self.spreads["quality"]),
            "quality_parts": {
                name: round(total / max(1, self.num_conversations), 3)
                for name, total in self.parts.items()
            },
            "languages": most(self.languages),
            "sources": most(self.sources),
            "models": most(self.models),
            "months": dict(sorted(self.months.items())),
        }


def profile(conversations: Iterable[Conversation]) -> Profile:
    """Return the profile of some conversations."""
    found = Profile()
    for conversation in conversations:
        found.add(conversation)
    return found


def spread_of(values: array[float]) -> dict[str, float]:
    """Return quantiles, mean, least and greatest; {} of no values."""
    if not values:
        return {}
    ranked = sorted(values)
    named = {name: ranked[round(at * (len(ranked) - 1))] for name, at in QUANTILES.items()}
    mean = sum(ranked) / len(ranked)
    return {
        name: round(value, 3)
        for name, value in {
            "least": ranked[0],
            **named,
            "greatest": ranked[-1],
            "mean": mean,
        }.items()
    }


def most(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the most frequent names, the others summed up as "other"."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    found = dict(ranked[:_MOST_NAMES])
    if others := sum(count for _, count in ranked[_MOST_NAMES:]):
        found["other"] = others
    return found
