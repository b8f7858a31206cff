"""A reply cut into what was said, thoughts, tools and what was shown, from left to right.

Whatever opens first is taken whole: a fence hides the tags in it, a thought the fences in it. A tag
that is never closed reaches to the end, as the reply was cut there; a closing tag that nothing
opened makes a thought of all before it, as chat templates that open the thought themselves do.
"""

# ruff: noqa: RUF001 - marks are searched for in the letters in which they are written

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape
from typing import Literal

from fine_tuning.core.conversation import ToolCall
from fine_tuning.data_collection.markup_code import (
    CODE_RUN,
    begins_line,
    code_end,
    code_spans,
    ends_line,
    is_named,
    is_pair_spoken_of,
    is_spoken_of,
)
from fine_tuning.data_collection.markup_marks import PLACEHOLDER_BLOCK, artifact_text
from fine_tuning.data_collection.markup_tools import (
    CallMark,
    ToolMark,
    attributes,
    call_marks,
    details_marks,
    result_mark,
)

MarkupPieceKind = Literal["text", "thought", "thought_before", "shown", "tool"]


@dataclass(frozen=True, slots=True)
class MarkupPiece:
    """A stretch of a reply; ``thought_before`` makes a thought of all the text before it."""

    kind: MarkupPieceKind
    text: str = ""
    marks: tuple[ToolMark, ...] = ()
    is_cut: bool = False


_THOUGHT_NAMES = r"seed:think|antml:thinking|thinking|think|thoughts|thought|reasoning|reflection"
_AMBIGUOUS = {"thought", "thoughts", "reasoning", "reflection"}
"""Names that a document may well have for its own elements."""
_CLOSED_BY = {
    "[think]": r"\[/THINK\]", "◁think▷": "◁/think▷",
    "<|begin_of_thought|>": r"<\|end_of_thought\|>", "<|inner_prefix|>": r"<\|inner_suffix\|>",
    "<|start_thinking|>": r"<\|END_THINKING\|>", "<|channel>thought": r"<channel\|>",
    "<unused94>thought": "<unused95>", "<|think|>": r"<\|/think\|>|</think>",
}  # fmt: skip
_TOOLS = {
    "tool_calls": "call", "tool_call": "call", "function_calls": "call", "function_call": "call",
    "antml:function_calls": "call", "tool_use": "call", "function": "call",
    "tool_responses": "result", "tool_response": "result", "tool_results": "result",
    "tool_result": "result", "tool_output": "result", "tool_outputs": "result",
    "function_results": "result", "function_result": "result", "function_response": "result",
}  # fmt: skip
_TOOL_MARKS: dict[str, tuple[str, str]] = {
    "[tool_calls]": ("call", r"\[/TOOL_CALLS\]|</s>|\[TOOL_RESULTS\]|\n\n(?![ \t]*[\[{\"])"),
    "[tool_results]": ("result", r"\[/TOOL_RESULTS\]"),
    "<|python_tag|>": ("call", r"<\|eom_id\|>|<\|eot_id\|>"),
    "<｜tool▁calls▁begin｜>": ("call", "<｜tool▁calls▁end｜>"),
    "<｜tool▁outputs▁begin｜>": ("result", "<｜tool▁outputs▁end｜>"),
    "<|tool_calls_section_begin|>": ("call", r"<\|tool_calls_section_end\|>"),
    "<|tool_call|>": ("call", r"<\|/tool_call\|>|<\|tool_call_end\|>|\Z"),
}
_STRAY = r"<\|(?:begin|end)_of_solution\|>|<think ?/>|<\|(?:START|END)_RESPONSE\|>"
_SCAN = re.compile(
    rf"(?P<code>{CODE_RUN})"
    rf"|<(?P<thought>{_THOUGHT_NAMES})(?P<attributes>\s[^<>\n]{{0,120}})?>"
    r"|(?P<special>\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|inner_prefix\|>|<\|START_THINKING\|>"
    r"|<\|channel>thought|<unused94>thought|<\|think\|>)"
    rf"|(?P<orphan></(?:{_THOUGHT_NAMES})>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>"
    r"|<\|END_THINKING\|>|<\|inner_suffix\|>)"
    r"|(?P<harmony>(?:<\|start\|>[^<\n]{0,80})?<\|channel\|>(?P<channel>[^<\n]{1,120})"
    r"(?:<\|constrain\|>[^<\n]{0,40})?<\|message\|>)"
    r"|(?P<details><details\b[^>]*>)"
    r"|(?P<colons>:::[ \t]*(?P<what>thinking|artifact)(?P<braces>\{[^\n]*\})?[ \t]*\n)"
    r"|(?P<ant_thought><antThinking\b[^>]*>)"
    r"|(?P<artifact><(?:ant|xai)Artifact\b[^>]*>)"
    rf"|<(?P<tool>{'|'.join(_TOOLS)})(?P<given>(?:[= ][^<>\n]*)?)>"
    rf"|(?P<tool_mark>{'|'.join(map(re.escape, _TOOL_MARKS))})"
    rf"|(?P<stray>{_STRAY})",
    re.IGNORECASE,
)
_MAY_BEGIN = re.compile(r"[`<\[◁]|~~~|:::")
_HARMONY_END = re.compile(r"<\|(?:end|return|call)\|>|(?=<\|(?:start|channel)\|>)")
_HARMONY_TOOL = re.compile(r"to=(?:functions\.)?([\w.\-]+)")
_LEADS = (
    re.compile(r"\Aanalysis(?=[A-Z\W])(.*?)(?:assistant)+final(?=[^a-z])", re.DOTALL),
    re.compile(
        r"\A\s*Here(?: is|'s) my thought process:(.*?)\n\s*Here(?: is|'s) my response:\s*",
        re.DOTALL,
    ),
    re.compile(r"\A\s*[*_]{0,2}Thinking(?:\.\.\.|…)[*_]{0,2}[ \t]*\n+((?:>[^\n]*(?:\n|\Z))+)"),
)
_SUMMARY = re.compile(r"\s*<summary\b[^>]*>(.*?)</summary>", re.DOTALL | re.IGNORECASE)
_TAGS = re.compile(r"<[^>]*>")
_THINKING = re.compile(
    r"thinking|thoughts?|reasoning|cot|monologue|gedanken(?:gang)?|denkprozess|überlegungen|"
    r"réflexion|raisonnement|pensées?|pensamientos?|razonamiento|raciocínio|pensamentos?|pensieri|"
    r"ragionamento|рассуждени[ея]|размышлени[ея]|мысли|已?深度思考.*|思考.*|推理过程|推論|推理|생각.*|추론.*"
)
_AROUND_THINKING = re.compile(
    r"view|show|see|hide|click|to|expand|model|assistant|s|my|the|ai|internal|inner|full|chain|of|"
    r"process|steps?|content|trace|tokens?|details|for|in|took|time|done|a|an|few|less|than|about|"
    r"während|pendant|durante|sec|seconds?|moments?|minutes?|min|m|ms|sekunden|secondes|segundos|"
    r"secondi|секунд\w*|秒|초|\d+\w{0,2}"
)
_COLONS = re.compile(r":::(?![ \t]*\w)")
_QUOTED_LINE = re.compile(r"^[ \t]*> ?", re.MULTILINE)

Taken = tuple[MarkupPiece | None, int]
"""What a match stands for and where it ends; no piece where it is what the text is about."""


def scanned(text: str) -> Iterator[MarkupPiece]:
    """Yield the pieces of a text in order; a text without markup is one piece."""
    place = start = 0
    for lead in _LEADS:
        if found := lead.match(text):
            yield MarkupPiece("thought", _unquoted(found[1]).strip())
            place = start = found.end()
            break
    while candidate := _MAY_BEGIN.search(text, place):
        found = _SCAN.match(text, candidate.start())
        piece, place = _take(text, found) if found else (None, candidate.start() + 1)
        if piece is None or found is None:
            continue
        if found.start() > start:
            yield MarkupPiece("text", text[start : found.start()])
        yield piece
        start = place
    if start < len(text) or not start:
        yield MarkupPiece("text", text[start:])


def _take(text: str, found: re.Match[str]) -> Taken:
    if found["code"] is not None:
        end = code_end(text, *found.span())
        is_notice = PLACEHOLDER_BLOCK.match(text[found.start() : end])
        return MarkupPiece("tool") if is_notice else None, end
    name = next(name for name in _TAKERS if found[name] is not None)
    return _TAKERS[name](text, found)


def _thought(text: str, found: re.Match[str]) -> Taken:
    name = found["thought"].lower()
    opening, closing = rf"<{re.escape(name)}(?:\s[^<>\n]*)?>", rf"</{re.escape(name)}>"
    span = found.span()
    if not begins_line(text, span[0]) and is_named(text, *span):
        return None, span[1]
    closed = _closing(text, span[1], opening, closing)
    is_first = not text[: span[0]].strip()
    if name in _AMBIGUOUS and not _is_own_element(text, span, closed, is_first=is_first):
        return None, span[1]
    return _thought_until(text, span, closed)


def _is_own_element(
    text: str, span: tuple[int, int], closed: tuple[int, int] | None, *, is_first: bool
) -> bool:
    """Tell whether a tag of an everyday name is a model's thought and no element of a document."""
    if closed is None:
        return is_first
    is_whole_line = text[: span[0]][-1:] in {"", "\n"}
    return is_first or (is_whole_line and bool(text[closed[1] :].strip()) and text[0] != "<")


def _special(text: str, found: re.Match[str]) -> Taken:
    tag = found["special"]
    closed = _closing(text, found.end(), re.escape(tag), _CLOSED_BY[tag.lower()])
    return _thought_until(text, found.span(), closed)


def _thought_until(text: str, span: tuple[int, int], closed: tuple[int, int] | None) -> Taken:
    """Return a thought; one that nothing closes is the rest of the text."""
    if closed is not None:
        if is_pair_spoken_of(text, span, closed):
            return None, closed[1]
        return MarkupPiece("thought", text[span[1] : closed[0]].strip()), closed[1]
    before = text[: span[0]].rstrip(" \t")
    begins = not before or before[-1] in "\n.!?。！？…>:："
    if not begins or is_spoken_of(text, *span):
        return None, span[1]
    return MarkupPiece("thought", text[span[1] :].strip(), is_cut=True), len(text)


def _orphan(text: str, found: re.Match[str]) -> Taken:
    start, end = found.span()
    name = found[0].strip("</>").lower()
    stands_alone = begins_line(text, start) or ends_line(text, end)
    after_sentence = text[:start].rstrip()[-1:] in set(".!?。！？…)")
    is_edge = stands_alone or (after_sentence and name not in _AMBIGUOUS)
    if not is_edge or is_spoken_of(text, start, end):
        return None, end
    if name in _AMBIGUOUS and not begins_line(text, start):
        return None, end
    is_cut = not text[end:].strip()
    return MarkupPiece("thought_before", is_cut=is_cut), end


def _harmony(text: str, found: re.Match[str]) -> Taken:
    ended = _HARMONY_END.search(text, found.end())
    body = text[found.end() : ended.start() if ended else len(text)]
    end = ended.end() if ended else len(text)
    channel = found["channel"] + found["harmony"]
    if tool := _HARMONY_TOOL.search(channel):
        calls = tuple(call_marks(f"{tool[1]} {body.strip()}"))
        plain = CallMark(ToolCall(id="", name=tool[1], arguments={"input": body.strip()}))
        return MarkupPiece("tool", marks=calls or (plain,)), end
    if found["channel"].strip().startswith("analysis"):
        is_cut = not text[end:].strip()
        return MarkupPiece("thought", body.strip(), is_cut=is_cut), end
    return MarkupPiece("shown", body.strip()), end


def _details(text: str, found: re.Match[str]) -> Taken:
    closed = _closing(text, found.end(), r"<details\b[^>]*>", "</details>")
    end = closed[1] if closed else len(text)
    inner = text[found.end() : closed[0] if closed else len(text)]
    kind = attributes(found[0]).get("type", "")
    summary = _SUMMARY.match(inner)
    rest = inner[summary.end() :] if summary else inner
    if kind in {"tool_calls", "tool_call", "code_interpreter"}:
        return MarkupPiece("tool", marks=tuple(details_marks(found[0], rest))), end
    shown = _TAGS.sub("", summary[1]) if summary else ""
    if kind in {"reasoning", "thinking", "think"}:
        said = unescape(_unquoted(unescape(rest)))
    elif not kind and _is_thinking(unescape(shown)):
        said = _unquoted(rest)
    else:
        return None, found.end()
    return MarkupPiece("thought", said.strip(), is_cut=closed is None), end


def _is_thinking(summary: str) -> bool:
    """Tell whether a summary says nothing but that thoughts follow: "Thought for 5 seconds"."""
    said = re.findall(r"\w+", summary.lower())
    rest = [word for word in said if not _THINKING.fullmatch(word)]
    is_short = len(said) < 10  # noqa: PLR2004 - a sentence says more
    return is_short and len(rest) < len(said) and all(map(_AROUND_THINKING.fullmatch, rest))


def _colons(text: str, found: re.Match[str]) -> Taken:
    if not begins_line(text, found.start()):
        return None, found.end()
    closed = _colon_end(text, found.end())
    end = closed[1] if closed else len(text)
    inner = text[found.end() : closed[0] if closed else len(text)]
    if found["what"].lower() == "artifact":
        return MarkupPiece("shown", artifact_text(found["braces"] or "", inner)), end
    return MarkupPiece("thought", inner.strip(), is_cut=closed is None), end


def _colon_end(text: str, start: int) -> tuple[int, int] | None:
    """Return the line of colons that closes a block, colons in code left out."""
    hidden = list(code_spans(text, start)) if "`" in text or "~~~" in text else []
    for found in _COLONS.finditer(text, start):
        if not any(first <= found.start() < last for first, last in hidden):
            return found.span()
    return None


def _ant_thought(text: str, found: re.Match[str]) -> Taken:
    closed = _closing(text, found.end(), "<antThinking>", "</antThinking>")
    return MarkupPiece("tool"), closed[1] if closed else found.end()


def _artifact(text: str, found: re.Match[str]) -> Taken:
    closed = _closing(
        text, found.end(), "<(?:ant|xai)Artifact\\b", "</(?:ant|xai)Artifact>", any_first=True
    )
    inner = text[found.end() : closed[0] if closed else len(text)]
    end = closed[1] if closed else len(text)
    return MarkupPiece("shown", artifact_text(found[0], inner)), end


def _tool(text: str, found: re.Match[str]) -> Taken:
    name, given = found["tool"].lower(), found["given"]
    if name == "function" and not given.startswith("="):
        return None, found.end()
    closed = _closing(text, found.end(), rf"<{name}\b[^<>\n]*>", rf"</{name}>", any_first=True)
    end = closed[1] if closed else _next(text, rf"<{name}\b", found.end())
    inner = text[found.end() : closed[0] if closed else end]
    if name == "function":
        inner = text[found.start() : end]
    return _tools(text, found, inner, end, kind=_TOOLS[name], is_closed=closed is not None)


def _next(text: str, tag: str, start: int) -> int:
    """Return where a tag opens again, the end of the text where it does not."""
    found = re.compile(tag, re.IGNORECASE).search(text, start)
    return found.start() if found else len(text)


def _tool_mark(text: str, found: re.Match[str]) -> Taken:
    kind, closing = _TOOL_MARKS[found["tool_mark"].lower()]
    closed = re.compile(closing).search(text, found.end())
    inner = text[found.end() : closed.start() if closed else len(text)]
    end = closed.end() if closed else len(text)
    if closed and closed[0].startswith(("\n", "[TOOL_RESULTS]")):
        end = closed.start()
    return _tools(text, found, inner, end, kind=kind, is_closed=closed is not None)


def _tools(
    text: str, found: re.Match[str], inner: str, end: int, *, kind: str, is_closed: bool
) -> Taken:
    """Return calls or a result; tags that hold neither and stand in a sentence are its topic."""
    marks: tuple[ToolMark, ...] = ()
    if kind == "call":
        marks = tuple(call_marks(inner))
    elif is_closed:
        marks = (result_mark(inner),)
    if found["tool_mark"] == "<|python_tag|>" and not marks and inner.strip():
        marks = (CallMark(ToolCall(id="", name="python", arguments={"code": inner.strip()})),)
    is_line = begins_line(text, found.start())
    is_topic = is_named(text, *found.span()) or (not is_line and is_spoken_of(text, *found.span()))
    if is_topic or (not marks and not (is_line and is_closed)):
        return None, found.end()
    return MarkupPiece("tool", marks=marks), end


def _stray(text: str, found: re.Match[str]) -> Taken:
    return (None if is_named(text, *found.span()) else MarkupPiece("tool")), found.end()


def _closing(
    text: str, start: int, opening: str, closing: str, *, any_first: bool = False
) -> tuple[int, int] | None:
    """Return the closing tag of a tag that opened before ``start``.

    Nested pairs are passed over, and tags in code too, unless nothing else closes it; where more
    opens than closes, the last closing tag counts. ``any_first`` takes the first one, wherever.
    """
    first = re.compile(closing, re.IGNORECASE).search(text, start)
    if first is None or any_first:
        return first.span() if first else None
    between = text[start : first.start()]
    is_plain = "`" not in between and "~~~" not in between
    if is_plain and not re.search(opening, between, re.I) and not is_named(text, *first.span()):
        return first.span()
    tags = re.compile(rf"(?P<open>{opening})|(?P<close>{closing})|{CODE_RUN}", re.IGNORECASE)
    for skips in ("named and code", "code", ""):
        depth, last = 1, None
        for tag in _tags(text, start, tags, skips):
            depth += 1 if tag["open"] is not None else -1
            last = tag if tag["close"] is not None else last
            if not depth:
                break
        if last is not None:
            return last.span()
    return None


def _tags(text: str, place: int, tags: re.Pattern[str], skips: str) -> Iterator[re.Match[str]]:
    """Yield opening and closing tags, without those in code or those that are a topic."""
    while candidate := _MAY_BEGIN.search(text, place):
        found = tags.match(text, candidate.start())
        place = found.end() if found else candidate.start() + 1
        if found is None:
            continue
        if found["open"] is None and found["close"] is None:
            place = code_end(text, *found.span()) if skips else place
        elif "named" not in skips or not is_named(text, *found.span()):
            yield found


def _unquoted(text: str) -> str:
    """Return text without the ``>`` of a quotation before its lines."""
    return _QUOTED_LINE.sub("", text)


_TAKERS: dict[str, Callable[[str, re.Match[str]], Taken]] = {
    "thought": _thought, "special": _special, "orphan": _orphan, "harmony": _harmony,
    "details": _details, "colons": _colons, "ant_thought": _ant_thought, "artifact": _artifact,
    "tool": _tool, "tool_mark": _tool_mark, "stray": _stray,
}  # fmt: skip
