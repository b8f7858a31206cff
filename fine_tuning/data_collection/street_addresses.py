"""Addresses of houses: a street with its number, then postcode and town if they follow.

Conservative: a street is known by its word (Street, rue, Calle, -straße, ul., 号) and written with
a capital letter; words that are also something else need a town, a postcode or a word before them.
"""

# ruff: noqa: RUF001 - marks and letters of other scripts are meant
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from fine_tuning.data_collection.private_spans import (
    ADDRESS,
    Detector,
    Span,
    compiled,
    group_span,
    joined_lines,
    words_around,
)

_CAPITAL = r"\p{Lu}[\pL'’.\-]*"
_NUMBER = r"\d{1,4}(?: ?[a-zA-Z]\b)?(?: ?[-–/] ?\d{1,4}[a-zA-Z]?\b)?"
_SURE = (
    r"Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Boulevard|Blvd|Terrace|Crescent|Highway|Hwy|Parkway"
    r"|Pkwy|Mews|Alley|Turnpike"
)
_DOUBTFUL = (
    r"Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Way|Close|Circle|Cir|Trail|Row|Grove|Gardens|Loop|Hill"
)
_ROMANCE = (
    r"(?:[Rr]ue|[Aa]venue|[Aa]v\.|[Bb]oulevard|[Bb]d\.?|[Cc]hemin|[Ii]mpasse|[Aa]llée"
    r"|[Qq]uai|[Cc]ours|[Pp]lace|[Rr]oute|[Ss]quare|[Pp]assage)"
    r"(?: (?:de|du|des|la|le|les|l'|d'|et))* ?(?:(?:l'|d'|de l'|L'|D')?"
    + _CAPITAL
    + r"|[a-z]+ed? )"
    r"(?:[ \-](?:(?:de|du|des|la|le|les|et|au|aux|en) )*(?:l'|d')?" + _CAPITAL + r"){0,4}"
)
_LATIN_STREET = (
    r"(?:Calle|C/|Avenida|Avda\.?|Av\.|Plaza|Paseo|Carrer|Ronda|Camino|Carretera|Via|Viale"
    r"|Piazza|Corso"
    r"|Vicolo|Piazzale|Largo|Rua|R\.|Travessa|Praça|Alameda|Estrada|calle|avenida|rua|via"
    r"|viale|piazza|corso|plaza|paseo)"
    r" ?(?:(?:de|del|della|dello|dei|degli|delle|da|do|dos|das|di|la|las|los|el|l'|dell')[ ]?){0,3}"
    + _CAPITAL
    + r"(?: (?:(?:de|del|della|dei|da|do|dos|das|di|la|las|los|e|y|[IVX]+) ){0,2}"
    + _CAPITAL
    + r"){0,4}"
)
_GERMAN_END = (
    r"(?:stra(?:ß|ss)e|str\.|weg|platz|allee|gasse|ring|damm|ufer|chaussee|steig|pfad|stieg|graben"
    r"|straat|laan|plein|gracht|kade|singel|dijk|steeg|gatan|vägen|gade|vej|veien|gata|katu|tie)"
)
_GERMAN = (
    rf"(?:(?:Am|An der|Auf der|In der|Im|Zum|Zur|Alte|Neue|Große|Kleine|Obere|Untere|Lange"
    rf"|De|Het|Van|Oude|Nieuwe) )?"
    rf"(?:\p{{Lu}}[\pL\-]*{_GERMAN_END}"
    rf"|\p{{Lu}}[\pL\-]*[ \-](?:\p{{Lu}}[\pL\-]*[ \-]){{0,2}}(?:Stra(?:ß|ss)e|Str\.|Weg"
    rf"|Platz|Allee|Gasse|Ring|Damm|Ufer|Chaussee))"
)
_SLAVIC = (
    r"(?:\b(?:ul|al|pl|os)\. (?:\p{Lu}[\pL.\-]*|\d+)(?: (?:\p{Lu}"
    r"|[a-ząćęłńóśźż]{1,3} \p{Lu})[\pL.\-]*){0,3}"
    r"|(?:ул\.|улица|улице|ул|проспект|просп\.|пр-т|пр\.|переулок|пер\.|наб\.|набережная"
    r"|шоссе|бульвар|б-р|пл\.|площадь) ?\p{Lu}[\pL.\-]*(?: \p{Lu}?[\pL.\-]+){0,2}"
    r"|\p{Lu}[\pL.\-]+ (?:улица|проспект|переулок|шоссе|бульвар|ул\.|пр\.|набережная))"
)
_TOWN = (
    rf"{_CAPITAL}(?:[ \-](?:(?:am|an der|upon|sur|sous|de|del|la|le|di|do|da|den|der|aan) )?"
    rf"(?:\p{{Lu}}[\pL'’.\-]*)){{0,3}}"
)
_STREET = compiled(
    rf"(?P<EN>\b\d{{1,5}}(?:[A-Za-z]|[-/]\d{{1,4}})?,? (?:(?:N|S|E|W|NE|NW|SE|SW|North"
    rf"|South|East|West)\.? )?"
    rf"(?:(?:\p{{Lu}}[\pL'’\-]*|St\.|\d{{1,3}}(?:st|nd|rd|th)) ){{1,3}}(?:(?P<sure>{_SURE})"
    rf"|{_DOUBTFUL})\b\.?(?: (?:NE|NW|SE|SW|N|S|E|W)\b)?)"
    rf"|(?P<FR>\b\d{{1,4}}(?: ?(?:bis|ter|quater|[A-D]))?,? {_ROMANCE})"
    rf"|(?P<ES>\b{_LATIN_STREET},? (?:(?:n[.º°o]{{1,2}}|num\.|número|nº"
    rf"|civico) ?)?\d{{1,5}}\b(?:[A-Za-z]\b)?)"
    r"|(?P<ST>\bStra(?:ß|ss)e (?:des|der|am) (?:\d{1,2}\. )?\p{Lu}\pL+ \d{1,4})"
    r"|(?P<PO>\b(?:P\.? ?O\.? Box|Postfach|Apartado|Casella Postale"
    r"|BP) \d{1,6}(?:, \p{Lu}\pL+(?: \p{Lu}\pL+)?, [A-Z]{2} \d{5}|, \d{5} \p{Lu}\pL+)?)"
    r"|(?P<TH>\d{1,4}(?:/\d{1,4})? ?(?:หมู่ ?\d{1,2} ?)?(?:ถนน"
    r"|ซอย)[ก-๙]+(?: [ก-๙]+){0,4}(?: \d{5})?)"
    r"|(?P<AR>(?:شارع|طريق) [\x{621}-\x{64a}]+(?: [\x{621}-\x{64a}]+){0,3}،? (?:رقم )?\d{1,4})"
    rf"|(?P<DE>\b{_GERMAN} {_NUMBER})"
    r"|(?P<GE>(?:(?:Am|An der|An den|Auf dem|Auf der|Im|In der|In den|Zum|Zur|Unter den"
    r"|Hinter der|Vor dem|Beim|Het|De|La|Le) )?"
    rf"\p{{Lu}}[\pL’'\-]+ \d{{1,4}} ?[a-z]?,\s(?:D-|F-|I-)?(?:\d{{5}}|\d{{4}} [A-Z]{{2}}) {_TOWN})"
    rf"|(?P<PL>{_SLAVIC},? (?:(?:д\.|дом|nr"
    rf"|м\.) ?)?\d{{1,4}}[A-Za-zА-Яа-я]?\b(?:/\d{{1,4}})?(?: m\. ?\d{{1,4}})?)"
    r"|(?P<JP>(?:〒\d{3}-\d{4} ?)?(?:東京都|北海道|京都府|大阪府"
    r"|[\x{4e00}-\x{9fff}]{2,3}県)[\x{4e00}-\x{9fff}\x{3041}-\x{30ff}]{1,20}"
    r"(?:\d{1,4}(?:丁目|番地?|号|-)){0,3}\d{1,4}(?:丁目|番地?|号)?)"
    r"|(?P<CN>(?:[\x{4e00}-\x{9fff}]{2,8}(?:省|市|自治区))?(?:[\x{4e00}-\x{9fff}]{1,6}(?:市|区|县|區|縣|镇))*"
    r"[\x{4e00}-\x{9fff}]{1,8}(?:路|街|大道|巷|弄"
    r"|胡同)(?:[一二三四五六七八九十东西南北中]段)?\d{1,5}(?:弄\d{1,4})?(?:号|號)(?:\d{1,3}(?:号楼|栋|楼|室|樓|单元))*)"
    r"|(?P<KR>(?:(?:서울|부산|대구|인천|광주|대전|울산|세종|경기|강원|충북|충남|전북|전남|경북|경남"
    r"|제주) )?(?:[\x{ac00}-\x{d7a3}]{1,5}(?:특별시|광역시|시|도|군"
    r"|구) ?){1,3}[\x{ac00}-\x{d7a3}\d]{1,10}(?:로|길) ?\d{1,4}(?:-\d{1,3})?(?:번지"
    r"|번길 ?\d{1,4})?)"
)
_REST = compiled(
    r"(?:,? (?:Apt|Apartment|Unit|Suite|Ste|Flat|Floor|Fl|#)\.? ?#?\w{1,5}\b|, ?(?:кв\."
    r"|квартира|корп\.|стр\.) ?\d{1,4}"
    r"|,? ?\d{1,2}[.º°ªo]{1,2}(?: ?(?:[A-Za-z]|Dto|dto|Esq|esq|Izq|izq|Izda|Dcha"
    r"|dcha)\b\.?)?|,? (?:piso|planta|andar|apto\.?|ap\.|int\.|scala) ?\w{1,4}\b){0,2}"
    rf"(?:[,\n]\s?(?:(?:D-|A-|CH-|F-)?\d{{5}}(?:-\d{{3,4}})?"
    rf"|\d{{4}}(?:-\d{{3}})?(?: ?[A-Z]{{2}})?|\d{{2}}-\d{{3}}|\d{{3}} \d\d"
    rf"|\d{{6}}),? {_TOWN}(?:,? [A-Z]{{2}}\b)?"
    rf"|, ?{_TOWN}(?:, ?{_TOWN})?,? (?:[A-Z]{{2}},? )?(?:[A-Z]{{1,2}}\d[A-Z\d]? ?\d[A-Z]{{2}}"
    rf"|[A-Z]\d[A-Z] ?\d[A-Z]\d|\d{{5}}(?:-\d{{3,4}})?|\d{{4}}|\d{{6}})\b"
    rf"|, ?(?:[A-Z]{{1,2}}\d[A-Z\d]? \d[A-Z]{{2}})\b"
    rf"|,? (?:\d{{5}}|\d{{4}} ?[A-Z]{{2}}|\d{{2}}-\d{{3}}) \p{{Lu}}[\pL\-]+"
    rf"|(?P<town>, ?{_TOWN}(?:, ?[A-Z]{{2}}\b)?))?"
)
_BEFORE = compiled(
    r"(?:(?:г\.|город) ?\p{Lu}[\pL\-]+, ?|\d{6}, ?(?:г\. ?)?\p{Lu}[\pL\-]+, ?"
    r"|\d{5}(?:-\d{3})? \p{Lu}[\pL\-]+, ?)$"
)
_WORD = re.compile(
    r"(?i)\b(?:address\w*|live[sd]?|living|located|home|house|deliver\w*|ship\w*|moved"
    r"|mail|send|resid\w+|office|at"
    r"|adress\w*|wohn\w*|anschrift|adresse|habite|domicil\w*|direcci[óo]n|vivo|vive"
    r"|indirizzo|abito|endereço|moro"
    r"|adres\w*|woon\w*|mieszka\w*|адрес\w*|жив\w+|прожива\w+)\b|住所|地址|住在|주소"
)
_NO_TOWN = re.compile(
    r"^, ?(?:and|but|or|then|so|I|We|He|She|It|The|You|They|This|That|Please|If|Und|Aber"
    r"|Et|Mais|Y|Pero)\b"
)
_SAID_EAST = re.compile(
    r"(?:我们?|他|她|家|现|目前|公司)*(?:住在?|居住在|位于|坐落于|地址[是为]?|寄[到至]|送[到至]|发[到至]|搬到|在|到|去|是)+"
)
_PLURAL = re.compile(r"\s(?!is\b|was\b|has\b|its\b|as\b|this\b|does\b|lies\b|plus\b)[a-z]+s\b")
_SURE_END = re.compile(
    r"(?i)(?:stra(?:ß|ss)e|str\.|gasse|allee|chaussee|straat|gracht|gatan|vägen|veien) \d"
)
_YEAR = re.compile(r"(?:19|20)\d\d\b")
_AT_TIME = re.compile(
    r"(?i)\b(?:in|since|by|until|till|from|of|the|around|before|after|late|early)\s$"
)
_MOST_REST = 160
_COUNTED = re.compile(r"(?i)(?:top|best|first|last|the|these|those|all)\s$")


def find(text: str, regions: Sequence[str] = ()) -> Iterator[Span]:  # noqa: ARG001 - as all are
    """Yield addresses of houses.

    Args:
        text: What was said, its digits folded.
        regions: Not used here.
    """
    for match in _STREET.finditer(text):
        start, end = match.span()
        rest = _REST.match(text[end : end + _MOST_REST])
        stop, has_place = end, False
        if rest is not None and rest.end() > 0:
            stop, town = end + rest.end(), group_span(rest, "town")[0]
            has_place = town < 0
            if town >= 0 and _NO_TOWN.match(rest["town"]):
                stop = end + town
        ahead = words_around(text, start, end, 48)[0]
        if _is_one(match, ahead, has_place=has_place):
            said = _SAID_EAST.match(match[0])
            start += len(said[0]) if said else 0
            lead = _BEFORE.search(ahead)
            begin = start - len(lead[0]) if lead else start
            yield Span(begin, _without_stop(text, start, stop), ADDRESS)


def _is_one(match: re.Match[str], ahead: str, *, has_place: bool) -> bool:
    """Tell whether a street's match is an address, by how sure its form is."""
    if ahead[-1:].isalnum() and ahead[-1:].isascii():
        return False
    is_said = bool(_WORD.search(ahead[-32:]))
    if has_place or is_said:
        return match["EN"] is None or match["sure"] is None or not _COUNTED.search(ahead)
    if match["EN"] is not None:
        return match["sure"] is not None and not _is_talk(match, ahead)
    if match["FR"] is not None or match["ES"] is not None:
        number = re.search(r"\d+", match[0])
        return number is not None and not re.fullmatch(r"(?:19|20)\d\d", number[0])
    return match["DE"] is None or _SURE_END.search(match[0]) is not None


def _is_talk(match: re.Match[str], ahead: str) -> bool:
    """Tell whether a number and a street's name are about something else: "1990 Wall Street"."""
    is_year = _YEAR.match(match[0]) is not None and _AT_TIME.search(ahead) is not None
    behind = match.string[match.end() : match.end() + 24]
    return is_year or bool(_COUNTED.search(ahead) or _PLURAL.match(behind))


def _without_stop(text: str, start: int, end: int) -> int:
    """Leave the full stop of a sentence behind an address."""
    if text[end - 1 : end] in {".", ","} and not re.search(
        r"(?:St|Rd|Ave|Blvd|Str|str)\.$", text[start:end]
    ):
        return end - 1
    return end


DETECTOR = Detector(
    ADDRESS,
    joined_lines(r"""
    \d[\w/\-]*,? (?:\p{Lu}\pL+[ .]|[NSEW]{1,2}\.? |\d+(?:st|nd|rd|th) )
    |\d ?[A-D]?,? (?:(?:bis|ter|quater),? )?(?:rue
    |avenue|av\.|bd|chemin|impasse|quai|cours|place|route|square|passage|boulevard
    |allée) |(?i:stra(?:ß
    |ss)e|str\.|weg|platz|allee|gasse|ring|damm|ufer|chaussee|steig|pfad|stieg|graben|straat
    |laan|plein|gracht|kade|singel|dijk|steeg|gatan|vägen|gade|vej|veien|gata|katu|tie) \d
    |\b[Cc]/|\b[Aa]v\. |\b(?i:calle|avenida|avda|plaza|paseo|carrer|ronda|camino|carretera|viale
    |piazza|corso|largo|rua|travessa|praça|alameda|estrada)\b|\b[Vv]ia (?:de[a-z]* )?\p{Lu}
    |\b(?:ul|al|pl|os)\. |ул
    |(?i:stra(?:ß|ss)e) (?:des|der|am) |ถนน|شارع|طريق|(?i:box|postfach|apartado|\bbp) \d
    |[\pL ]\d{1,4} ?[a-z]?,\s(?:D-)?(?:\d{5}|\d{4} [A-Z]{2}) \p{Lu}|просп|пр-т|переул|шоссе
    |бульв|площад|набер|[路街道巷弄同段]\d|[都道府県]\pL|[로길] ?\d"""),
    find,
)
