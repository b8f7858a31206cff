"""The steps of cleaning that look at one conversation at a time, one table, in order.

A step edits, drops, or does both: a refusing reply is first kept from being learnt, and only a
conversation with nothing else to learn is dropped. What a person accepted is spared by the steps
that go by rules of thumb. To add a step, write a function, put it into
:func:`steps`, and name it in the settings' ``StepName``. Near duplicates, which need all
conversations, come after these, in ``cleaning``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import xxhash

from fine_tuning.core.conversation import Conversation, Message
from fine_tuning.core.token_estimate import estimate_tokens
from fine_tuning.data_collection.cleaning_item import CleaningItem, edit_texts
from fine_tuning.data_collection.language import UNDETERMINED, conversation_language
from fine_tuning.data_collection.markup import may_hold_markup
from fine_tuning.data_collection.markup_conversation import without_markup
from fine_tuning.data_collection.moderation import ModerationBackend, WordClassifier
from fine_tuning.data_collection.private_values import DEFAULT_REGIONS, KINDS
from fine_tuning.data_collection.quality import quality
from fine_tuning.data_collection.redaction import redact_entry
from fine_tuning.data_collection.text_filters import cut_off, loop, may_refuse, refusal
from fine_tuning.data_collection.text_repair import (
    may_need_unicode,
    may_need_whitespace,
    normalize_whitespace,
    repair_unicode,
)

NEAR_DUPLICATE = "near_duplicate"
CONSENT = "consent"

Edit = Callable[[CleaningItem], Conversation]
Filter = Callable[[Sequence[CleaningItem]], list[str | None]]
"""Returns for each entry what was found that drops it, or None to keep it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step; what its filter drops is dropped for its name."""

    name: str
    edit: Edit | None = None
    drop: Filter | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningLimits:
    """Bounds of the steps; lengths are characters of one exchange, question and reply.

    ``None`` and empty mean no bound. ``similarity`` is that of ``near_duplicates``.
    ``accepted`` and ``rejected`` are ids of conversations a person decided on; those ``withheld``
    must not be learnt.
    """

    min_length: int = 10
    max_length: int = 1000
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
    boilerplate = _Boilerplate(limits.max_same_reply)
    table = (
        Step(CONSENT, drop=_each(lambda e: _withheld(e, limits.withheld))),
        Step("markup", edit=_part_markup),
        Step("unicode", edit=_repair),
        Step("whitespace", edit=_normalize),
        Step(
            "redaction",
            edit=lambda e: redact_entry(e, limits.phone_regions, limits.private_kinds),
        ),
        Step("unfinished", edit=leave_out_unfinished),
        Step("rejected", drop=_each(lambda e: _rejected(e, limits.rejected))),
        Step("empty", drop=_each(_empty)),
        Step("no_reply", drop=_each(_no_reply)),
        Step("role_order", drop=_each(_role_order)),
        Step("refusal", edit=_leave_out_refusals, drop=_each(_nothing_left("refuses"))),
        Step("cut_off", edit=_leave_out_cut, drop=_each(_nothing_left("is cut off"))),
        Step("too_short", drop=_each(lambda e: _too_short(e, limits.min_length))),
        Step("too_long", drop=_each(lambda e: _too_long(e, limits.max_length))),
        Step("too_many_tokens", drop=_each(lambda e: _too_many_tokens(e, limits.max_tokens))),
        Step("repetitive", drop=_each(_repetitive)),
        Step("inappropriate", drop=lambda entries: _inappropriate(entries, limits.classifiers)),
        Step("language", drop=_each(lambda e: _other_language(e, limits.languages))),
        Step("low_quality", drop=_each(lambda e: _low_quality(e, limits.min_quality))),
        Step("duplicate", drop=_each(_Duplicates())),
        Step("boilerplate", edit=boilerplate, drop=_each(_nothing_left("was given too often"))),
    )
    return tuple(
        _sparing(step, limits.accepted) if step.name in RULES_OF_THUMB else step for step in table
    )


TEXT_EDITS: tuple[str, ...] = ("markup", "unicode", "whitespace", "redaction")
"""Steps that change words; others only keep some from being learnt."""
EDITS: tuple[str, ...] = (*TEXT_EDITS, "unfinished")
REASONS: tuple[str, ...] = (
    CONSENT,
    *("rejected", "empty", "no_reply", "role_order", "refusal", "cut_off", "too_short", "too_long"),
    *("too_many_tokens", "repetitive", "inappropriate", "language", "low_quality"),
    *("duplicate", "boilerplate", NEAR_DUPLICATE),
)
"""Why a conversation can be dropped, in the order in which it is asked."""

STEP_NAMES: tuple[str, ...] = (*EDITS, *(reason for reason in REASONS if reason != CONSENT))
"""The steps that may be skipped: all but the one that asks for consent."""
RULES_OF_THUMB: tuple[str, ...] = (
    *("refusal", "cut_off", "too_short", "too_long", "too_many_tokens", "repetitive"),
    *("inappropriate", "language", "low_quality", "boilerplate"),
)
"""Steps that may be wrong about a conversation, so that a person's word is stronger."""


def _each(check: Callable[[CleaningItem], str | None]) -> Filter:
    return lambda entries: [check(entry) for entry in entries]


def _sparing(step: Step, accepted: frozenset[str]) -> Step:
    """Return a step that leaves the accepted conversations as they are."""
    edit, drop = step.edit, step.drop

    def edit_others(entry: CleaningItem) -> Conversation:
        if edit is None or entry.conversation.id in accepted:
            return entry.conversation
        return edit(entry)

    def drop_others(entries: Sequence[CleaningItem]) -> list[str | None]:
        others = [entry for entry in entries if entry.conversation.id not in accepted]
        found = iter(drop(others) if drop else [None] * len(others))
        return [None if e.conversation.id in accepted else next(found) for e in entries]

    if not accepted:
        return step
    return Step(step.name, edit=edit_others if edit else None, drop=drop_others if drop else None)


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


def leave_out_unfinished(entry: CleaningItem) -> Conversation:
    """Keep unfinished words from being learnt; they stay in the tree.

    A reply that was stopped or failed gets weight 0, and a branch that ends with a question ends
    at the reply before it.
    """
    conversation = entry.conversation
    unfinished = {
        message.id
        for message in conversation.messages
        if message.role == "assistant" and message.status != "complete" and message.weight
    }
    path = entry.path
    while path and path[-1].role not in {"assistant", "tool"}:
        path = path[:-1]
    is_whole = not path or path[-1].id == entry.path[-1].id
    if is_whole and not unfinished:
        return conversation
    leaf_id = conversation.leaf_id if is_whole else path[-1].id
    return replace(_without_learning(conversation, unfinished), leaf_id=leaf_id)


def _without_learning(conversation: Conversation, message_ids: set[str]) -> Conversation:
    """Return the conversation with weight 0 on these messages; the same object if none is named."""
    if not message_ids:
        return conversation
    messages = tuple(
        replace(message, weight=0) if message.id in message_ids else message
        for message in conversation.messages
    )
    return replace(conversation, messages=messages)


def learnt_replies(entry: CleaningItem) -> list[Message]:
    """Return the replies on the branch that would be learnt."""
    return [
        message
        for message in entry.path
        if message.role == "assistant"
        and message.weight
        and (message.tool_calls or message.text.strip())
    ]


def _leave_out_refusals(entry: CleaningItem) -> Conversation:
    if not may_refuse(entry.joined):
        return entry.conversation
    found = {m.id for m in learnt_replies(entry) if not m.tool_calls and refusal(m.text)}
    return _without_learning(entry.conversation, found)


def _leave_out_cut(entry: CleaningItem) -> Conversation:
    found = {
        m.id
        for m in learnt_replies(entry)
        if not m.tool_calls
        and cut_off(
            m.text, str(m.metadata.get("finish_reason") or m.metadata.get("done_reason") or "")
        )
    }
    return _without_learning(entry.conversation, found)


def _nothing_left(what: str) -> Callable[[CleaningItem], str | None]:
    def check(entry: CleaningItem) -> str | None:
        return None if learnt_replies(entry) else f"its only reply {what}, so no reply is left"

    return check


def _empty(entry: CleaningItem) -> str | None:
    said = any(message.content or message.tool_calls for message in entry.path)
    return None if said else "nothing is said in it"


def _no_reply(entry: CleaningItem) -> str | None:
    return None if learnt_replies(entry) else "no finished reply with a text is in it"


_MAY_FOLLOW: dict[str, set[str]] = {
    "": {"system", "developer", "user"},
    "system": {"user"},
    "developer": {"user"},
    "user": {"assistant"},
    "assistant": {"user"},
    "tool": {"tool", "assistant"},
}


def _role_order(entry: CleaningItem) -> str | None:
    return misplaced_role(entry.path)


def misplaced_role(path: Sequence[Message]) -> str | None:
    """Return the first message of a branch whose role may not stand there, in words, or None."""
    before = ""
    for number, message in enumerate(path, 1):
        allowed = _MAY_FOLLOW[before]
        if message.role not in allowed:
            expected = " or ".join(sorted(allowed))
            return f"message {number} is by {message.role}, expected {expected}"
        is_calling = message.role == "assistant" and message.tool_calls
        before = "tool" if is_calling else message.role
    return None


def exchange_lengths(path: Sequence[Message]) -> list[int]:
    """Return the characters of each exchange: a user's message with the replies to it."""
    lengths: list[int] = []
    for message in path:
        if message.role == "user":
            lengths.append(len(message.text))
        elif message.role == "assistant" and lengths:
            lengths[-1] += len(message.text)
    return lengths


def _too_short(entry: CleaningItem, min_length: int) -> str | None:
    longest = max(exchange_lengths(entry.path), default=0)
    if longest >= min_length:
        return None
    return f"the longest exchange has {longest} characters, expected {min_length} or more"


def _too_long(entry: CleaningItem, max_length: int) -> str | None:
    longest = max(exchange_lengths(entry.path), default=0)
    if longest <= max_length:
        return None
    return f"an exchange has {longest} characters, expected {max_length} or fewer"


def _too_many_tokens(entry: CleaningItem, max_tokens: int | None) -> str | None:
    if max_tokens is None or len(entry.joined) <= max_tokens:
        return None
    found = sum(estimate_tokens(message.text) for message in entry.path)
    return (
        f"it has about {found} tokens, expected {max_tokens} or fewer"
        if found > max_tokens
        else None
    )


def _repetitive(entry: CleaningItem) -> str | None:
    for message in entry.path:
        if message.role == "assistant" and (found := loop(message.text)):
            return f"a reply repeats {found}"
    return None


def _inappropriate(
    entries: Sequence[CleaningItem], classifiers: Sequence[ModerationBackend]
) -> list[str | None]:
    said = [(index, m) for index, entry in enumerate(entries) for m in entry.path]
    texts = [message.text for _, message in said]
    details: list[str | None] = [None] * len(entries)
    for classifier in classifiers:
        for (index, message), found in zip(said, classifier.classify(texts), strict=True):
            if found is not None and details[index] is None:
                details[index] = f"the {message.role} says {found}"
    return details


def _other_language(entry: CleaningItem, languages: Sequence[str]) -> str | None:
    if not languages:
        return None
    found = conversation_language(entry.conversation)
    if found in {UNDETERMINED, *languages}:
        return None
    return f"it is in {found}, expected {' or '.join(languages)}"


def _low_quality(entry: CleaningItem, least: float) -> str | None:
    if not least:
        return None
    found = quality(entry.conversation)
    if found.score >= least:
        return None
    name, worst = min(found.parts().items(), key=lambda part: part[1])
    return f"its quality is {found.score:.2f}, expected {least:g} or more; {name} is {worst:.2f}"


class _Duplicates:
    """Remembers conversations by their words, in any case and spacing; 16 bytes for each."""

    def __init__(self) -> None:
        self._first: dict[bytes, str] = {}

    def __call__(self, entry: CleaningItem) -> str | None:
        digest = xxhash.xxh3_128()
        for message in entry.path:
            words = " ".join(message.text.casefold().split())
            if not message.tool_calls and len(message.content) == 1 and message.content[0].text:
                digest.update(f"{message.role}\0{words}\0".encode("utf-8", "surrogatepass"))
                continue
            others = [part.to_dict() for part in message.content if part.type != "text"]
            calls = [call.to_dict() for call in message.tool_calls]
            said = repr((message.role, words, others, calls))
            digest.update(said.encode("utf-8", "surrogatepass"))
        key = digest.digest()
        if key in self._first:
            entry.twin_id = self._first[key]
            return f"it says the same as conversation {entry.twin_id}"
        self._first[key] = entry.conversation.id
        return None


class _Boilerplate:
    """Counts replies by their words; from one after the most on, they are not learnt."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._counts: dict[int, int] = {}

    def __call__(self, entry: CleaningItem) -> Conversation:
        if self._most is None:
            return entry.conversation
        too_often: set[str] = set()
        for message in learnt_replies(entry):
            if message.tool_calls:
                continue
            words = " ".join(message.text.casefold().split())
            key = xxhash.xxh3_64_intdigest(words.encode("utf-8", "surrogatepass"))
            count = self._counts[key] = self._counts.get(key, 0) + 1
            if count > self._most:
                too_often.add(message.id)
        return _without_learning(entry.conversation, too_often)
