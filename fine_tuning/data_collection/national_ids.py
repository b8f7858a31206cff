"""Numbers that states give to people: identity, social security, tax, passports.

A form that is found nowhere else counts by itself, with its check digits; any other needs a word
beside it. Behind such a word a number counts whatever its digits: people mistype.
"""

# ruff: noqa: RUF001 - marks and letters of other scripts are meant
from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import import_module

from stdnum.exceptions import ValidationError

from fine_tuning.data_collection.private_spans import (
    FOLDED_MARKS,
    ID,
    Detector,
    Span,
    compiled,
    group_span,
    is_bounded,
    words_around,
)


def _valid(module: str) -> Callable[[str], bool]:
    """Return the check of a module of ``stdnum``, which is read when it is used."""

    def check(value: str) -> bool:
        try:
            import_module(f"stdnum.{module}").validate(value)
        except ValidationError:
            return False
        return True

    return check


def _is_ssn(value: str) -> bool:
    """The Social Security Administration gives no 000, 666 and 9xx, no 00, no 0000."""
    area, group, serial = value.split("-")
    return area not in {"000", "666"} and area < "900" and group != "00" and serial != "0000"


def _is_nino(value: str) -> bool:
    """HMRC, NIM39110: letters of the prefix that are not in use."""
    return value[:2] not in {"BG", "GB", "NK", "KN", "TN", "NT", "ZZ"}


def _is_rrn(value: str) -> bool:
    """Korea: a date, then 1 to 8 for sex and century; newer numbers have no check digit."""
    century = 1900 if value[7] in "1256" else 2000
    try:
        date(century + int(value[:2]), int(value[2:4]), int(value[4:6]))
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Form:
    """How a number is written that needs no word beside it."""

    what: str
    pattern: str
    is_valid: Callable[[str], bool]


_FORMS = (
    _Form("US social security number", r"\d{3}-\d{2}-\d{4}", _is_ssn),
    _Form(
        "UK national insurance number",
        r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] \d\d \d\d \d\d [A-D]",
        _is_nino,
    ),
    _Form(
        "French social security number",
        r"[12] \d\d [01]\d [0-9][0-9AB] \d{3} \d{3} \d\d",
        _valid("fr.nir"),
    ),
    _Form("Spanish DNI", r"\d{8}-[A-HJ-NP-TV-Z]", _valid("es.dni")),
    _Form("Spanish NIE", r"[XYZ]-?\d{7}-?[A-HJ-NP-TV-Z]", _valid("es.nie")),
    _Form(
        "Italian fiscal code",
        r"(?i:[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z])",
        _valid("it.codicefiscale"),
    ),
    _Form("Brazilian CPF", r"\d{3}\.\d{3}\.\d{3}-\d\d", _valid("br.cpf")),
    _Form("Chinese resident number", r"[1-9]\d{16}[\dXx]", _valid("cn.ric")),
    _Form("Korean resident number", r"\d{6}-[1-8]\d{6}", _is_rrn),
    _Form("Swiss AHV number", r"756\.\d{4}\.\d{4}\.\d\d", _valid("ch.ssn")),
    _Form("Mexican CURP", r"[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z\d]\d", _valid("mx.curp")),
    _Form("Chilean RUT", r"\d{1,2}\.\d{3}\.\d{3}-[\dKk]", _valid("cl.rut")),
    _Form("Thai identity number", r"[1-8]-\d{4}-\d{5}-\d\d-\d", _valid("th.pin")),
    _Form("Russian SNILS", r"\d{3}-\d{3}-\d{3} \d\d", lambda value: value[:3] != "000"),
    _Form("Finnish personal code", r"\d{6}[+\-A]\d{3}[0-9A-FHJ-NPR-Y]", _valid("fi.hetu")),
)
_STRONG = compiled("|".join(f"(?P<F{i}>{form.pattern})" for i, form in enumerate(_FORMS)))
_NOT_ID = re.compile(
    r"(?i)\b(?:part|parts|item|order|orders|art|article|sku|model|isbn|serial|ticket"
    r"|invoice|version"
    r"|tel|phone|cas|score|code|product|kundennummer|customer|case|tracking|flight)\b[^\d\n]{0,16}$"
)

_WORDS = (
    r"ssn|social security(?: (?:number|no))?|social insurance number|sin number|itin|ein"
    r"|tax ?(?:payer)? ?(?:id|number)|tin"
    r"|national (?:id(?:entity)?|insurance)(?: (?:number|no|card))?|nino|ni number"
    r"|nhs(?: number| no)?|identity (?:card|number)|id ?card"
    r"|passport|driver'?s? licen[cs]e|driving licen[cs]e|medicare|resident (?:number|id)"
    r"|personal (?:number|id|code)"
    r"|steuer-?id\w*|steuer-?identifikationsnummer|steuernummer|idnr|idnr\."
    r"|personalausweis\w*|ausweisnummer|ausweis(?:nr)?|reisepass\w*|pass-?nr|passnummer"
    r"|sozialversicherungsnummer|versichertennummer|versicherungsnummer"
    r"|rentenversicherungsnummer|sv-?nummer|ahv(?:-?nummer)?|führerschein\w*"
    r"|nir|sécu|sécurité sociale|num[ée]ro fiscal|passeport"
    r"|carte (?:nationale )?d'identité|cni|permis de conduire"
    r"|dni|nie|nif|cif|curp|rut|cuit|cuil|c[ée]dula|pasaporte|documento(?: de identidad)?"
    r"|seguridad social|licencia de conducir"
    r"|codice fiscale|c\.f\.|passaporto|carta d'identità|patente|tessera sanitaria"
    r"|cpf|rg|nit|passaporte|bilhete de identidade|cart[ãa]o de cidad[ãa]o|cnh|t[íi]tulo de eleitor"
    r"|bsn|burgerservicenummer|paspoort\w*|rijbewijs\w*|identiteitskaart"
    r"|pesel|paszport\w*|dow[óo]d(?:u)?(?: osobist\w+)?|numer dowodu|nip"
    r"|aadhaar|aadhar|pan(?: card| number)?|voter id|personnummer|personnr|cpr(?:-nummer)?"
    r"|fødselsnummer|henkilötunnus"
    r"|tckn|tc kimlik(?: no)?|kimlik(?: no| numara\w*)?|pasaport\w*|rodné číslo|cnp|nric"
    r"|fin|hkid|emirates id|iqama"
)
_EAST = (
    r"(?i:паспорт[а-я]*|снилс|(?:^|[^а-я])инн|удостоверени[а-я]+|полис[а-я]*|fødselsnummer"
    r"|č[íi]slo (?:op|pasu)|ö-nummer)|"
    r"身份证号码?|身份證字號|身份证|身分證|护照号?码?|護照|社保号|マイナンバー|個人番号|パスポート(?:番号)?|旅券番号|運転免許証(?:番号)?|免許証番号"
    r"|在留カード(?:番号)?"
    r"|주민등록번호|주민번호|여권번호|여권|운전면허(?:번호)?|외국인등록번호|เลขบัตรประชาชน|บัตรประชาชน"
    r"|เลขประจำตัวประชาชน|หนังสือเดินทาง|พาสปอร์ต"
    r"|رقم الهوية|الهوية الوطنية|بطاقة الهوية|جواز السفر|جواز سفري|رقم الجواز|الرقم القومي"
    r"|आधार|पासपोर्ट|पैन"
)
_LINK = (
    r"(?:[ \t:=.,#*_\"'`()（）：\[\]-]|(?i:\b(?:number|numbers|no|nos|nr|num|n[°ºo]|id|is|ist"
    r"|lautet|es|est|è|é|jest|to|my|mein|was|of"
    r"|card|code|the|número|numéro|numero|nummer|numer|are|mine|de|di|du|do|da|e)\b)|номер"
    r"|серия|и |n[°º]"
    r"|号码?|號碼?|番号|번호|कार्ड|是|は|为|為|은|는|이|가|คือ|เลขที่|หมายเลข|رقم|هو|نंबर|नंबर|संख्या|है|№){0,12}"
)
_VALUE = (
    r"(?P<value>\d\d ?\d\d,? (?:номер|№) ?\d{6}|(?:[A-Z]{1,3}[ \-]?|[a-z]{1,3})?\d[A-Za-z0-9]*"
    r"(?:[ .\-/][A-Za-z]{0,2}\d[A-Za-z0-9]*|[ .\-/][A-Z]\b|\(\d\))*"
    r"|[A-Z]{1,4}[A-Z0-9]*\d[A-Z0-9]*)"
)
_SAID = compiled(rf"(?:(?i:\b(?:{_WORDS}))|\bSIN|\bTFN|{_EAST}){_LINK}{_VALUE}")
_FEWEST_DIGITS, _FEWEST, _MOST = 3, 6, 24
_YEAR = re.compile(r"(?:19|20)\d\d(?:[ \-/.].*)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}")
_STOP = re.compile(r"\s(?=\d{1,2}[./]\d{1,2}[./]\d{2,4}|\d{1,2}\s(?:[a-z]{3,}|days))")


def find(text: str, regions: Sequence[str] = ()) -> Iterator[Span]:  # noqa: ARG001 - as all are
    """Yield identity numbers, by their form or by the word before them.

    Args:
        text: What was said, its digits folded.
        regions: Not used here.
    """
    for match in _STRONG.finditer(text):
        start, end = match.span()
        form = _FORMS[int(match.lastgroup[1:])]
        is_other = _NOT_ID.search(words_around(text, start, end, 40)[0])
        if _stands_alone(text, start, end) and form.is_valid(match[0]) and not is_other:
            yield Span(start, end, ID, form.what)
    for match in _SAID.finditer(text):
        start, end = group_span(match, "value")
        before = text[match.start() - 1 : match.start()] if match.start() else ""
        if before == "_" or (before.isalnum() and before.isascii()):
            continue
        stop = _STOP.search(text, start, end)
        end = stop.start() if stop else end
        if _is_said(text, start, end, match[0][: start - match.start()]):
            yield Span(start, end, ID, "identity number")


def _is_said(text: str, start: int, end: int, led: str) -> bool:
    """Tell whether what stands behind a word for identity numbers is one."""
    value = text[start:end]
    compact = re.sub(r"[^A-Za-z0-9]", "", value)
    digits = sum(map(str.isdigit, compact))
    if not _FEWEST <= len(compact) <= _MOST or digits < _FEWEST_DIGITS or _YEAR.fullmatch(value):
        return False
    if not re.search(r"[\s:=：#*\"'`(.-]$", led) and led.isascii():
        return False  # "pin123456", a name in a program
    after = text[end : end + 2]
    if (after[:1].isascii() and after[:1].isalnum()) or after[:1] in {"_", "%", "@"}:
        return False
    return not (after[:1] in {".", ","} and after[1:].isdigit())


def _stands_alone(text: str, start: int, end: int) -> bool:
    before, after = text[start - 1 : start] if start else "", text[end : end + 2]
    if not is_bounded(text, start, end) or before in {"-", ".", "/", "+", "#"}:
        return False
    return not (after[:1] in {"-", ".", "/"} and after[1:].isalnum())


_SHORT_WORDS = (
    "sin|tfn|itin|ein|tin|ni|nhs|id|nir|cni|dni|nie|nif|cif|rut|cui[tl]|rg|nit|cnh|nip"
    "|pan|sv|fin|cnp|c\\.f\\.|cf|tc|permis|patente"
    "|documento|numer|personal|resident|national|tax|carte|licencia|ahv|cpr|cpf|bsn"
    "|identity|licen[cs]e"
)
DETECTOR = Detector(
    ID,
    (
        r"\d{3}-\d\d-\d|[A-Z]{2} \d\d \d\d|[12] \d\d [01]\d|\d{7}-?[A-Z]|[A-Za-z]{6}\d\d[A-Za-z]\d"
        r"|\d{3}\.\d{3}\.\d|\d{17}|\d{6}[\-+A]\d{3}|756\.\d|[A-Z]{4}\d{6}[HM]|\d\.\d{3}\.\d{3}-"
        r"|\d-\d{4}-\d{5}-|\d{3}-\d{3}-\d{3} "
        r"|(?i:\b(?:ssn|social (?:sec|ins)|national ins|nino|passport|driver'?s? lic|driving l"
        r"|medicare|steuer|idnr|ausweis|personalausw"
        r"|reisepass|pass-?n|sozialv|versicher|rentenv|führers|sécu|numéro fis|numero fis"
        r"|passeport|curp|c[ée]dula|pasaport|seguridad s"
        r"|codice f|carta d'i|carte d'i|carte nationale|permis de c|licencia de c"
        r"|passaport|tessera s|bilhete|cartão de c|cartao de c|título de|titulo de|burgerserv"
        r"|paspoort|rijbew"
        r"|identiteit|pesel|paszpor|dow[óo]d|aadha|voter id|personn|henkil|kimlik|tckn|rodné"
        r"|nric|hkid|emirates id|iqama)"
        r"|паспорт|снилс|инн|удостов|полис|fødselsn|č[íi]slo)"
        r"|身份证|身份證|身分證|护照|護照|社保|マイナ|個人番|パスポ|旅券|免許|在留|주민|여권|운전면|외국인"
        r"|บัตรป|เลข|หนังสือเดิน|พาสป|الهوية|جواز|القومي|आधार|पासप|पैन"
        rf"|\b(?i:{_SHORT_WORDS})\b[ :=.,#*()\"'`\-]*(?i:(?:is|no|nr|n[°º]|number|card|id"
        rf"|kimlik|identification|es|é|ist|to|fiscal"
        rf"|dowodu)[ :=.#\"'`]*)*[A-Z]{{0,6}}[ \-]?[\d{FOLDED_MARKS}]"
    ),
    find,
)
