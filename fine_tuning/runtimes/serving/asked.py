"""What is asked of a model, and llama-server's request for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fine_tuning.core.json_value import JsonObject
from fine_tuning.runtimes.llama_client import SYSTEM_ROLES
from fine_tuning.runtimes.loadable import LoadableModel, texts_in

# Ollama's defaults for what a request leaves open (ollama: api/types.go, DefaultOptions).
DEFAULT_SAMPLING: Mapping[str, float] = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "repeat_penalty": 1.0,
}
SAMPLING = (
    *DEFAULT_SAMPLING,
    "typical_p", "repeat_last_n", "presence_penalty", "frequency_penalty", "seed",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is asked of a model.

    Attributes:
        messages: OpenAI's form; or ``prompt``, a text that no template touches.
        options: Ollama's names; what is absent comes from the model, then from the defaults.
        fields: Further fields of llama-server's request: tools, response_format.
        top_log_probabilities: Likeliest tokens to tell per token; None tells no probabilities.
        truncates: Whether the oldest turns leave when the conversation outgrows its room.
    """

    model: LoadableModel
    messages: Sequence[Mapping[str, object]] = ()
    prompt: str | None = None
    options: JsonObject = field(default_factory=dict)
    fields: Mapping[str, object] = field(default_factory=dict)
    top_log_probabilities: int | None = None
    truncates: bool = True

    @property
    def wanted_room(self) -> int:
        """The room the request asks for, in tokens; 0 when it leaves it open."""
        room = self.options.get("num_ctx")
        return int(room) if isinstance(room, int | float) and room > 0 else 0

    @property
    def with_system(self) -> list[Mapping[str, object]]:
        """The messages, after the model's own and its system prompt unless they bring one."""
        own = [{"role": role, "content": text} for role, text in self.model.messages]
        turns: list[Mapping[str, object]] = [*own, *self.messages]
        if self.model.system and not (turns and turns[0].get("role") in SYSTEM_ROLES):
            turns.insert(0, {"role": "system", "content": self.model.system})
        return turns

    def body(self) -> dict[str, object]:
        """Return llama-server's request, but for the slot."""
        given = {**self.model.parameters, **self.options}
        body: dict[str, object] = {
            **DEFAULT_SAMPLING,
            **{key: given[key] for key in SAMPLING if given.get(key) is not None},
            **self.fields,
            "stop": self.stop,
            "return_progress": True,
        }
        if isinstance(seed := body.get("seed"), int | float):
            body["seed"] = seed % (1 << 32)
        limit = given.get("num_predict")
        if isinstance(limit, int | float) and limit >= 0:
            body["n_predict" if self.prompt is not None else "max_tokens"] = limit
        if self.prompt is not None:
            body["prompt"] = self.prompt
            if self.top_log_probabilities is not None:
                body["n_probs"] = max(1, self.top_log_probabilities)
        else:
            body["messages"] = turns = self.with_system
            if continues(turns):
                body |= {"continue_final_message": True, "add_generation_prompt": False}
            body["stream_options"] = {"include_usage": True}
            if self.top_log_probabilities is not None and not self._hides_probabilities:
                # llama-server tells no probabilities when asked for those of no other token.
                body["logprobs"], body["top_logprobs"] = True, max(1, self.top_log_probabilities)
        return body

    @property
    def _hides_probabilities(self) -> bool:
        """Whether llama-server cannot tell probabilities: it refuses them with tools, streamed."""
        return bool(self.fields.get("tools")) and not self.model.go_template

    @property
    def stop(self) -> list[str]:
        """Texts that end a reply: a request's own replace the model's, as in Ollama."""
        asked = self.options.get("stop")
        if asked is None:
            return list(self.model.stop)
        return [asked] if isinstance(asked, str) else texts_in(asked)

    @property
    def is_repeatable(self) -> bool:
        """Whether the reply must not depend on what was asked before.

        Who names a seed or asks for probabilities measures; everyone else chats, and wants what a
        long conversation has in common with its last turn not to be computed again.
        """
        return self.options.get("seed") is not None or self.top_log_probabilities is not None


def continues(turns: Sequence[Mapping[str, object]]) -> bool:
    """Tell whether the last message is the assistant's and unfinished, so that the reply goes on.

    Args:
        turns: The conversation, in OpenAI's form.
    """
    last = turns[-1] if turns else {}
    return (
        last.get("role") == "assistant" and bool(last.get("content")) and not last.get("tool_calls")
    )
