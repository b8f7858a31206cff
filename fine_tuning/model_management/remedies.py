"""What to do when a served model was not proven: one command, by what is wrong with it."""

from __future__ import annotations

from fine_tuning.core.json_value import number_at
from fine_tuning.model_management.deploy_strategies import Way
from fine_tuning.model_management.proof_parts import SETTINGS, Proof

EMBEDDED = "embedded"
OF_ADAPTERS = frozenset({"adapter_ignored", "adapter_scale"})
"""What a server does wrong to adapters only: a merged file may still be served right."""
OF_SETTINGS = frozenset({"other_parameter", "other_system", "other_messages"})
"""What someone, or the server, changed in a model that was made right."""
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
    if causes <= OF_SETTINGS or (only and causes <= OF_ADAPTERS):
        return deploy
    if runtime == EMBEDDED:
        return "fine-tuning doctor --parity"
    server = _server(proof, causes)
    return f"{server}, then: {deploy}" if server else f"{deploy} --to {EMBEDDED}"


def _server(proof: Proof, causes: set[str]) -> str:
    """Return how the server is to be started; "" where that does not help."""
    room = number_at(proof.part(SETTINGS).figures, "expected_context_tokens")
    if "other_room" in causes and room:
        return f"OLLAMA_CONTEXT_LENGTH={room:.0f} ollama serve"
    return ROOM if causes & OF_ROOM else "ollama serve" if "server_died" in causes else ""
