"""Pages: self-contained, the same content in both forms, and nothing a chat says is run."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.pages import charts
from fine_tuning.pages.page import Compared, Figure, Notice, Page, PageSection, Table, Text

HOSTILE = '<script>alert("x")</script><img src=x onerror=1>|`${7*7}`{{ 7*7 }}'


def page(text: str) -> Page:
    blocks = [
        Text(text),
        Notice(text, text, "good"),
        Table((text, "n"), [(text, "1")], caption=text, numeric=frozenset({1})),
        Figure(charts.bars({text: 3}, x_label=text), text),
        Compared(text, [(text, text)], note=text),
    ]
    return Page(text, text, [PageSection(text, blocks)])


def test_nothing_a_chat_says_becomes_markup() -> None:
    html = page(HOSTILE).to_html()
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("&lt;script&gt;") >= 12
    assert "{{ 7*7 }}" in html  # shown, not computed
    markdown = page(HOSTILE).to_markdown()
    assert "<script" not in markdown
    assert "\\|`" in markdown


def test_a_page_asks_nothing_of_the_network() -> None:
    html = page("Fine").to_html()
    assert "default-src 'none'" in html
    for word in ("<link", "<script", " src=", "@import", "url("):
        assert word not in html.replace("url(#", "")
    addresses = [part.split('"')[0] for part in html.split("http")[1:]]
    # Names of XML vocabularies and of the licence terms matplotlib writes; none is fetched.
    assert all(
        "w3.org" in a
        or "purl.org" in a
        or "creativecommons" in a
        or "matplotlib" in a
        or a == "-equiv="
        for a in addresses
    )


def test_both_forms_hold_the_same_content() -> None:
    shown = Page(
        "Better?",
        "run 7",
        [
            PageSection("Verdict", [Notice("promote", "the interval lies above zero", "good")]),
            PageSection(
                "Table", [Table(("metric", "gain"), [("loss", "+0.5")], numeric=frozenset({1}))]
            ),
            PageSection("Replies", [Compared("Hi?", [("base", "No."), ("tuned", "Yes.")])]),
        ],
    )
    html, markdown = shown.to_html(), shown.to_markdown()
    for word in ("Better?", "promote", "the interval lies above zero", "+0.5", "Yes.", "tuned"):
        assert word in html
        assert word in markdown
    assert "| metric | gain |\n| --- | ---: |\n| loss | +0.5 |" in markdown


DRAWN = {
    "intervals": lambda: charts.intervals(
        [
            charts.Interval("loss", 0.4, 0.2, 0.6, is_good=True),
            charts.Interval("length", -3, -5, 2),
        ],
        x_label="gain, nats",
    ),
    "histogram": lambda: charts.histogram([1.0, 2, 2, 3], x_label="tokens", y_label="chats"),
    "bars": lambda: charts.bars({"kept": 10, "dropped": 3}, x_label="chats"),
    "lines": lambda: charts.lines(
        {"train": [(1, 3.0), (2, 2.0)], "validation": [(2, 2.5)]}, x_label="step", y_label="nats"
    ),
    "no lines": lambda: charts.lines({"train": []}, x_label="step", y_label="nats"),
}


@pytest.mark.parametrize("name", DRAWN)
def test_charts_are_sound_svg_with_named_axes_and_always_the_same(name: str) -> None:
    svg = DRAWN[name]()
    root = ET.fromstring(svg)  # noqa: S314  # our own text
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    said = " ".join(text.strip() for text in root.itertext())
    assert any(word in said for word in ("gain, nats", "tokens", "chats", "step"))
    assert DRAWN[name]() == svg


@given(st.text(st.characters(categories=["L", "P", "S", "Zs"]), min_size=1, max_size=30))
def test_any_text_passes_through_both_forms(text: str) -> None:
    shown = Page(text, "", [PageSection("s", [Text(text)])])
    assert shown.to_html().startswith("<!doctype html>")
    assert shown.to_markdown().startswith("#")
