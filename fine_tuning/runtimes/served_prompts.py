"""Prompts as Ollama writes them, rendered for training and for replies (core.ports.PromptRenderer).

Ollama has prompts for the next reply only. What ends a reply in the past is found out once, by a
small conversation; a TEMPLATE that writes no end leaves it to the model's end-of-sequence token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from fine_tuning.core.conversation import Message, Messages, Part, Role
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.naming import content_name
from fine_tuning.runtimes.go_templates.prompts import Thinking, go_template
from fine_tuning.runtimes.ollama_model import ollama_message
from fine_tuning.runtimes.prompt_record import Write

_MARK = re.compile(r"<[^<>\s]+>")
# What no template is likely to write of itself.
_ASKED, _SAID, _MORE = "Quizzical", "Zymurgy", "Jujitsu"


class RendererRules(NamedTuple):
    """What a renderer knows of the model besides its template.

    ``eos`` is the text of the end-of-sequence token, "" for none; ``stop`` are texts that end a
    reply where the model is served.
    """

    eos: str = ""
    stop: tuple[str, ...] = ()


NO_RULES = RendererRules()


class ServedPrompts:
    """Prompts that somebody else writes, with the end of each reply.

    Args:
        write: Writes them.
        fingerprint: The content name of all that decides what is written.
        rules: What ends replies.
        plain: Writes them without what the model puts before conversations; None writes as
            ``write``.
    """

    def __init__(
        self,
        write: Write,
        fingerprint: str,
        rules: RendererRules = NO_RULES,
        plain: Write | None = None,
    ) -> None:
        self._write = write
        self._plain = plain or write
        self._fingerprint = fingerprint
        self._rules = rules

    @property
    def fingerprint(self) -> str:
        """The content name of template and rules."""
        return self._fingerprint

    def render(
        self,
        messages: Messages,
        *,
        add_generation_prompt: bool,
        tools: Sequence[JsonObject] = (),
    ) -> str:
        """Return the prompt text.

        Args:
            messages: The conversation.
            add_generation_prompt: False ends a last reply as it ends in the past; other messages
                are rendered alike either way.
            tools: What the model may call, in OpenAI's form.

        Raises:
            DataError: if there is no message, one is not text, or the template shows a question,
                a call or a tool's answer in no way.
        """
        if not messages:
            raise DataError("there is no message to render, expected at least one")
        text = self._write(messages, tools)
        _refuse_hidden(messages, text)
        last = messages[-1]
        return (
            text if add_generation_prompt or last.role != "assistant" else self._ended(last, text)
        )

    def _ended(self, reply: Message, text: str) -> str:
        """Return a rendering up to and with the end of its last reply."""
        end = self._end_of_turn
        said = reply.text if reply.text in text else reply.text.strip()
        if said and not reply.tool_calls:
            before, has_reply, _ = text.rpartition(said)
            return before + said + end if has_reply else text
        # A call is written behind the last question; some templates end it, too.
        is_ended = end in text and not any(
            call.name in text.rpartition(end)[2] for call in reply.tool_calls
        )
        return text if is_ended else text + end

    @cached_property
    def _end_of_turn(self) -> str:
        """What stands behind a reply before the next question's own beginning."""
        asked, said, more = (
            _short("user", _ASKED),
            _short("assistant", _SAID),
            _short("user", _MORE),
        )
        lead = self._plain([asked], ()).partition(_ASKED)[0]
        behind = self._plain([asked, said, more], ()).rpartition(_SAID)[2].partition(_MORE)[0]
        end = behind.removesuffix(lead) if lead else behind
        if end == behind and (mark := _MARK.search(behind)):
            # Questions begin otherwise later on, such as behind a system prompt: one mark ends.
            end = behind[: mark.end()]
        if end.strip():
            return end
        if self._rules.eos:
            return self._rules.eos
        for stop in self._rules.stop:
            before, has_stop, _ = behind.partition(stop)
            if has_stop:
                return before + stop
        return behind


def template_prompts(
    source: str,
    *,
    system: str = "",
    messages: Sequence[tuple[str, str]] = (),
    rules: RendererRules = NO_RULES,
) -> ServedPrompts:
    """Return the renderer of a TEMPLATE, as Ollama uses it for a model that brings it.

    Args:
        source: Ollama's Go template.
        system: Set before conversations that bring no system message of their own.
        messages: (role, text) pairs before every conversation.
        rules: What ends replies.

    Raises:
        GoTemplateError: if the template does not parse.
    """
    template = go_template(source)
    # A model that can think does, unless a request says no.
    thinking = Thinking(is_wanted=True) if "thinking" in template.identifiers else None

    def plain(asked: Sequence[Message], tools: Sequence[JsonObject]) -> str:
        given = [ollama_message(message) for message in asked]
        return template.render(given, tools=tools, thinking=thinking)

    def write(asked: Sequence[Message], tools: Sequence[JsonObject]) -> str:
        given = [ollama_message(message) for message in asked]
        turns = before_conversation(system, messages, given)
        return template.render(turns, tools=tools, thinking=thinking)

    about = [
        "ollama template", source, system, [list(pair) for pair in messages], list(rules.stop),
    ]  # fmt: skip
    return ServedPrompts(write, content_name(about), rules, plain)


def before_conversation(
    system: str, messages: Sequence[tuple[str, str]], asked: Sequence[JsonObject]
) -> list[JsonObject]:
    """Return messages with what a model puts before them (ollama: server/routes.go, ChatHandler).

    Args:
        system: The model's system prompt, used where no system message comes first.
        messages: The model's (role, text) pairs.
        asked: The conversation.
    """
    turns: list[JsonObject] = [*({"role": role, "content": text} for role, text in messages)]
    turns += asked
    if system and turns[0]["role"] != "system":
        turns.insert(0, {"role": "system", "content": system})
    return turns


def _refuse_hidden(messages: Messages, text: str) -> None:
    """Refuse what a TEMPLATE leaves out of the prompt without a word; a system message may be."""
    for message in messages:
        wanted: list[str] = [call.name for call in message.tool_calls]
        if message.role in {"user", "tool"}:
            wanted.append(message.text.strip())
        for part in wanted:
            if part not in text and _in_json(part) not in text:
                raise DataError(f"the model's TEMPLATE does not show a {message.role} message")


def _in_json(text: JsonValue) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _short(role: Role, text: str) -> Message:
    return Message(id=role, role=role, content=(Part(text=text),))
