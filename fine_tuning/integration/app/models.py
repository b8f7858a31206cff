"""The page Models: what is in use, every version and its proof, switching and rolling back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from fine_tuning.integration.app.common import empty_state, told, workbench
from fine_tuning.integration.app.formatting import count, plain, size, when
from fine_tuning.integration.app.models_compare import compare_versions
from fine_tuning.integration.app.models_disk import prune
from fine_tuning.integration.app.models_split import offer_split, show_split
from fine_tuning.integration.app.models_version import VERDICTS, details, loss_words
from fine_tuning.integration.app.train_live import at_work

if TYPE_CHECKING:
    from fine_tuning.model_management.alias_history import Alias
    from fine_tuning.model_management.versions import ModelVersion

PER_PAGE = 6
SAID = "models-said"
STAGES = {
    "champion": ":green-badge[:material/star: in use]",
    "challenger": ":blue-badge[not in use]",
    "archived": ":gray-badge[earlier]",
}
SHOWN_EVENTS = 30


def show() -> None:
    """Show the page."""
    st.title("Models")
    at_work("models")
    if said := st.session_state.pop(SAID, ""):
        st.success(plain(said), icon=":material/check_circle:")
    with told():
        versions = list(reversed(workbench().models.register.versions()))
        if not versions:
            empty_state(
                "No model was trained yet. Every training makes a version, and here you choose "
                "which one answers.",
                page="train",
                label="Train a model",
                demo=True,
            )
            return
        aliases = workbench().models.aliases.all_aliases()
        _in_use(aliases, versions)
        timeline, compare, history, disk = st.tabs(["Versions", "Compare", "History", "Disk"])
        with timeline:
            _timeline(versions, aliases)
        with compare, told():
            compare_versions([version.name for version in versions])
        with history:
            _history()
        with disk, told():
            prune()


def _in_use(aliases: list[Alias], versions: list[ModelVersion]) -> None:
    if not aliases:
        st.info("No version is in use yet: your chatbot answers as the base model.")
    splits = {
        (one.traffic.runtime, one.traffic.alias): one
        for one in workbench().models.ab_tests.splits()
    }
    for one in aliases:
        with st.container(border=True):
            words = one.version or f"the base model of {one.family}"
            st.markdown(f"#### :material/star: {plain(words)}")
            st.caption(f"It answers whoever asks for `{one.alias}` ({plain(one.runtime)}).")
            if one.before_id is not None and st.button(
                "Roll back",
                icon=":material/undo:",
                key=f"back-{one.family}-{one.runtime}",
                help="Rollback: the version before answers again, at once.",
            ):
                with told(), st.spinner("Rolling back"):
                    done = workbench().models.aliases.rollback(one.family)
                    _say(f"{done.alias} answers as {done.version} again; it was {done.before}.")
            if split := splits.get((one.runtime, one.alias)):
                show_split(split, _say)
            else:
                offer_split(one, versions, _say)


def _say(sentence: str) -> None:
    """Show the page anew, with a sentence on what was done."""
    st.session_state[SAID] = sentence
    st.rerun()


def _timeline(versions: list[ModelVersion], aliases: list[Alias]) -> None:
    pages = -(-len(versions) // PER_PAGE)
    page = 1
    if pages > 1:
        page = int(
            st.number_input(f"Page of {count(pages)}", 1, pages, key="models-page", width=160)
        )
    targets = {one.version for one in aliases}
    not_proven = workbench().models.aliases.not_proven()
    for version in versions[(page - 1) * PER_PAGE : page * PER_PAGE]:
        _card(version, not_proven.get(version.name, ""), is_in_use=version.name in targets)


def _card(version: ModelVersion, not_proven: str, *, is_in_use: bool) -> None:
    served = [one for one in version.deployments if one.state == "active"]
    with st.container(border=True):
        stage = STAGES["champion"] if is_in_use else STAGES.get(version.stage, "")
        verdict = VERDICTS.get(version.outcome, ":gray-badge[not compared yet]")
        st.markdown(f"**{plain(version.name)}** {stage} {verdict}")
        facts = [
            f"made {when(version.created_at)}",
            f"from {plain(version.base_name)}",
            loss_words(version),
            size(version.size_bytes) if version.present else "files pruned",
            f"served as `{served[-1].name}`" if served else "not deployed",
        ]
        st.caption(" · ".join(fact for fact in facts if fact))
        if version.retraining:
            st.warning(
                f"It was trained on {count(len(version.retraining))} conversations that were "
                "forgotten since: train again without them.",
                icon=":material/delete_history:",
            )
        if not_proven:
            st.warning(
                f"It is {plain(not_proven)}: `fine-tuning deploy {version.name}` proves it there.",
                icon=":material/history:",
            )
        _buttons(version, is_served=bool(served), is_in_use=is_in_use)
        with st.expander("Lineage, proof, notes and files", icon=":material/info:"), told():
            details(version)


def _buttons(version: ModelVersion, *, is_served: bool, is_in_use: bool) -> None:
    bench, name = workbench(), version.name
    with st.container(horizontal=True):
        if version.adapter_path is not None and not is_served:
            if st.button("Deploy and use", icon=":material/rocket_launch:", key=f"dep-{name}"):
                with told():
                    bench.jobs.start_deployment(name)
                    st.rerun()
            if st.button("Deploy only", key=f"only-{name}", type="tertiary"):
                with told():
                    bench.jobs.start_deployment(name, switch=False)
                    st.rerun()
        if is_served and not is_in_use:
            if st.button("Use", icon=":material/swap_horiz:", type="primary", key=f"use-{name}"):
                with told(), st.spinner(f"Loading {plain(name)}"):
                    done = bench.models.aliases.switcher().switch(name)
                    _say(f"{done.alias} answers as {done.version}; before: {done.before}.")
            if st.button("Withdraw", key=f"out-{name}", type="tertiary"):
                with told():
                    served_name = bench.models.aliases.switcher().withdraw(name)
                    _say(f"{served_name} is gone from the runtime; its files stay.")
        if is_in_use and st.button(
            "Use the base model", key=f"base-{name}", type="tertiary", icon=":material/block:"
        ):
            with told(), st.spinner("Switching"):
                done = bench.models.aliases.switcher().switch(f"{version.family}:base")
                _say(f"{done.alias} answers as the base model; before: {done.before}.")
        _stage_button(version)


def _stage_button(version: ModelVersion) -> None:
    """Put a challenger aside, or take up an archived version again."""
    name = version.name
    if version.stage == "challenger":
        if st.button("Archive", key=f"archive-{name}", type="tertiary"):
            with told():
                _say(f"{workbench().models.register.registry().archive(name).name} is archived.")
    elif version.stage == "archived" and st.button(
        "Restore", key=f"promote-{name}", type="tertiary"
    ):
        with told():
            version = workbench().models.register.registry().promote(name)
            _say(f"{version.name} is a challenger again.")


def _history() -> None:
    events = workbench().models.history()
    st.dataframe(
        [
            {
                "When": when(one.created_at),
                "Version": one.version or one.family,
                "Event": one.word,
                "Detail": one.detail,
            }
            for one in reversed(events[-SHOWN_EVENTS:])
        ],
        hide_index=True,
    )
