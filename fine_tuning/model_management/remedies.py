"""What to do when a served model was not proven: one command, by what is wrong with it."""

from __future__ import annotations

from fine_tuning.model_management.deploy_strategies import Way
from fine_tuning.model_management.proof_parts import Proof

EMBEDDED = "embedded"
OF_ADAPTERS = frozenset({"adapter_ignored", "adapter_scale"})
"""What a server does wrong to adapters only: a merged file may still be served right."""
OF_ROOM = frozenset({"prompt_truncated", "prompt_refused"})
ROOM = "OLLAMA_CONTEXT_LENGTH=4096 ollama serve"


def remedy(proof: Proof, version: str, runtime: str, only: Way | None) -> str:
    """Return the command that helps against what a proof found.

    Args:
        proof: A proof that does not hold.
        version: What was to be deployed.
        runtime: Where to.
        only: The one way that was tried; None for all.
    """
    deploy = f"fine-tuning deploy {version}"
    causes = set(proof.causes)
    if not causes:  # nothing is wrong, and nothing can be told from the base
        return "fine-tuning train --set training.num_epochs=6"
    if only and causes <= OF_ADAPTERS:
        return deploy
    if runtime == EMBEDDED:
        return "fine-tuning doctor --parity"
    server = ROOM if causes & OF_ROOM else "ollama serve" if "server_died" in causes else ""
    return f"{server}, then: {deploy}" if server else f"{deploy} --to {EMBEDDED}"
