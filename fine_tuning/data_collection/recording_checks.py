"""What is wrong with recorded conversations, told from the counts of their cleaning.

Knows nothing of tokens, splits and models: ``data_preparation/preflight`` looks at those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.finding import Finding, Severity
from fine_tuning.data_collection.cleaning_counts import CleaningCounts
from fine_tuning.data_collection.cleaning_item import CleaningItem
from fine_tuning.data_collection.private_values import KINDS, find_private, may_hold_private

RECOMMENDED_PAIRS = 100
MOST_DROPPED = 0.3
_SHOWN = 5


class _DropReason(NamedTuple):
    """How a reason for dropping is told: what it looks at, how bad, its title and what helps."""

    check: str
    severity: Severity
    title: str
    fix: str


_NOTHING = "nothing to do: they are left out; 'fine-tuning clean' lists them"
_REASONS: dict[str, _DropReason] = {
    "consent": _DropReason(
        "consent", "note", "conversations have no consent to training", _NOTHING
    ),
    "rejected": _DropReason("review", "note", "conversations were rejected by you", _NOTHING),
    "empty": _DropReason("empties", "note", "conversations say nothing", _NOTHING),
    "no_reply": _DropReason("empties", "note", "conversations hold no finished reply", _NOTHING),
    "not_trained": _DropReason(
        "empties",
        "note",
        "conversations hold only replies that feedback or weights exclude",
        _NOTHING,
    ),
    "role_order": _DropReason(
        "role order",
        "warning",
        "conversations have turns out of order",
        "look at the program that wrote them, and import them again",
    ),
    "duplicate": _DropReason(
        "duplicates", "note", "conversations say the same as another", _NOTHING
    ),
    "near_duplicate": _DropReason(
        "duplicates",
        "note",
        "conversations nearly say the same as another",
        "nothing to do: the best is kept; data_collection.near_duplicate_similarity moves the bar",
    ),
    "refusal": _DropReason("quality", "note", "conversations hold refusals only", _NOTHING),
    "cut_off": _DropReason(
        "quality",
        "warning",
        "conversations hold only replies that were cut off",
        "raise the reply length of the chatbot (num_predict)",
    ),
    "too_long": _DropReason(
        "length",
        "warning",
        "conversations hold an exchange that is too long",
        "raise data_collection.max_conversation_length if they are worth learning",
    ),
    "too_short": _DropReason(
        "length",
        "note",
        "conversations are too short",
        "lower data_collection.min_conversation_length if they are worth learning",
    ),
    "inappropriate": _DropReason(
        "content", "note", "conversations hold inappropriate words", _NOTHING
    ),
    "repetitive": _DropReason("quality", "note", "conversations hold a reply that loops", _NOTHING),
    "language": _DropReason("language", "note", "conversations are in another language", _NOTHING),
    "low_quality": _DropReason("quality", "note", "conversations are of low quality", _NOTHING),
    "boilerplate": _DropReason(
        "quality", "note", "conversations hold stock replies only", _NOTHING
    ),
    "too_many_tokens": _DropReason(
        "length", "note", "conversations have too many tokens", _NOTHING
    ),
}


def recorded_findings(counts: CleaningCounts, num_pairs: int) -> list[Finding]:
    """Return what a cleaning's counts and the pairs it left tell.

    Args:
        counts: ``Cleaning.counts``.
        num_pairs: Questions with a reply to learn, after cleaning.
    """
    if not counts["in"]:
        return [_no_conversations("none was recorded yet")]
    found = [*_by_reason(counts), *_redacted(counts)]
    if not counts["kept"]:
        return [_no_conversations(f"cleaning left out all {counts['in']}"), *found]
    found.append(_size(num_pairs))
    share = 1 - counts["kept"] / counts["in"]
    if share > MOST_DROPPED:
        found.append(
            Finding(
                check="quality",
                severity="warning",
                title="Poor fine-tuning results are likely",
                detail=f"cleaning leaves out {share:.0%} of the conversations: low-quality data",
                fix="see why with 'fine-tuning clean'; clean data better, adjust "
                "training.learning_rate, or raise training.num_epochs",
                numbers={"share_dropped": round(share, 4)},
            )
        )
    return found


def left_private(conversations: Iterable[Conversation]) -> Finding:
    """Return whether cleaned conversations still hold private values, and of which kinds."""
    held: dict[str, list[str]] = {}
    for conversation in conversations:
        joined = CleaningItem(conversation).joined
        if may_hold_private(joined):
            for kind in {span.kind for span in find_private(joined)}:
                held.setdefault(kind, []).append(conversation.id)
    if not held:
        return Finding(
            check="secrets", severity="good", title="no private value would be trained on"
        )
    return Finding(
        check="secrets",
        severity="stop" if "SECRET" in held else "warning",
        title="private values would be trained on",
        detail=", ".join(f"{kind} in {len(held[kind])}" for kind in KINDS if kind in held),
        fix="take 'redaction' out of data_collection.skip_steps and name the kinds in "
        "data_collection.redact",
        numbers={kind: len(ids) for kind, ids in held.items()},
        examples=tuple(ids[0] for ids in held.values()),
    )


def _no_conversations(why: str) -> Finding:
    return Finding(
        check="size",
        severity="stop",
        title="No conversations to train on",
        detail=why,
        fix="enable conversation logging (data_collection.enabled) and chat with the bot, or "
        "'fine-tuning import FILE'",
    )


def _size(num_pairs: int) -> Finding:
    if num_pairs >= RECOMMENDED_PAIRS:
        return Finding(
            check="size",
            severity="good",
            title=f"{num_pairs} question-answer pairs",
            numbers={"pairs": num_pairs},
        )
    return Finding(
        check="size",
        severity="warning",
        title="Training data too small",
        detail=f"{num_pairs} question-answer pairs are left, {RECOMMENDED_PAIRS} or more are "
        f"recommended: {RECOMMENDED_PAIRS - num_pairs} to go",
        fix="collect more conversations, or import those you had elsewhere with 'fine-tuning "
        "import FILE'",
        numbers={"pairs": num_pairs, "recommended": RECOMMENDED_PAIRS},
    )


def _by_reason(counts: CleaningCounts) -> Iterator[Finding]:
    examples = {step["name"]: step["examples"] for step in counts["steps"]}
    for reason, number in counts["dropped"].items():
        told = _REASONS[reason]
        some = [f"{name}: {what}" for name, what in examples[reason] if what != "changed"]
        yield Finding(
            check=told.check,
            severity=told.severity,
            title=_counted(number, told.title),
            fix=told.fix,
            numbers={"conversations": number},
            examples=tuple(some[:_SHOWN]),
        )


def _counted(number: int, title: str) -> str:
    """Return "1 conversation holds ..." or "2 conversations hold ..."."""
    if number != 1:
        return f"{number} {title}"
    verb, _, rest = title.removeprefix("conversations ").partition(" ")
    single = {"are": "is", "have": "has", "were": "was"}.get(verb, f"{verb}s")
    if verb == "nearly":
        single, rest = "nearly says", rest.removeprefix("say ")
    return f"1 conversation {single} {rest}"


def _redacted(counts: CleaningCounts) -> Iterator[Finding]:
    for step in counts["steps"]:
        if step["name"] == "redaction" and step["changed"]:
            yield Finding(
                check="secrets",
                severity="note",
                title=_counted(step["changed"], "conversations hold private values"),
                detail="placeholders such as <EMAIL_1> stand for them in the training data",
                fix="look at them with 'fine-tuning clean --diff'",
                numbers={"conversations": step["changed"]},
            )
