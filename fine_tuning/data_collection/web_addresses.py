"""Addresses of the web: where they begin is a scheme, where they end is a matter of the context.

Code, Markdown, quotation marks and scripts without spaces put other text directly behind an
address; RFC 3986 alone would take it all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from fine_tuning.data_collection.private_spans import SECRET, URL, Detector, Span, compiled

SCHEMES = r"https?|ftps?|sftp|ssh|wss?"
TRIGGER = r":(?://|\\/\\/)|(?i:www)\."
_START = compiled(rf"(?i)(?:\b|_)(?:(?:{SCHEMES}):(?://|\\/\\/)|www\.)")
_ASCII = re.compile(r"[A-Za-z0-9\-._~/?#:@!$&*+;=%]+|\\/")
_MIXING = re.compile(r"[\u00c0-\u024f\u1e00-\u1eff\u0300-\u036f]+")  # Latin with accents
_SPACED = re.compile(  # scripts whose words stand apart, so that letters in an address are its own
    r"(?:[\u0370-\u03ff]+|[\u0400-\u052f]+|[\u0590-\u05ff]+|[\u0620-\u064a\u066e-\u06d3]+"
    r"|[\u0900-\u0dff]+)[0-9]*"
)
_UNSPACED = re.compile(
    r"[\u4e00-\u9fff\u3005]+|[\u3041-\u3096\u30a1-\u30fa\u30fc]+|[\uac00-\ud7a3]+|[\u0e01-\u0e4e]+"
)
_BEFORE_LETTERS = "/=_-.?&#(:%+,@"
_APOSTROPHE = re.compile(r"'(?!s\b)[A-Za-z0-9]+[\w/.\-]*(?:[\s)\],;:!?]|$)")
_ENTITY = re.compile(r"&(?:quot|lt|gt|apos|nbsp|#0?39|#34|#x27|#x22);")
_NEXT_ADDRESS = re.compile(rf"[,;|](?:{SCHEMES})://", re.IGNORECASE)
_INDEX = re.compile(r"\[[\w\-*.]{0,40}\]")
_IPV6_HOST = re.compile(r"\[[0-9A-Fa-f:.]{2,45}(?:%[\w.]+)?\]")
_PATH_LETTERS = re.compile(r"(?:/wiki/|[=/])$")
_CREDENTIALS = re.compile(r"(?:[^\s:@/?#]*):[^\s@/?#]+@[^\s@/]")
_QUOTES = {"'": "'", "*": "*", "_": "", "~": "~"}
_TRAILING = ".,;:!?'*_~$#&\\"


def find(text: str, regions: Sequence[str] = ()) -> Iterator[Span]:  # noqa: ARG001 - as all are
    """Yield the addresses in a text; one that holds a password is a secret.

    Args:
        text: What was said.
        regions: Not used here.
    """
    position = 0
    for match in _START.finditer(text):
        start, body = match.span()
        if start < position:
            continue
        if text[start] == "_":
            start += 1
        is_www = text[start : start + 4].lower() == "www."
        end = _end(text, start, body, is_www=is_www)
        host = text[body:end]
        is_public = host.startswith("git@")  # the name every clone of a repository is asked for by
        if is_public or not _is_host(host) or (is_www and "." not in host.strip(".")):
            continue
        yield Span(start, end, URL)
        position = max(end, body)


def find_with_password(text: str, regions: Sequence[str] = ()) -> Iterator[Span]:
    """Yield the addresses that hold a name and a password before their host.

    Args:
        text: What was said.
        regions: Not used here.
    """
    for span in find(text, regions):
        body = text[span.start : span.end].partition("//")[2]
        if _CREDENTIALS.match(body):
            yield Span(span.start, span.end, SECRET, "address with a password")


def _is_host(host: str) -> bool:
    return host[:1].isalnum() or bool(_IPV6_HOST.match(host))


def _end(text: str, start: int, body: int, *, is_www: bool) -> int:
    """Return where an address that begins at ``start`` ends, its body being behind the scheme."""
    opener = text[start - 1] if start else ""
    host = None if is_www else _IPV6_HOST.match(text, body)
    end, depth = host.end() if host else body, 0
    while end < len(text):
        char = text[end]
        if char in "()":
            depth += 1 if char == "(" else -1
            step = end if depth < 0 else end + 1
        elif char in "'[":
            step = _sign_end(text, body, end, opener)
        else:
            step = _ascii_end(text, end, opener) or _letters_end(text, body, end)
        if step == end:
            break
        end = step
    return _trimmed(text, body, end)


def _sign_end(text: str, body: int, end: int, opener: str) -> int:
    """Return the end of an apostrophe or an index in an address; ``end`` if it is neither."""
    if text[end] == "'":
        return end + (opener != "'" and _APOSTROPHE.match(text, end) is not None)
    index = _INDEX.match(text, end) if "?" in text[body:end] else None
    return index.end() if index else end


def _ascii_end(text: str, end: int, opener: str) -> int:
    """Return the end of the run of an address's plain characters at ``end``; 0 without one."""
    run = _ASCII.match(text, end)
    if run is None:
        return end + 1 if text[end] == "," and not _NEXT_ADDRESS.match(text, end) else 0
    stop = run.end()
    if opener in {"*", "~"} and opener in run[0]:
        stop = end + run[0].index(opener)
    entity = _ENTITY.search(text, end, min(len(text), stop + 1))
    following = _NEXT_ADDRESS.search(text, end, stop)
    return min([stop, *(cut.start() for cut in (entity, following) if cut is not None)])


def _letters_end(text: str, body: int, end: int) -> int:
    """Return the end of letters of other alphabets that are an address's own, or ``end``."""
    letters = _MIXING.match(text, end)
    if letters is None and (end == body or text[end - 1] in _BEFORE_LETTERS):
        letters = _SPACED.match(text, end)
        if letters is None:
            return _unspaced(text, body, end)
    return letters.end() if letters else end


def _unspaced(text: str, body: int, end: int) -> int:
    """Return the end of letters of a script without spaces if they belong to an address."""
    letters = _UNSPACED.match(text, end)
    if letters is None:
        return end
    after = text[letters.end() : letters.end() + 2]
    if end == body or text[end - 1] == ".":  # a host
        return letters.end() if after[:1] in {".", "/"} or text[end - 1] == "." else end
    led = _PATH_LETTERS.search(text, max(body, end - 6), end)
    if led is None:
        return end
    goes_on = after[:1] in {"/", "_", "%", "?", "#", "&", "="} and after[1:].isascii()
    ends = not after or after[0] in " \n\t\"'`)>]<|"
    return letters.end() if goes_on or (ends and led[0] != "/") else end


def _trimmed(text: str, body: int, end: int) -> int:
    """Give back what a sentence, its emphasis or a template put behind an address."""
    while end > body:
        if (
            (
                text[end - 1] in _TRAILING
                and not (text[end - 1] == "\\" and text[end : end + 1] == "/")
            )
            or text[end - 1] == "("
            or (text[end - 1] == ")" and text.count("(", body, end) < text.count(")", body, end))
        ):
            end -= 1
        else:
            possessive = text[max(body, end - 2) : end].lower() == "'s"
            if not possessive:
                break
            end -= 2
    return end


PLAIN = Detector(URL, TRIGGER, find)
WITH_PASSWORD = Detector(SECRET, r"://[^\s:@/?#]*:[^\s@/?#]+@", find_with_password)
