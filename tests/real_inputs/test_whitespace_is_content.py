"""Replies whose blanks mean something: they come out as they went in."""

# ruff: noqa: RUF001 - texts in many scripts

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.real_inputs.pipeline import INPUTS, cleaned

pytestmark = pytest.mark.real_input("white space is content")

KEPT = [
    "    x = 1\n    return x + 1",
    "\tif ready:\n\t\tgo()",
    "name\tage\nAnn\t30\nBen\t",
    "city\tland\tpopulation",
    "~~~python\ns = 'a  b'\n\n\n\nprint(s)\n~~~",
    "````markdown\n```\na  b\n```\n````",
    "One line,  \nbroken in Markdown.",
    "def f():\n    return 1\n\n\ndef g():\n    return 2",
    "Name     Age\nAnn       30\nBen       41",
    "  /\\_/\\\n ( o.o )\n  > ^ <",
    "Use `a  b` and keep both blanks.",
    'The default is "  ", two blanks.',
    "services:\n  web:\n    image: nginx\n\n\n  db:\n    image: postgres",
    "1. Run:\n    ```sh\n    a   b\n    ```\n2. Look.",
    "\u3000\u3000春眠不觉晓\n\u3000\u3000处处闻啼鸟",
    "ＡＢＣ１２３（全角）",
    "می\u200cخواهم بروم",
    "क्\u200dष और ज्ञ लिखिए",
    "👩\u200d🚀 and 👨\u200d👩\u200d👧",
    "שלום\u200f! \u2067abc\u2069 עולם",
    "The bytes C3 A4 read as Latin-1 are Ã¤, not ä.",
    "If `schÃ¶n` appears, the file was decoded wrongly.",
    "Your page shows Ã¼ because of its charset.",
    "Roses are red,\n    violets are blue",
    "SELECT  *\n  FROM  t;",
]


def test_the_reported_replies_stay_as_they_are(tmp_path: Path) -> None:
    source = INPUTS / "whitespace-is-content" / "in.jsonl"
    lines = source.read_text(encoding="utf-8").splitlines()
    given = [json.loads(line)["messages"][1]["content"] for line in lines]
    assert cleaned(tmp_path, source).learnt == [[text] for text in given]


def test_blanks_and_letters_that_mean_something_stay(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    with source.open("w", encoding="utf-8") as file:
        for number, text in enumerate(KEPT):
            asked = {"role": "user", "content": f"Show me example number {number}, please."}
            said = {"role": "assistant", "content": text}
            file.write(json.dumps({"messages": [asked, said]}) + "\n")
    found = cleaned(tmp_path / "home", source)
    assert found.learnt == [[text] for text in KEPT]
