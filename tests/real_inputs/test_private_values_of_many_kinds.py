"""Identity numbers, streets, passwords in other languages, keys by name; and what is none."""

# ruff: noqa: RUF001 - marks of other scripts are meant

from __future__ import annotations

import pytest

from fine_tuning.data_collection.data_cleaner import DataCleaner

pytestmark = pytest.mark.real_input("private values of many kinds")

TEXTS = [
    ("My SSN: 078-05-1120", "My SSN: <ID_1>"),
    ("My SSN is 123 45 6789", "My SSN is <ID_1>"),
    ("Steuer-ID 12 345 678 901", "Steuer-ID <ID_1>"),
    ("passport C01X00T47", "passport <ID_1>"),
    ("Personalausweis L01X00T47", "Personalausweis <ID_1>"),
    ("身份证号 11010519491231002X", "身份证号 <ID_1>"),
    ("Mi DNI es 12345678Z", "Mi DNI es <ID_1>"),
    ("主民 주민등록번호는 900101-1234567입니다", "主民 주민등록번호는 <ID_1>입니다"),
    ("My address is 221B Baker Street, London NW1 6XE", "My address is <ADDRESS_1>"),
    ("Musterstraße 12, 10115 Berlin", "<ADDRESS_1>"),
    ("住所：東京都千代田区1-1", "住所：<ADDRESS_1>"),
    ("J'habite 12 rue de la Paix, 75002 Paris.", "J'habite <ADDRESS_1>."),
    ("00491711234567", "<PHONE_1>"),
    ("电话：13812345678，张三", "电话：<PHONE_1>，张三"),
    ("電話は03-1234-5678です", "電話は<PHONE_1>です"),
    ("my number is 98765 43210", "my number is <PHONE_1>"),
    ("MAC 3C:22:FB:11:3A:B7", "MAC <MAC_1>"),
    ("my pin is 4821", "my pin is <SECRET_1>"),
    ("card 4111111111111111 exp 12/26 cvv 123", "card <CARD_1> exp 12/26 cvv <SECRET_1>"),
    ("mot de passe : Soleil123!", "mot de passe : <SECRET_1>"),
    ("contraseña: Luna2024!", "contraseña: <SECRET_1>"),
    ("密码：Abc12345", "密码：<SECRET_1>"),
    ("パスワードはAbc12345です", "パスワードは<SECRET_1>です"),
    ("비밀번호: Abc12345", "비밀번호: <SECRET_1>"),
    ("كلمة المرور هي Ahmed2020", "كلمة المرور هي <SECRET_1>"),
    ("my password is hunter", "my password is <SECRET_1>"),
    ("my password: correcthorsebatterystaple", "my password: <SECRET_1>"),
    ('password="correct horse battery staple 9"', 'password="<SECRET_1>"'),
    ("login: anna / Sonne2024!", "login: anna / <SECRET_1>"),
    ("AZURE_KEY=abcdefghijklmnopqrstuvwxyz0123456789ABCD==", "AZURE_KEY=<SECRET_1>"),
    ("ENCRYPTION_KEY=Zm9vYmFyMTIzNDU2Nzg5MA", "ENCRYPTION_KEY=<SECRET_1>"),
    ("mysql -u root -pS3cretPw! db", "mysql -u root -p<SECRET_1> db"),
    ("curl -u alice:wonderland x.example", "curl -u alice:<SECRET_1> x.example"),
    ("Authorization: Basic YWxhZGRpbjpvcGVuc2VzYW1l", "Authorization: Basic <SECRET_1>"),
    ("xai-abcdefghijklmnopqrstuvwxyz1234567890", "<SECRET_1>"),
    ("r8_abcdefghijklmnopqrstuvwxyz1234567890", "<SECRET_1>"),
    ("sk-abc123abc123abc123abc123", "<SECRET_1>"),
]
HARMLESS = [
    "Upgrade from 5.15.167.4 to 6.6.87.2 of the WSL kernel",
    "Chrome 126.0.6478.127 is out, pip install foo==12.34.56.78",
    "password is required, the password must be 8 characters",
    "What is a good password? My password is compromised.",
    "def f(password: str, token: str = os.environ['TOKEN']): pass",
    "password = getpass(); secret_key = settings.SECRET_KEY",
    "The secret is consistency1 and time; the bearer of bad news",
    "Das Passwort ist falsch. le mot de passe est obligatoire. 密码错误",
    "pin 13 of the Arduino, exit code 1, error code 500123",
    "I lost my passport in 2019 and 3 cards; RFC 2616 section 14.9.1",
    "it is a two way street; in 1990 Wall Street crashed; via 5 steps",
    "ISBN 978-0-306-40615-7, 31.12.2024, 37.7749, -122.4194, 1.299.000,00",
    "192.168.0.1, 10.0.0.5, ::1, fe80::1, std::vector<a::b>",
    "npm i @types/node@18.0.0, icon@2x.png, user@localhost",
]


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_the_value_alone_is_replaced(text: str, expected: str) -> None:
    assert DataCleaner().normalize_text(text) == expected


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_private_stays(text: str) -> None:
    assert DataCleaner().normalize_text(text) == text
