"""Conversations that share a split: what joins them, and what must not."""

from __future__ import annotations

import random
from collections import Counter

from fine_tuning.core.conversation import Conversation
from fine_tuning.data_collection.data_cleaner import DataCleaner


def test_chains_of_rare_stock_phrases_do_not_join_everything() -> None:
    draw = random.Random(1)
    stock = [
        (f"Is counter {n} open on Sunday?", f"Counter {n} opens at nine, as ever.")
        for n in range(300)
    ]
    chats = []
    for number in range(1000):
        own = (f"What is parcel {number * 7919}?", f"Parcel {number * 7919} is on its way to you.")
        turns = [
            turn
            for pair in (own, *draw.sample(stock, 2))
            for turn in zip(("user", "assistant"), pair, strict=True)
        ]
        chats.append(Conversation.from_turns(turns, id=f"c{number}"))
    clusters = DataCleaner().clean(chats).clusters
    assert max(Counter(clusters.values()).values()) <= 50
