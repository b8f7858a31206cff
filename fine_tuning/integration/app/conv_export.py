"""What is learnt as files for other programs: written on request, then downloaded one by one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import streamlit as st

from fine_tuning.data_collection.conversation_index import Listing
from fine_tuning.integration.app.common import told
from fine_tuning.integration.app.conversations import progress_in
from fine_tuning.integration.app.formatting import size, when
from fine_tuning.workbench.workbench import Workbench

FORMATS = {
    "trl_sft": ("TRL, supervised", "prompt and completion, for SFTTrainer"),
    "trl_dpo": ("TRL, preferences", "prompt, chosen, rejected, for DPOTrainer: from your edits"),
    "trl_kto": ("TRL, thumbs", "prompt, completion, label, for KTOTrainer"),
    "chatml": ("ChatML", "messages with roles"),
    "openai": ("OpenAI", "messages as OpenAI's fine-tuning takes them"),
    "sharegpt": ("ShareGPT", "conversations with from and value"),
    "alpaca": ("Alpaca", "instruction, input, output"),
    "instruction": ("Instruction", "instruction and response, with history"),
    "conversations": ("Everything", "our own form, with branches and times; can be imported again"),
    "statistics": ("Statistics", "counts, and what each format leaves out and why"),
}


def show(bench: Workbench, listing: Listing) -> None:
    """Show the files, and the button that writes them."""
    del listing
    st.markdown(
        "Only what is trained on is written: clean, redacted, with your corrections. "
        "Nothing leaves this computer."
    )
    files = {name: _file(bench.context.workspace.exports, name) for name in FORMATS}
    are_there = any(path.exists() for path in files.values())
    label = "Write the files again" if are_there else "Write the files"
    if st.button(label, type="primary", key="conv-export", icon=":material/save:"):
        place = st.empty()
        with told():
            bench.with_progress(progress_in(place)).data.export()
            st.rerun()
        place.empty()
    for name, path in files.items():
        if path.exists():
            _offer(name, path)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.{'json' if name == 'statistics' else 'jsonl'}"


def _offer(name: str, path: Path) -> None:
    title, what = FORMATS[name]
    status = path.stat()
    made_at = when(datetime.fromtimestamp(status.st_mtime, UTC))
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        st.markdown(f"**{title}**  \n{what}  \n:small[{size(status.st_size)} · {made_at}]")
        if status.st_size:
            st.download_button(
                "Download", data=path.read_bytes if status.st_size else b"", key=f"export-{name}",
                file_name=path.name, mime="application/octet-stream", on_click="ignore",
                icon=":material/download:",
            )  # fmt: skip
        else:
            st.caption("nothing to write yet")
