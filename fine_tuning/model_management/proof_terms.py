"""What a proof holds for: a server's version, a base's tensors, and settings.

When one of them changed the proof says nothing of what is served now.
"""

from __future__ import annotations

from fine_tuning.core.json_value import JsonObject, JsonValue, object_at, text_at
from fine_tuning.core.naming import content_name
from fine_tuning.gguf.fingerprint import tensor_fingerprint
from fine_tuning.model_management.deployment_target import Deployable

TERMS = "terms"
"""The key of the terms in what the registry keeps of a proof."""
SERVER, BASE, SETTINGS = "server", "base", "settings"


def terms_of(what: Deployable, server: str) -> dict[str, JsonValue]:
    """Return the terms of a proof that is made now.

    Args:
        what: The version.
        server: The server's name and version, such as ``Ollama 0.33.0``.

    Raises:
        FineTuningError: if the base cannot be read.
    """
    settings = what.settings
    shown: list[JsonValue] = [
        {name: str(value) for name, value in sorted((settings.parameters or {}).items())},
        settings.system,
        [list(message) for message in settings.messages or ()],
        settings.context_tokens,
        what.chat_template,
        what.go_template,
    ]
    return {
        SERVER: server,
        BASE: tensor_fingerprint(what.base_path),
        SETTINGS: content_name(shown),
    }


def why_not_proven(proof: JsonObject, terms: JsonObject) -> str:
    """Return why a proof does not hold for terms; "" when it does.

    Args:
        proof: What the registry keeps.
        terms: Those of now.
    """
    before = object_at(proof, TERMS)
    then, now = (text_at(one, SERVER) for one in (before, terms))
    if then != now:
        return f"it is not proven on {now}" + (f", only on {then}" if then else "")
    if before.get(BASE) != terms.get(BASE):
        return "it is not proven with the base as it is now"
    if before.get(SETTINGS) != terms.get(SETTINGS):
        return "it is not proven with the base's settings as they are now"
    return ""


def proven_on(proof: JsonObject) -> str:
    """Return the server a proof was made on, "" when it was not recorded."""
    return text_at(object_at(proof, TERMS), SERVER)
