"""Files in UTF-16 or a code page: read as what they are, and the report says so."""

# ruff: noqa: E501, RUF001 - texts of other scripts are the point

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fine_tuning.core.errors import DataError
from fine_tuning.data_collection.importers.catalogue import read_file
from tests.real_inputs.pipeline import cleaned, workbench

pytestmark = pytest.mark.real_input("legacy encodings")

ASKED_AND_REPLIED = {
    "fr": ("Où est la bibliothèque près de l’école ?", "Elle est située à côté de la mairie — c’est tout près."),
    "de": ("Wie heißt der höchste Berg in Österreich?", "Der Großglockner ist mit 3798 Metern der höchste."),
    "da": ("Hvor ligger København, og hvad spiser man der?", "Byen ligger ved Øresund, og man spiser smørrebrød."),
    "es": ("¿Dónde está mañana el niño pequeño?", "El niño estará aquí con su compañero."),
    "cs": ("Jaké je hlavní město České republiky?", "Hlavním městem je Praha, leží na řece Vltavě."),
    "pl": ("Jaka jest stolica Polski i gdzie leży?", "Stolicą jest Warszawa, która leży nad Wisłą."),
    "tr": ("Türkiye'nin başkenti neresidir, biliyor musun?", "Başkent Ankara'dır, en kalabalık şehir İstanbul'dur."),
    "ru": ("Какая столица Франции и где она стоит?", "Столица Франции - Париж, он стоит на Сене."),
    "el": ("Ποια είναι η πρωτεύουσα της Ελλάδας;", "Η πρωτεύουσα είναι η Αθήνα, στην Αττική."),
    "he": ("מהי בירת צרפת ואיפה היא נמצאת?", "בירת צרפת היא פריז, על גדות הסן."),
    "ar": ("ما هي عاصمة فرنسا وأين تقع؟", "عاصمة فرنسا هي باريس على ضفاف السين."),
    "th": ("เมืองหลวงของฝรั่งเศสคืออะไร", "เมืองหลวงของฝรั่งเศสคือปารีสริมแม่น้ำแซน"),
    "ja": ("富士山の高さはどのくらいですか？", "富士山の高さは三千七百七十六メートルです。"),
    "zh": ("法国的首都是哪里？请用一句话回答。", "法国的首都是巴黎，位于塞纳河畔。"),
    "tw": ("台灣最高的山是什麼？請用一句話回答。", "台灣最高的山是玉山，海拔三千九百五十二公尺。"),
    "ko": ("한국의 수도는 어디입니까?", "한국의 수도는 서울이며 한강이 흐릅니다."),
}  # fmt: skip
CASES = [
    ("fr", "cp1252", "Windows-1252"), ("de", "latin-1", "Windows-1252"), ("da", "latin-1", "Windows-1252"),
    ("es", "cp1252", "Windows-1252"), ("cs", "cp1250", "Windows-1250"), ("pl", "cp1250", "Windows-1250"),
    ("tr", "cp1254", "Windows-1254"), ("ru", "cp1251", "Windows-1251"), ("ru", "koi8-r", "KOI8-R"),
    ("el", "cp1253", "Windows-1253"), ("he", "cp1255", "Windows-1255"), ("ar", "cp1256", "Windows-1256"),
    ("th", "cp874", "Windows-874"), ("ja", "shift_jis", "Shift JIS"), ("ja", "euc_jp", "EUC-JP"),
    ("zh", "gbk", "GBK"), ("tw", "big5", "Big5"), ("ko", "euc-kr", "EUC-KR"),
    ("fr", "utf-16", "UTF-16"), ("ru", "utf-16-le", "UTF-16 without"), ("ja", "utf-16-be", "UTF-16 (big"),
]  # fmt: skip


@pytest.mark.parametrize(("language", "encoding", "title"), CASES)
def test_a_table_and_a_list_of_messages(
    tmp_path: Path, language: str, encoding: str, title: str
) -> None:
    asked, replied = ASKED_AND_REPLIED[language]
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": replied}]
    path = tmp_path / "chat.json"
    path.write_bytes(json.dumps(turns, ensure_ascii=False).encode(encoding))
    assert f"read as {title}" in read_file(path).reason
    table = tmp_path / "chat.csv"
    table.write_bytes(f'prompt;response\r\n"{asked}";"{replied}"\r\n'.encode(encoding))
    assert f"read as {title}" in read_file(table).reason
    for file in (path, table):
        (item,) = list(read_file(file))
        conversation = item.conversation  # type: ignore[union-attr]
        assert conversation is not None
        assert [m.text for m in conversation.messages] == [asked, replied]


def test_the_way_to_what_is_trained_on(tmp_path: Path) -> None:
    asked, replied = ASKED_AND_REPLIED["ru"]
    path = tmp_path / "chat.jsonl"
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": replied}]
    path.write_bytes(json.dumps({"messages": turns}, ensure_ascii=False).encode("cp1251"))
    assert cleaned(tmp_path / "home", path).learnt == [[replied]]


def test_damage_in_utf_8_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    turns = [{"role": "user", "content": "Où ?"}, {"role": "assistant", "content": "Là-bas."}]
    good = json.dumps({"messages": turns}, ensure_ascii=False).encode()
    path.write_bytes(good + b"\n" + good.replace(b"L\xc3\xa0", b"L\xff\xa0") + b"\n")
    report = workbench(tmp_path / "home").data.importer.import_file(path)
    assert "read as" not in report.reason
    assert (report.num_new, report.num_quarantined) == (1, 1)
    assert "UTF-8" in report.skipped[0]


def test_a_page_that_ends_to_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chat.csv"
    asked, replied = ASKED_AND_REPLIED["ja"]
    rows = f"prompt;response\n{asked};{replied}\n" * 2000
    path.write_bytes(rows.encode("shift_jis") + b"\x81")
    with pytest.raises(DataError, match="Shift JIS"):
        list(read_file(path))
