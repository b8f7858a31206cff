"""The page Doctor: what is installed, what is slow and why, what to do next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from fine_tuning.core.errors import FineTuningError
from fine_tuning.core.finding import Finding
from fine_tuning.core.ports import Progress
from fine_tuning.integration.app.common import empty_state, show_error, told, workbench
from fine_tuning.integration.app.findings import SIGNS, capital, show_finding
from fine_tuning.integration.app.formatting import plain, size, when
from fine_tuning.workbench.doctor.doctor import Checkup, engine_findings
from fine_tuning.workbench.workbench import Workbench

FRESH_S = 30.0
DATA, PARITY = "doctor-data", "doctor-parity"
NO_DATA = "Nothing is recorded yet, so there is no data to check."


def show() -> None:
    """Show the page."""
    st.title("Doctor", anchor=False)
    bench = workbench()
    with told():
        home = str(bench.context.workspace.home)
        found = _checkup(home, bench)
        _head(found)
        _findings(found.findings)
        _facts(found)
        engine = _engine(bench)
        _data(bench, found)
        _parity(bench)
        _report(found, engine)


@st.cache_resource(show_spinner="Checking …", ttl=FRESH_S, max_entries=4)
def _checkup(home: str, _bench: Workbench) -> Checkup:
    """Return what was found not long ago."""
    del home  # it tells one workspace's from another's
    return _bench.doctor.checkup()


@st.cache_resource(show_spinner="Checking how training computes here …")
def _engine_facts(_bench: Workbench) -> dict[str, str]:
    return _bench.doctor.check_engine()


def _head(found: Checkup) -> None:
    st.info(plain(found.next_step), icon=":material/arrow_forward:")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Check again", icon=":material/refresh:", key="doctor-again", on_click=_checkup.clear
        )
        st.caption(f"Checked {when(found.made_at)}.")


def _findings(findings: Sequence[Finding]) -> None:
    if not findings:
        st.success("Nothing is wrong.", icon=":material/check_circle:")
    order = list(SIGNS)
    for one in sorted(findings, key=lambda finding: order.index(finding.severity)):
        show_finding(one)


def _facts(found: Checkup) -> None:
    for left, right in (("This computer", "Programs"), ("Models", "Your data")):
        for column, heading in zip(st.columns(2), (left, right), strict=True):
            with column:
                st.subheader(heading, anchor=False)
                _table(found.facts[heading])
    st.subheader("Disk", anchor=False)
    if found.disk_bytes:
        _table({name: size(taken) for name, taken in found.disk_bytes.items()})
        st.caption(f"{size(sum(found.disk_bytes.values()))} in all in this workspace.")
    else:
        st.caption("The workspace is empty.")


def _table(rows: Mapping[str, str]) -> None:
    st.table(
        {plain(name): plain(value) for name, value in rows.items()},
        border="horizontal", hide_header=True,
    )  # fmt: skip


def _engine(bench: Workbench) -> dict[str, str]:
    """Show how training computes here; return the facts, {} if they cannot be found out."""
    st.subheader("How training computes", anchor=False)
    try:
        facts = _engine_facts(bench)
    except FineTuningError as error:
        show_error(error)
        return {}
    _table({capital(name): value for name, value in facts.items()})
    for one in engine_findings(facts):
        show_finding(one)
    return facts


def _data(bench: Workbench, found: Checkup) -> None:
    st.subheader("The data", anchor=False)
    if found.facts["Your data"]["Conversations"].startswith("0 "):
        empty_state(NO_DATA, page="chat", label="Start a chat")
        return
    st.caption("Too little, leaks, secrets, wrong masks: what would spoil a training.")
    if st.button("Check the data", key="doctor-check-data", icon=":material/fact_check:"):
        _run(DATA, bench.doctor.check_data)
    for one in st.session_state.get(DATA, ()):
        show_finding(one)


def _parity(bench: Workbench) -> None:
    st.subheader("Parity of training and serving", anchor=False)
    st.caption(
        "Computes a text with the trainer and with llama.cpp, token by token. Some minutes at most."
    )
    if st.button("Compare them", key="doctor-compare", icon=":material/balance:"):
        _run(PARITY, lambda progress: bench.doctor.check_agreement(progress=progress))
    for one in st.session_state.get(PARITY, ()):
        _agreement(one)


def _agreement(one: Mapping[str, Any]) -> None:
    say = st.success if one["holds"] else st.error
    say(
        f"{plain(one['name'])}: {'they agree' if one['holds'] else 'they do not agree'}. "
        f"The same most probable token at {one['top1_agreement']:.1%} of {one['num_positions']:,} "
        f"places; mean difference {one['mean_kl']:.5f} nats, largest {one['max_kl']:.3f}."
    )


def _run(key: str, check: Callable[[Progress], object]) -> None:
    """Run a check with a bar, and keep what it found."""
    bar = st.progress(0.0, "Starting")

    def tell(what: str, done: int, total: int) -> None:
        bar.progress(min(1.0, done / total) if total else 0.0, capital(what))

    try:
        st.session_state[key] = check(tell)
    except FineTuningError as error:
        show_error(error)
    bar.empty()


def _report(found: Checkup, engine: Mapping[str, str]) -> None:
    text = report_text(
        found, engine, st.session_state.get(DATA, ()), st.session_state.get(PARITY, ())
    )
    with st.expander("Report", icon=":material/content_copy:"):
        st.caption("Plain text without any of your messages: safe to share when you ask for help.")
        st.code(text, language=None, wrap_lines=True)
        st.download_button(
            "Download", text, file_name="doctor.txt", mime="text/plain", on_click="ignore",
            icon=":material/download:",
        )  # fmt: skip


def report_text(
    found: Checkup,
    engine: Mapping[str, str],
    data: Sequence[Finding],
    agreements: Sequence[Mapping[str, Any]],
) -> str:
    """Return all that is known as plain text; it holds no word of a conversation."""
    lines = [f"Doctor's report, {found.made_at[:16]} UTC"]
    for heading, rows in {**found.facts, "How training computes": engine}.items():
        lines += ["", heading, *(f"  {name}: {value}" for name, value in rows.items())]
    lines += ["", "Disk", *(f"  {name}: {size(n)}" for name, n in found.disk_bytes.items())]
    lines += ["", "Found"]
    for one in (*found.findings, *engine_findings(engine or _UNKNOWN), *data):
        fix = f" -> {one.fix}" if one.fix and one.severity != "good" else ""
        lines.append(f"  {one.severity}: {one.title}{fix}")
    for pair in agreements:
        outcome = "holds" if pair["holds"] else "FAILS"
        lines.append(f"  parity {outcome}: {pair['name']}, mean KL {pair['mean_kl']:.5f} nats")
    return "\n".join([*lines, "", f"Next: {found.next_step}"])


_UNKNOWN = {"kernels": "", "compute dtype": ""}
