"""The rules of cleaning that look at one exchange at a time, and leave out exchanges.

What a user says is no reason to lose the assistant's good reply: rules of content look at the
replies alone. Lengths count question and reply, because the question is what a reply stands on.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from fine_tuning.core.token_estimate import estimate_tokens
from fine_tuning.data_collection.cleaning_item import CleaningItem
from fine_tuning.data_collection.exchanges import Exchange, says_something
from fine_tuning.data_collection.language import UNDETERMINED, language
from fine_tuning.data_collection.moderation import ModerationBackend
from fine_tuning.data_collection.quality import exchange_quality
from fine_tuning.data_collection.text_filters import cut_off, loop, refusal

RuleHit = tuple[CleaningItem, Exchange, str]
"""An exchange to leave out, and what is wrong with it."""
Rule = Callable[[Sequence[CleaningItem]], Iterable[RuleHit]]


def each_exchange(
    check: Callable[[Exchange], str | None], may: Callable[[CleaningItem], bool] | None = None
) -> Rule:
    """Return a rule that asks of each exchange that still stands.

    Args:
        check: Says what is wrong with an exchange, or None.
        may: Tells quickly whether any exchange of a conversation can be wrong; None asks each.
    """

    def rule(entries: Sequence[CleaningItem]) -> Iterator[RuleHit]:
        for entry in entries:
            for exchange in entry.standing if may is None or may(entry) else ():
                if detail := check(exchange):
                    yield entry, exchange, detail

    return rule


def no_reply(exchange: Exchange) -> str | None:
    """Tell whether nobody finished a reply with words."""
    return None if exchange.finished else "no finished reply with a text is in it"


def not_trained(exchange: Exchange) -> str | None:
    """Tell whether weights or feedback keep every reply from being trained on."""
    return None if exchange.trained else "feedback or its weight excludes the reply"


def refuses(exchange: Exchange) -> str | None:
    """Tell whether a reply refuses."""
    for message in exchange.trained:
        if not message.tool_calls and (words := refusal(message.text)):
            return f"the reply refuses: {words!r}"
    return None


def is_cut_off(exchange: Exchange) -> str | None:
    """Tell whether a reply ends in the middle."""
    for message in exchange.trained:
        if message.tool_calls:
            continue
        ending = message.metadata.get("finish_reason") or message.metadata.get("done_reason") or ""
        if words := cut_off(message.text, str(ending)):
            return f"the reply is cut off: {words}"
    return None


def repeats(exchange: Exchange) -> str | None:
    """Tell whether a reply loops."""
    for message in exchange.messages:
        if message.role == "assistant" and (words := loop(message.text)):
            return f"a reply repeats {words}"
    return None


def inappropriate(classifiers: Sequence[ModerationBackend]) -> Rule:
    """Return a rule for the assistant's words; a user's rude word is no fault of the reply."""

    def rule(entries: Sequence[CleaningItem]) -> Iterator[RuleHit]:
        said = [
            (entry, exchange, message.text)
            for entry in entries
            for exchange in entry.standing
            for message in exchange.messages
            if says_something(message)
        ]
        texts = [text for _, _, text in said]
        for classifier in classifiers:
            for (entry, exchange, _), words in zip(said, classifier.classify(texts), strict=True):
                if words is not None and exchange.place not in entry.marks:
                    yield entry, exchange, f"the assistant says {words}"

    return rule


def other_language(languages: Sequence[str]) -> Rule:
    """Return a rule for the language of replies; what is too short to tell stays."""

    def check(exchange: Exchange) -> str | None:
        spoken = language("\n".join(message.text for message in exchange.trained))
        if spoken in {UNDETERMINED, *languages}:
            return None
        return f"it is in {spoken}, expected {' or '.join(languages)}"

    return each_exchange(check, may=lambda _: bool(languages))


@dataclass(slots=True, eq=False)
class BoundRule:
    """A rule that compares a measure of each exchange with a bound, and remembers the measures.

    Attributes:
        setting: The bound's key in the settings.
        bound: The bound; None leaves out nothing and measures nothing.
        measure: Returns the measure of each exchange that stands, and more words on it.
        is_least: Whether the bound is the least value, else the greatest.
        detail: The sentence on an exchange, with ``{value}``, ``{bound}`` and ``{more}``.
        values: What was measured.
    """

    setting: str
    bound: float | None
    measure: Callable[[CleaningItem], Iterable[tuple[Exchange, float, str]]]
    is_least: bool
    detail: str
    values: array[float] = field(default_factory=lambda: array("d"))

    def __call__(self, entries: Sequence[CleaningItem]) -> Iterator[RuleHit]:
        """Yield the exchanges beyond the bound."""
        bound = self.bound
        if bound is None:
            return
        for entry in entries:
            for exchange, value, more in self.measure(entry):
                self.values.append(value)
                if value < bound if self.is_least else value > bound:
                    words = self.detail.format(value=_short(value), bound=_short(bound), more=more)
                    yield entry, exchange, words


def _short(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}".rstrip("0")


def measured_lengths(entry: CleaningItem) -> Iterator[tuple[Exchange, float, str]]:
    """Yield the characters of each exchange."""
    for exchange in entry.standing:
        yield exchange, exchange.length, ""


def measured_tokens(entry: CleaningItem) -> Iterator[tuple[Exchange, float, str]]:
    """Yield the tokens of the branch up to the end of each exchange, estimated."""
    tokens, position = 0, 0
    for exchange in entry.standing:
        tokens += sum(estimate_tokens(m.text) for m in entry.path[position : exchange.end])
        position = exchange.end
        yield exchange, tokens, ""


def measured_quality(entry: CleaningItem) -> Iterator[tuple[Exchange, float, str]]:
    """Yield the quality of each exchange, with the worst part of it."""
    for exchange in entry.standing:
        found = exchange_quality(exchange.messages)
        name, worst = min(found.parts().items(), key=lambda part: part[1])
        yield exchange, found.score, f"{name} is {worst:.2f}"
