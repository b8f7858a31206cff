"""A chatbot page with two more lines records its turns; without them it is a plain chatbot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from fine_tuning.model_management.alias_history import AliasHistory
from fine_tuning.model_management.model_registry import ModelRegistry
from fine_tuning.workbench.workbench import Workbench
from tests.model_management.registered import ALIAS, point, register, split
from tests.ollama_stand_in.server import StandIn
from tests.workbench.on_ollama import trained_on_ollama
from tests.workbench.trained import NAME, Trained

EXAMPLE = Path(__file__).parents[2] / "examples" / "streamlit_chatbot.py"
SERVED = "fine_tuned_support:2"
WAIT_S = 30


@pytest.fixture(scope="module")
def on_ollama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Trained, StandIn]]:
    with trained_on_ollama(tmp_path_factory.mktemp("on-ollama")) as (trained, server):
        server.add_model("other:latest", trained.base)
        yield trained, server


@pytest.fixture
def bench(
    on_ollama: tuple[Trained, StandIn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workbench]:
    """An empty workspace; the environment of the page leads to it and to the server."""
    trained, server = on_ollama
    variables = {
        "FINE_TUNING_HOME": str(tmp_path),
        "FINE_TUNING__TRAINING__BASE_MODEL": NAME,
        "FINE_TUNING__DEPLOYMENT__RUNTIME": "ollama",
        "FINE_TUNING__DEPLOYMENT__OLLAMA_BASE_URL": server.url,
        "OLLAMA_HOST": server.url,
        "CHATBOT_MODEL": NAME,
        "OMP_NUM_THREADS": "1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    yield Trained(home=tmp_path, base=trained.base, name=NAME).bench(server.url)
    st.cache_resource.clear()
    st.cache_data.clear()


def opened(page: AppTest) -> AppTest:
    page.run()
    assert not page.exception
    assert not page.error
    return page


def say(page: AppTest, text: str) -> AppTest:
    page.chat_input[0].set_value(text)
    return opened(page)


def example() -> AppTest:
    return opened(AppTest.from_file(str(EXAMPLE), default_timeout=WAIT_S))


def recorded(bench: Workbench) -> list[list[str]]:
    return [[m.text for m in one.messages] for one in bench.context.store.conversations()]


def test_every_turn_is_recorded_once_and_can_be_judged(bench: Workbench) -> None:
    page = example()
    assert page.selectbox[0].options[0] == f"{NAME} (base, not tuned)"
    say(page, "Tell me about owls.")
    first = page.session_state["messages"][1]["content"]
    opened(page)
    say(page, "And tea?")
    second = page.session_state["messages"][3]["content"]
    assert recorded(bench) == [["Tell me about owls.", first, "And tea?", second]]
    (chat,) = bench.context.store.conversations()
    reply = chat.path()[3]
    assert dict(reply.metadata) == {"model": NAME}
    for pressed in (1, None):
        page.get("feedback")[0].set_value(pressed)
        opened(page)
    assert [one.value for one in bench.context.store.feedback()] == [1, 0], (
        "the same thumb takes it back"
    )
    page.text_area[0].set_value("Tea is a drink.")
    next(button for button in page.button if button.label == "Save").click()
    opened(page)
    (pair,) = bench.data.feedback.preference_pairs()
    assert (pair.chosen.text, pair.rejected.text) == ("Tea is a drink.", second)
    assert "1 conversation recorded" in [one.value for one in page.caption]


def test_the_sidebar_chooses_who_replies(bench: Workbench) -> None:
    page = example()
    page.selectbox[0].select("other:latest")
    say(page, "Tell me about salt.")
    (chat,) = bench.context.store.conversations()
    assert dict(chat.path()[1].metadata) == {"model": "other:latest"}


def test_what_is_said_without_consent_is_not_recorded(bench: Workbench) -> None:
    page = example()
    say(page, "Recorded.")
    page.toggle[0].set_value(False)
    opened(page)
    say(page, "A secret.")
    assert len(recorded(bench)[0]) == 2
    (chat,) = bench.context.store.conversations()
    assert bench.data.pipeline.withheld() == {chat.id}
    page.toggle[0].set_value(True)
    opened(page)
    assert bench.data.pipeline.withheld() == frozenset()
    say(page, "Recorded again.")
    assert recorded(bench)[0][::2] == ["Recorded.", "Recorded again."]


def test_a_new_conversation_is_a_new_one_in_the_log(bench: Workbench) -> None:
    page = example()
    say(page, "First.")
    page.session_state["messages"] = []
    opened(page)
    say(page, "Second.")
    assert [texts[0] for texts in recorded(bench)] == ["First.", "Second."]


def test_with_recording_off_nothing_is(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINE_TUNING__DATA_COLLECTION__ENABLED", "false")
    page = example()
    say(page, "Hello?")
    assert len(page.session_state["messages"]) == 2
    assert not bench.context.workspace.conversations.exists()


PAGE_WITH_A_MEMORY = """
import streamlit as st
from fine_tuning.integration.streamlit_fine_tuning import log_turns

roles = ("user", "assistant")
said = st.session_state.get("said", ["Who?", "Me."])
messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(said)]
log_turns(messages, session_id="mine")
"""


def test_a_conversation_shown_again_is_not_recorded_again(bench: Workbench) -> None:
    for _ in range(2):  # two browsers
        opened(AppTest.from_string(PAGE_WITH_A_MEMORY, default_timeout=WAIT_S))
    page = AppTest.from_string(PAGE_WITH_A_MEMORY, default_timeout=WAIT_S)
    page.session_state["said"] = ["Who?", "Me.", "Where?", "Here."]
    opened(page)
    assert recorded(bench) == [["Who?", "Me.", "Where?", "Here."]]


PAGE_IN_A_TEST = """
import streamlit as st
from fine_tuning.integration.streamlit_fine_tuning import log_turns, sidebar

kept = st.session_state.get("kept", "")
model = sidebar("fine_tuned_support:champion", session_id=kept)
said = st.session_state.get("said", [])
messages = [{"role": ("user", "assistant")[n % 2], "content": t} for n, t in enumerate(said)]
log_turns(messages, model=model, session_id=kept)
st.text(model)
"""


def test_a_session_keeps_the_version_it_drew(bench: Workbench, tmp_path: Path) -> None:
    trained = Trained(
        home=tmp_path, base=Path(bench.context.settings.training.base_model), name=NAME
    )
    write_versions(trained, bench)
    drawn = set[str]()
    for number in range(8):
        page = AppTest.from_string(PAGE_IN_A_TEST, default_timeout=WAIT_S)
        if number < 4:
            page.session_state["kept"] = f"chat-{number}"
        opened(page)
        model = page.text[0].value
        page.session_state["said"] = ["Who?", f"Me {number}."]
        assert opened(page).text[0].value == model
        if number >= 4:
            page.session_state["said"] = ["Another?", f"Yes {number}."]
            assert opened(page).text[0].value == model, "another chat of the same browser"
        else:
            assert model == bench.models.aliases.answering(ALIAS, f"chat-{number}").model
        drawn.add(model)
    told = [one.path()[1].metadata for one in bench.context.store.conversations()]
    versions = {ALIAS: "support:1", SERVED: "support:2"}
    assert len(told) == 12
    assert all(one["version"] == versions[one["model"]] for one in told)
    assert drawn <= set(versions)


def write_versions(trained: Trained, bench: Workbench) -> None:
    """Register two versions, the first in use, the second beside it on half of the sessions."""
    registry = ModelRegistry(bench.context.workspace.models)
    for number in (1, 2):
        register(trained.home, f"run{number}")
    journal = AliasHistory(registry, "ollama")
    point(journal, "support:1")
    registry.deployments.record("support:2", "ollama", SERVED, digest="d")
    split(journal, "support:2", target=SERVED)


def test_a_workspace_in_trouble_does_not_stop_the_chatbot(bench: Workbench) -> None:
    bench.context.workspace.conversations.mkdir(parents=True)
    page = AppTest.from_file(str(EXAMPLE), default_timeout=WAIT_S).run()
    page.chat_input[0].set_value("Still there?").run()
    assert not page.exception
    assert page.session_state["messages"][1]["content"]
    assert "a folder" in " ".join(error.value for error in page.error)


def test_without_its_lines_it_is_a_plain_chatbot(bench: Workbench) -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)
    docstring_end = next(n for n, line in enumerate(lines) if n and line.startswith('"""'))
    plain = [line for line in lines[docstring_end + 1 :] if "fine_tuning" not in line]
    assert len(lines) - docstring_end - 1 - len(plain) == 3, "the import and the two calls"
    assert len(lines) <= 45
    page = opened(AppTest.from_string("".join(plain), default_timeout=WAIT_S))
    say(page, "Tell me about owls.")
    assert page.session_state["messages"][1]["content"]
    assert not page.sidebar.children
    assert not bench.context.workspace.conversations.exists()
