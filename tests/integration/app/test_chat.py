"""The page Chat in every state, on a real runtime; nothing said is lost, whatever goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import fine_tuning
from fine_tuning.integration.app.chat_text import rendered
from fine_tuning.runtimes.embedded_runtime import EmbeddedRuntime
from fine_tuning.workbench.workbench import Workbench
from tests.integration.test_ollama_integration import serve
from tests.ollama_stand_in.server import StandIn
from tests.workbench.on_ollama import trained_on_ollama
from tests.workbench.trained import NAME, Trained, write_trained

MAIN = Path(fine_tuning.__file__).parent / "integration" / "app" / "main.py"
WAIT_S = 30


@pytest.fixture(autouse=True)
def _own_caches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    st.cache_resource.clear()
    st.cache_data.clear()


def opened(
    monkeypatch: pytest.MonkeyPatch, trained: Trained, *, url: str = "", chat: str = "", **more: str
) -> AppTest:
    settings = {
        "TRAINING__BASE_MODEL": trained.name,
        "TRAINING__THREADS": "1",
        "DEPLOYMENT__RUNTIME": "ollama" if url else "embedded",
        "DEPLOYMENT__FAMILY": "support",
        **({"DEPLOYMENT__OLLAMA_BASE_URL": url} if url else {}),
        **more,
    }
    monkeypatch.setenv("FINE_TUNING_HOME", str(trained.home))
    for name, value in settings.items():
        monkeypatch.setenv(f"FINE_TUNING__{name}", value)
    page = AppTest.from_file(str(MAIN), default_timeout=WAIT_S)
    if chat:
        page.query_params["chat"] = chat
    return run(page)


def run(page: AppTest) -> AppTest:
    page.run()
    assert not page.exception
    return page


def said(page: AppTest) -> list[str]:
    return [" ".join(part.value for part in one.markdown) for one in page.chat_message]


def say(page: AppTest, text: str) -> AppTest:
    page.chat_input[0].set_value(text)
    return run(page)


def click(page: AppTest, label: str) -> AppTest:
    next(button for button in page.button if button.label == label).click()
    return run(page)


def errors(page: AppTest) -> str:
    return " ".join(error.value for error in page.error)


@pytest.fixture(scope="module")
def on_ollama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Trained, StandIn]]:
    with trained_on_ollama(tmp_path_factory.mktemp("on-ollama")) as made:
        yield made


@pytest.fixture
def chatting(
    on_ollama: tuple[Trained, StandIn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[AppTest, Workbench, StandIn]:
    """An empty workspace whose base an Ollama serves."""
    trained, server = on_ollama
    mine = Trained(home=tmp_path, base=trained.base, name=NAME)
    return opened(monkeypatch, mine, url=server.url), mine.bench(server.url), server


def test_the_first_visit_says_what_to_do(chatting: tuple[AppTest, Workbench, StandIn]) -> None:
    page, _, _ = chatting
    assert "Say hello to your model." in " ".join(one.value for one in page.markdown)
    assert page.selectbox(key="model").options == [f"{NAME} (base, not tuned)"]
    assert not page.chat_message
    assert not page.error


def test_a_chat_is_replied_to_rated_edited_and_found_again(
    chatting: tuple[AppTest, Workbench, StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    page, bench, server = chatting
    say(page, "Tell me about *owls*.")
    (row,) = bench.chat.chats().rows
    assert page.query_params["chat"] == row.id
    talk = bench.chat.session(row.id)
    reply = talk.turns()[0].shown
    assert reply
    assert said(page) == ["Tell me about \\*owls\\*\\.", rendered(reply.text).strip()]
    click(page, "Edit")
    page.text_area[0].set_value("Owls hunt at night.")
    click(page, "Save")
    assert said(page)[1] == "Owls hunt at night."
    assert "edited by you" in " ".join(caption.value for caption in page.caption)
    assert talk.feedback_summary().corrections == {reply.id: "Owls hunt at night."}
    say(page, "And tea?")
    trained = Trained(home=bench.context.workspace.home, base=Path(), name=NAME)
    again = opened(monkeypatch, trained, url=server.url, chat=row.id)
    assert said(again) == said(page)
    assert len(said(again)) == 4


def test_the_same_thumb_again_takes_it_back(
    chatting: tuple[AppTest, Workbench, StandIn],
) -> None:
    page, bench, _ = chatting
    say(page, "Tell me about bells.")
    talk = bench.chat.session(bench.chat.chats().rows[0].id)
    reply = talk.turns()[0].shown
    assert reply
    for pressed, thumbs in ((0, {reply.id: -1}), (None, {}), (1, {reply.id: 1})):
        page.get("feedback")[0].set_value(pressed)
        run(page)
        assert talk.feedback_summary().thumbs == thumbs
    values = [one.value for one in bench.context.store.feedback()]
    assert values == [-1, 0, 1], "nothing said is removed"


def test_another_reply_is_chosen_or_not(chatting: tuple[AppTest, Workbench, StandIn]) -> None:
    page, bench, _ = chatting
    say(page, "Tell me about rain.")
    click(page, "Regenerate")
    (row,) = bench.chat.chats().rows
    talk = bench.chat.session(row.id)
    (turn,) = talk.turns()
    assert len(turn.replies) == 2
    assert turn.is_open
    assert len(said(page)) == 3, "the question and both replies"
    click(page, "This one is better")
    assert talk.feedback_summary().choices == {
        frozenset(one.id for one in turn.replies): (turn.replies[0].id, turn.replies[1].id)
    }
    assert talk.turns()[0].shown == turn.replies[0]
    assert len(said(page)) == 2
    page.button(key=f"next-{turn.replies[0].id}").click()
    run(page)
    assert talk.turns()[0].shown == turn.replies[1]
    click(page, "Regenerate")
    click(page, "Both are alike")
    assert len(talk.feedback_summary().choices) == 1


def test_a_server_that_dies_loses_nothing(
    chatting: tuple[AppTest, Workbench, StandIn],
) -> None:
    page, bench, server = chatting
    server.faults.die_after_pieces = 2
    try:
        say(page, "Tell me about bread.")
    finally:
        server.faults.die_after_pieces = None
    assert "stopped half" in errors(page)
    assert said(page)[0] == "Tell me about bread\\."
    (row,) = bench.chat.chats().rows
    (turn,) = bench.chat.session(row.id).turns()
    assert turn.shown
    assert turn.shown.status == "error"
    click(page, "Try again")
    assert not page.error
    assert bench.chat.session(row.id).turns()[0].replies[-1].status == "complete"


def test_without_a_runtime_the_question_waits_with_a_button(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = write_trained(tmp_path)
    page = opened(monkeypatch, trained, url="http://127.0.0.1:1")
    assert "No Ollama server answers" in errors(page)
    say(page, "Is anybody there?")
    assert said(page) == ["Is anybody there?"]
    assert "No Ollama server answers" in errors(page)
    assert trained.bench().chat.chats().total == 1
    with StandIn(tmp_path / "late", generation="0.33.0") as server:
        server.add_model(NAME, trained.base)
        st.cache_resource.clear()
        monkeypatch.setenv("FINE_TUNING__DEPLOYMENT__OLLAMA_BASE_URL", server.url)
        click(page, "Try again")
        assert len(said(page)) == 2
        st.cache_resource.clear()


def test_what_cannot_be_recorded_stays_on_the_page(
    chatting: tuple[AppTest, Workbench, StandIn],
) -> None:
    page, bench, _ = chatting
    bench.context.workspace.conversations.mkdir(parents=True)
    say(page, "Do not lose me.")
    assert "a folder" in errors(page)
    assert said(page) == ["Do not lose me\\."]
    bench.context.workspace.conversations.rmdir()
    click(page, "Try again")
    assert bench.chat.chats().rows[0].title == "Do not lose me."
    assert len(said(page)) == 2


def test_with_recording_off_the_page_says_so(
    on_ollama: tuple[Trained, StandIn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, server = on_ollama
    mine = Trained(home=tmp_path, base=trained.base, name=NAME)
    page = opened(monkeypatch, mine, url=server.url, DATA_COLLECTION__ENABLED="false")
    assert "Nothing is recorded" in " ".join(one.value for one in page.caption)
    say(page, "Between us.")
    assert len(said(page)) == 2
    assert not (tmp_path / "conversations.jsonl").exists()


def test_chats_are_exported_when_it_is_time(
    chatting: tuple[AppTest, Workbench, StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bench, server = chatting
    mine = Trained(home=bench.context.workspace.home, base=Path(), name=NAME)
    more = {"DATA_COLLECTION__AUTO_EXPORT": "true", "DATA_COLLECTION__EXPORT_INTERVAL": "1"}
    page = opened(monkeypatch, mine, url=server.url, **more)
    say(page, "Tell me about glass, please.")
    assert not page.error
    assert list(bench.context.workspace.exports.iterdir())


def test_names_search_consent_and_forgetting(
    chatting: tuple[AppTest, Workbench, StandIn],
) -> None:
    page, bench, _ = chatting
    say(page, "Tell me about kites.")
    next(t for t in page.text_input if t.label == "Name of this chat").set_value("My <b>kites</b>")
    click(page, "Rename")
    assert bench.chat.chats().rows[0].title == "My <b>kites</b>"
    assert "My \\<b\\>kites\\</b\\>" in [one.value for one in page.subheader]
    next(t for t in page.toggle if t.label == "Consent to training").set_value(False)
    run(page)
    assert not bench.chat.chats().rows[0].has_consent
    click(page, "New chat")
    assert not said(page)
    page.text_input(key="chat-words").set_value("zebra")
    run(page)
    assert "No chat contains these words." in [one.value for one in page.caption]
    page.text_input(key="chat-words").set_value("KITES")
    run(page)
    page.button(key=f"chat-{bench.chat.chats().rows[0].id}").click()
    run(page)
    assert said(page)[0] == "Tell me about kites\\."
    click(page, "Forget this chat …")
    assert "No data set and no model was made with it." in [one.value for one in page.markdown]
    click(page, "Forget")
    assert bench.chat.chats().total == 0
    assert not said(page)


def test_two_versions_reply_blindly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = write_trained(tmp_path)
    runtime = EmbeddedRuntime(trained.home / "models" / "embedded")
    for number in (1, 2):
        serve(trained, runtime, "embedded", number, str(trained.base))
    bench = trained.bench()
    bench.models.aliases.switcher().switch("support:1")
    page = opened(monkeypatch, trained)
    assert page.selectbox(key="model").options[:2] == ["support:1 (in use)", "support:2"]
    page.toggle(key="is-trial").set_value(True)
    run(page)
    page.selectbox(key="other").select("fine_tuned_support:2")
    say(page, "Tell me about the moon.")
    (turn,) = bench.chat.session(bench.chat.chats().rows[0].id).turns()
    assert {one.model for one in turn.replies} == {
        "fine_tuned_support:champion",
        "fine_tuned_support:2",
    }
    shown = " ".join(one.value for one in [*page.caption, *page.markdown])
    assert "fine_tuned" not in shown, "who is who is not told before the choice"
    click(page, "This one is better")
    kept = bench.chat.session(bench.chat.chats().rows[0].id).turns()[0].shown
    assert kept
    assert kept.model.replace("_", "\\_").replace(":", "\\:") in " ".join(
        one.value for one in page.caption
    )
    bench.models.aliases.switcher().split("support:2", 0.5)
    st.cache_data.clear()  # the models to pick from are kept for some seconds
    page = opened(monkeypatch, trained)
    assert page.selectbox(key="model").value == "fine_tuned_support:champion"
    assert page.selectbox(key="model").options[0] == "A/B: support:1 or support:2"
    say(page, "Tell me about salt.")
    talk = bench.chat.session(bench.chat.chats().rows[0].id)
    reply = talk.turns()[0].shown
    route = bench.models.aliases.answering("fine_tuned_support:champion", talk.id)
    assert reply
    assert (reply.model, reply.metadata["version"]) == (route.model, route.version)
    assert "fine_tuned" not in " ".join(one.value for one in page.caption), "thumbs are blind"


def test_many_chats_are_listed_a_page_at_a_time(
    on_ollama: tuple[Trained, StandIn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, server = on_ollama
    mine = Trained(home=tmp_path, base=trained.base, name=NAME)
    logger = mine.bench().data.logger()
    for number in range(40):
        logger.log_conversation(f"Question {number}", "Answer.", session_id=f"chat-{number}")
    page = opened(monkeypatch, mine, url=server.url)
    rows = [b.label for b in page.button if (b.key or "").startswith("chat-")]
    assert len(rows) == 15
    assert rows[0] == "Question 39"
    click(page, "Show more (25)")
    assert len([b for b in page.button if (b.key or "").startswith("chat-")]) == 30


RENDERED = {
    "**bold** and `a < b $x`": "**bold** and `a < b $x`",
    "<script>alert(1)</script>": "\\<script>alert(1)\\</script>",
    "![x](http://elsewhere/p.png)": "\\![x](http://elsewhere/p.png)",
    "$5 and $6": "\\$5 and \\$6",
    ":red[x] :material/x: http://a": "\\:red[x] \\:material/x: http://a",
    "```\n<b> $ ![": "```\n<b> $ ![",
}


@pytest.mark.parametrize(("text", "shown"), RENDERED.items())
def test_a_reply_shows_its_markdown_and_does_nothing_else(text: str, shown: str) -> None:
    assert rendered(text) == shown
