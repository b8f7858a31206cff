"""The shapes in which trainers read conversations, and the way back.

    chatml       {"messages": [{"role", "content"}, ...]}                    one per conversation
    alpaca       {"instruction", "input", "output", "system", "history"}     one per conversation
    instruction  {"instruction", "response", "system", "history"}            one per exchange

ChatML carries everything a branch says. Alpaca and Instruction know only a system prompt and
alternating turns: earlier turns stand in ``history`` as [[question, answer], ...], and a
conversation they cannot express is refused, never bent. Pure functions; no file is touched here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, cast

from fine_tuning.core.conversation import ROLES, Conversation, Message
from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.core.json_value import JsonObject, JsonValue, text_at, trusted
from fine_tuning.core.naming import content_name
from fine_tuning.core.reading import read_conversation

FORMATS: tuple[str, ...] = ("chatml", "alpaca", "instruction")
_MATERIAL = ("input", "context")
TURN = "turn"
"""The name :func:`detect_format` gives a logged turn: {"user_message", "bot_response", ...}."""
TURN_TEXTS = ("user_message", "bot_response")

Pair = tuple[str, str]


def check_format(name: str) -> str:
    """Return a format's name.

    Raises:
        ConfigError: if there is no such format.
    """
    if name in FORMATS:
        return name
    near = get_close_matches(str(name).lower(), FORMATS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"format {name!r} is unknown, expected one of {', '.join(FORMATS)}{hint}")


def to_records(conversation: Conversation, format: str) -> list[dict[str, JsonValue]]:  # noqa: A002
    """Return the records of a conversation's current branch.

    Raises:
        ConfigError: if the format is unknown.
        DataError: if the format cannot express the conversation.
    """
    check_format(format)
    if format == "chatml":
        return [to_chatml(conversation)]
    if format == "alpaca":
        return [to_alpaca(conversation)]
    return to_instruction(conversation)


def from_records(records: Sequence[JsonObject], format: str) -> list[Conversation]:  # noqa: A002
    """Read records back; ids are made from content.

    Instruction records whose history continues the record before them join its conversation.

    Raises:
        ConfigError: if the format is unknown.
        DataError: if a record is not of the format; the sentence names its index.
    """
    check_format(format)
    for index, record in enumerate(records):
        problems = validate_record(record, format)
        if problems:
            raise DataError(f"record {index} is no {format} record: {problems[0]}")
    if format == "chatml":
        return [from_chatml(record) for record in records]
    if format == "alpaca":
        return [from_alpaca(record) for record in records]
    return list(from_instruction(records))


def to_chatml(conversation: Conversation) -> dict[str, JsonValue]:
    """Return the branch in OpenAI's and TRL's shape; tool-call arguments stay objects.

    Ids, times and metadata are left out; ``weight`` stands where a turn must not be learnt.

    Raises:
        DataError: if the conversation has no messages.
    """
    path = conversation.path()
    if not path:
        raise DataError(f"conversation {conversation.id} has no messages")
    return {"messages": [_chatml_message(message) for message in path]}


def _chatml_message(message: Message) -> dict[str, JsonValue]:
    kept = ("role", "content", "name", "tool_calls", "tool_call_id", "weight")
    raw = message.to_dict()
    record = {key: raw[key] for key in kept if key in raw}
    if message.reasoning:
        record["reasoning_content"] = message.reasoning
    return record


def from_chatml(record: JsonObject) -> Conversation:
    """Read a ChatML record, or a whole ``ft/1`` conversation, which is one with more fields.

    Raises:
        DataError: if messages are missing or malformed.
    """
    return read_conversation(record)


def exchanges(conversation: Conversation) -> tuple[str, list[Pair]]:
    """Return the branch as a system prompt ("" for none) and (question, answer) pairs.

    A developer prompt counts as a system prompt, as OpenAI's newer models read it.

    Raises:
        DataError: if the branch is anything but one optional system prompt and alternating text
            turns that end with a reply, or holds a turn that must not be learnt.
    """
    path = list(conversation.path())
    system = path.pop(0).text if path and path[0].role in {"system", "developer"} else ""
    for index, message in enumerate(path):
        expected = "assistant" if index % 2 else "user"
        if message.role != expected:
            raise DataError(
                f"conversation {conversation.id} has a turn of {message.role!r} where one of "
                f"{expected!r} is expected; only chatml carries that"
            )
        if (
            message.tool_calls
            or message.weight == 0
            or any(p.type != "text" for p in message.content)
        ):
            raise DataError(
                f"conversation {conversation.id} has a turn with tool calls, attachments or "
                "weight 0; only chatml carries that"
            )
    if not path or len(path) % 2:
        raise DataError(f"conversation {conversation.id} does not end with a reply")
    texts = [message.text for message in path]
    return system, list(zip(texts[::2], texts[1::2], strict=True))


def to_alpaca(conversation: Conversation) -> dict[str, JsonValue]:
    """Return one record: the last exchange, earlier ones as history (LLaMA-Factory's shape).

    Every key is always there, so that a file has the same columns in every row.

    Raises:
        DataError: as :func:`exchanges`.
    """
    system, pairs = exchanges(conversation)
    question, answer = pairs[-1]
    return {
        "instruction": question,
        "input": "",
        "output": answer,
        "system": system,
        "history": [list(pair) for pair in pairs[:-1]],
    }


def from_alpaca(record: JsonObject) -> Conversation:
    """Read an Alpaca record; a non-empty ``input`` follows the instruction after an empty line."""
    pair = (_question(record), str(record["output"]))
    return _conversation(str(record.get("system") or ""), [*_history(record), pair])


def to_instruction(conversation: Conversation) -> list[dict[str, JsonValue]]:
    """Return one record per exchange, each with the exchanges before it as history.

    Raises:
        DataError: as :func:`exchanges`.
    """
    system, pairs = exchanges(conversation)
    return [
        {
            "instruction": question,
            "response": answer,
            "system": system,
            "history": [list(pair) for pair in pairs[:index]],
        }
        for index, (question, answer) in enumerate(pairs)
    ]


def from_instruction(records: Iterable[JsonObject]) -> Iterator[Conversation]:
    """Read instruction records, one conversation in memory at a time.

    A record with a history equal to the conversation so far continues it; any other begins one.
    """
    system, pairs = "", list[Pair]()
    for record in records:
        history, own = _history(record), str(record.get("system") or "")
        if not (history and history == pairs and own == system):
            if pairs:
                yield _conversation(system, pairs)
            system, pairs = own, history
        pairs = [*pairs, (_question(record), str(record["response"]))]
    if pairs:
        yield _conversation(system, pairs)


def _question(record: JsonObject) -> str:
    """Return the instruction with what it is about, Alpaca's ``input`` or Dolly's ``context``."""
    return "\n\n".join(str(record[k]) for k in ("instruction", *_MATERIAL) if record.get(k))


def _history(record: JsonObject) -> list[Pair]:
    return [
        (str(question), str(answer)) for question, answer in trusted(record.get("history") or ())
    ]


def _conversation(system: str, pairs: Iterable[Pair]) -> Conversation:
    turns = [("system", system)] if system else []
    for question, answer in pairs:
        turns += [("user", question), ("assistant", answer)]
    return Conversation.from_turns(cast("Any", turns))


def validate_record(record: JsonObject, format: str) -> list[str]:  # noqa: A002
    """Return what keeps a record from being trained on, in words; [] when nothing does.

    Raises:
        ConfigError: if the format is unknown.
    """
    check_format(format)
    if not isinstance(record, Mapping):
        return [f"it is {type(record).__name__}, expected an object"]
    if format == "chatml":
        return _chatml_problems(record)
    reply = "output" if format == "alpaca" else "response"
    return _pair_problems(record, reply)


def _chatml_problems(record: JsonObject) -> list[str]:
    messages = record.get("messages")
    if not isinstance(messages, list) or not messages:
        return ["'messages' is missing or empty, expected a list of messages"]
    problems: list[str] = []
    for index, message in enumerate(messages):
        problems += [f"message {index} {text}" for text in _message_problems(message)]
    if problems:
        return problems
    if not any(message["role"] == "assistant" for message in messages):
        return ["no message has role 'assistant', so there is nothing to learn"]
    try:
        from_chatml(record)
    except DataError as error:
        return [error.message]
    return []


def _message_problems(message: object) -> list[str]:
    if not isinstance(message, Mapping):
        return [f"is {type(message).__name__}, expected an object"]
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        return [f"has role {role!r}, expected one of {', '.join(ROLES)}"]
    if content is not None and not isinstance(content, str | list):
        return [f"has content of type {type(content).__name__}, expected text or a list of parts"]
    empty = not content or (isinstance(content, str) and not content.strip())
    if role == "assistant" and empty and not message.get("tool_calls"):
        return ["is an empty reply"]
    return []


def _pair_problems(record: JsonObject, reply: str) -> list[str]:
    problems = [
        f"{key!r} is {type(record.get(key)).__name__}, expected text"
        for key in ("instruction", reply)
        if not isinstance(record.get(key), str)
    ]
    problems += [
        f"{key!r} is {type(record[key]).__name__}, expected text"
        for key in (*_MATERIAL, "system")
        if record.get(key) is not None and not isinstance(record[key], str)
    ]
    if not problems and not text_at(record, reply).strip():
        problems.append(f"{reply!r} is empty, so there is nothing to learn")
    history = record.get("history") or []
    if not isinstance(history, list) or not all(map(_is_pair, history)):
        problems.append("'history' is expected to be a list of [question, answer] texts")
    return problems


def _is_pair(value: object) -> bool:
    if not isinstance(value, list | tuple):
        return False
    return [type(text) for text in value] == [str, str]


def detect_format(record: JsonObject) -> str:
    """Return the shape of a record: one of :data:`FORMATS`, or :data:`TURN`.

    Raises:
        DataError: if it is none of them; the sentence names the keys found.
    """
    if isinstance(record, Mapping):
        for name, keys in _KEYS.items():
            if keys <= record.keys():
                return name
        found = ", ".join(sorted(map(str, record))[:8]) or "no keys"
    else:
        found = type(record).__name__
    raise DataError(
        f"a record with {found} is no conversation, expected 'messages', "
        "'user_message' and 'bot_response', or 'instruction' and 'output' or 'response'"
    )


_KEYS: dict[str, set[str]] = {
    "chatml": {"messages"},
    TURN: set(TURN_TEXTS),
    "alpaca": {"instruction", "output"},
    "instruction": {"instruction", "response"},
}


def as_conversation(item: Conversation | JsonObject) -> Conversation:
    """Return a conversation as it is, or read one from any shape this module knows.

    Raises:
        DataError: if the item is none of them or malformed.
    """
    if isinstance(item, Conversation):
        return item
    name = detect_format(item)
    if name in FORMATS and name != "chatml" and (problems := validate_record(item, name)):
        raise DataError(f"a record is no {name} record: {problems[0]}")
    readers: dict[str, Callable[[JsonObject], Conversation]] = {
        "chatml": from_chatml,
        "alpaca": from_alpaca,
        "instruction": lambda record: next(from_instruction([record])),
        TURN: from_turn,
    }
    return readers[name](item)


def each_conversation(items: Iterable[Conversation | JsonObject]) -> Iterator[Conversation]:
    """Yield :func:`as_conversation` of every item; each item is one conversation.

    Raises:
        DataError: while iterating, naming the index of the first item that is none.
    """
    for index, item in enumerate(items):
        try:
            yield as_conversation(item)
        except DataError as error:
            raise DataError(f"conversation {index}: {error.message}") from error


def as_conversations(items: Iterable[Conversation | JsonObject]) -> list[Conversation]:
    """Return what :func:`each_conversation` yields, as a list."""
    return list(each_conversation(items))


def text_of(record: JsonObject, key: str) -> str:
    """Return the text under a key.

    Raises:
        KeyError: if there is none.
        DataError: if it is no text.
    """
    text = record[key]
    if not isinstance(text, str):
        raise DataError(f"{key!r} is {type(text).__name__}, expected text")
    return text


def from_turn(record: JsonObject) -> Conversation:
    """Read one logged turn: ``user_message``, ``bot_response`` and what was noted with them.

    ``timestamp`` dates both messages, ``metadata`` goes to the reply, and ``session_id`` is kept
    in the conversation's metadata.

    Raises:
        DataError: if a text is not text, or the metadata is not an object.
    """
    texts, notes = [text_of(record, key) for key in TURN_TEXTS], record.get("metadata") or {}
    if not isinstance(notes, Mapping):
        raise DataError(f"'metadata' is {type(notes).__name__}, expected an object")
    time, session = (str(record.get(key) or "") for key in ("timestamp", "session_id"))
    try:
        name = content_name(dict(record))
    except (TypeError, ValueError, RecursionError):
        name = content_name([*texts, time, session])
    turn = Conversation.from_turns([("user", texts[0]), ("assistant", texts[1])], id=name)
    asked, reply = (replace(message, created_at=time) for message in turn.messages)
    return replace(
        turn,
        messages=(asked, replace(reply, metadata=notes)),
        created_at=time,
        metadata={"session_id": session} if session else {},
    )
