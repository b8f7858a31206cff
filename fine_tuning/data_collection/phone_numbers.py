"""Phone numbers: with a country's code, by the numbering plans of regions, or by what is said.

A row of digits is a phone number if it is written as one (``+``, ``00``, brackets, the grouping of
a plan) or a word such as ``phone`` stands beside it; part numbers, dates and sums are none.
"""

# ruff: noqa: RUF001 - marks and letters of other scripts are meant
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import phonenumbers
from phonenumbers import Leniency, NumberParseException, PhoneNumberMatcher, PhoneNumberType

from fine_tuning.data_collection.private_spans import (
    FOLDED_MARKS,
    PHONE,
    Detector,
    Span,
    compiled,
    goes_on,
    is_word_char,
    line_around,
    words_around,
)

_SEPARATOR = r"(?: ?[().\-/\x{2013}\x{b7}] ?| )"
_CANDIDATE = compiled(rf"\(?\+? ?\(?\d{{1,15}}\)?(?:{_SEPARATOR}{{0,3}}\(?\d{{1,12}}\)?){{0,8}}")
_MIN_DIGITS, _MAX_DIGITS = 7, 15
_WORDS = (
    r"phones?|tel|telephone|telefon\w*|telefoon\w*|t[eé]l[eé]fonos?|t[eé]l[eé]phone"
    r"|telefone|call|calls|fax"
    r"|mobile|mobil\w*|m[óo]vil|cell|cell ?phone|celular|cellulare|handy\w*|portable|gsm"
    r"|fon|ph|cel|ligne|fixe|fijo|fisso|komórk\w+|whats ?app|signal"
    r"|sms|text(?: me)?|dial|reach|ring|hotline|helpline|contact|contacto|contato|contatto"
    r"|kontakt\w*"
    r"|landline|festnetz|r[üu]ckruf|ruf\w*|anruf\w*|erreich\w*|llam\w+|appel\w*|chiam\w+|zadzwo\w+"
    r"|zadzwon\w+|bellen|liga\w*|ligue|ara\w*|numara\w*"
    r"|(?:my|his|her|our|your|their) number|meine nummer|mi número|mon numéro"
    r"|il mio numero|meu número"
    r"|mijn nummer|mój numer|мой номер|номер телефона|тел|телефон\w*|позвон\w*|звон\w*|мобильн\w*"
)
_EAST = (
    r"电话|電話|手机|手機|联系|聯絡|联络|号码是|携帯|連絡先|전화|휴대폰|핸드폰|연락처|โทร|เบอร์|มือถือ"
    r"|τηλ[\u03b1-\u03ce]*|κινητό|טלפון|נייד|(?:هاتف|جوال|موبايل|اتصل"
    r"|تلفون)[\u0621-\u064a]{0,3}|رقمي|फ़ोन|फोन|मोबाइल|कॉल|☎|📞|📱|☏"
)
_SAID = re.compile(rf"(?i)(?:\b(?:{_WORDS})(?!\w)|{_EAST})")
_LEAD = re.compile(  # what may stand between such a word and its number
    r"(?i)(?:[\s:=.,()\[\]\-#*_\"'`“”«»：=|>]|\b(?:numbers?|no|nr|num|me|us|him|her|them|is"
    r"|ist|es|est|è|é|jest|at|on|under|unter"
    r"|my|our|the|mine|office|home|work|now|today|to|or|al|en|au|a|numéro|número|numero"
    r"|nummer|numer|номер|де|по|de"
    r"|mich|mir|uns|te|app|tonight|moi|me|it)\b|は|是|为|為|号码?|號碼?|番号|은|는|이|가|번호|ที่|คือ|हैं"
    r"|है|नंबर|رقم|هو|على|:)*$"
)
_NO_PHONE_WORD = re.compile(
    r"(?i)\b(?:art|article|artikel\w*|part|parts|pn|p/n|item|sku|model|modell|order|orders"
    r"|teil\w*|produkt\w*|product|device|seriennummer|pièce|pieza|peça|pezzo|część"
    r"|onderdeel|деталь|ticket|invoice|ref"
    r"|reference|code|codes|serial|isbn|issn|ean|id|ids|no|nr|doi|rfc|version|v|build"
    r"|section|kapitel|chapter"
    r"|room|raum|price|preis|score|flight|account|konto\w*|blz|case|patent|bestell\w*"
    r"|auftrag\w*|rechnung\w*"
    r"|commande|facture|pedido|factura|ordine|fattura|zamówieni\w*|заказ\w*|артикул\w*"
    r"|hours|lottery"
    r"|numbers|range|port|ports|page|pages|year|years|steuer\w*|tracking|ssn|nif|cpf|pesel"
    r"|bsn|aadhaar|x|y|z)\b"
    r"|订单|注文|주문|型号|単価|品番|รหัส|طلب"
)
_NO_PHONE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}.*"  # 2026-11-22
    r"|\d{1,2}[-/.]\d{1,2}[-/.](?:19|20)?\d{2}(?: .*)?"  # 22.11.2026
    r"|(?:19|20)\d{2}\s*[-/\u2013]\s*(?:19|20)\d{2}"  # 2019-2023
    r"|\d+[.,]\d+"  # 37.7749
    r"|\d{1,3}(?:[ .,]\d{3})+"  # 1 000 000
    r"|97[89][ \-].*"  # ISBN
    r"|(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])(?:\d{4}|\d{6})?"  # 20261122
    r"|\d+(?:\.\d+){3}"  # an address of the internet
    r"|\d \d(?: \d)+.*|.* \d \d \d \d \d.*"  # a row of digits
)
_UNITS = re.compile(
    r"(?i)\s?(?:%|€|\$|£|¥|usd|eur|euros?|dollars?|people|hours|times|bytes|kb|mb|gb|km|kg"
    r"|ms|px|users|rows|元|円|원"
    r"|percent|stück|personen|menschen|items|records|words|tokens|chars|characters)\b"
)
_NANP = re.compile(
    r"(?:\+?1[ .\-])?(?:\(([2-9]\d{2})\) ?\d{3}[.\- ]\d{4}|(\d{3})([.\- ])\d{3}\3\d{4})"
)
_INTERNATIONAL = re.compile(r"\(?(?:\+|00)")
_TEN = 10


def find(text: str, regions: Sequence[str]) -> Iterator[Span]:
    """Yield phone numbers.

    Args:
        text: What was said, its digits folded.
        regions: Countries (ISO 3166) whose national numbers are looked for.
    """
    for match in _CANDIDATE.finditer(text):
        start, end = match.span()
        digits = sum(char.isdigit() for char in match[0])
        if digits >= _MIN_DIGITS:
            start, end = _stripped(text, start, end)
            yield from _numbers(text, start, end, regions)


def known_regions() -> frozenset[str]:
    """Return the countries whose numbering plans are known."""
    return frozenset(phonenumbers.SUPPORTED_REGIONS)


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """Leave out a bracket that is opened or closed elsewhere."""
    raw = text[start:end]
    if raw.startswith("(") and raw.count("(") > raw.count(")"):
        start += 1
    elif raw.startswith("(") and raw.endswith(")") and raw.count("(") == 1:
        start, end = start + 1, end - 1
    elif raw.endswith(")") and raw.count(")") > raw.count("("):
        end -= 1
    while text[start] == " ":
        start += 1
    return start, end


def _numbers(text: str, start: int, end: int, regions: Sequence[str]) -> Iterator[Span]:
    """Yield what of a candidate is a number, or several that follow each other."""
    raw = text[start:end]
    if not _stands_alone(text, start, end):
        return
    if _INTERNATIONAL.match(raw):
        span = _international(text, start, end)
        if span is not None:
            yield span
            return
    said = _context(text, start, end)
    if said > 0 and _is_plausible(raw) and not _UNITS.match(text, end):
        yield Span(start, end, PHONE)
        return
    if said < 0:
        return
    nanp = _NANP.fullmatch(raw)
    is_nanp = nanp is not None and (nanp[1] or re.match(r"1[ .\-][2-9]", raw))
    if nanp is not None and (is_nanp or _is_nanp_said(text, start, end)):
        yield Span(start, end, PHONE)
    elif nanp is None or nanp[1]:
        yield from _national(text, start, end, regions)


def _is_nanp_said(text: str, start: int, end: int) -> bool:
    """Tell whether a number such as 415-555-2671 is called a phone's, or is all that is said."""
    before, after = words_around(text, start, end, 60)
    return bool(_SAID.search(before) or _SAID.search(after[:30]) or _is_all(text, start, end))


def _is_all(text: str, start: int, end: int) -> bool:
    """Tell whether a line holds numbers and hardly a word else."""
    before, after = line_around(text, start, end)
    rest = re.sub(r"[\d\W_]+|\b(?:or|and|oder|und|now|is|it's|its|ok|thanks)\b", "", before + after)
    return not rest and not re.search(r"\d\s*$|\d\s\d", before) and not re.match(r"\s*\d", after)


def _international(text: str, start: int, end: int) -> Span | None:
    """Return a number with a country's code; digits behind it that it has no room for are left."""
    raw = text[start:end]
    is_plus = "+" in raw[:2]
    digits = re.sub(r"\(0\)|\D", "", raw)
    if not is_plus and (text[start - 1 : start] in {".", ","} or len(digits) < _TEN):
        return None
    try:
        number = phonenumbers.parse("+" + (digits if is_plus else digits[2:]))
    except NumberParseException:
        return None
    has_groups = is_plus and re.search(r"\d[ .\-/()]+\d", raw) is not None
    if phonenumbers.is_valid_number(number) or (
        has_groups and phonenumbers.is_possible_number(number)
    ):
        return Span(start, end, PHONE)
    matches = PhoneNumberMatcher(raw, None, leniency=Leniency.POSSIBLE) if is_plus else ()
    inner = next(((start + match.start, start + match.end) for match in matches), None)
    is_said = _context(text, start, end) > 0 or _is_all(text, start, end)
    if inner is None and is_said and _is_plausible(raw):
        inner = start, end
    return Span(*inner, PHONE) if inner else None


def _national(text: str, start: int, end: int, regions: Sequence[str]) -> Iterator[Span]:
    """Yield numbers in the grouping of a region's plan that nothing speaks against."""
    raw = text[start:end]
    if (
        not re.search(r"\D", raw)
        or _NO_PHONE.fullmatch(raw)
        or re.fullmatch(r"\d+(?:\.\d+){2,}", raw)
    ):
        return
    before, after = words_around(text, start, end, 40)
    is_row = re.search(r"\d[ ,;]+$", before) or re.match(r"[ ,;]+\d", after)
    if is_row or _UNITS.match(text, end):
        return
    for region in regions:
        for match in PhoneNumberMatcher(raw, region, leniency=Leniency.EXACT_GROUPING):
            inner = start + match.start, start + match.end
            if _stands_alone(text, *inner) and _is_usual(text, *inner, match.number):
                yield Span(*inner, PHONE)


def _is_usual(text: str, start: int, end: int, number: phonenumbers.PhoneNumber) -> bool:
    """Tell whether a national number needs no word beside it."""
    raw = text[start:end]
    if raw.startswith(("+", "(")) or raw[:1] == "0":
        is_mobile = phonenumbers.number_type(number) == PhoneNumberType.MOBILE
        groups = len(re.findall(r"\d+", raw))
        return is_mobile or groups > 2 or _is_all(text, start, end)  # noqa: PLR2004 - two groups
    return bool(_SAID.search(words_around(text, start, end, 60)[0])) or _is_all(text, start, end)


def _context(text: str, start: int, end: int) -> int:
    """Return 1 if a word beside a number calls it a phone's, -1 if something else, else 0."""
    before, after = words_around(text, start, end, 60)
    before = (
        re.split(r"[.!?;。！？]\s|[。！？]", before)[-1] if not before.endswith(". ") else before
    )
    said = max((match.end() for match in _SAID.finditer(before)), default=-1)
    other = max((match.end() for match in _NO_PHONE_WORD.finditer(before)), default=-1)
    if said >= 0 and _LEAD.match(before, said):
        return 1
    if other > said and not re.search(r"\d", before[other:]):
        return -1
    behind = re.match(
        r"(?i)\s*(?:is|ist|es|est|è|é|\()?\s*(?:my|mein\w*|mi|mon|il mio|meu|mijn)?\s*", after
    )
    rest = after[behind.end() :] if behind else after
    is_own = behind is not None and re.search(r"m[yeio]", behind[0].lower())
    if is_own and re.match(r"(?i)(?:\w+ )?(?:number|nummer|número|numéro|numero)\b", rest):
        return 1
    if _SAID.match(rest):
        return 1
    return 0


def _is_plausible(raw: str) -> bool:
    """Tell whether digits that are called a phone number look like one."""
    digits = re.sub(r"\D", "", raw)
    is_row = re.fullmatch(r"\d(?:[ ,]\d){4,}", raw) is not None
    is_number = re.fullmatch(r"\d+", raw) is not None
    grouped = re.fullmatch(r"\d{3} \d{3} \d{3,4}", raw) is not None  # 612 345 678
    date = _NO_PHONE.fullmatch(raw) is not None and not is_number and not grouped
    dotted = re.fullmatch(r"\d+(?:\.\d{2}){3,5}", raw) is not None  # 06.12.34.56.78
    year = is_number and _NO_PHONE.fullmatch(raw) is not None
    return (
        _MIN_DIGITS <= len(digits) <= _MAX_DIGITS
        and not is_row
        and not year
        and (not date or dotted)
    )


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Tell whether digits are all there is to a number: no letters or digits go on at its ends."""
    digits = sum(char.isdigit() for char in text[start:end])
    before = text[start - 1] if start else ""
    after = text[end : end + 1]
    runs_on = is_word_char(before) or before in {
        ".",
        "-",
        "/",
        "+",
        "_",
        "#",
        "@",
    }
    runs_on = (runs_on and bool(before)) or (before == "=" and text[start] != "+")
    is_word = after != "" and is_word_char(after)
    return (
        _MIN_DIGITS <= digits <= _MAX_DIGITS
        and not runs_on
        and not is_word
        and not goes_on(text, end, ".-/,:")
    )


DETECTOR = Detector(
    PHONE,
    r"\d[\d ().\-/\x{2013}\x{b7}\x{a0}\x{202f}\x{2011}]{4,}\d" rf"|[{FOLDED_MARKS}]",
    find,
)
