"""Replies that write about code blocks: three backticks within a line open none."""

from __future__ import annotations

from pathlib import Path

import pytest

from fine_tuning.data_collection.text_filters import cut_off
from tests.real_inputs.pipeline import INPUTS, cleaned

pytestmark = pytest.mark.real_input("backticks in prose")

WHOLE = [
    "Type ``` at the beginning of a line, then the code.",
    "Drei Gravis (```) öffnen einen Block, drei weitere schließen ihn nicht immer.",
    "Entre ``` et ``` le texte est du code. Avec ```` on peut imbriquer. Voici ``` seul.",
    "在行首输入 ``` 可以打开代码块。",
    "行頭に ``` と書くとコードブロックになります。",
    "```inline code with three``` is allowed within a line.",
    "````markdown\n```python\nprint(1)\n```\n````",
    "```markdown\n# Title\n```python\nprint(1)\n```\nThe end.\n```",
    "~~~\n``` stands in here\n~~~",
    "1. Run it:\n   ```sh\n   make\n   ```\n2. Look.",
    "> ```\n> quoted\n> ```",
    "```\nprint(1)\n`````",
    "```\nprint(1)\n```   ",
    "The fence is closed.\n```\nx\n```\n```",
]
CUT = [
    "Here it is:\n```python\nprint(1)\n",
    "~~~\nx = 1",
    "````\n```\nx\n```\n",
    "  ```js\nlet x",
    "Done.\n```python",
    "```a\nx\n```\n\n```b\ny",
]


def test_a_reply_that_mentions_a_fence_is_trained_on(tmp_path: Path) -> None:
    found = cleaned(tmp_path, INPUTS / "backticks-in-prose" / "in.jsonl")
    assert found.learnt == [["Use three backticks (```) to open a code block in Markdown."]]


@pytest.mark.parametrize("text", WHOLE)
def test_a_whole_reply_is_not_cut_off(text: str) -> None:
    assert cut_off(text) is None


@pytest.mark.parametrize("text", CUT)
def test_an_open_block_is_cut_off(text: str) -> None:
    assert cut_off(text) == "a code block is open at its end"
