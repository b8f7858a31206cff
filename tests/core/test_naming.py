"""Names are the same on every machine and in every version: the values here are recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.naming import canonical_json, content_name, file_sha256, unit_interval
from tests import strategies

RECORDED_VALUE = "b2:db620aaa48a4e94a4c0313bfb747f722"
RECORDED_CONVERSATION = "b2:643414120d6f96bcf65cfe3e114f0e28"
RECORDED_DRAW = 0.6994314406403714


@pytest.mark.invariant
def test_recorded_names_stay() -> None:
    assert content_name({"b": [1, 2.5, None], "a": "é"}) == RECORDED_VALUE
    turns = [("user", "What is AI?"), ("assistant", "A field of study.")]
    assert Conversation.from_turns(turns).content_id == RECORDED_CONVERSATION
    assert unit_interval("b2:00", salt="split/1") == RECORDED_DRAW


def test_order_of_keys_does_not_matter() -> None:
    assert canonical_json({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'
    assert content_name({"b": 1, "a": 2}) == content_name({"a": 2, "b": 1})


def test_what_json_cannot_say_has_no_name() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        content_name(float("nan"))
    with pytest.raises(TypeError):
        content_name({1, 2})


def test_text_that_is_not_utf8_has_a_name_too() -> None:
    assert content_name("\ud800") != content_name("\ud801")


@given(strategies.names, st.text(max_size=5))
def test_a_draw_is_fixed_and_inside_the_interval(name: str, salt: str) -> None:
    draw = unit_interval(name, salt=salt)
    assert 0 <= draw < 1
    assert draw == unit_interval(name, salt=salt)


def test_draws_fill_the_interval_evenly() -> None:
    # 4000 draws in 10 bins: 400 each with a standard deviation of 19; 100 is more than five.
    counts = [0] * 10
    for index in range(4000):
        counts[int(10 * unit_interval(str(index)))] += 1
    assert all(abs(count - 400) < 100 for count in counts)


def test_a_salt_makes_another_draw() -> None:
    assert unit_interval("a", salt="1") != unit_interval("a", salt="2")


def test_a_files_name_is_the_one_ollama_gives_it(tmp_path: Path) -> None:
    file = tmp_path / "blob"
    file.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    assert file_sha256(file) == (
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
