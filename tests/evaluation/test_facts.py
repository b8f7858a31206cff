"""Facts are found however they are typed, and never inside something longer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.evaluation.facts import contains_any, contains_fact, normalize

FOUND = [
    ("17 days", "You get 17 days of leave."),
    ("17 days", "You get **17** days."),
    ("17 days", "You get 17\u00a0Days!"),
    ("17 days", "17\n days"),
    ("17 days", "_17 days_ a year"),
    ("1,200", "The budget is 1200 euros."),
    ("1200", "The budget is 1,200 euros."),
    ("1200", "The budget is 1\u202f200 euros."),
    ("1200", "The budget is 1\u2019200 francs."),
    ("1,200,000", "It costs $1200000."),
    ("1200000", "It costs $1,200,000."),
    ("€1,250.50", "That is € 1250.50 in all."),
    ("5 %", "a rate of 5%."),
    ("5%", "a rate of 5 %, paid monthly"),
    ("3 pm", "at 3pm"),
    ("3pm", "at 3 PM."),
    ("9-5", "from 9 \u2013 5"),
    ("9:30", "at 9:30."),
    ("2.5", "a factor of 2.5, no more"),
    ("Anna Lindqvist", "Ask anna  lindqvist's team"),
    ("the manager's approval", "needs the manager\u2019s approval"),
    ("follow-up", "a follow\u2011up meeting"),
    ('"red" list', "the \u201cRed\u201d list"),
    ("Straße 5", "STRASSE 5"),
    ("café", "the cafe\u0301"),
    ("VPN", "the (VPN)"),
    ("room B-17", "go to Room B-17."),
    ("hr@marlow.example", "write to HR@marlow.example."),
    ("#it-help", "in #it-help"),
    ("三天", "需要三天时间"),
    ("snake_case", "use `snake_case`"),
    ("101", "rooms 101, 102 and 103"),
]
NOT_FOUND = [
    ("17 days", "You get 117 days."),
    ("17 days", "You get 17 working days."),
    ("17 days", "You get seventeen days."),
    ("17 days", "You get 10-17 days."),
    ("17", "It is 170."),
    ("17", "It is 17.5."),
    ("17", "It is 3.17."),
    ("17", "It is 17,500."),
    ("200 euros", "It is 1,200 euros."),
    ("200 euros", "It is 1\u202f200 euros."),
    ("5 %", "2.5 %"),
    ("5%", "15%"),
    ("9:30", "19:30"),
    ("30", "at 9:30"),
    ("10", "10k a year"),
    ("2", "2FA"),
    ("17", "form B17"),
    ("3/4", "13/4"),
    ("ann", "the annual fair"),
    ("art", "a smart start"),
    ("day", "days"),
    ("1200", "1.200"),
    ("17 days", ""),
    ("", "anything"),
    ("  ", "anything at all"),
    ("$50", "$500"),
    ("$50", "$50.75"),
    ("555-0142", "555-01421"),
]


@pytest.mark.parametrize(("fact", "reply"), FOUND)
def test_a_fact_is_found_however_it_is_typed(fact: str, reply: str) -> None:
    assert contains_fact(reply, fact)


@pytest.mark.parametrize(("fact", "reply"), NOT_FOUND)
def test_a_fact_is_not_found_in_something_else(fact: str, reply: str) -> None:
    assert not contains_fact(reply, fact)


def test_other_wordings_count_only_when_they_are_listed() -> None:
    assert not contains_any("seventeen days", ["17 days"])
    assert contains_any("seventeen days", ["17 days", "seventeen days"])
    assert not contains_any("seventeen days", [])


TYPING = st.text(st.sampled_from("a1 23,'*_-%€\u00a0\u2019\u2014`\u200bİß\u0301"))


@given(st.one_of(st.text(), TYPING))
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_number_is_found_in_a_number_only_when_they_are_equal(wanted: int, said: int) -> None:
    assert contains_fact(f"It is {said:,} in all.", str(wanted)) == (wanted == said)
    assert contains_fact(f"It is {said} in all.", f"{wanted:,}") == (wanted == said)


@given(st.from_regex(r"[A-Za-z]{1,8}( [A-Za-z0-9]{1,8}){0,3}", fullmatch=True))
def test_a_fact_stands_in_any_sentence_made_around_it(fact: str) -> None:
    assert contains_fact(f"Well: {fact.upper()}.", fact)
    assert not contains_fact(f"Well: x{fact}.", fact) or fact.lower() in "well"
