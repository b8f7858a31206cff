"""Numbers of cards and accounts, addresses of computers and devices.

A number is one by its grouping, its check digits and what is said around it: rows of numbers,
timestamps, versions and part numbers are none.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence

from stdnum import iban, luhn
from stdnum.exceptions import ValidationError

from fine_tuning.data_collection.private_spans import (
    CARD,
    FOLDED_MARKS,
    IBAN,
    IP,
    MAC,
    Detector,
    Span,
    compiled,
    goes_on,
    is_bounded,
    words_around,
)

_CARD = compiled(
    r"\d{4}(?: \d{4}){3}|\d{4}(?:-\d{4}){3}|3\d{3} \d{6} \d{4,5}|3\d{3}-\d{6}-\d{4,5}"
    r"|\d{4}(?: \d{4}){3} \d{3}|\d{13,19}"
)
_NETWORKS = re.compile(  # ISO/IEC 7812: prefixes and lengths that networks issue
    r"4\d{15}|4\d{12}|4\d{18}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|6\d|8\d)\d{11}|6(?:011|5\d\d|4[4-9]\d)\d{12}|62\d{14,17}"
    r"|35(?:2[89]|[3-8]\d)\d{12}|220[0-4]\d{12}|(?:50|5[6-8]|6[0-9])\d{11,17}"
)
_RARE = re.compile(r"4\d{12}|4\d{18}|(?:50|5[6-8]|63|66|67|68|69|60[02-9])\d+")
_CARD_WORD = re.compile(
    r"(?i)\b(?:cards?|visa|master ?card|amex|american express|discover|maestro|credit|debit|cc"
    r"|payment|(?:kredit|ec-|giro)?karten?\w*|kreditkarte\w*|tarjeta|carte|carta|cart[ãa]o"
    r"|kart[aąęyi]\w*"
    r"|карт[аыеу]\w*|kort\w*|betaalkaart|pan)\b|卡|カード|카드|บัตร|بطاق|कार्ड|कार्ड"
)
_ROW_WORD = re.compile(
    r"(?i)\b(?:order|orders|id|ids|uid|uuid|ticket|tracking|track|invoice|timestamp|time|ts|epoch"
    r"|serial|imei|isbn|ean|gtin|upc|sku|parcel|shipment|reference|ref|transaction|hash|seed"
    r"|numbers|list|array|sequence|sort|sum|fibonacci|digits|random|phone|tel|account|product"
    r"|bestell\w*|auftrag\w*|sendung\w*|rechnung\w*|zahlen|pedido|commande|facture|ordine"
    r"|заказ\w*|订单\w*|注文\w*)\b|订单|注文|快递|单号|追跡|주문|송장"
)
_SHORTEST_CARD, _DINERS_DIGITS = 13, 14
_PART_SIGNS = "+.,-/#"
_ID_FIELD = re.compile(r"(?i)(?:id|num|no|ref|order|hash|time|stamp|ts)[\"']?\s*[:=]\s*[\"']?$")
_EXPIRY = re.compile(r"[ ,]*(?:\d{2} ?/ ?(?:20)?\d{2}\b|\d{3,4}\b(?! ?\d))")


def find_cards(text: str, regions: Sequence[str] = ()) -> Iterator[Span]:  # noqa: ARG001
    """Yield numbers of payment cards in their usual groupings.

    Args:
        text: What was said, its digits folded.
        regions: Not used here.
    """
    for match in _CARD.finditer(text):
        start, end = match.span()
        digits = re.sub(r"\D", "", match[0])
        if not (_NETWORKS.fullmatch(digits) and luhn.is_valid(digits)):
            continue
        if len(set(digits)) > 1 and is_bounded(text, start, end) and _is_card(text, start, end):
            yield Span(start, end, CARD)


def _is_card(text: str, start: int, end: int) -> bool:
    """Tell whether what stands around a number with check digits leaves it a card's."""
    ahead = text[max(0, start - 2) : start]
    is_listed = ahead.endswith(",") and ahead[:1].isalpha()
    if (ahead[-1:] in _PART_SIGNS and ahead and not is_listed) or goes_on(text, end, ".-,"):
        return False
    before, after = words_around(text, start, end, 60)
    card, row = _last(_CARD_WORD, before), _last(_ROW_WORD, before)
    if card >= 0 and card > row:
        return True
    digits = re.sub(r"\D", "", text[start:end])
    if row >= 0 or _RARE.fullmatch(digits) or len(digits) == _DINERS_DIGITS:
        return bool(_CARD_WORD.search(after[:24]))
    is_field = re.match(r"-[A-Za-z]", after) is not None or _ID_FIELD.search(before) is not None
    return not is_field and not _is_in_row(text[start:end], before, after)


def _is_in_row(value: str, before: str, after: str) -> bool:
    """Tell whether other numbers stand beside a number, separated as its own groups are."""
    joint = r" +" if re.search(r"\D", value) else r"[ ,;|]+"
    led = re.search(rf"(\d+){joint}$", before)
    follows = None if _EXPIRY.match(after) else re.match(rf"{joint}(\d+)", after)
    return any(m is not None and len(m[1]) < _SHORTEST_CARD for m in (led, follows))


def _last(pattern: re.Pattern[str], text: str) -> int:
    """Return where a pattern's last match ends, -1 without one."""
    return max((match.end() for match in pattern.finditer(text)), default=-1)


_IBAN_START = compiled(r"[A-Za-z]{2}\d{2}[ \-]?[A-Za-z0-9]{2}")
_IBAN = re.compile(r"[A-Za-z]{2}[0-9]{2}(?:[ \-]?[A-Za-z0-9]){11,30}")
_SHORTEST_IBAN = 15  # Norway


def find_ibans(text: str, regions: Sequence[str] = ()) -> Iterator[Span]:  # noqa: ARG001
    """Yield numbers of bank accounts; words that follow one are not part of it.

    Args:
        text: What was said, its digits folded.
        regions: Not used here.
    """
    for begin in _IBAN_START.finditer(text):
        start = begin.start()
        before = text[start - 1 : start] if start else ""
        match = _IBAN.match(text, start)
        if match is None or (before and is_word_char_or_sign(before)):
            continue
        candidate = match[0]
        while sum(map(str.isalnum, candidate)) >= _SHORTEST_IBAN:
            after = text[start + len(candidate) : start + len(candidate) + 1]
            if not (after.isascii() and after.isalnum()) and _is_iban(candidate):
                yield Span(start, start + len(candidate), IBAN)
                break
            candidate = candidate[:-1].rstrip(" -")


def is_word_char_or_sign(char: str) -> bool:
    """Tell whether a character before an account number makes it part of something else."""
    return char == "_" or (char.isascii() and char.isalnum())


def _is_iban(value: str) -> bool:
    try:
        iban.validate(value.upper(), check_country=False)  # banks come and go
    except ValidationError:
        return False
    return True


_IPV4 = compiled(r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}")
_IPV6 = compiled(
    r"(?:[0-9A-Fa-f]{1,4}:){1,7}(?::?[0-9A-Fa-f]{1,4}){0,7}(?:(?:\.\d{1,3}){3})?:{0,2}"
    r"|::[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,6}(?:(?:\.\d{1,3}){3})?"
)
_UPGRADE = re.compile(r"(?i)\b(?:upgrad|updat|downgrad|migrat|bump)\w*\b.{0,24}\b(?:from|to)\b")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_VERSION = re.compile(
    r"(?i)\b(?:v|ver|versions?|versión|versão|versione|wersj\w+|releases?|section|chapter"
    r"|build|update[sd]?"
    r"|upgrad\w+|downgrad\w+|kernel|driver|firmware|patch\w*|package|packages|pip|npm|nuget|gem|apt"
    r"|install|installed|chrome|chromium|firefox|edge|safari|opera|brave|electron|webkit|mozilla"
    r"|windows|android|ios|macos|linux|ubuntu|python|java|jdk|node|office|visual studio|\.net"
    r"|assembly\w*|dll|oid|objectidentifier|rfc|clause|figure|table|requires?|bump\w*"
    r"|aktualis\w+|actualiz\w+|mise à jour"
    r"|обнов\w+|верси\w+|kapitel|abschnitt|chapitre|capítulo|раздел|sdk|api|plugin|library"
    r"|module)\b"
    r"|版本|升级|更新|バージョン|버전|업데이트|เวอร์ชัน|إصدار|संस्करण|[=~<>!]=\s*$|\^$|§"
)
_HOST = re.compile(
    r"(?i)\b(?:ips?|ip[- ]?add?ress\w*|address\w*|servers?|hosts?|hostname|ping\w*|ssh"
    r"|telnet|rdp|vpn|dns|nameserver"
    r"|gateway|proxy|router|client|remote|connect\w*|login|logins|logged|traceroute|nmap|whois"
    r"|firewall|blocked|banned|visitor|peer|endpoint|from|adresse|adresa|adres|dirección|endereço"
    r"|indirizzo|serveur|servidor|сервер\w*|адрес\w*)\b|地址|服务器|アドレス|サーバ|주소|서버"
    r"|ที่อยู่|เซิร์ฟเวอร์|عنوان|خادم|पता|सर्वर"
)
_VERSION_BEHIND = re.compile(
    r"(?i)\s*(?:is out|(?:was|is|has been|got)? ?released|of the \S+ kernel|kernel|version|build"
    r"|release|driver|firmware|\((?:64|32)-bit|LTS|beta|rc\d|or (?:later|newer|higher)|\+)"
)


def find_ips(text: str, regions: Sequence[str] = ()) -> Iterator[Span]:  # noqa: ARG001
    """Yield addresses of the public internet; versions and section numbers are none.

    Args:
        text: What was said, its digits folded.
        regions: Not used here.
    """
    for match in _IPV6.finditer(text):
        span = _ipv6(text, match.start(), match.end())
        if span is not None:
            yield span
    for match in _IPV4.finditer(text):
        start, end = match.span()
        if _is_global(match[0]) and not _is_version(text, start, end):
            yield Span(start, end, IP)


def _ipv6(text: str, start: int, end: int) -> Span | None:
    before = text[start - 1 : start] if start else ""
    value = text[start:end]
    if not value.endswith("::"):
        value = value.rstrip(":")
    end = start + len(value)
    after = text[end : end + 1]
    if before == ":" or (before and is_word_char_or_sign(before)):
        return None
    if (after.isascii() and after.isalnum()) or value.count(":") < 2:  # noqa: PLR2004 - at least
        return None
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:
        return None
    inner = address.ipv4_mapped
    is_unicast = inner is not None or address in _GLOBAL_UNICAST  # a::b may be C++
    return Span(start, end, IP) if is_unicast and (inner or address).is_global else None


def _is_global(value: str) -> bool:
    try:
        return ipaddress.IPv4Address(value).is_global
    except ValueError:
        return False


def _is_version(text: str, start: int, end: int) -> bool:
    """Tell whether four numbers are a version, a section or part of something longer."""
    if _is_joined(text, start, end):
        return True
    ahead, behind = words_around(text, start, end, 48)
    ahead = re.split(r"[.!?;]\s", ahead)[-1]
    version, host = _last(_VERSION, ahead), _last(_HOST, ahead)
    if ahead.endswith("@"):
        return host < 0  # a package's version, or a name at a host
    is_upgrade = _UPGRADE.search(ahead) is not None
    return _VERSION_BEHIND.match(behind) is not None or (
        version >= 0 and (version > host or is_upgrade)
    )


def _is_joined(text: str, start: int, end: int) -> bool:
    """Tell whether four numbers go on at their ends, or are single digits as of sections."""
    before, after = text[start - 1 : start] if start else "", text[end : end + 1]
    if before and (before in ".-/_" or (before.isalnum() and before.isascii())):
        return True
    is_longer = after.isascii() and after.isalnum()
    is_suffixed = after in {"-", "_", "+"} and text[end + 1 : end + 2].isalnum()
    is_single = all(len(octet) == 1 for octet in text[start:end].split("."))
    return is_longer or is_suffixed or is_single or goes_on(text, end, ".")


_MAC = compiled(
    r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){5}"
    r"|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}"
)
_MAC_WORD = re.compile(
    r"(?i)\b(?:mac|ether|hwaddr|bssid|device|physical|adapter|arp|wi-?fi|lan)\b|物理"
)


def find_macs(text: str, regions: Sequence[str] = ()) -> Iterator[Span]:  # noqa: ARG001
    """Yield addresses of network cards; those of groups and of nobody are none.

    Args:
        text: What was said, its digits folded.
        regions: Not used here.
    """
    for match in _MAC.finditer(text):
        start, end = match.span()
        value = match[0]
        before, after = text[start - 1 : start] if start else "", text[end : end + 1]
        digits = re.sub(r"[^0-9a-f]", "", value.lower())
        if before in {":", "-", "."} or (
            after in {":", "-", "."} and text[end + 1 : end + 2].isalnum()
        ):
            continue
        if not is_bounded(text, start, end) or int(digits[:2], 16) & 1 or len(set(digits)) == 1:
            continue
        # groups of decimal digits alone may be dates, times, sums or a row of numbers
        is_plain = value[2] == ":" or any(char.isalpha() for char in digits)
        if is_plain or _MAC_WORD.search(words_around(text, start, end, 40)[0]):
            yield Span(start, end, MAC)


_OTHER_DIGITS = rf"[{FOLDED_MARKS}]"
_SPACED_DIGITS = r"\d[\d \-\x{a0}\x{202f}\x{2007}\x{2011}]{11,}\d"
CARDS = Detector(CARD, f"{_SPACED_DIGITS}|{_OTHER_DIGITS}", find_cards)
IBANS = Detector(IBAN, r"[A-Za-z]{2}\d\d[ \-]?[A-Za-z0-9]{4}", find_ibans)
IPS = Detector(IP, r"\d\.\d+\.\d+\.\d|[0-9a-fA-F]::?[0-9a-fA-F]{1,4}:|::[0-9A-Fa-f]", find_ips)
MACS = Detector(
    MAC, r"(?:[0-9A-Fa-f]{2}[:\-]){5}|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}", find_macs
)
