from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.data_collection.private_values import find_private
from fine_tuning.data_collection.redaction import Redactor

PRIVATE = [
    ("see https://a.b/c?x=1, or", "see <URL_1>, or"),
    ("(https://en.wikipedia.org/wiki/A_(b)).", "(<URL_1>)."),
    ("[docs](http://x.example/y/)", "[docs](<URL_1>)"),
    ("at www.foo.example!", "at <URL_1>!"),
    ("HTTPS://A.EXAMPLE", "<URL_1>"),
    ("ftp://files.example/a_b_", "<URL_1>_"),
    ("https://a.example https://b.example https://a.example", "<URL_1> <URL_2> <URL_1>"),
    ("Bob.Smith+x@Example.co.uk, bob.smith+x@example.co.uk.", "<EMAIL_1>, <EMAIL_1>."),
    ("jürgen@müller.example", "<EMAIL_1>"),
    ("mailto:a@b.example", "mailto:<EMAIL_1>"),
    ("call 555-123-4567", "call <PHONE_1>"),
    ("(415) 555-2671", "<PHONE_1>"),
    ("+1-800-555-0199.", "<PHONE_1>."),
    ("+49 30 901820", "<PHONE_1>"),
    ("+44 (0)20 7946 0958", "<PHONE_1>"),
    ("020 7946 0958 now", "<PHONE_1> now"),
    ("0176 12345678", "<PHONE_1>"),
    ("phone: 4155552671", "phone: <PHONE_1>"),
    ("555.123.4567 or 555-123-4567", "<PHONE_1> or <PHONE_1>"),
]


@pytest.mark.parametrize(("text", "expected"), PRIVATE)
def test_private_values_are_replaced(text: str, expected: str) -> None:
    assert Redactor().redact(text) == expected


HARMLESS = [
    "pi is 3.14159265 and e is 2.718281828459045",
    "on 2026-11-22 12:30:45, 22.11.2026, 01/02/2024, 2024-01-15T10:00:00Z",
    "version 1.2.3.4 of 10.0.19045.3803",
    "from 2019-2023, in 1998 - 2004",
    "1,000,000 or 1 000 000 or 1.000.000 euros",
    "order 4155552671, ticket 123456789012",
    "at 37.7749, -122.4194",
    "isbn 978-3-16-148410-0",
    "192.168.1.100:8080",
    "1 2 3 4 5 6 7 8 9 10",
    "0.1 0.2 0.3; 100 200 3000",
    "550e8400-e29b-41d4-a716-446655440000",
    "card 1234-5678-9012-3456",
    "@someone said user@host",
    "e.g. this and that... and http:// or www.",
    "    def f(x):\n\n        return x @ y",
    "9:00-17:30, Mon-Fri, 12 345 6789 people",
    "ratio 16:9, 1/2, 24/7, 3-4 days, +5 points",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_not_private_stays(text: str) -> None:
    assert Redactor().redact(text) == text


def test_numbers_are_stable_over_texts_and_kinds() -> None:
    redactor = Redactor()
    first = redactor.redact("a@b.example, c@d.example, https://a.example")
    assert first == "<EMAIL_1>, <EMAIL_2>, <URL_1>"
    assert redactor.redact("C@D.example and e@f.example") == "<EMAIL_2> and <EMAIL_3>"


def test_placeholders_that_are_there_are_not_given_again() -> None:
    redactor = Redactor()
    redactor.reserve("write to <EMAIL_7>")
    assert redactor.redact("<EMAIL_7> or a@b.example") == "<EMAIL_7> or <EMAIL_8>"


@given(st.text(st.sampled_from(list("ab1 9.@:/-+()<>_w")), max_size=60))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = Redactor().redact(text)
    again = Redactor()
    again.reserve(once)
    assert again.redact(once) == once


@given(st.text(max_size=200))
def test_spans_are_in_order_and_apart(text: str) -> None:
    spans = find_private(text)
    ends = [0, *(span.end for span in spans)]
    assert all(start <= span.start < span.end for start, span in zip(ends, spans, strict=False))


HOSTILE = ["a" * 200_000 + "@", "a@" + "a." * 100_000, "1-" * 100_000, "www." * 50_000]


MANY = "a@b.example +49 30 901820 (415) 555-2671 https://a.example/b) " * 1_000


@pytest.mark.parametrize(
    "text", [*HOSTILE, "http://" + ")" * 200_000, "(" * 200_000, "+1 " * 60_000, MANY]
)
def test_hostile_text_takes_linear_time(text: str) -> None:
    def spent_s(part: str) -> float:
        begin = time.process_time()
        Redactor().redact(part)
        return time.process_time() - begin

    quarter = max(spent_s(text[: len(text) // 4]), 0.02)
    assert spent_s(text) < 12 * quarter, "four times the text, about four times the time"
