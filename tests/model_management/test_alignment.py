"""Entries of a server's log-probabilities meet the reference's tokens by their bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pytest

from fine_tuning.core.ports import ServedToken
from fine_tuning.model_management.alignment import align, each_byte, each_run
from fine_tuning.model_management.diagnosis import divergence
from fine_tuning.model_management.reference import FollowedToken
from fine_tuning.runtimes.llama_answers import served_token
from tests.recordings.replay import recorded

WAVE = (b"\xf0\x9f", b"\x8c", b"\x8a")
FIRE = (b"\xf0\x9f", b"\x94", b"\xa5")
LEARN = (b" \xe5", b"\xad", b"\xa6")
NORTH = (b" \xe5", b"\x8c", b"\x97")
KITES = (b" k", b"ites", b":")
REPLIES = {
    # What the tokenizer makes of the recorded replies (special-001 of each version).
    "0.24.0": (*WAVE, *FIRE, *KITES, *LEARN),
    "0.33.0": (*WAVE, *WAVE, *KITES, *NORTH),
}


def exact(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def read(pieces: Sequence[bytes]) -> list[FollowedToken]:
    return [FollowedToken(exact(piece), -0.1, -0.1) for piece in pieces]


def entries_of(version: str) -> list[ServedToken]:
    (answer,) = (json.loads(one.response) for one in recorded(version) if one.name == "special-001")
    return [served_token(entry) for entry in answer["logprobs"]]


def test_0_24_tells_an_entry_for_every_token() -> None:
    entries = entries_of("0.24.0")
    found = align(entries, read(REPLIES["0.24.0"]))
    assert [one.index for one in found.entries] == list(range(12))
    assert found.num_tokens == 12
    assert entries[0].text == "\ufffd\ufffd"


def test_0_33_joins_the_tokens_of_a_character() -> None:
    entries = entries_of("0.33.0")
    found = align(entries, read(REPLIES["0.33.0"]))
    assert len(entries) < 12
    assert [one.entry.text for one in found.entries] == ["🌊", "🌊", " k", "ites", ":", " 北"]
    assert [one.index for one in found.entries] == [2, 5, 6, 7, 8, 11]
    assert found.num_tokens == 12


@pytest.mark.parametrize("version", REPLIES)
def test_another_cut_of_the_text_ends_the_comparison(version: str) -> None:
    pieces = REPLIES[version]
    other = (*pieces[:6], b" ki", b"tes", *pieces[8:])
    found = align(entries_of(version), read(other))
    assert found.num_tokens == 6
    assert max(one.index for one in found.entries) == 6, "what is told before a token is comparable"


@pytest.mark.parametrize("version", REPLIES)
def test_a_reply_of_other_bytes_is_not_aligned(version: str) -> None:
    found = align(entries_of(version), read((b"Hello", b" there")))
    assert found.num_tokens == 0


def test_what_begins_in_the_middle_of_a_token_is_another_token() -> None:
    found = align([ServedToken(" ", -0.1), ServedToken("a b", -0.1)], read((b" a", b" b")))
    assert found.num_tokens == 0


def test_a_blank_before_the_first_token_may_be_left_out() -> None:
    assert align([ServedToken("a", -0.1)], read((b" a",))).num_tokens == 1


def test_text_held_back_for_a_stop_text_is_joined() -> None:
    """llama-server tells nothing with a token that may begin a stop text."""
    held = ServedToken("", -0.2, (("<", -0.2),))
    then = ServedToken("<a", -0.3, (("a", -0.3),))
    found = align([held, then], read((b"<", b"a")))
    assert ([one.index for one in found.entries], found.num_tokens) == ([1], 2)


def test_servers_without_entries_are_read_by_the_text() -> None:
    assert align(None, read(WAVE)).num_tokens == 3


@pytest.mark.parametrize(
    ("token", "of_go", "of_llama_server"),
    [
        (b"\xf0\x9f", "\ufffd\ufffd", ""),
        (b"\x8c", "\ufffd", "\ufffd"),
        (b" \xe5", " \ufffd", " "),
        (b" k", " k", " k"),
        ("北".encode(), "北", "北"),
    ],
)
def test_how_servers_write_bytes(token: bytes, of_go: str, of_llama_server: str) -> None:
    assert each_byte(exact(token)) == of_go
    assert each_run(exact(token)) == of_llama_server


def test_tokens_of_one_text_are_compared_as_so_many() -> None:
    """Three bytes are equally likely; two of them are told, both as U+FFFD."""
    third = math.log(1 / 3)
    computed = {exact(bytes([0x80 + index])): third for index in range(3)}
    told = ServedToken("\ufffd", third, (("\ufffd", third), ("\ufffd", third)))
    assert divergence(told, computed) == pytest.approx(0, abs=1e-6)
    sure = ServedToken("\ufffd", 0.0, (("\ufffd", math.log(0.999)), ("\ufffd", math.log(0.001))))
    assert divergence(sure, computed) > 0.3


@pytest.mark.parametrize("version", REPLIES)
def test_a_recorded_entry_is_near_itself_and_far_from_others(version: str) -> None:
    first = entries_of(version)[0]
    own = {exact(bytes([0x80 + i])): value for i, (_, value) in enumerate(first.likeliest)}
    if version == "0.24.0":
        own = dict(
            zip(map(exact, (b"\xf0\x9f", b"\x8c", b"\xe5\xa4", b" \xf0\x9f")), own.values(),
                strict=True)
        )  # fmt: skip
    assert divergence(first, own) < 1e-6
    assert divergence(first, {"Hello": -0.01, exact(b"\x80"): -9.0}) > 1
