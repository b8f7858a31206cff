"""The counts of a cleaning as accounts: conversations and exchanges, with what helps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from fine_tuning.core.data_account import DataAccount, keeping
from fine_tuning.data_collection.cleaning_counts import CleaningCounts, ExchangeCounts, LimitAdvice

REMEDIES: Mapping[str, str] = {
    "consent": "the switch in the chat allows training again",
    "rejected": "undo a decision in the conversation",
    "not_trained": "nothing to do: feedback and weights say so",
    "empty": "nothing to do: nothing is said in them",
    "no_reply": "nothing to do: a question alone is nothing to train on",
    "role_order": "look at the program that wrote them, and import them again",
    "refusal": "write better replies in the review, or leave them out",
    "cut_off": "raise the reply length of the chatbot (num_predict)",
    "too_short": "lower data_collection.min_conversation_length if they are worth training on",
    "too_long": "raise data_collection.max_conversation_length if they are worth training on",
    "too_many_tokens": "raise data_collection.max_conversation_tokens if they are worth training "
    "on",
    "repetitive": "lower the temperature or raise the repeat penalty of the chatbot",
    "inappropriate": "accept what is harmless in the review",
    "language": "name more languages in data_collection.languages",
    "low_quality": "lower data_collection.min_quality",
    "boilerplate": "raise data_collection.max_same_reply",
    "duplicate": "nothing to do: each is trained on once",
    "near_duplicate": "nothing to do: the best is kept; "
    "data_collection.near_duplicate_similarity moves the bar",
}
"""What helps against a reason for leaving out, where no value can be advised."""


def cleaning_accounts(counts: CleaningCounts) -> list[DataAccount]:
    """Return the accounts of a cleaning: conversations first, then exchanges.

    Records of cleanings before exchanges were counted give the first one only.
    """
    conversations = DataAccount(
        unit="conversations", kept=counts["kept"], left_out=counts["dropped"], remedies=REMEDIES
    )
    exchanges = exchange_account(counts)
    return [conversations] if exchanges is None else [conversations, exchanges]


def exchange_account(counts: CleaningCounts) -> DataAccount | None:
    """Return the account of the exchanges; None in records from before they were counted."""
    recorded = cast("Mapping[str, object]", counts)
    found = cast("ExchangeCounts | None", recorded.get("exchanges"))
    if found is None:
        return None
    advice = cast("list[LimitAdvice]", recorded.get("advice") or [])
    values = {
        one["reason"]: keeping(one["setting"], one["needed"])
        for one in advice
        if one["needed"] != one["current"]  # a bound that is no number, such as languages
    }
    return DataAccount(
        unit="exchanges",
        kept=found["kept"],
        left_out=found["left_out"],
        remedies={**REMEDIES, **values},
    )


def finest_account(counts: CleaningCounts) -> DataAccount:
    """Return the account of the exchanges, or of the conversations where none were counted."""
    return cleaning_accounts(counts)[-1]
