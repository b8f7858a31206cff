"""What is wrong with recorded conversations, told from the counts of their cleaning.

Knows nothing of tokens, splits and models: ``workbench/train/preflight`` looks at those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.data_account import NOTABLE_SHARE, DataAccount, reach_finding
from fine_tuning.core.finding import Finding
from fine_tuning.data_collection.cleaning_account import cleaning_accounts, finest_account
from fine_tuning.data_collection.cleaning_counts import CleaningCounts
from fine_tuning.data_collection.cleaning_item import CleaningItem
from fine_tuning.data_collection.private_values import KINDS, find_private, may_hold_private

RECOMMENDED_PAIRS = 100
POOR_SHARE = 0.3
"""Share of exchanges left out as bad from which poor results are likely."""
POOR_REASONS = frozenset({"refusal", "cut_off", "repetitive", "low_quality", "no_reply"})
_SHOWN = 5
CHECKS: Mapping[str, str] = {
    "consent": "consent",
    "rejected": "review",
    "empty": "empties",
    "no_reply": "empties",
    "not_trained": "feedback",
    "role_order": "role order",
    "duplicate": "duplicates",
    "near_duplicate": "duplicates",
    "too_long": "length",
    "too_short": "length",
    "too_many_tokens": "length",
    "inappropriate": "content",
    "language": "language",
    **dict.fromkeys(("refusal", "cut_off", "repetitive", "low_quality", "boilerplate"), "quality"),
}
"""What a reason for leaving out looks at; those of preparing a data set look at the masks."""


def recorded_findings(
    counts: CleaningCounts, num_pairs: int, prepared: Sequence[DataAccount] = ()
) -> list[Finding]:
    """Return what a cleaning's counts and the pairs that reach training tell.

    Args:
        counts: ``Cleaning.counts``.
        num_pairs: Questions with a reply that is trained on.
        prepared: The accounts of the data set made of them, when there is one.
    """
    if not counts["in"]:
        return [_no_conversations("none was recorded yet")]
    reasons = [*_by_reason(counts), *_redacted(counts)]
    if not counts["kept"]:
        whole = cleaning_accounts(counts)[0]
        why = f"cleaning left out all {counts['in']}: {whole.reasons}"
        return [_no_conversations(why, whole.remedies.get(whole.ranked[0][0], "")), *reasons]
    way = [finest_account(counts), *(one for one in prepared if one.unit == "replies")]
    losses = list(_prepared_losses(prepared))
    return [reach_finding(way), _size(num_pairs), *_poor(counts), *reasons, *losses]


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


def _no_conversations(why: str, remedy: str = "") -> Finding:
    return Finding(
        check="size",
        severity="stop",
        title="No conversations to train on",
        detail=why,
        fix=remedy
        or "enable conversation logging (data_collection.enabled) and chat with the bot, or "
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


def _poor(counts: CleaningCounts) -> Iterator[Finding]:
    """Tell when much is left out because the chatbot's replies are bad, not for their form."""
    account = finest_account(counts)
    bad = sum(number for reason, number in account.left_out.items() if reason in POOR_REASONS)
    share = bad / max(1, account.num_in)
    if share > POOR_SHARE:
        yield Finding(
            check="quality",
            severity="warning",
            title="Poor fine-tuning results are likely",
            detail=f"the replies of {share:.0%} of the {account.unit} are of low quality",
            fix="look at them with 'fine-tuning clean', and correct replies in the review",
            numbers={"share_poor": round(share, 4)},
        )


def _by_reason(counts: CleaningCounts) -> Iterator[Finding]:
    examples = {step["name"]: step["examples"] for step in counts["steps"]}
    account = finest_account(counts)
    for reason, _ in account.ranked:
        some = [f"{name}: {what}" for name, what in examples.get(reason, ()) if what != "changed"]
        yield _loss(account, reason, some, counts["dropped"].get(reason, 0))
    for reason in counts["dropped"]:  # conversations without any exchange
        if reason not in account.left_out:
            whole = cleaning_accounts(counts)[0]
            yield _loss(whole, reason, [f"{n}: {what}" for n, what in examples.get(reason, ())])


def _prepared_losses(accounts: Sequence[DataAccount]) -> Iterator[Finding]:
    """Yield what masking and cutting left out; a reason once, in the finest unit."""
    seen: set[str] = set()
    for account in reversed(accounts):
        for reason, _ in account.ranked:
            if reason not in seen:
                yield _loss(account, reason, ())
            seen.add(reason)
        if account.num_cut:
            yield Finding(
                check="token lengths",
                severity="warning" if account.num_cut > NOTABLE_SHARE * account.kept else "note",
                title=f"{account.num_cut:,} of {account.kept:,} {account.unit} are cut at "
                "data_preparation.max_length",
                fix="raise data_preparation.max_length, so that they are trained on whole",
                numbers={"cut": account.num_cut},
            )


def _loss(
    account: DataAccount, reason: str, examples: Sequence[str], num_dropped: int = 0
) -> Finding:
    """Return what a reason leaves out: a warning when it is more than a tenth."""
    detail = ""
    if num_dropped and account.unit != "conversations":
        detail = _counted(num_dropped, "conversations hold nothing else and are dropped")
    return Finding(
        check=CHECKS.get(reason, "masks"),
        severity="warning" if account.is_notable(reason) else "note",
        title=account.headline(reason),
        detail=detail,
        fix=account.remedies.get(reason, ""),
        numbers={account.unit: account.left_out[reason], "in": account.num_in},
        examples=tuple(examples[:_SHOWN]),
    )


def _counted(number: int, title: str) -> str:
    """Return "1 conversation holds ..." or "2 conversations hold ..."."""
    if number != 1:
        return f"{number} {title}"
    return f"1 {title}".replace("conversations hold", "conversation holds").replace(" are ", " is ")


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
