"""Everything known about one version: where it comes from, its proof, notes and files."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import streamlit as st

from fine_tuning.core.json_value import list_at, trusted
from fine_tuning.integration.app.common import told, workbench
from fine_tuning.integration.app.formatting import count, plain, size, when
from fine_tuning.workbench.plans import chosen_settings

if TYPE_CHECKING:
    from fine_tuning.model_management.versions import Deployment, ModelVersion

VERDICTS = {
    "promote": ":green-badge[:material/thumb_up: better]",
    "reject": ":red-badge[:material/thumb_down: not better]",
    "not enough evidence": ":orange-badge[:material/help: not decided]",
}
MARKS = {
    "holds": ":green[:material/check_circle:]",
    "fails": ":red[:material/cancel:]",
    "cannot tell": ":orange[:material/help:]",
}
PROOF_PARTS = {
    "prompt": "Prompts: the same as in training",
    "ending": "Ending: replies end by themselves",
    "output": "Output: the probabilities of the trained model",
    "settings": "Settings: those of its base",
    "speed": "Speed of serving",
}
STATES = {
    "active": ":green-badge[answers]",
    "begun": ":orange-badge[started]",
    "undone": ":red-badge[rolled back]",
    "retired": ":gray-badge[replaced]",
}
SHOWN_CONVERSATIONS = 200


def loss_words(version: ModelVersion) -> str:
    """Return what training did to the loss, in words; "" when that was not measured."""
    before, after = (
        version.metrics.get(key) for key in ("base_validation_loss", "best_validation_loss")
    )
    return f"loss {before:.2f} to {after:.2f}" if before and after else ""


def details(version: ModelVersion) -> None:
    """Show it."""
    lineage, settings, proof, notes, files = st.tabs(
        ["Lineage", "Settings", "Proof", "Notes", "Files"]
    )
    with lineage:
        _lineage(version)
    with settings:
        _settings(version)
    with proof:
        _proofs(version)
    with notes:
        _notes(version)
    with files:
        _files(version)


def _lineage(version: ModelVersion) -> None:
    origins = workbench().models.lineage.origins(version.name)
    splits = Counter(origin.split for origin in origins)
    tested = splits.get("test", 0)
    served = [one.name for one in version.deployments if one.state == "active"]
    learnt = f"{count(len(origins) - tested)} conversations trained on"
    steps = [
        f":material/forum: {learnt}, {count(tested)} kept for testing",
        f":material/dataset: data set {plain(version.data_words)}",
        f":material/category: base {plain(version.base_name)}",
        f":material/history: parents: {plain(version.parent_words)}",
        f":material/model_training: run {plain(version.run_id)} ({plain(version.method)})",
        f":material/deployed_code: **{plain(version.name)}**",
        f":material/cell_tower: {', '.join(map(plain, served)) or 'not served'}",
    ]
    st.markdown("  \n:gray[:material/arrow_downward:]  \n".join(steps))
    if origins and st.toggle("List the conversations", key=f"origins-{version.name}"):
        st.dataframe(
            [
                {
                    "Conversation": one.conversation_id,
                    "Split": one.split,
                    "Through version": one.via,
                }
                for one in origins[:SHOWN_CONVERSATIONS]
            ],
            hide_index=True,
        )
        if len(origins) > SHOWN_CONVERSATIONS:
            st.caption(f"The first {SHOWN_CONVERSATIONS} of {count(len(origins))}.")


def _settings(version: ModelVersion) -> None:
    """Show the settings that differ from the defaults."""
    rows = [
        {"Setting": key, "Value": str(value), "Default": str(default)}
        for key, (value, default) in chosen_settings(version.settings).items()
    ]
    if rows:
        st.dataframe(rows, hide_index=True)
    st.caption("All other settings are the defaults." if rows else "All settings are the defaults.")


def _proofs(version: ModelVersion) -> None:
    if not version.deployments:
        st.caption(
            "It was not deployed yet. A deployment proves that the served model is the trained "
            "one, or changes nothing."
        )
    for one in reversed(version.deployments):
        _proof(one)


def _proof(one: Deployment) -> None:
    st.markdown(
        f"**{plain(one.name)}** on {plain(one.runtime)} {STATES[one.state]} {when(one.created_at)}"
    )
    if one.reason:
        st.caption(plain(one.reason))
    for part in trusted(list_at(one.proof, "parts")):
        name = PROOF_PARTS.get(str(part["name"]), str(part["name"]))
        mark = MARKS.get(str(part["outcome"]), "")
        st.markdown(f"{mark} **{plain(name)}**: {plain(str(part['sentence']))}")


def _notes(version: ModelVersion) -> None:
    for note in version.notes:
        st.markdown(f"{plain(note.text)}  \n:gray[{when(note.created_at)}]")
    with st.form(f"note-{version.name}", clear_on_submit=True, border=False):
        text = st.text_input("Note", placeholder="Trained after the new price list")
        if st.form_submit_button("Save note", icon=":material/edit_note:") and text.strip():
            with told():
                workbench().models.register.registry().note(version.name, text.strip())
                st.rerun()


def _files(version: ModelVersion) -> None:
    st.dataframe(
        [
            {
                "Kind": one.kind,
                "File": one.path.name,
                "Size": size(one.size_bytes),
                "State": one.state,
            }
            for one in version.artefacts
        ],
        hide_index=True,
    )
    st.caption(f"Run folder: `{version.run_folder}`")
    if st.button("Verify files", icon=":material/verified:", key=f"verify-{version.name}"):
        with told():
            wrong = workbench().models.register.registry().verify(version.name)
            for sentence in wrong:
                st.error(plain(sentence))
            if not wrong:
                st.success("All files are unchanged.")
