"""The ways a tuned model can be served, in the order they are tried, each with its reason.

Decided by what the server said when asked, not by its version number. Creates nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from fine_tuning.core.errors import DeploymentError

Way = Literal["adapter", "merged", "mixed"]
WAYS: tuple[Way, ...] = get_args(Way)

WORDS: dict[Way, str] = {
    "adapter": "the adapter beside the base's own weights",
    "merged": "one file of the base's size, with the adapter merged exactly",
    "mixed": "one file with the adapted tensors in 8 or 16 bits and the others as they were",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployStrategy:
    """One way, and why it is tried."""

    way: Way
    reason: str


def deploy_strategies(
    *,
    takes_adapters: bool,
    adapters_reason: str,
    is_mergeable: bool,
    only: Way | None = None,
    version: str = "latest",
) -> list[DeployStrategy]:
    """Return the ways to try, best first.

    Args:
        takes_adapters: What the server said about adapters.
        adapters_reason: In its words.
        is_mergeable: Whether the adapter merges exactly into weights of 4 or 5 bits.
        only: Try this way alone.
        version: What is to be served.

    Raises:
        DeploymentError: if ``only`` cannot be.
    """
    exact = "the adapter was trained to merge without loss"
    lossy = "plain LoRA is lost in 4-bit weights, so its tensors take more bits"
    strategies = [
        DeployStrategy(way="merged", reason=exact)
        if is_mergeable
        else DeployStrategy(way="mixed", reason=lossy)
    ]
    if takes_adapters:
        strategies.insert(0, DeployStrategy(way="adapter", reason=adapters_reason))
    if only is None:
        return strategies
    chosen = [strategy for strategy in strategies if strategy.way == only]
    if not chosen:
        reason = adapters_reason if only == "adapter" else exact if is_mergeable else lossy
        raise DeploymentError(
            f"{only!r} is no way to serve this model here: {reason}",
            next_command=f"fine-tuning deploy {version}",
        )
    return chosen
