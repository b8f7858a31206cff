"""Turns of a conversation, and the least changes that let a strict chat template read them.

Each change is a pure function of turns. Which of them a template needs is asked in
``template_reading.py``; none is made where the template reads the conversation as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import PurePosixPath, PureWindowsPath

from fine_tuning.core.conversation import Message, Part, Role
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.naming import canonical_json, content_name

SYSTEM_ROLES: frozenset[str] = frozenset({"system", "developer"})
_ASKING: frozenset[str] = SYSTEM_ROLES | {"user"}
CALL_ID_CHARS = 9
"""Mistral's templates refuse ids of calls that are not nine letters and digits."""

_KINDS = {"image_url": "image", "input_audio": "audio", "audio_url": "audio", "video_url": "video"}
_NAMES = ("filename", "file_name", "name", "title", "path", "url")
_LONGEST_NAME = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateTurn:
    """A message as a template is given it.

    ``is_text`` is false when it stands for something that is no text, such as a picture;
    ``starts_exchange`` is true at the first message of an exchange.
    """

    message: Message
    is_target: bool = False
    starts_exchange: bool = False
    is_text: bool = True

    @property
    def role(self) -> Role:
        """The message's role."""
        return self.message.role

    def with_text(self, text: str) -> TemplateTurn:
        """Return the turn with another text."""
        return replace(self, message=self.message.with_text(text))


def turns_of(messages: Sequence[Message], targets: Sequence[int]) -> list[TemplateTurn]:
    """Return messages as turns: empty system messages left out, other parts named in text.

    An empty system message is none: the template's own default system prompt applies, as it does
    when a chat is served without one.

    Args:
        messages: The conversation.
        targets: The indices of the replies to train on.
    """
    wanted = set(targets)
    turns: list[TemplateTurn] = []
    is_lead = True  # system messages at the beginning belong to no exchange
    for place, message in enumerate(messages):
        is_text = all(part.type == "text" for part in message.content)
        if message.role in SYSTEM_ROLES and is_text and not message.text.strip():
            continue
        was_lead, is_lead = is_lead, is_lead and message.role in SYSTEM_ROLES
        is_start = (
            not is_lead and message.role in _ASKING and (was_lead or turns[-1].role not in _ASKING)
        )
        turn = TemplateTurn(
            message=message if is_text else replace(message, content=_as_text(message.content)),
            is_target=place in wanted,
            starts_exchange=is_start,
            is_text=is_text,
        )
        turns.append(turn)
    return turns


def _as_text(parts: Sequence[Part]) -> tuple[Part, ...]:
    texts = (part.text if part.type == "text" else placeholder(part) for part in parts)
    return (Part(text="\n".join(texts)),)


def placeholder(part: Part) -> str:
    """Return what stands for a part that is no text: "[image]", "[audio]" or "[file: name]"."""
    kind = _KINDS.get(part.type, part.type.removesuffix("_url").removeprefix("input_"))
    given = (part.data.get(key) for key in _NAMES) if kind == "file" else ()
    name = next((value for value in given if isinstance(value, str) and value.strip()), "")
    if name.startswith("data:") or len(name) > _LONGEST_NAME:
        name = ""
    name = PureWindowsPath(PurePosixPath(name).name).name
    return f"[{kind}: {name}]" if name else f"[{kind}]"


def as_system(turns: Sequence[TemplateTurn]) -> list[TemplateTurn]:
    """Return turns with the role developer called system."""
    return [
        replace(turn, message=replace(turn.message, role="system"))
        if turn.role == "developer"
        else turn
        for turn in turns
    ]


def joined_systems(lead: Sequence[Message]) -> tuple[Message, ...]:
    """Return the system messages at the beginning as one."""
    return (lead[0].with_text("\n\n".join(message.text for message in lead)),)


def folded(text: str, turn: TemplateTurn) -> TemplateTurn:
    """Return a question with a system message's text before it."""
    own = turn.message.text
    return turn.with_text(f"{text}\n\n{own}" if own else text)


def fold_systems(turns: Sequence[TemplateTurn]) -> list[TemplateTurn]:
    """Return turns with each system message put before the next question, or behind the last."""
    done: list[TemplateTurn] = []
    waiting: list[TemplateTurn] = []
    for turn in turns:
        if turn.role in SYSTEM_ROLES:
            waiting.append(turn)
            continue
        if waiting:
            text = "\n\n".join(one.message.text for one in waiting)
            if turn.role == "user":
                starts = turn.starts_exchange or any(one.starts_exchange for one in waiting)
                turn = replace(folded(text, turn), starts_exchange=starts)  # noqa: PLW2901 - the same turn
            elif done and done[-1].role == "user":
                done[-1] = done[-1].with_text(f"{done[-1].message.text}\n\n{text}")
            else:
                done.append(_user(waiting[0], text))
            waiting = []
        done.append(turn)
    return done


def _user(turn: TemplateTurn, text: str) -> TemplateTurn:
    """Return a turn as the user's, with a text of its own."""
    message = replace(
        turn.message, role="user", content=(Part(text=text),), name="", tool_call_id=""
    )
    return replace(turn, message=message)


def blank_question(greeting: TemplateTurn) -> TemplateTurn:
    """Return an empty question, before a greeting in templates that let only the user begin."""
    message = Message(id=f"{greeting.message.id}/before", role="user", content=(Part(text=""),))
    return TemplateTurn(message=message, starts_exchange=True)


def with_short_ids(turns: Sequence[TemplateTurn]) -> list[TemplateTurn]:
    """Return turns whose calls have ids of nine letters and digits; equal ids stay equal."""

    def short(identity: str) -> str:
        return content_name(identity)[:CALL_ID_CHARS]

    done: list[TemplateTurn] = []
    for turn in turns:
        message = turn.message
        if message.tool_calls:
            calls = tuple(replace(call, id=short(call.id)) for call in message.tool_calls)
            message = replace(message, tool_calls=calls)
        if message.role == "tool":
            message = replace(message, tool_call_id=short(message.tool_call_id))
        done.append(replace(turn, message=message))
    return done


def calls_as_text(turns: Sequence[TemplateTurn]) -> list[TemplateTurn]:
    """Return turns with calls and their results told as text, as llama.cpp tells them.

    A call is JSON behind the assistant's words, a result JSON in a message of the user. A turn
    with a call is context only: no client would take the text for a call.
    """
    names: dict[str, str] = {}
    done: list[TemplateTurn] = []
    for turn in turns:
        message = turn.message
        if message.tool_calls:
            names |= {call.id: call.name for call in message.tool_calls}
            calls = [
                {"name": call.name, "arguments": dict(call.arguments)}
                for call in message.tool_calls
            ]
            text = canonical_json({"tool_calls": calls})
            words = f"{message.text}\n\n{text}" if message.text.strip() else text
            message = replace(message, tool_calls=(), content=(Part(text=words),))
            done.append(replace(turn, message=message, is_target=False))
        elif message.role == "tool":
            name = message.name or names.get(message.tool_call_id, "")
            said: JsonObject = {"name": name} if name else {}
            result = canonical_json({"tool_response": {**said, "content": message.text}})
            done.append(_user(turn, result))
        else:
            done.append(turn)
    return done


def join_users(turns: Sequence[TemplateTurn]) -> list[TemplateTurn]:
    """Return turns with the user's in a row as one, parted by a blank line."""
    done: list[TemplateTurn] = []
    for turn in turns:
        if done and turn.role == done[-1].role == "user":
            last = done[-1]
            text = "\n\n".join(filter(None, (last.message.text, turn.message.text)))
            done[-1] = replace(
                last.with_text(text),
                starts_exchange=last.starts_exchange or turn.starts_exchange,
                is_text=last.is_text and turn.is_text,
            )
        else:
            done.append(turn)
    return done


def join_replies(turns: Sequence[TemplateTurn]) -> list[TemplateTurn]:
    """Return turns with the assistant's in a row as one, parted by a blank line.

    Of a reply to train on beside one that must not be, the other is left out of the context.
    """
    done: list[TemplateTurn] = []
    for turn in turns:
        if not (done and turn.role == done[-1].role == "assistant"):
            done.append(turn)
            continue
        last = done[-1]
        if last.is_target != turn.is_target:
            done[-1] = last if last.is_target else turn
            continue
        text = "\n\n".join(filter(None, (last.message.text, turn.message.text)))
        thoughts = filter(None, (last.message.reasoning, turn.message.reasoning))
        message = replace(
            last.message.with_text(text),
            reasoning="\n\n".join(thoughts),
            tool_calls=last.message.tool_calls + turn.message.tool_calls,
        )
        done[-1] = replace(last, message=message)
    return done


def in_a_row(turns: Sequence[TemplateTurn], role: str) -> bool:
    """Tell whether two turns of a role follow each other."""
    return any(one.role == other.role == role for one, other in pairwise(turns))


def has_calls(turns: Sequence[TemplateTurn]) -> bool:
    """Tell whether a tool is called, or answers."""
    return any(turn.role == "tool" or turn.message.tool_calls for turn in turns)
