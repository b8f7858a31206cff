"""Conversations as one chat template can read them: as they are, else changed as little as can be.

Serving puts messages before the template as they come, so a conversation is tried as it is first.
Only what the template refuses is adapted, by what it was seen to read of small conversations: a
greeting before the first question, system messages midway, several of them or none allowed, tools,
turns of one side in a row. Knows no tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fine_tuning.core.conversation import Message, Part, ToolCall
from fine_tuning.core.errors import DataError
from fine_tuning.core.example import Example
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.ports import PromptRenderer
from fine_tuning.data_preparation.chat_template import NOT_SHOWN, NOTHING_BEFORE
from fine_tuning.data_preparation.turn_changes import (
    CALL_ID_CHARS,
    SYSTEM_ROLES,
    TemplateTurn,
    as_system,
    blank_question,
    calls_as_text,
    fold_systems,
    folded,
    has_calls,
    in_a_row,
    join_replies,
    join_users,
    joined_systems,
    turns_of,
    with_short_ids,
)

NOT_TEXT = "a message holds more than text"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadableConversation:
    """A conversation in turns, with the system messages that every part of it begins with.

    ``folds_lead`` puts those into the first question, for templates without a system role.
    ``lost`` are the replies that cannot be trained on, by reason.
    """

    turns: tuple[TemplateTurn, ...]
    lead: tuple[Message, ...] = ()
    tools: tuple[JsonObject, ...] = ()
    folds_lead: bool = False
    lost: tuple[str, ...] = ()

    @property
    def targets(self) -> list[int]:
        """The places of the replies to train on."""
        return [place for place, turn in enumerate(self.turns) if turn.is_target]

    @property
    def starts(self) -> list[int]:
        """The places where exchanges begin."""
        return [place for place, turn in enumerate(self.turns) if turn.starts_exchange]

    def window(self, start: int, stop: int) -> tuple[list[Message], int]:
        """Return the messages of some turns, system messages first, and the place of the first."""
        turns = list(self.turns[start:stop])
        if not self.folds_lead or not self.lead:
            return [*self.lead, *(turn.message for turn in turns)], len(self.lead)
        text = "\n\n".join(message.text for message in self.lead)
        if turns and turns[0].role == "user":
            turns[0] = folded(text, turns[0])
            return [turn.message for turn in turns], 0
        question = replace(self.lead[0], role="user", content=(Part(text=text),))
        return [question, *(turn.message for turn in turns)], 1

    def exchanges(self) -> list[ReadableConversation]:
        """Return each exchange with a reply to train on as a conversation of its own."""
        starts = self.starts
        parts = [
            replace(self, turns=self.turns[start:stop], lost=())
            for start, stop in zip(starts, [*starts[1:], len(self.turns)], strict=True)
        ]
        return [part for part in parts if part.targets]


class TemplateReading:
    """What one template reads; asked once for each kind of turn.

    Args:
        renderer: The template.
    """

    def __init__(self, renderer: PromptRenderer) -> None:
        self._renderer = renderer
        self._abilities: dict[tuple[str, ...], bool] = {}

    def as_it_is(self, example: Example) -> ReadableConversation:
        """Return an example's turns, unchanged but for empty system messages and other parts.

        Of an exchange with a picture the reply is not trained on, since the picture was needed for
        it; nor is a greeting, which answers nothing.
        """
        turns = turns_of(example.messages, example.targets)
        num_lead = next(
            (place for place, turn in enumerate(turns) if turn.role not in SYSTEM_ROLES), len(turns)
        )
        kept, lost = _without_lost(turns[num_lead:])
        return ReadableConversation(
            lead=tuple(turn.message for turn in turns[:num_lead]),
            turns=tuple(_up_to_last_target(kept)),
            tools=example.tools,
            lost=tuple(lost),
        )

    def adapted(self, conversation: ReadableConversation) -> ReadableConversation:
        """Return a conversation changed where the template refuses turns like its own."""
        lead, turns, tools = list(conversation.lead), list(conversation.turns), conversation.tools
        if not self._reads("developer", "user"):
            lead = [replace(message, role="system") for message in lead]
            turns = as_system(turns)
        if len(lead) > 1 and not self._reads("system", "system", "user"):
            lead = list(joined_systems(lead))
        if tools and not self._accepts([_asked("user")], tools):
            tools = ()
        if has_calls(turns):
            turns = self._with_readable_calls(turns)
        num_hidden = _num_targets(conversation.turns) - _num_targets(turns)
        return ReadableConversation(
            lead=tuple(lead),
            turns=tuple(_up_to_last_target(self._with_readable_order(turns))),
            tools=tools,
            folds_lead=bool(lead) and not self._reads("system", "user"),
            lost=(*conversation.lost, *[NOT_SHOWN] * num_hidden),
        )

    def _with_readable_order(self, turns: list[TemplateTurn]) -> list[TemplateTurn]:
        """Return turns in an order of roles that the template reads."""
        has_system = any(turn.role in SYSTEM_ROLES for turn in turns)
        if has_system and not self._reads("user", "assistant", "system", "user"):
            turns = fold_systems(turns)
        if turns and turns[0].role == "assistant" and not self._reads("assistant", "user"):
            turns = self._with_readable_greeting(turns)
        if in_a_row(turns, "user") and not self._reads("user", "user"):
            turns = join_users(turns)
        if in_a_row(turns, "assistant") and not self._reads("user", "assistant", "assistant"):
            turns = join_replies(turns)
        return turns

    def _with_readable_calls(self, turns: list[TemplateTurn]) -> list[TemplateTurn]:
        if self._reads("user", "call", "tool", "assistant", "user"):
            return turns
        if self._reads("user", "short call", "short tool", "assistant", "user"):
            return with_short_ids(turns)
        return calls_as_text(turns)

    def _with_readable_greeting(self, turns: list[TemplateTurn]) -> list[TemplateTurn]:
        """Return turns that a question begins: an empty one, or the greeting left out."""
        if self._reads("blank", "assistant", "user"):
            return [blank_question(turns[0]), *turns]
        start = next((place for place, turn in enumerate(turns) if turn.role == "user"), len(turns))
        return turns[start:]

    def _reads(self, *kinds: str) -> bool:
        """Tell whether the template renders a small conversation; asked once."""
        if kinds not in self._abilities:
            self._abilities[kinds] = self._accepts([_asked(kind) for kind in kinds])
        return self._abilities[kinds]

    def _accepts(self, messages: Sequence[Message], tools: Sequence[JsonObject] = ()) -> bool:
        try:
            self._renderer.render(messages, add_generation_prompt=True, tools=tools)
        except DataError:
            return False
        return True


def _asked(kind: str) -> Message:
    """Return a message of a kind that a template is asked about."""
    *short, role = kind.split()
    identity = "a1" * CALL_ID_CHARS if not short else ("a1" * CALL_ID_CHARS)[:CALL_ID_CHARS]
    text = (Part(text="Fine"),)
    if role == "call":
        call = ToolCall(id=identity, name="look_up", arguments={"word": "Fine"})
        return Message(id=kind, role="assistant", tool_calls=(call,))
    if role == "tool":
        return Message(id=kind, role="tool", content=text, name="look_up", tool_call_id=identity)
    if role == "blank":
        return Message(id=kind, role="user", content=(Part(text=""),))
    return Message(id=kind, role=role, content=text)  # type: ignore[arg-type]


def _without_lost(turns: Sequence[TemplateTurn]) -> tuple[list[TemplateTurn], list[str]]:
    """Return turns without the targets that cannot be trained on, and the reason of each."""
    kept: list[TemplateTurn] = []
    lost: list[str] = []
    has_question, has_other = False, False
    for turn in turns:
        has_other = not turn.is_text or (has_other and not turn.starts_exchange)
        has_question = has_question or turn.role == "user"
        reason = NOTHING_BEFORE if not has_question else NOT_TEXT if has_other else ""
        is_lost = turn.is_target and bool(reason)
        lost += [reason] if is_lost else []
        kept.append(replace(turn, is_target=False) if is_lost else turn)
    return kept, lost


def _num_targets(turns: Sequence[TemplateTurn]) -> int:
    return sum(turn.is_target for turn in turns)


def _up_to_last_target(turns: Sequence[TemplateTurn]) -> Sequence[TemplateTurn]:
    """Leave out what follows the last reply to train on."""
    last = max((place for place, turn in enumerate(turns) if turn.is_target), default=-1)
    return turns[: last + 1]
