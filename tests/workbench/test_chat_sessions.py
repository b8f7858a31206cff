"""Chats with memory: nothing said is lost, every turn stands once, where it belongs, in order."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from fine_tuning.core.conversation import Message
from fine_tuning.core.errors import DataError, ModelNotFoundError, RuntimeFailedError
from fine_tuning.core.ports import GREEDY, Sampling
from fine_tuning.data_collection.chat_session import ChatSession
from fine_tuning.workbench.chat.chat_models import ChatModels
from fine_tuning.workbench.workbench import Workbench
from tests.integration.test_ollama_integration import two_served
from tests.ollama_stand_in.server import StandIn
from tests.workbench.trained import NAME, Trained, write_trained

USERS, TURNS = 20, 3
SHORT = Sampling(max_tokens=4)


class Parrot:
    """A model that says back what it read last, word by word; it remembers all it was given."""

    name = "parrot"

    def __init__(self, *, breaks_after: int | None = None) -> None:
        self.read: list[list[tuple[str, str]]] = []
        self.seeds: list[int] = []
        self._breaks_after = breaks_after

    def reply(self, messages: Sequence[Message], sampling: Sampling = GREEDY) -> Iterator[str]:
        self.read.append([(message.role, message.text) for message in messages])
        self.seeds.append(sampling.seed)
        for number, word in enumerate(messages[-1].text.split(" ")):
            if number == self._breaks_after:
                raise RuntimeFailedError("the model broke off")
            yield f"{word} "


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return write_trained(tmp_path).bench()


def said(talk: ChatSession) -> list[tuple[str, str, str]]:
    return [(m.role, m.text, m.status) for m in talk.conversation().path()]


def answered(talk: ChatSession, text: str, model: Parrot | None = None) -> str:
    asked = talk.ask(text)
    list(talk.reply(asked, model or Parrot(), SHORT))
    return asked


def test_a_question_is_on_disk_before_its_reply_begins(bench: Workbench) -> None:
    talk = bench.chat.session()
    talk.ask("Is it raining?")
    again = Workbench(bench.context.settings, bench.context.workspace).chat.session(talk.id)
    assert said(again) == [("user", "Is it raining?", "complete")]
    (turn,) = again.turns()
    assert (turn.asked and turn.asked.text, turn.shown) == ("Is it raining?", None)


def test_a_stopped_reply_is_kept_as_far_as_it_came(bench: Workbench) -> None:
    talk = bench.chat.session()
    with closing(talk.reply(talk.ask("one two three"), Parrot(), SHORT)) as reply:
        assert [next(reply), next(reply)] == ["one ", "two "]
    assert said(talk)[1:] == [("assistant", "one two ", "aborted")]
    with closing(talk.reply(talk.ask("four five"), Parrot(), SHORT)):
        pass
    assert said(talk)[2:] == [("user", "four five", "complete")], "nothing came, nothing is kept"


def test_a_reply_that_breaks_off_is_kept_and_can_be_tried_again(bench: Workbench) -> None:
    talk = bench.chat.session()
    asked = talk.ask("one two three")
    with pytest.raises(RuntimeFailedError, match="broke off"):
        list(talk.reply(asked, Parrot(breaks_after=1), SHORT))
    assert said(talk)[1:] == [("assistant", "one ", "error")]
    list(talk.reply(asked, Parrot(), SHORT))
    assert said(talk)[1:] == [("assistant", "one two three ", "complete")]
    assert len(talk.conversation().messages) == 3


def test_what_the_model_reads(bench: Workbench) -> None:
    """Edited replies as edited, questions in a row as one, other branches not at all."""
    talk, model = bench.chat.session(), Parrot()
    asked = answered(talk, "first", model)
    list(talk.reply(asked, model, SHORT))
    shown = talk.turns()[0].shown
    assert shown
    talk.correct("better", reply_id=shown.id)
    talk.ask("lost")
    answered(talk, "second", model)
    assert model.read[-1] == [
        ("user", "first"), ("assistant", "better"), ("user", "lost\n\nsecond"),
    ]  # fmt: skip
    assert model.seeds == [0, 1, 0], "another reply is drawn by another seed"
    with pytest.raises(DataError, match="empty"):
        talk.ask(" \n")
    with pytest.raises(DataError, match="no question"):
        list(talk.reply("nobody", model, SHORT))


def test_choosing_between_replies_makes_a_pair_and_leads_the_chat(bench: Workbench) -> None:
    talk = bench.chat.session()
    asked = answered(talk, "Which?")
    list(talk.reply(asked, type("Other", (Parrot,), {"name": "other"})(), SHORT))
    (turn,) = talk.turns()
    first, second = turn.replies
    assert turn.is_open
    assert turn.shown == second
    talk.choose(first.id, [m.id for m in turn.replies], reason="blind")
    (turn,) = talk.turns()
    assert (turn.is_open, turn.shown) == (False, first)
    assert [m.model for m in turn.replies] == ["parrot", "other"]
    answered(talk, "And then?")
    talk.show_branch(second.id)
    assert [m.id for m in talk.conversation().path()] == [asked, second.id]
    talk.show_branch(first.id)
    assert len(talk.conversation().path()) == 4, "the rest of a branch comes back with it"
    assert not list(bench.data.feedback.preference_pairs()), "both said the same"


def test_opinions_are_found_again(bench: Workbench) -> None:
    talk = bench.chat.session()
    answered(talk, "How old is it?")
    reply = talk.turns()[0].shown
    assert reply
    talk.rate(-1, reply_id=reply.id, reason="wrong")
    talk.correct("Ten years.", reply_id=reply.id)
    talk.rename("Age")
    verdicts = bench.chat.session(talk.id).feedback_summary()
    assert verdicts.thumbs == {reply.id: -1}
    assert verdicts.corrections == {reply.id: "Ten years."}
    (pair,) = bench.data.feedback.preference_pairs()
    assert (pair.chosen.text, pair.rejected.text) == ("Ten years.", "How old is it? ")
    (row,) = bench.chat.chats().rows
    assert (row.id, row.title, row.has_consent) == (talk.id, "Age", True)


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_chat_without_consent_is_never_learnt(bench: Workbench, is_begun: bool) -> None:
    talk = bench.chat.session()
    if is_begun:
        answered(talk, "My secret is a long story to tell.")
    talk.set_consent(False)
    answered(talk, "Do you keep what I tell you to yourself?")
    assert not bench.chat.session(talk.id).has_consent
    assert not bench.chat.chats().rows[0].has_consent
    assert {drop.reason for drop in bench.data.clean().dropped} == {"consent"}
    bench.chat.session(talk.id).set_consent(True)
    assert bench.chat.session(talk.id).has_consent
    assert "consent" not in {drop.reason for drop in bench.data.clean().dropped}


def test_with_recording_off_a_chat_lives_as_long_as_its_page(tmp_path: Path) -> None:
    trained = write_trained(tmp_path)
    bench = trained.bench()
    off = bench.context.settings.data_collection.model_copy(update={"enabled": False})
    bench = Workbench(
        bench.context.settings.model_copy(update={"data_collection": off}), bench.context.workspace
    )
    talk = bench.chat.session()
    asked = answered(talk, "Hello you")
    list(talk.reply(asked, Parrot(), SHORT))
    first, second = talk.turns()[0].replies
    talk.choose(first.id, [second.id])
    talk.rate(1, reply_id=first.id)
    talk.set_consent(False)
    assert not talk.is_recording
    assert [m.text for m in talk.conversation().path()] == ["Hello you", "Hello you "]
    assert talk.feedback_summary().thumbs == {first.id: 1}
    assert not talk.has_consent
    assert not bench.context.workspace.conversations.exists()


def test_the_list_is_paged_and_searched_by_words_and_names(bench: Workbench) -> None:
    assert bench.chat.chats().total == 0
    talks = [bench.chat.session() for _ in range(5)]
    for number, talk in enumerate(talks):
        answered(talk, f"Question {number} about {'kites' if number % 2 else 'owls'}")
    talks[0].rename("Night birds")
    page = bench.chat.chats(limit=2, offset=1)
    assert (page.total, [row.id for row in page.rows]) == (5, [talks[3].id, talks[2].id])
    assert {row.id for row in bench.chat.chats("KITES").rows} == {talks[1].id, talks[3].id}
    assert [row.title for row in bench.chat.chats("night birds").rows] == ["Night birds"]
    assert bench.chat.chats("owls 2").total == 1
    assert bench.chat.chats("zebra").total == 0
    bench.data.eraser.forget(talks[1].id)
    assert {row.id for row in bench.chat.chats("kites").rows} == {talks[3].id}


def test_one_chat_to_take_along(bench: Workbench) -> None:
    talk = bench.chat.session()
    answered(talk, "Grüße \udc80?")
    talk.rename("Hello")
    reply = talk.turns()[0].shown
    assert reply
    talk.correct("Hi.", reply_id=reply.id)
    text = bench.chat.file(talk.id, "markdown").decode()
    assert text.startswith("# Hello\n\n**You**\n\nGrüße")
    assert text.endswith("**Chatbot**\n\nHi.\n")
    assert json.loads(bench.chat.file(talk.id, "json"))["id"] == talk.id
    with pytest.raises(DataError, match="no conversation"):
        bench.chat.file("nobody", "json")


def test_what_forgetting_would_touch(bench: Workbench) -> None:
    talk = bench.chat.session()
    answered(talk, "Do you know me?")
    assert bench.chat.what_holds(talk.id) is None


# Models


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two versions on the embedded runtime."""
    return two_served(tmp_path_factory.mktemp("here"))


def test_the_champion_comes_first_then_versions_then_the_base(here: Trained) -> None:
    bench = here.bench()
    assert [(c.kind, c.label) for c in bench.chat.model_choices()] == [
        ("version", "support:1"),
        ("version", "support:2"),
        ("base", f"{here.name} (base, not tuned)"),
    ]
    bench.models.aliases.switcher().switch("support:2")
    assert [(c.kind, c.label) for c in bench.chat.model_choices()][:2] == [
        ("champion", "support:2 (in use)"),
        ("version", "support:1"),
    ], "the version in use stands once"


def test_models_here_share_one_server_and_reply_each_in_their_way(here: Trained) -> None:
    bench = here.bench()
    names = [choice.name for choice in bench.chat.model_choices()]
    with closing(bench.chat.open_models()) as models:
        talk = bench.chat.session()
        asked = talk.ask("Tell me about owls.")
        for name in names:
            "".join(talk.reply(asked, models.model(name), Sampling(max_tokens=8)))
        (turn,) = talk.turns()
        assert len({reply.text for reply in turn.replies}) > 1
        assert all(reply.text for reply in turn.replies)
        with pytest.raises(ModelNotFoundError):
            models.model("nobody")


def test_twenty_people_at_once_on_one_runtime(tmp_path: Path) -> None:
    trained = write_trained(tmp_path)
    with StandIn(tmp_path, generation="0.33.0") as server:
        server.add_model(NAME, trained.base)
        bench = trained.bench(server.url)
        failed: list[BaseException] = []
        begun = threading.Barrier(USERS)

        def chat(number: int, models: ChatModels) -> None:
            try:
                begun.wait()
                for turn in range(TURNS):
                    talk = bench.chat.session(f"user-{number}")  # a page starts anew at each touch
                    asked = talk.ask(f"Person {number}, question {turn}")
                    assert "".join(talk.reply(asked, models.model(NAME), SHORT))
            except BaseException as error:
                failed.append(error)
                raise

        with closing(bench.chat.open_models()) as models:
            threads = [threading.Thread(target=chat, args=(n, models)) for n in range(USERS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert not failed
    fresh = Workbench(bench.context.settings, bench.context.workspace)
    assert fresh.context.store.count() == USERS
    for number in range(USERS):
        stored = fresh.chat.session(f"user-{number}").conversation()
        assert [(m.role, m.status) for m in stored.messages] == [
            ("user", "complete"), ("assistant", "complete"),
        ] * TURNS  # fmt: skip
        assert stored.messages == stored.path(), "one branch, in the order it was said"
        assert [m.text for m in stored.messages[::2]] == [
            f"Person {number}, question {turn}" for turn in range(TURNS)
        ]


def test_a_base_that_ollama_lacks_is_loaded_here(tmp_path: Path) -> None:
    trained = write_trained(tmp_path)
    with StandIn(tmp_path, generation="0.33.0") as server:
        server.add_model("other:latest", trained.base)
        bench = trained.bench(server.url)
        training = bench.context.settings.training.model_copy(
            update={"base_model": str(trained.base)}
        )
        bench = Workbench(
            bench.context.settings.model_copy(update={"training": training}),
            bench.context.workspace,
        )
        with closing(bench.chat.open_models()) as models:
            talk = bench.chat.session()
            assert "".join(talk.reply(talk.ask("Hi"), models.model(str(trained.base)), SHORT))
            assert "".join(talk.reply(talk.ask("Hi"), models.model("other:latest"), SHORT))
            with pytest.raises(ModelNotFoundError):
                models.model("nobody")
