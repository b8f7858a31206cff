"""E-mail addresses, the obfuscated ones too: ``name [at] example [dot] com``, ``name&#64;...``.

Letters of scripts without spaces stand directly around an address and are no part of it; names of
hosts in other alphabets (IDN) are found.
"""

# ruff: noqa: RUF001 - marks and letters of other scripts are meant
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from fine_tuning.data_collection.private_spans import EMAIL, Detector, Span, compiled, group_span

TLDS = [
    "com",
    "org",
    "net",
    "edu",
    "gov",
    "info",
    "biz",
    "io",
    "co",
    "de",
    "at",
    "ch",
    "fr",
    "es",
    "it",
    "nl",
    "be",
    "pl",
    "ru",
    "uk",
    "us",
    "ca",
    "eu",
    "br",
    "pt",
    "mx",
    "ar",
    "in",
    "cn",
    "jp",
    "kr",
    "se",
    "no",
    "dk",
    "fi",
    "cz",
    "ie",
    "app",
    "dev",
    "me",
    "tv",
    "example",
    "test",
]
_TLD = "|".join(TLDS)
_LATIN = r"A-Za-z0-9\u00c0-\u024f\u1e00-\u1eff"
_LOCAL = re.compile(rf"[{_LATIN}._%+\-]*[{_LATIN}_%+\-]$")
_OTHER_LOCAL = re.compile(
    r"(?:[\u0370-\u03ff\d._\-]+|[\u0400-\u052f\d._\-]+|[\u0620-\u06d3\d._\-]+"
    r"|[\u0900-\u097f\d._\-]+|[\u4e00-\u9fff]+|[\uac00-\ud7a3]+)$"
)
_LABEL = rf"[{_LATIN}](?:[{_LATIN}\-]*[{_LATIN}])?"
_OTHER_LABEL = r"(?:[\u0370-\u052f][\u0370-\u052f\d\-]*|[\u0620-\u06d3]+|[\u0900-\u097f]+)"
_EAST = r"[\u4e00-\u9fff\u3041-\u30ff\uac00-\ud7a3\u0e01-\u0e4e]+"
_EAST_TLDS = "中国|中國|公司|网络|網絡|网址|香港|台湾|台灣|广告|商城|みんな|한국|ไทย|コム|닷컴"
_DOMAIN = re.compile(
    rf"(?:(?:{_LABEL}|{_OTHER_LABEL}|{_EAST}(?=\.))\.)+"
    rf"(?:xn--[A-Za-z0-9\-]+|[A-Za-z\u00c0-\u024f]{{2,24}}|{_OTHER_LABEL}|(?:{_EAST_TLDS}))"
)
_MOST_LOCAL = 64
_SERVICES = {"git", "hg", "svn", "gitlab", "gitea", "forgejo"}
_IMAGE = re.compile(r"\d+x\.(?:png|jpe?g|gif|webp|svg|avif)", re.IGNORECASE)
_OBJECTS = ("self.", "this.", "cls.", "np.", "torch.", "np.linalg.")
_AT = (
    r"(?:\s?[\[({<]\s?(?:at|ät|@|a|arroba|arobase|chiocciola|собака|małpa)\s?[\])}>]\s?"
    r"|\s@\s|\s?&(?:#64|#x40|commat);\s?"
    r"|\s(?:at|AT|ät|arroba|arobase|chiocciola|собака|małpa|klammeraffe|apenstaartje)\s|@|＠)"
)
_DOT = (
    r"(?:\s?[\[({<]\s?(?:dot|punkt|punto|point|ponto|kropka|точка|\.)\s?[\])}>]\s?"
    r"|\s(?:dot|DOT|punkt|punto|point|ponto|kropka|точка|\.)\s|\.|&#46;)"
)
_NAME = r"[\pL\pN][\pL\pN_+\-]{0,40}"
_OBFUSCATED = compiled(
    rf"(?P<local>(?:{_NAME}{_DOT}){{0,3}}{_NAME})(?P<at>{_AT})"
    rf"(?P<host>(?:{_NAME}{_DOT}){{1,3}})(?P<tld>(?i:{_TLD}))\b"
)
_LETTERS_APART = re.compile(r"\b(?:[a-z] ){2,}[a-z]$")
_SPOKEN = re.compile(r"\s+\w+\s+")
_PAIRS = {
    "at": {"dot", "punkt"}, "ät": {"punkt", "dot"}, "klammeraffe": {"punkt"},
    "arroba": {"punto", "ponto"},
    "arobase": {"point"}, "chiocciola": {"punto"}, "собака": {"точка"}, "małpa": {"kropka"},
    "apenstaartje": {"punt"},
}  # fmt: skip
_NO_NAMES = frozenset(
    [
        "look",
        "see",
        "find",
        "found",
        "go",
        "am",
        "is",
        "are",
        "was",
        "be",
        "here",
        "hosted",
        "available",
        "visit",
        "us",
        "me",
        "him",
        "her",
        "them",
        "it",
        "this",
        "that",
        "work",
        "works",
        "working",
        "live",
        "arrive",
        "arrived",
        "buy",
        "bought",
        "read",
        "sold",
        "check",
        "page",
        "site",
        "website",
        "more",
        "online",
        "shop",
        "order",
        "search",
        "meet",
        "looking",
        "stay",
        "sign",
        "up",
        "in",
        "on",
        "out",
        "post",
        "posted",
        "started",
        "back",
        "later",
        "available",
        "info",
        "details",
        "everything",
        "account",
        "login",
        "one",
        "day",
        "time",
        "people",
        "team",
        "ich",
        "bin",
        "ist",
        "sind",
        "mail",
        "email",
        "address",
        "reach",
        "contact",
        "write",
    ]
)


def find(text: str, regions: Sequence[str] = ()) -> Iterator[Span]:  # noqa: ARG001 - as all are
    """Yield the addresses in a text.

    Args:
        text: What was said, its signs folded.
        regions: Not used here.
    """
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        span = _around(text, at, domain) if domain is not None else None
        if span is not None:
            yield span
        at = text.find("@", at + 1)


def find_obfuscated(text: str, regions: Sequence[str] = ()) -> Iterator[Span]:  # noqa: ARG001
    """Yield the addresses whose signs are written as words or in brackets.

    Args:
        text: What was said, its signs folded.
        regions: Not used here.
    """
    for match in _OBFUSCATED.finditer(text):
        local, at, host = match.group("local"), match.group("at"), match.group("host")
        is_plain = at == "@" and not re.search(r"[^\w.\-]", host)
        start = match.start()
        if is_plain:
            continue
        if at.strip().isalpha():  # "at" as a word: the host must be spoken too
            joints = _SPOKEN.findall(host)
            if not joints or not {j.strip().lower() for j in joints} <= _PAIRS[at.strip().lower()]:
                continue
            start += _spoken_start(local)
            if text[start : group_span(match, "at")[0]].lower() in _NO_NAMES:
                continue
        elif at == " @ " and local.lower() in {"x", "a", "w", "q", "k"}:
            continue  # a product of matrices
        spaced = _LETTERS_APART.search(text[max(0, start - 80) : start + 1])
        if spaced is not None:  # j o h n @ example . com
            start -= len(spaced[0]) - 1
        yield Span(start, match.end(), EMAIL)


def _spoken_start(local: str) -> int:
    """Return where a name begins in what stands before a spoken "at"."""
    return len(local) - len(local.lstrip("-_+"))


def _around(text: str, at: int, domain: re.Match[str]) -> Span | None:
    """Return the address around an ``@``, or None if it is something else."""
    head = text[max(0, at - _MOST_LOCAL) : at]
    local = _LOCAL.search(head) or _OTHER_LOCAL.search(head)
    if local is None:
        return None
    name, end = local[0], _domain_end(domain)
    start = at - len(name)
    lead = len(name) - len(name.lstrip(".-'%+"))
    if name.startswith("_") and text[end : end + 1] == "_":
        lead = max(lead, len(name) - len(name.lstrip("_")))
    name, start = name[lead:], start + lead
    host, after = text[at + 1 : end], text[end : end + 2]
    if not name or name.lower() in _SERVICES or _IMAGE.fullmatch(host):
        return None
    if after[:1] == "(" or host.startswith(_OBJECTS) or after in {":/", ":~"}:
        return None  # a call, a product of matrices, a path of scp
    return Span(start, end, EMAIL)


def _domain_end(domain: re.Match[str]) -> int:
    """Return where a host ends: "example.com.Please" is one sentence and the next."""
    head, _, tail = domain[0].rpartition(".")
    is_next = tail[:1].isupper() and not tail.isupper() and head.islower() and "." in head
    return domain.start() + len(head) if is_next else domain.end()


PLAIN = Detector(EMAIL, "[@＠]", find)
OBFUSCATED = Detector(
    EMAIL,
    (
        r"(?i:[\[({<] ?(?:at|ät|@|arroba|arobase|dot|punkt|punto|point|ponto) ?[\])}>]"
        r"| (?:dot|punkt|punto|ponto|kropka|точка) | point (?:com|fr|org|net)\b)"
        r"| @ |@\S+ [.(\[]|&(?:#64|#x40|commat);"
    ),
    find_obfuscated,
)
