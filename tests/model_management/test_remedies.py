"""Every cause of a failed proof comes with a command that can be typed."""

from __future__ import annotations

import shlex

import pytest

from fine_tuning.model_management.proof_parts import CAUSES, Proof, ProofPart
from fine_tuning.model_management.remedies import remedy


def failed(cause: str) -> Proof:
    outcome = "fails" if cause else "cannot tell"
    part = ProofPart(name="output", outcome=outcome, sentence="s", cause=cause)  # type: ignore[arg-type]
    return Proof(model="m", parts=(part,))


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("runtime", ["embedded", "ollama http://localhost:11434"])
def test_each_cause_has_a_command(cause: str, runtime: str) -> None:
    for only in (None, "adapter"):
        said = remedy(failed(cause), "support:3", runtime, only)  # type: ignore[arg-type]
        for command in said.split(", then: "):
            words = [word for word in shlex.split(command) if "=" not in word]
            assert words[0] in {"fine-tuning", "ollama"}
        assert runtime != "embedded" or "--to embedded" not in said


def test_the_command_fits_what_is_wrong() -> None:
    ollama = "ollama http://localhost:11434"
    ignored = failed("adapter_ignored")
    assert remedy(ignored, "a:1", ollama, "adapter") == "fine-tuning deploy a:1"
    assert remedy(ignored, "a:1", ollama, None) == "fine-tuning deploy a:1 --to embedded"
    assert "OLLAMA_CONTEXT_LENGTH" in remedy(failed("prompt_truncated"), "a:1", ollama, None)
    assert remedy(failed(""), "a:1", ollama, None).startswith("fine-tuning train")
