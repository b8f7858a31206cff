"""Bringing files of other programs in: what they are is found out and said before, and reported."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from fine_tuning.core.errors import FineTuningError
from fine_tuning.data_collection.conversation_index import Listing
from fine_tuning.data_collection.file_import import (
    MAX_UPLOAD_BYTES,
    ImportReport,
    import_formats,
    safe_name,
    upload_format,
    upload_persons,
)
from fine_tuning.data_collection.import_remarks import unread_line
from fine_tuning.integration.app.common import show_error, told
from fine_tuning.integration.app.conv_state import PART
from fine_tuning.integration.app.conv_words import times
from fine_tuning.integration.app.findings import capital
from fine_tuning.integration.app.formatting import count, plain, size
from fine_tuning.workbench.workbench import Workbench

TYPES = [
    "json", "jsonl", "ndjson", "zip", "csv", "tsv", "txt", "html", "db", "sqlite", "sqlite3",
]  # fmt: skip
MAX_FILES = 20
FIND_OUT = ""
DONE = "conv-imported"
DETECTED = "conv-detected"
PERSONS = "conv-persons"
NUM_SHOWN = 10


def show(bench: Workbench, listing: Listing) -> None:
    """Show the place to drop files, what they are, and what the last import gave."""
    _reports()
    files = st.file_uploader(
        "Drop files here: exports of ChatGPT, Claude, Gemini, Open WebUI, LM Studio and more",
        type=TYPES, accept_multiple_files=True, key=f"conv-files-{_round()}",
        max_upload_size=MAX_UPLOAD_BYTES >> 20,
        help="Nothing leaves this computer. Importing a file twice adds nothing.",
    )  # fmt: skip
    if not files:
        return
    if len(files) > MAX_FILES:
        st.error(f"{len(files)} files at once, expected {MAX_FILES} or fewer.")
        return
    titles = import_formats()
    chosen = {file.file_id: _choices_of(file, titles) for file in files}
    if st.button("Import", type="primary", key="conv-import", icon=":material/upload:"):
        _import(bench, files, chosen)
        if not listing.rows:  # the page is another one from now on
            st.session_state[PART] = "Import"
        st.rerun()


def _round() -> int:
    """Return a number that is new after each import, so that the imported files go away."""
    return len(st.session_state.get(DONE, ()))


def _choices_of(file: UploadedFile, titles: dict[str, str]) -> tuple[str, str]:
    """Say what a file is, and let it be chosen otherwise; return the format and the assistant."""
    known: dict[str, tuple[str, str]] = st.session_state.setdefault(DETECTED, {})
    if file.file_id not in known:
        try:
            known[file.file_id] = upload_format(file.name, file.getvalue())
        except FineTuningError as error:
            known[file.file_id] = ("", error.message)
    name, reason = known[file.file_id]
    with st.container(border=True):
        st.markdown(f"**{plain(safe_name(file.name))}** · {size(file.size)}")
        if name:
            st.markdown(
                f":material/check: {plain(capital(titles[name]))}, because {plain(reason)}."
            )
        else:
            st.markdown(f":orange[:material/help:] {plain(capital(reason))}.")
        format_name = st.selectbox(
            "Format", [FIND_OUT, *titles], key=f"format-{file.file_id}", width=340,
            format_func=lambda one: titles.get(one, "Recognised format"),
        )  # fmt: skip
        return format_name, _assistant_of(file, format_name)


def _assistant_of(file: UploadedFile, format_name: str) -> str:
    """Let the assistant of a chat between persons be chosen; return "" for other files."""
    known: dict[tuple[str, str], list[str]] = st.session_state.setdefault(PERSONS, {})
    if (file.file_id, format_name) not in known:
        try:
            found = upload_persons(file.name, file.getvalue(), format_name or None)
        except FineTuningError:  # told by the import
            found = []
        known[file.file_id, format_name] = found
    persons = known[file.file_id, format_name]
    if not persons:
        return ""
    return st.selectbox(
        "Assistant", persons, key=f"assistant-{file.file_id}-{format_name}", width=340,
        help="The person whose messages are the replies.",
    )  # fmt: skip


def _import(
    bench: Workbench, files: list[UploadedFile], chosen: dict[str, tuple[str, str]]
) -> None:
    done: list[ImportReport | FineTuningError] = []
    bar = st.progress(0.0, "Importing")
    for number, file in enumerate(files):

        def tell(what: str, at: int, total: int, number: int = number) -> None:
            share = min(1.0, at / total) if total else 0.0
            bar.progress((number + share) / len(files), what.partition(",")[0].capitalize())

        try:
            format_name, assistant = chosen[file.file_id]
            report = bench.with_progress(tell).data.importer.import_upload(
                file.name, file.getvalue(), format_name or None, assistant
            )
            done.append(report)
        except FineTuningError as error:
            done.append(error)
    st.session_state[DONE] = [*st.session_state.get(DONE, ()), done]
    st.session_state.pop(DETECTED, None)
    st.session_state.pop(PERSONS, None)


def _reports() -> None:
    """Show what the last import gave, file by file."""
    rounds: list[list[ImportReport | FineTuningError]] = st.session_state.get(DONE, [])
    for number, one in enumerate(rounds[-1] if rounds else ()):
        if isinstance(one, FineTuningError):
            show_error(one)
        else:
            with told():
                _report(one, number)


def _report(report: ImportReport, number: int) -> None:
    with st.container(border=True):
        new = times(report.num_new, "new conversation", "new conversations")
        st.success(f"{plain(report.path.name)}: {new}.", icon=":material/task_alt:")
        records = times(report.num_in, "record", "records")
        parts = [
            f"{records} in {plain(report.title)} ({plain(report.reason)})",
            f"{count(report.num_new)} new",
            f"{count(report.num_known)} already in the log",
            f"{times(report.num_feedback, 'rating', 'ratings')}" if report.num_feedback else "",
            f"{count(report.num_quarantined)} set aside" if report.num_quarantined else "",
        ]
        st.caption(" · ".join(filter(None, parts)))
        if line := unread_line(report.unread):
            st.caption(plain(capital(line)))
        if report.num_quarantined:
            _set_aside(report, number)


def _set_aside(report: ImportReport, number: int) -> None:
    with st.expander(f"{times(report.num_quarantined, 'record', 'records')} set aside, and why"):
        for line in report.skipped[:NUM_SHOWN]:
            st.text(line)
        path = report.quarantine
        if path is not None:
            st.download_button(
                "Download what was set aside", data=lambda: _content(path), file_name=path.name,
                mime="application/jsonl", key=f"quarantine-{number}", on_click="ignore",
                icon=":material/download:",
            )  # fmt: skip


def _content(path: Path) -> bytes:
    return path.read_bytes()
