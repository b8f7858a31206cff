"""Chats with the variety of ordinary ones: what every program's export is then written from."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.exports_of_programs.texts import LANGUAGES, Writer

DENSE = {"zh": 0.35, "ja": 0.4, "ko": 0.4, "ar": 0.5, "ru": 0.6}
"""Characters of a long answer in a language, beside an English one of as many words."""


@dataclass(slots=True, kw_only=True)
class Tool:
    """A call of a tool and its result."""

    name: str
    arguments: dict[str, object]
    result: str


@dataclass(slots=True, kw_only=True)
class Reply:
    """A reply of the assistant; ``names`` are words by which it is known in what is trained on.

    ``parts`` are its text as generated: two when it was continued. ``others`` were generated for
    the same question and not kept.
    """

    parts: list[str]
    names: list[str]
    thoughts: str = ""
    is_thought_open: bool = False
    tool: Tool | None = None
    has_picture: bool = False
    citations: list[str] = field(default_factory=list)
    artifact: str = ""
    is_finished: bool = True
    others: list[str] = field(default_factory=list)
    model: str = "m-small"

    @property
    def text(self) -> str:
        """The whole reply."""
        return "".join(self.parts)


@dataclass(slots=True, kw_only=True)
class Exchange:
    """What is asked (one or two messages), and the reply; ``before_edit`` was asked at first."""

    asked: list[str]
    reply: Reply
    has_picture: bool = False
    before_edit: str = ""
    note: str = ""


@dataclass(slots=True, kw_only=True)
class Chat:
    """A chat; times are seconds since 1970."""

    number: int
    title: str
    language: str
    exchanges: list[Exchange]
    system: str = ""
    greeting: str = ""
    started: int = 0


def chats(count: int, seed: int) -> list[Chat]:
    """Return chats in ten languages."""
    draw, writer = random.Random(seed), Writer(seed)
    return [_chat(number, draw, writer) for number in range(count)]


def _chat(number: int, draw: random.Random, writer: Writer) -> Chat:
    language = LANGUAGES[number % len(LANGUAGES)]
    return Chat(
        number=number,
        title=writer.name(),
        language=language,
        exchanges=[_exchange(draw, writer, language) for _ in range(draw.randint(2, 8))],
        system=f"You are {writer.name()}, an assistant." if draw.random() < 0.3 else "",
        greeting=f"{writer.name()}!" if draw.random() < 0.1 else "",
        started=1_760_000_000 + number * 90_000,
    )


def _exchange(draw: random.Random, writer: Writer, language: str) -> Exchange:
    chance: Callable[[float], bool] = lambda share: draw.random() < share  # noqa: E731
    asked = [writer.question(language)]
    if chance(0.08):
        asked.append(writer.question(language))
    return Exchange(
        asked=asked,
        reply=_reply(draw, writer, language),
        has_picture=chance(0.02),
        before_edit=writer.question(language) if chance(0.08) else "",
        note=f"The user is in {writer.name()} now." if chance(0.03) else "",
    )


def _reply(draw: random.Random, writer: Writer, language: str) -> Reply:
    chance: Callable[[float], bool] = lambda share: draw.random() < share  # noqa: E731
    if chance(0.12):
        text, names = writer.short(language)
    else:
        is_long = chance(0.06)
        chars = draw.randint(2000, 7900) if is_long else draw.randint(60, 1200)
        text, names = writer.answer(
            language, int(chars * DENSE.get(language, 1)), with_code=chance(0.15)
        )
    parts = [text]
    if chance(0.05) and " " in text[40:-40]:
        place = (
            text.index(" ", len(text) // 2 - 10) if " " in text[len(text) // 2 - 10 : -20] else 0
        )
        parts = [text[:place], text[place:]] if place else [text]
    tool = Tool(
        name=draw.choice(["search", "python", "clock"]),
        arguments={"query": writer.name(), "limit": draw.randint(1, 9)},
        result=f"{writer.name()}: {draw.randint(10, 99)}",
    )
    thoughts, _ = writer.answer(language, draw.randint(40, 400))
    is_finished = not chance(0.03)
    return Reply(
        parts=parts,
        names=names,
        thoughts=thoughts if chance(0.25) else "",
        is_thought_open=not is_finished and chance(0.5),
        tool=tool if chance(0.12) else None,
        has_picture=chance(0.02),
        citations=[writer.name() for _ in range(draw.randint(1, 3))] if chance(0.08) else [],
        artifact=f"# {writer.name()}\n\n{draw.randint(2, 9)} notes" if chance(0.05) else "",
        is_finished=is_finished,
        others=[writer.answer(language, 80)[0] for _ in range(draw.randint(1, 2))]
        if chance(0.1)
        else [],
        model=draw.choice(["m-small", "m-small", "m-large"]),
    )
