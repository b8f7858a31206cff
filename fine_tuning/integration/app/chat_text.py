"""How a reply's text is shown: its Markdown is, HTML never, and nothing is fetched for it."""

from __future__ import annotations

import re

# Code is shown as it is, escapes in it would be seen.
_CODE = re.compile(r"(```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]+`)", re.DOTALL)
# An image would be fetched from wherever the text says; "$5 and $6" is no formula; ":x[" and
# ":material/x:" are Streamlit's own and no Markdown.
_ACTIVE = re.compile(r"!(?=\[)|\$|:(?=[a-z_-]+(?:\[|/|:))|<(?=[a-zA-Z/!?])")


def rendered(text: str) -> str:
    """Return Markdown for ``st.markdown`` that shows a model's reply and does nothing else."""
    parts = _CODE.split(text)
    return "".join(
        part if index % 2 else _ACTIVE.sub(lambda found: f"\\{found[0]}", part)
        for index, part in enumerate(parts)
    )
