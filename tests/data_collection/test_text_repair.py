"""Repairs change what is broken and nothing else, and change it once."""

# ruff: noqa: E501, RUF001 - texts in many scripts, direction marks and all

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.data_collection.text_repair import (
    may_need_unicode,
    may_need_whitespace,
    normalize_whitespace,
    repair_unicode,
)

_PIECES = ["a", "b.", " ", "  ", "   ", "    ", "\t", "\n", "\n\n", "\r\n", "```", "~~~", "````", "- ", "1. ", "> ", "x = 1", "\u00a0", "'", '"', "`", "|", "{", "def f():", "\u3000", "é", "Ã¶", "\x0c", "\u200b", "e\u0301", "\u202a", "\u05d0", "\u0301", "\x1b[", "3m", "\ufeff", "?"]  # fmt: skip
ANY_TEXT = st.lists(st.sampled_from(_PIECES), max_size=14).map("".join)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("schÃ¶n", "schön"),
        ("itâ€™s", "it\u2019s"),
        ("e\u0301", "é"),
        ("a\u200bb\ufeff\x00", "ab"),
        ("“quoted” &amp; 👩\u200d🚀", None),
        ("What is Ã¤?", None),
        ("My page shows schÃ¶n, why?", None),
        ("The word 'schÃ¶n' is broken", None),
        ("Ich mÃ¶chte Ã¼ber KÃ¤se reden", "Ich möchte über Käse reden"),
        ("می\u200cخواهم", None),
        ("क्\u200dष", None),
        ("ＡＢＣ　全角", None),
        ("שלום\u200f!", None),
        ("РџСЂРёРІРµС‚, РєР°Рє РґРµР»Р°?", "Привет, как дела?"),
        ("Il a dit qu’il était là", "Il a dit qu’il était là"),
        ("Voilà, c'est réglé. café", None),
        ("Ã© uma boa ideia, nÃ£o Ã©?", "é uma boa ideia, não é?"),
        ("L’Î©", None),
        ("İstanbul’da çok güzel", None),
        ("Use `Ã¶` here, schön", None),
        ("a\u0301", "á"),
        ("ﬁne ½ ²", None),
        ("　　中文", None),
    ],
)
def test_letters_are_mended_only_where_a_whole_message_is_broken(
    text: str, expected: str | None
) -> None:
    assert repair_unicode(text) == (text if expected is None else expected)


@given(ANY_TEXT)
def test_repairs_change_a_text_once_and_lose_no_letter(text: str) -> None:
    even = normalize_whitespace(text)
    assert normalize_whitespace(even) == even
    assert even == text or may_need_whitespace(text)
    assert "".join(even.split()) == "".join(text.split())
    mended = repair_unicode(text)
    assert repair_unicode(mended) == mended
    assert mended == text or may_need_unicode(text)
    both = normalize_whitespace(mended)
    assert normalize_whitespace(repair_unicode(both)) == both
