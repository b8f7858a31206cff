"""What a data set's manifest says of the replies: how many are trained on, and what was lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fine_tuning.core.data_account import DataAccount, keeping
from fine_tuning.data_preparation.manifest import DatasetManifest
from fine_tuning.data_preparation.masking import NOT_TEXT, TOO_LONG, TRUNCATIONS

MAX_LENGTH, TRUNCATION = "data_preparation.max_length", "data_preparation.truncation"
WINDOWS = "windows"
IN_TRAIN = "stands in train"
"""The reason for a held-out reply whose exchange is in the train split, too."""


def reply_account(manifest: DatasetManifest) -> DataAccount:
    """Return the account of the replies that a data set was made from.

    Args:
        manifest: Of a data set; keys that older ones lack count nothing.
    """
    raw: Mapping[str, Any] = manifest
    return DataAccount(
        unit="replies",
        kept=_kept(raw),
        left_out={reason: n for reason, n in raw.get("lost_replies", {}).items() if n},
        remedies={
            TOO_LONG: _longer(raw),
            NOT_TEXT: "nothing to do: the model reads text only",
            IN_TRAIN: "nothing to do: the exchange is trained on, so it cannot be held out",
        },
        num_cut=int(raw.get("cut_replies", 0)),
    )


def dropped_account(manifest: DatasetManifest) -> DataAccount | None:
    """Return the account of the conversations given to a data set; None if none was dropped."""
    raw: Mapping[str, Any] = manifest
    counts = raw.get("conversations", {})
    dropped = {reason: n for reason, n in counts.get("dropped", {}).items() if n}
    if not dropped:
        return None
    return DataAccount(
        unit="conversations", kept=counts.get("kept", 0), left_out=dropped,
        remedies={TOO_LONG: _longer(raw)}, title="conversations prepared",
    )  # fmt: skip


def preparation_accounts(manifest: DatasetManifest) -> list[DataAccount]:
    """Return the accounts of a data set: conversations if any was dropped, then replies."""
    dropped = dropped_account(manifest)
    return [*([dropped] if dropped is not None else ()), reply_account(manifest)]


def _kept(manifest: Mapping[str, Any]) -> int:
    """Return the replies trained on or held out; older manifests count them by split only."""
    if counted := manifest.get("replies"):
        return int(counted["kept"])
    return sum(split.get("replies", 0) for split in manifest.get("splits", {}).values())


def _longer(manifest: Mapping[str, Any]) -> str:
    """Return what helps against replies beyond the longest sequence."""
    settings, needed = manifest.get("settings", {}), manifest.get("needed_length")
    if isinstance(needed, int) and needed > settings.get("max_length", 0):
        return keeping(MAX_LENGTH, needed)
    others = f" or set {TRUNCATION}={WINDOWS}" if WINDOWS in TRUNCATIONS else ""
    return f"raise {MAX_LENGTH}{others if settings.get('truncation') != WINDOWS else ''}"
