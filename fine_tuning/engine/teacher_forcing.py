"""How likely a model finds a given reply, token after token.

Legend: N rows, one per token of the reply and one more for what follows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.engine.step import next_token_logits


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedIds:
    """Natural log-probabilities along a reply.

    Attributes:
        likeliest: (token id, log-probability) of the likeliest tokens at each place of the reply,
            and after it, likeliest first.
        said: Of the reply's own tokens.
        best: Of the likeliest token at each place of the reply, and after it.
        stop: Of the end of turn at each place of the reply, and after it.
    """

    likeliest: tuple[tuple[tuple[int, float], ...], ...]
    said: tuple[float, ...]
    best: tuple[float, ...]
    stop: tuple[float, ...]


def follow_reply(
    decoder: Decoder,
    adapter: LoraAdapter | None,
    ids: Sequence[int],
    *,
    start: int,
    stop: int,
    top: int,
) -> FollowedIds:
    """Read a reply.

    Args:
        decoder: The base.
        adapter: Its adapter; None is the bare base.
        ids: Prompt and reply, without end of turn.
        start: Where the reply begins, at least 1.
        stop: The token that ends a turn.
        top: How many likeliest tokens to return for each place.

    Returns:
        Natural log-probabilities along the reply, and after it.
    """
    logits = next_token_logits(decoder, adapter, ids, first=start - 1)
    log_probabilities_NV = logits.log_softmax(-1)
    reply = torch.tensor(ids[start:], dtype=torch.int64).unsqueeze(1)
    values_NK, tokens_NK = log_probabilities_NV.topk(min(top, log_probabilities_NV.shape[1]))
    return FollowedIds(
        likeliest=tuple(
            tuple(zip(tokens, values, strict=True))
            for tokens, values in zip(tokens_NK.tolist(), values_NK.tolist(), strict=True)
        ),
        said=tuple(log_probabilities_NV[:-1].gather(1, reply).squeeze(1).tolist()),
        best=tuple(log_probabilities_NV.amax(-1).tolist()),
        stop=tuple(log_probabilities_NV[:, stop].tolist()),
    )
