"""Which code page bytes beyond ASCII are of, told by the letters they would be.

Each page of a script of its own is tried: the right one gives letters of that script alone, in the
order and case in which words have them. What is left is Latin, which statistics tell apart.
"""

# ruff: noqa: RUF001 - signs of other scripts are what this is about

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from fine_tuning.data_collection.language import likeliest_language

PAGES = {
    "cp1252": "Windows-1252 (Western)", "cp1250": "Windows-1250 (Central European)",
    "cp1254": "Windows-1254 (Turkish)", "cp1251": "Windows-1251 (Cyrillic)",
    "koi8_r": "KOI8-R (Cyrillic)", "cp1253": "Windows-1253 (Greek)",
    "cp1255": "Windows-1255 (Hebrew)", "cp1256": "Windows-1256 (Arabic)",
    "cp874": "Windows-874 (Thai)", "cp932": "Shift JIS (Japanese)", "euc_jp": "EUC-JP (Japanese)",
    "gb18030": "GBK (Chinese)", "big5": "Big5 (Chinese)", "cp949": "EUC-KR (Korean)",
}  # fmt: skip
_LATIN = ("cp1252", "cp1250", "cp1254")
_LANGUAGES = {
    "cp1250": {"cs", "hr", "hu", "pl", "ro", "sk", "sl", "sq", "bs", "sh"}, "cp1254": {"tr", "az"},
    "cp1252": {
        "af", "ca", "da", "de", "en", "es", "eu", "fi", "fo", "fr", "ga", "gl", "is", "it", "lb",
        "nl", "nn", "no", "nb", "pt", "sv", "gd", "oc", "id", "ms",
    },
    "cp1251": {"ru", "uk", "bg", "be", "sr", "mk"}, "koi8_r": {"ru", "uk", "bg", "be"},
    "cp1255": {"he", "iw", "yi"}, "cp1256": {"ar", "fa", "ur"}, "cp1253": {"el"}, "cp874": {"th"},
    "cp932": {"ja"}, "euc_jp": {"ja"}, "gb18030": {"zh"}, "big5": {"zh"}, "cp949": {"ko"},
}  # fmt: skip
_MARKS = "¿¡€£§ºª“”’‘„«»–—…·•°©®™ "
_FREQUENT = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里"
    "用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心本前开但因只从想实日"
    "這個們來為國說時要會對過發後裡種經麼學現當沒動還進樣開從實吗呢吧什很请怎谁哪问答题您她它给让被把与或及"
    "嗎什請誰問題給讓與謝谢高三最首都"
)
_WORD = re.compile(r"[^\W\d_]+")


def code_page(sample: bytes) -> str:
    """Return the code page of lines that are no UTF-8; "" when none reads them well."""
    found: dict[str, str] = {}
    for name, reads in _SCRIPTS.items():
        try:
            text = sample.decode(name)
        except UnicodeDecodeError:
            continue
        beyond = [sign for sign in text if sign > "\x7f" and sign not in _MARKS]
        if beyond and reads(text, beyond):
            found[name] = text
    if len(found) < 2:  # noqa: PLR2004 - nothing to choose between
        return next(iter(found), "") or _by_language(_latin(sample))
    return _by_language(found)


def _latin(sample: bytes) -> dict[str, str]:
    """Return the text by each Latin page that gives letters within words, and no controls."""
    found: dict[str, str] = {}
    for name in _LATIN:
        try:
            text = sample.decode(name)
        except UnicodeDecodeError:
            continue
        beyond = [sign for sign in text if sign > "\x7f" and sign not in _MARKS]
        if sum(sign.isalpha() for sign in beyond) * 10 >= len(beyond) * 9:
            found[name] = text
    return found


def _by_language(found: Mapping[str, str]) -> str:
    """Return the page whose text is of a language that the page was made for."""
    if not found:
        return ""
    certain: dict[str, float] = {}
    for name, text in found.items():
        words = " ".join(re.findall(r"[^\W\d_]*[^\W\d_\x00-\x7f][^\W\d_]*|[^\W\d_]+", text))
        language, share = likeliest_language(words)
        certain[name] = share if language in _LANGUAGES.get(name, language) else 0.0
    best = max(certain, key=lambda name: certain[name])
    first = next(iter(found))
    return best if certain[best] > certain[first] + 0.1 else first


def _share(signs: Sequence[str], *ranges: tuple[str, str]) -> float:
    inside = sum(any(low <= sign <= high for low, high in ranges) for sign in signs)
    return inside / len(signs)


_KANA = ("\u3041", "\u30ff")
_IDEOGRAPHS = ("\u4e00", "\u9fff")
_WIDE = (("\u3000", "\u303f"), ("\uff01", "\uff60"), _IDEOGRAPHS)


def _japanese(_: str, beyond: Sequence[str]) -> bool:
    return _share(beyond, _KANA) > 0.15 and _share(beyond, _KANA, *_WIDE) > 0.97  # noqa: PLR2004


def _korean(_: str, beyond: Sequence[str]) -> bool:
    return _share(beyond, ("가", "힣")) > 0.9 and len(beyond) > 1  # noqa: PLR2004


def _chinese(_: str, beyond: Sequence[str]) -> bool:
    ideographs = [sign for sign in beyond if _IDEOGRAPHS[0] <= sign <= _IDEOGRAPHS[1]]
    frequent = sum(sign in _FREQUENT for sign in ideographs)
    return (
        frequent > len(ideographs) / 6 and _share(beyond, *_WIDE, ("\u2000", "\u206f")) > 0.97  # noqa: PLR2004
    )


def _runs(text: str) -> float:
    """Return how many letters beyond ASCII follow each other on average."""
    found = re.findall(r"[^\x00-\x7f]+", text)
    return sum(map(len, found)) / len(found)


def _thai(text: str, beyond: Sequence[str]) -> bool:
    digits = _share(beyond, ("๐", "๛"))
    return _runs(text) > 3 and digits < 0.05 and _share(beyond, ("ก", "๛")) > 0.97  # noqa: PLR2004


def _hebrew(text: str, beyond: Sequence[str]) -> bool:
    return _runs(text) > 2 and _share(beyond, ("א", "ת")) > 0.97  # noqa: PLR2004


def _arabic(text: str, beyond: Sequence[str]) -> bool:
    return _runs(text) > 2 and _share(beyond, ("\u0600", "\u06ff")) > 0.97  # noqa: PLR2004


def _greek(text: str, beyond: Sequence[str]) -> bool:
    is_final = not re.search(r"ς[^\W\d_]", text)
    return is_final and _in_words(text, beyond, ("Ά", "ώ"))


def _cyrillic(text: str, beyond: Sequence[str]) -> bool:
    return _in_words(text, beyond, ("Ѐ", "ӿ"))


def _in_words(text: str, beyond: Sequence[str], letters: tuple[str, str]) -> bool:
    """Tell whether a script makes words of usual case: capitals first, or throughout."""
    if _runs(text) < 1.8 or _share(beyond, letters) < 0.97:  # noqa: PLR2004
        return False
    words = _WORD.findall(text)
    usual = sum(word[1:].islower() or len(word) == 1 or word.isupper() for word in words)
    small = sum(sign.islower() for sign in beyond)
    return usual > len(words) * 0.9 and small * 2 >= len(beyond)


_SCRIPTS: dict[str, Callable[[str, Sequence[str]], bool]] = {
    "cp932": _japanese, "euc_jp": _japanese, "gb18030": _chinese, "big5": _chinese,
    "cp949": _korean, "cp1251": _cyrillic, "koi8_r": _cyrillic, "cp874": _thai,
    "cp1255": _hebrew, "cp1256": _arabic, "cp1253": _greek,
}  # fmt: skip
