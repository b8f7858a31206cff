"""How near the engine's next-token distributions are to those another program computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.engine.step import next_token_logits

LEAST_REST = 1e-9


@dataclass(frozen=True, slots=True)
class Agreement:
    """At one position: KL divergence in nats, other program to engine; same likeliest token?"""

    kl: float
    same_top: bool


def agreement(
    decoder: Decoder,
    adapter: LoraAdapter | None,
    ids: Sequence[int],
    others: Sequence[Sequence[tuple[int, float]]],
) -> list[Agreement]:
    """Compare distributions over the token after each prefix of ``ids``.

    Args:
        decoder: The engine's model.
        adapter: Its adapter, if any.
        ids: A text's token ids.
        others: Per position (token id, natural log-probability) of the likeliest tokens,
            likeliest first. All others are compared as one outcome, which can only understate KL.

    Returns:
        One per position: KL divergence in nats, and whether the likeliest token is the same.
    """
    computed = next_token_logits(decoder, adapter, ids).log_softmax(-1)
    return [
        Agreement(_divergence(pairs, row), pairs[0][0] == int(row.argmax()))
        for pairs, row in zip(others, computed, strict=True)
    ]


def _divergence(other: Sequence[tuple[int, float]], computed: torch.Tensor) -> float:
    tokens = torch.tensor([token for token, _ in other])
    p = torch.tensor([value for _, value in other], dtype=torch.float64)
    q = computed[tokens].double()
    rest_p, rest_q = (max(LEAST_REST, 1 - float(side.exp().sum())) for side in (p, q))
    return float((p.exp() * (p - q)).sum()) + rest_p * math.log(rest_p / rest_q)
