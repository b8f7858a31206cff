"""The context room a version is deployed in: one that rotates positions as its training did."""

from __future__ import annotations

from pathlib import Path

from fine_tuning.core.errors import DeploymentError
from fine_tuning.core.run import Run
from fine_tuning.model_management.versions import IMPORTED
from fine_tuning.runtimes.context_room import long_factors_above, rotates_alike


def proven_room(run: Run, base_path: Path, room_tokens: int) -> int:
    """Return the room the trained model is computed in for a proof.

    Args:
        run: What is deployed.
        base_path: The base it was trained on.
        room_tokens: The room it will be served in.

    Returns:
        The room the run was trained for; that of an adapter from elsewhere, which says none, is
        the one it will be served in.

    Raises:
        DeploymentError: if the base rotates positions otherwise in the room it will be served in.
    """
    if run.method == IMPORTED:
        return room_tokens
    trained_for = run.context_tokens
    if rotates_alike(base_path, trained_for, room_tokens):
        return trained_for
    above = long_factors_above(base_path)
    raise DeploymentError(
        f"run {run.run_id} was trained for a context of {trained_for} tokens and is to be served "
        f"with {room_tokens}: above {above} tokens this base rotates positions by other factors, "
        "so that it would not answer as it was trained",
        next_command=f"fine-tuning deploy {run.run_id} --set serving.context_tokens={trained_for}, "
        f"or train again: fine-tuning train --set serving.context_tokens={room_tokens}",
    )
