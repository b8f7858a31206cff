"""The steps of cleaning that look at one conversation at a time, one table, in order.

A step edits a conversation, drops it whole, or has a rule for exchanges: one left out stays as
context, and only a conversation without any exchange to train on is dropped. What a person accepted
is spared by the steps that go by rules of thumb. To add a step, write a function, put it into
:func:`steps`, and name it in the settings' ``StepName``. What needs all conversations (duplicates,
stock replies) comes after these, in ``repeated_exchanges`` and ``cleaning``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fine_tuning.core.conversation import Conversation
from fine_tuning.data_collection import exchange_rules as rules
from fine_tuning.data_collection.cleaning_item import CleaningItem, edit_texts
from fine_tuning.data_collection.exchange_rules import BoundRule, Rule, RuleHit
from fine_tuning.data_collection.markup import may_hold_markup
from fine_tuning.data_collection.markup_conversation import without_markup
from fine_tuning.data_collection.moderation import ModerationBackend, WordClassifier
from fine_tuning.data_collection.private_values import DEFAULT_REGIONS, KINDS
from fine_tuning.data_collection.redaction import redact_entry
from fine_tuning.data_collection.text_repair import (
    may_need_unicode,
    may_need_whitespace,
    normalize_whitespace,
    repair_unicode,
)
from fine_tuning.data_collection.turns import join_turns

CONSENT = "consent"
NO_REPLY, NOT_TRAINED = "no_reply", "not_trained"
DUPLICATE, BOILERPLATE, NEAR_DUPLICATE = "duplicate", "boilerplate", "near_duplicate"

Edit = Callable[[CleaningItem], Conversation]
Filter = Callable[[Sequence[CleaningItem]], list[str | None]]
"""Returns for each entry why it is dropped, or None to keep it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step; what its filter drops and what its rule leaves out goes by its name.

    ``bound`` is the rule of a step that compares with a bound.
    """

    name: str
    edit: Edit | None = None
    drop: Filter | None = None
    rule: Rule | None = None
    bound: BoundRule | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningLimits:
    """Bounds of the steps; lengths are characters of one exchange, question and reply.

    ``None`` and empty mean no bound. ``similarity`` is that of ``near_duplicates``.
    ``accepted`` and ``rejected`` are ids of conversations a person decided on; those ``withheld``
    must not be trained on.
    """

    min_length: int = 10
    max_length: int | None = None
    max_tokens: int | None = None
    phone_regions: Sequence[str] = DEFAULT_REGIONS
    private_kinds: Sequence[str] = KINDS
    languages: Sequence[str] = ()
    min_quality: float = 0.0
    max_same_reply: int | None = 20
    similarity: float = 0.7
    classifiers: Sequence[ModerationBackend] = (WordClassifier(),)
    accepted: frozenset[str] = frozenset()
    rejected: frozenset[str] = frozenset()
    withheld: frozenset[str] = frozenset()


def steps(limits: CleaningLimits) -> tuple[Step, ...]:
    """Return all steps in order, with no memory of earlier conversations."""
    table = (
        Step(CONSENT, drop=_each(lambda e: _withheld(e, limits.withheld))),
        Step("markup", edit=_part_markup),
        Step("turns", edit=lambda e: join_turns(e.conversation, e.path)),
        Step("unicode", edit=_repair),
        Step("whitespace", edit=_normalize),
        Step(
            "redaction",
            edit=lambda e: redact_entry(e, limits.phone_regions, limits.private_kinds),
        ),
        Step("unfinished", edit=_leave_out_unfinished),
        Step("rejected", drop=_each(lambda e: _rejected(e, limits.rejected))),
        Step("empty", drop=_each(_empty)),
        Step("role_order", drop=_each(_unreadable)),
        Step(NO_REPLY, rule=rules.each_exchange(rules.no_reply)),
        Step(NOT_TRAINED, rule=rules.each_exchange(rules.not_trained)),
        Step("refusal", rule=rules.each_exchange(rules.refuses)),
        Step("cut_off", rule=rules.each_exchange(rules.is_cut_off)),
        *_bounded_lengths(limits),
        Step("repetitive", rule=rules.each_exchange(rules.repeats)),
        Step("inappropriate", rule=rules.inappropriate(limits.classifiers)),
        Step("language", rule=rules.other_language(limits.languages)),
        _quality_step(limits.min_quality),
    )
    return tuple(
        _sparing(step, limits.accepted) if step.name in RULES_OF_THUMB else step for step in table
    )


def _bounded_lengths(limits: CleaningLimits) -> tuple[Step, ...]:
    characters = "the exchange has {value} characters, expected {bound} or "
    shortest = BoundRule(
        "data_collection.min_conversation_length",
        limits.min_length,
        rules.measured_lengths,
        is_least=True,
        detail=characters + "more",
    )
    longest = BoundRule(
        "data_collection.max_conversation_length",
        limits.max_length,
        rules.measured_lengths,
        is_least=False,
        detail=characters + "fewer",
    )
    tokens = BoundRule(
        "data_collection.max_conversation_tokens",
        limits.max_tokens,
        rules.measured_tokens,
        is_least=False,
        detail="the chat up to it has about {value} tokens, expected {bound} or fewer",
    )
    return (
        Step("too_short", rule=shortest, bound=shortest),
        Step("too_long", rule=longest, bound=longest),
        Step("too_many_tokens", rule=tokens, bound=tokens),
    )


def _quality_step(min_quality: float) -> Step:
    poorest = BoundRule(
        "data_collection.min_quality",
        min_quality or None,
        rules.measured_quality,
        is_least=True,
        detail="its quality is {value}, expected {bound} or more; {more}",
    )
    return Step("low_quality", rule=poorest, bound=poorest)


TEXT_EDITS: tuple[str, ...] = ("markup", "unicode", "whitespace", "redaction")
"""Steps that change words; others only keep some from being trained on."""
EDITS: tuple[str, ...] = (*TEXT_EDITS, "unfinished")
REASONS: tuple[str, ...] = (
    *(CONSENT, "rejected", "empty", "role_order", NO_REPLY, NOT_TRAINED, "refusal", "cut_off"),
    *("too_short", "too_long", "too_many_tokens", "repetitive", "inappropriate", "language"),
    *("low_quality", DUPLICATE, BOILERPLATE, NEAR_DUPLICATE),
)
"""Why an exchange is left out, or a conversation dropped, in the order in which it is asked."""
ALWAYS: tuple[str, ...] = (CONSENT, NOT_TRAINED)
"""The steps that cannot be skipped: a person's word is not to be passed over."""

STEP_NAMES: tuple[str, ...] = (
    *("markup", "turns"),
    *(edit for edit in EDITS if edit != "markup"),
    *(reason for reason in REASONS if reason not in ALWAYS),
)
"""The steps that may be skipped."""
RULES_OF_THUMB: tuple[str, ...] = (
    *("refusal", "cut_off", "too_short", "too_long", "too_many_tokens", "repetitive"),
    *("inappropriate", "language", "low_quality", BOILERPLATE),
)
"""Steps that may be wrong about a conversation, so that a person's word is stronger."""


def _each(check: Callable[[CleaningItem], str | None]) -> Filter:
    return lambda entries: [check(entry) for entry in entries]


def _sparing(step: Step, accepted: frozenset[str]) -> Step:
    """Return a step that leaves the accepted conversations as they are."""
    rule = step.rule
    if rule is None or not accepted:
        return step

    def others_ruled(entries: Sequence[CleaningItem]) -> list[RuleHit]:
        return list(rule([e for e in entries if e.conversation.id not in accepted]))

    return replace(step, rule=others_ruled)


def _withheld(entry: CleaningItem, withheld: frozenset[str]) -> str | None:
    return "its consent was taken back" if entry.conversation.id in withheld else None


def _rejected(entry: CleaningItem, rejected: frozenset[str]) -> str | None:
    return "you rejected it" if entry.conversation.id in rejected else None


def _part_markup(entry: CleaningItem) -> Conversation:
    has_empty = any(m.role in {"system", "developer"} for m in entry.conversation.messages)
    if not has_empty and not may_hold_markup(entry.joined):
        return entry.conversation
    return without_markup(entry.conversation)


def _repair(entry: CleaningItem) -> Conversation:
    if not may_need_unicode(entry.joined):
        return entry.conversation
    return edit_texts(entry.conversation, repair_unicode)


def _normalize(entry: CleaningItem) -> Conversation:
    if not may_need_whitespace(entry.joined):
        return entry.conversation
    return edit_texts(entry.conversation, normalize_whitespace)


def _leave_out_unfinished(entry: CleaningItem) -> Conversation:
    """Keep unfinished words from being trained on; they stay in the tree.

    A reply that was stopped or failed gets weight 0, and a branch that ends with a question ends
    at the reply before it.
    """
    conversation = entry.conversation
    path = entry.path
    unfinished = {
        message.id
        for message in conversation.messages
        if message.role == "assistant" and message.status != "complete" and message.weight
    }
    length = len(path)
    while length and path[length - 1].role not in {"assistant", "tool"}:
        length -= 1
    for exchange in entry.exchanges:
        if exchange.end > length:
            entry.leave_out(exchange, NO_REPLY, "nobody replied to it")
    is_whole = length in {0, len(path)}
    if is_whole and not unfinished:
        return conversation
    messages = tuple(
        replace(message, weight=0) if message.id in unfinished else message
        for message in conversation.messages
    )
    leaf_id = conversation.leaf_id if is_whole else path[length - 1].id
    return replace(conversation, messages=messages, leaf_id=leaf_id)


def _empty(entry: CleaningItem) -> str | None:
    said = any(message.content or message.tool_calls for message in entry.path)
    return None if said else "nothing is said in it"


def _unreadable(entry: CleaningItem) -> str | None:
    """Tell whether a branch holds results of tools and neither a user nor the assistant."""
    roles = {message.role for message in entry.path}
    return (
        None if roles & {"user", "assistant", "system", "developer"} else "only tools speak in it"
    )
