"""Other programs' markup in a text, parted from what was said: one function for every reader.

Programs and models write into a reply what is none of it: thoughts in tags of a dozen kinds, calls
of tools with their results, artifacts, notices in place of what an export leaves out, marks of
citations, special tokens. Here thoughts and tools are set apart, artifacts are kept as what they
show, and the rest is removed. Code stays, and so does a tag that the text is about.
"""

# ruff: noqa: RUF001 - marks are searched for in the letters in which they are written

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from fine_tuning.core.conversation import Role, ToolCall
from fine_tuning.data_collection.markup_marks import without_edge_tokens, without_marks
from fine_tuning.data_collection.markup_scan import MarkupPiece, scanned
from fine_tuning.data_collection.markup_tools import CallMark, ResultMark

_MAX_PASSES = 12
_ANSWER = re.compile(
    r"\s*<(?P<tag>answer|response|final_answer|output)>(.*)</(?P=tag)>\s*", re.DOTALL
)
_TAGS = (
    "<|", "<｜", "<think", "<thought", "<reason", "<reflect", "<seed:", "</think",
    "</thought", "</reason", "</reflect", "</seed:", "<tool", "<function", "<invoke",
    "<details", "<grok:", "<xaiartifact", "<antartifact", "<antthinking", "<channel|>", "<unused9",
    "<bos", "<eos", "<eot>", "<s>", "</s>", "<end_of_turn", "<start_of_turn", "<turn|", "<co:",
    "<cit",
)  # fmt: skip
_BRACKETS = ("[think]", "[/think]", "[tool_", "[inst]", "[/inst]", "[cit", "[oaicite", "[^", "[e~[")
_WORDS = (
    "\\ue202turn",  # LibreChat writes the sign as its escape
    "◁", "【", ":::", ":contentRef", "citeturn", "navlistturn", "sandbox:", "image_group{",
    "entity[", "oaicite", "supported on", "nicht unterstützt", "ton appareil", "tre appareil",
    " dispositivo", "デバイスでは", "기기에서", "设备", " Bing,", " Copilot,", "assistantfinal",
    "thought process:", "Thinking...", "Thinking…", *map(chr, range(0xE200, 0xE207)),
)  # fmt: skip
"""Marks that a text must hold to have anything to part; searches for plain text are the fastest."""


_NO_SPACE_BEFORE = frozenset(".,;:!?)。，！？、；：")


@dataclass(frozen=True, slots=True)
class ToolStep:
    """What a reply did before it went on: words and thoughts, then calls and their results.

    ``results`` are as many as ``calls``; none when the reply ended with its calls.
    """

    calls: tuple[ToolCall, ...]
    results: tuple[str, ...] = ()
    text: str = ""
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Parted:
    """A text and what was in it: ``text`` is what remains to be said after all ``steps``.

    ``is_cut`` tells that the text ended within a thought, so that the reply is no whole one.
    """

    text: str
    reasoning: str = ""
    steps: tuple[ToolStep, ...] = ()
    is_cut: bool = False


def may_hold_markup(joined: str) -> bool:
    """Tell whether :func:`part_markup` can change one of some joined texts."""
    if any(word in joined for word in _WORDS):
        return True
    for sign, marks in (("<", _TAGS), ("[", _BRACKETS)):
        if sign in joined:
            lowered = joined.lower()
            if any(mark in lowered for mark in marks):
                return True
    return False


def part_markup(text: str, *, role: Role) -> Parted:
    """Return a message's text parted from other programs' markup.

    Of messages that no model wrote only special tokens at their edges are removed, and the tags
    around a tool's result: what a person writes is meant.

    Args:
        text: What the message says.
        role: Who says it.

    Returns:
        The parts; ``text`` is the very same object when there was no markup. Parting a parted text
        again changes nothing.
    """
    if not may_hold_markup(text):
        return Parted(text)
    if role != "assistant":
        return Parted(_of_others(text, role))
    parted = Parted(text)
    for _ in range(_MAX_PASSES):
        once = _part_once(parted.text)
        parted = Parted(
            once.text if once.text != parted.text else parted.text,
            _joined(parted.reasoning, once.reasoning),
            (*parted.steps, *once.steps),
            parted.is_cut or once.is_cut,
        )
        if (once.text == text and not once.steps) or not may_hold_markup(once.text):
            break
        text = once.text
    return parted


def _of_others(text: str, role: Role) -> str:
    said = without_edge_tokens(text)
    if role in {"tool", "user"}:
        pieces = [piece for piece in scanned(said) if piece.text.strip() or piece.marks]
        marks = [mark for piece in pieces for mark in piece.marks]
        is_result = pieces and all(piece.kind == "tool" for piece in pieces)
        if is_result and all(isinstance(mark, ResultMark) for mark in marks):
            return "\n\n".join(mark.text for mark in marks if isinstance(mark, ResultMark))
    return text if said == text else said


def _part_once(text: str) -> Parted:
    said = without_edge_tokens(text)
    pieces = list(scanned(said))
    builder = _Builder()
    for piece in pieces:
        builder.take(piece)
    parted = builder.parted()
    if not parted.steps and len(pieces) == 1 and pieces[0].kind == "text":
        parted = replace(parted, text=said)
    cleaned = without_marks(parted.text)
    if cleaned != parted.text:
        cleaned = _trimmed(cleaned, parted.text)
    steps = tuple(replace(step, text=without_marks(step.text).strip()) for step in parted.steps)
    return replace(parted, text=cleaned, steps=steps)


def _trimmed(text: str, before: str) -> str:
    """Return a text without the blank lines at its edges that a removed mark has left."""
    if text[:1].isspace() and not before[:1].isspace():
        text = re.sub(r"\A(?:[ \t]*\n)+", "", text)
    return text.rstrip() if not before[-1:].isspace() else text


def _joined(*thoughts: str) -> str:
    return "\n\n".join(filter(None, thoughts))


class _Builder:
    """Puts pieces together: text, thoughts, and steps of tools in their order."""

    def __init__(self) -> None:
        self._text = ""
        self._gap = ""
        self._thoughts: list[str] = []
        self._calls: list[tuple[ToolCall, str | None]] = []
        self._steps: list[ToolStep] = []
        self._is_cut = False

    def take(self, piece: MarkupPiece) -> None:
        """Add a piece."""
        if piece.kind == "text":
            if piece.text.strip() and self._calls:
                self._close_step(is_end=False)
            self._add(piece.text)
        elif piece.kind == "thought":
            if self._calls and all(result is not None for _, result in self._calls):
                self._close_step(is_end=False)
            self._thoughts.append(piece.text)
            self._is_cut = self._is_cut or piece.is_cut
            self._gap = self._gap or " "
        elif piece.kind == "thought_before":
            self._thoughts.append(self._text.strip())
            self._text, self._gap = "", " "
        elif piece.kind == "shown":
            self._gap = "\n\n"
            self._add(piece.text)
            self._gap = "\n\n"
        else:
            self._take_tools(piece)

    def _take_tools(self, piece: MarkupPiece) -> None:
        self._gap = "\n\n"
        for mark in piece.marks:
            if isinstance(mark, CallMark):
                if self._calls and all(result is not None for _, result in self._calls):
                    self._close_step(is_end=False)
                self._calls.append((mark.call, None))
                continue
            for place, (call, result) in enumerate(self._calls):
                if result is None and mark.call_id in {"", call.id}:
                    self._calls[place] = (call, mark.text)
                    break

    def _add(self, text: str) -> None:
        """Add text behind what was removed: its own line ends stay one empty line at most."""
        if not self._gap:
            self._text += text
            return
        if not text.strip():
            self._gap = "\n\n" if "\n" in text else self._gap
            return
        lead = re.match(r"\A(?:[ \t]*\n)+", text)
        is_block = self._gap == "\n\n" or lead is not None or self._text.endswith("\n")
        text = text[lead.end() :] if lead else text.lstrip(" \t")
        before = self._text.rstrip()
        joint = "" if not before else "\n\n" if is_block else " "
        if joint == " " and (text[0] in _NO_SPACE_BEFORE or _is_cjk(text[0], before[-1])):
            joint = ""
        self._text, self._gap = before + joint + text, ""

    def _close_step(self, *, is_end: bool) -> None:
        """Make a step of the calls so far; calls without a result are none unless at the end."""
        done = [(call, result) for call, result in self._calls if result is not None]
        if is_end and not done:
            calls: tuple[ToolCall, ...] = tuple(call for call, _ in self._calls)
            results: tuple[str, ...] = ()
        else:
            calls = tuple(call for call, _ in done)
            results = tuple(result for _, result in done)
        self._calls = []
        if not calls:
            return
        thoughts = _joined(*self._thoughts)
        self._steps.append(ToolStep(calls, results, self._text.strip(), thoughts))
        self._text, self._thoughts = "", []
        self._gap = " "

    def parted(self) -> Parted:
        """Return what was put together."""
        if self._calls:
            self._close_step(is_end=True)
        text = self._text.rstrip() if self._gap else self._text
        if self._thoughts and (answer := _ANSWER.fullmatch(text)):
            text = answer[2].strip()
        return Parted(text, _joined(*self._thoughts), tuple(self._steps), self._is_cut)


def _is_cjk(*letters: str) -> bool:
    """Tell whether a letter is of a script that puts no spaces between words."""
    return any("\u2e80" <= one <= "\uabff" or "\uff00" <= one <= "\uffef" for one in letters)
