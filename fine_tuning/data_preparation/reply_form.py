"""What a chat template puts around a reply, found out by rendering small conversations.

A base that thinks gets a prompt that opens a thought (``<think>`` and a newline), or opens one
itself. What it must say is then more than the reply: the end of the thought, or the recorded
thought and its end. No names of models are known here. Only where a template shows no thought is
the closing mark derived from the opening one: it is the mark that the template cuts at, else a
token of the model, else what the form of the mark says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from fine_tuning.core.conversation import Message, Part, Role
from fine_tuning.core.errors import DataError
from fine_tuning.core.ports import PromptRenderer

QUESTION, REPLY, THOUGHT = "Question", "Fine", "Musing"

_MARK = re.compile(
    r"<[|｜]?/?[\w:.▁-]+[|｜]?>|\[/?[A-Z_]+\]|◁/?\w+▷"  # noqa: RUF001 - marks as models write them
)
_THOUGHT = re.compile("think|thought|reason|analysis|reflect", re.IGNORECASE)
_BEGINS = {
    "begin": "end",
    "Begin": "End",
    "BEGIN": "END",
    "start": "end",
    "START": "END",
    "prefix": "suffix",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyForm:
    """What a model must say before a reply.

    ``opening`` is what the prompt opens and the past does not show, "" for nothing. ``bare`` stands
    before a reply without a thought; ``opens`` and ``closes`` stand around a recorded thought, and
    ``closes`` is "" where the template shows no thoughts.
    """

    opening: str = ""
    bare: str = ""
    opens: str = ""
    closes: str = ""

    def said(self, reply: Message, text: str) -> list[tuple[str, bool]]:
        """Return what is to be said up to the end of the reply: texts, and which are marks.

        A text that brings its own thought, as a server without parsing returns it, stays as it is.

        Args:
            reply: The reply, with its recorded thought.
            text: Its text as the template shows it.
        """
        if self.closes and text.startswith(self.opens) and self.closes in text:
            before, _, after = text.removeprefix(self.opens).partition(self.closes)
            return [(self.opens, True), (before, False), (self.closes, True), (after, False)]
        if self.closes and reply.reasoning.strip():
            thought = reply.reasoning.strip()
            return [(self.opens, True), (thought, False), (self.closes, True), (text, False)]
        return [(self.bare, True), (text, False)]


def find_reply_form(renderer: PromptRenderer, *, is_mark: Callable[[str], bool]) -> ReplyForm:
    """Return what stands between a prompt and a reply, by rendering small conversations.

    The prompt is the one a server makes with its default settings. For a hybrid whose template
    takes ``enable_thinking`` that is the prompt with thinking allowed: such a base opens the
    thought itself, and a reply without a recorded thought is trained on behind the empty thought
    its template writes there (Qwen3: ``<think>``, two newlines, ``</think>``).

    Args:
        renderer: The template.
        is_mark: Tells whether a text begins and ends with special tokens of the model.
    """
    asked = short_message("user", QUESTION)
    prompt = renderer.render([asked], add_generation_prompt=True)
    plain = _last_turn(renderer, asked, short_message("assistant", REPLY))
    thinking = _last_turn(renderer, asked, short_message("assistant", REPLY, reasoning=THOUGHT))
    opening = "" if plain.startswith(prompt) else prompt[common_length(prompt, plain) :]
    bare = plain.removeprefix(prompt).partition(REPLY)[0] if plain.startswith(prompt) else ""
    opens, shown, rest = thinking.removeprefix(prompt).partition(THOUGHT)
    closes, has_reply, _ = rest.partition(REPLY)
    if thinking.startswith(prompt) and shown and has_reply and closes.strip():
        return ReplyForm(
            opening=opening,
            bare=bare if bare.strip() else closes if opening.strip() else "",
            opens=opens,
            closes=closes,
        )
    if mark := open_mark(opening):
        hidden = next((end for end in closing_marks(mark) if _hides(renderer, end)), "")
        own = next((end for end in closing_marks(mark) if is_mark(end)), "")
        if close := hidden or own or (closing_marks(mark)[0] if _THOUGHT.search(mark) else ""):
            return _closed_by_form(opening, mark, close)
    # gpt-oss names a channel before each reply. A role's name is no part of what is said: where a
    # template has no generation prompt, clients show the reply alone.
    return ReplyForm(bare=bare if bare.strip() and is_mark(bare) else "")


def open_mark(opening: str) -> str:
    """Return the last mark that a text opens and does not close, "" for none."""
    marks = _MARK.findall(opening)
    closing = {end for mark in marks for end in closing_marks(mark)}
    if not marks or marks[-1] in closing or "/" in marks[-1]:
        return ""
    return str(marks[-1])


def closing_marks(mark: str) -> list[str]:
    """Return the marks that may close one, the likeliest first."""
    for begins, ends in _BEGINS.items():
        if begins in mark:
            return [mark.replace(begins, ends)]
    edge = 2 if mark[:2] in {"<|", "<｜"} else 1  # noqa: RUF001 - DeepSeek's wide bar
    slashed = mark[:edge] + "/" + mark[edge:]
    return [slashed, f"</{mark[edge:]}"] if edge > 1 else [slashed]


def _closed_by_form(opening: str, mark: str, close: str) -> ReplyForm:
    """Return the form of a template that opens a thought and hides those of the past."""
    if not opening.endswith("\n") and mark.startswith("["):  # Magistral writes it without newlines
        return ReplyForm(opening=opening, bare=close, closes=close)
    opens = "" if opening.endswith("\n") else "\n"
    closes = f"\n{close}\n\n"
    return ReplyForm(opening=opening, bare=opens + closes, opens=opens, closes=closes)


def _hides(renderer: PromptRenderer, close: str) -> bool:
    """Tell whether a template takes what stands before a mark for a thought, and hides it."""
    asked = short_message("user", QUESTION)
    shown = _last_turn(renderer, asked, short_message("assistant", THOUGHT + close + REPLY))
    return REPLY in shown and THOUGHT not in shown


def _last_turn(renderer: PromptRenderer, *messages: Message) -> str:
    try:
        return renderer.render(messages, add_generation_prompt=False)
    except DataError:
        return ""


def common_length(one: str, other: str) -> int:
    """Return how many characters two texts begin with in common."""
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return length


def short_message(role: Role, text: str, *, reasoning: str = "") -> Message:
    """Return a message of a small conversation that a template is asked with."""
    return Message(id=role, role=role, content=(Part(text=text),), reasoning=reasoning)
