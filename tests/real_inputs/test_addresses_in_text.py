"""Addresses of web and mail end where they end: in code, in scripts without spaces, in quotes."""

# ruff: noqa: RUF001 - marks of other scripts are meant

from __future__ import annotations

from pathlib import Path

import pytest

from fine_tuning.data_collection.data_cleaner import DataCleaner
from tests.real_inputs.pipeline import INPUTS, cleaned

pytestmark = pytest.mark.real_input("address inside text")


def test_chats_keep_what_stands_behind_an_address(tmp_path: Path) -> None:
    found = cleaned(tmp_path, INPUTS / "url-eats-text" / "in.jsonl")
    replies = [reply for record in found.learnt for reply in record]
    assert "requests.get('<URL_1>').json()" in replies[0]
    assert "fetch('<URL_1>').then(r => r.json()).then(d => show(d));" in replies[1]
    assert replies[2:] == [
        "详情请见<URL_1>，然后点击登录按钮，再输入验证码。",
        "詳細は<URL_1>をご覧ください。その後ログインします。",
        "请发邮件至<EMAIL_1>谢谢",
        "See <URL_1>—it explains the rest.",
    ]


TEXTS = [
    ("He said “https://example.com/a” and left.", "He said “<URL_1>” and left."),
    ("Voir «https://example.com/a», puis cliquez.", "Voir «<URL_1>», puis cliquez."),
    ("Open https://example.com/a…then wait", "Open <URL_1>…then wait"),
    ("[链接](https://example.com/a)，谢谢", "[链接](<URL_1>)，谢谢"),
    ("（https://example.com/a）が公式サイトです", "（<URL_1>）が公式サイトです"),
    ("เว็บไซต์https://example.com/aดูได้ที่นี่", "เว็บไซต์<URL_1>ดูได้ที่นี่"),
    ("https://example.com/a에서 확인하세요", "<URL_1>에서 확인하세요"),
    ("زوروا https://example.com/a، ثم سجلوا.", "زوروا <URL_1>، ثم سجلوا."),
    ("см. https://ru.wikipedia.org/wiki/Москва, там", "см. <URL_1>, там"),
    ("fetch(`https://api.example.com/${id}`)", "fetch(`<URL_1>${id}`)"),
    ('f"https://api.example.com/{name}/x"', 'f"<URL_1>{name}/x"'),
    ("<a href='https://example.com/x?a=1'>x</a>", "<a href='<URL_1>'>x</a>"),
    ("**https://example.com/x** is it", "**<URL_1>** is it"),
    ("([a](https://example.com/a_(b)))", "([a](<URL_1>))"),
    ("https://example.com/a,https://example.com/b", "<URL_1>,<URL_2>"),
    ("&quot;https://example.com&quot;", "&quot;<URL_1>&quot;"),
    ("用户admin@example.com登录", "用户<EMAIL_1>登录"),
    ("почта: иван@пример.рф.", "почта: <EMAIL_1>."),
    ("git@github.com:user/repo.git", "git@github.com:user/repo.git"),
    ("name [at] example [dot] com", "<EMAIL_1>"),
    ("john dot doe at example dot com", "<EMAIL_1>"),
    ("name(at)example.org", "<EMAIL_1>"),
    ("hanako＠example.jp まで", "<EMAIL_1> まで"),
    ("mailto:john@example.com?subject=x", "mailto:<EMAIL_1>?subject=x"),
    ("look at google dot com", "look at google dot com"),
    ("y = a @ w.T + b@c", "y = a @ w.T + b@c"),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_an_address_alone_is_replaced(text: str, expected: str) -> None:
    assert DataCleaner().normalize_text(text) == expected
