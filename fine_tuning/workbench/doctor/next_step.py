"""What a person should do now, by what the doctor found and what the last cleaning left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fine_tuning.core.data_account import reach_finding
from fine_tuning.core.finding import Finding
from fine_tuning.data_collection.cleaning_account import finest_account
from fine_tuning.data_collection.recording_checks import RECOMMENDED_PAIRS
from fine_tuning.workbench.data.processing_history import ProcessingHistory


def last_kept(records: Path, findings: list[Finding]) -> int | None:
    """Return how many exchanges the last cleaning kept; a loss of a tenth or more is a finding.

    Args:
        records: The file of the records.
        findings: Gets the finding.

    Returns:
        None when no cleaning is remembered, or it is one that counted no exchanges.
    """
    counts = ProcessingHistory(records, {}).cleaning_before()
    if counts is None or not counts["in"]:
        return None
    account = finest_account(counts)
    found = reach_finding([account])
    if found.severity != "good":
        findings.append(replace(found, title=f"{found.title}, as last cleaned"))
    return account.kept if account.unit == "exchanges" else None


def next_step(
    findings: Sequence[Finding], num_conversations: int, num_pairs: int | None, num_runs: int
) -> str:
    """Return what a person should do now, one sentence or two.

    Args:
        findings: What was found.
        num_conversations: How many are recorded.
        num_pairs: The exchanges that cleaning keeps; None when that is not known.
        num_runs: The finished runs.
    """
    for one in findings:
        if one.severity == "stop":
            return f"First of all: {one.title}. {one.fix}."
    known, unit = (
        (num_conversations, "conversations") if num_pairs is None else (num_pairs, "exchanges")
    )
    left = RECOMMENDED_PAIRS - known
    losses = [one for one in findings if one.check == "left out" and one.severity == "warning"]
    parts = [f"Much is left out, {losses[0].detail}", losses[0].fix] if losses else []
    steps = {
        "Chat with your bot, or import the chats you had elsewhere.": not num_conversations,
        f"{'. '.join(filter(None, parts))}.": bool(losses),
        f"Keep chatting: {left} more {unit} make a training worthwhile.": left > 0,
        "Choose an installed base model on the page Train: that of the settings cannot be used.": (
            any(one.check == "base model" for one in findings)
        ),
        "There is enough to train on: look at the review, then train.": not num_runs,
        "All is set: chat, rate replies, and train again when enough is new.": True,
    }
    return next(sentence for sentence, is_due in steps.items() if is_due)
