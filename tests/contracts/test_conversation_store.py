"""The laws of the ports of a conversation store, run against every implementation.

A store is known here by its factory alone: a new one needs one more entry of ``STORES``.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given, settings

from fine_tuning.core.conversation import Conversation, Message, Part, ToolCall
from fine_tuning.core.errors import DataError, StorageError
from fine_tuning.core.feedback import Feedback
from fine_tuning.core.ports import (
    ConversationAdmin,
    ConversationLog,
    ConversationQueries,
    ConversationStore,
)
from fine_tuning.storage.json_lines import encode
from fine_tuning.storage.jsonl_store import JsonlConversationStore
from fine_tuning.storage.sqlite_store import SqliteConversationStore
from tests.strategies import conversations


@dataclass(frozen=True)
class Store:
    """How stores of one kind are opened: here, in another process, and what a torn write leaves."""

    name: str
    factory: Callable[[Path], ConversationStore]
    torn: bytes = b""

    @property
    def imports(self) -> str:
        """The statement that brings the factory into another process, as ``opened``."""
        return f"from {self.factory.__module__} import {self.factory.__name__} as opened"


STORES = [
    Store(
        "store.jsonl",
        JsonlConversationStore,
        torn=b'{"user_message": "torn", "session_id": "private", "bot',
    ),
    Store("store.db", SqliteConversationStore),
]


class Place(NamedTuple):
    """A place for one store, opened as often as a test likes."""

    store: Store
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / self.store.name

    def open(self) -> ConversationStore:
        return self.store.factory(self.path)


@pytest.fixture(params=STORES, ids=lambda store: store.factory.__name__)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path)


def message(key: str, role: str, text: str, parent: str | None = None, **fields: Any) -> Message:
    content = (Part(text=text),) if text else ()
    return Message(id=key, role=role, content=content, parent_id=parent, **fields)


def turn(name: str, *, parent: str | None = None, time: str = "") -> tuple[Message, Message]:
    asked = message(f"{name}/q", "user", f"question {name}", parent, created_at=time)
    reply = message(f"{name}/a", "assistant", f"reply {name}", asked.id, created_at=time)
    return asked, reply


def simple(name: str, **fields: Any) -> Conversation:
    return Conversation(id=name, messages=turn(name), **fields)


def tree() -> Conversation:
    """A conversation with everything in it: branches, two roots, tools, parts, notes."""
    picture = Part(type="image_url", data={"url": "blob:sha256:00"})
    call = ToolCall(id="c1", name="weather", arguments={"city": "Łódź", "days": 2})
    return Conversation(
        id="tree",
        messages=(
            message("s", "system", "Be brief."),
            Message(id="u", role="user", content=(Part(text="Look"), picture), parent_id="s"),
            message("a1", "assistant", "No.", "u", weight=0, status="aborted", model="m:1"),
            message("a2", "assistant", "", "u", tool_calls=(call,), reasoning="hm"),
            message("t", "tool", "rain\n☂", "a2", tool_call_id="c1", name="weather"),
            message("a3", "assistant", "Rain.", "t", metadata={"latency_s": 0.5, "n": [1, None]}),
            message("u2", "user", "Another beginning"),
        ),
        leaf_id="a3",
        source="import:test",
        source_ref="42",
        title="Weather",
        created_at="2026-01-02T03:04:05.000006+00:00",
        metadata={"tags": ["x"], "nested": {"deep": True}},
    )


def test_what_is_appended_is_read_back_equal(place: Place) -> None:
    at = "2026-01-02T03:04:05.000006+00:00"
    noted = turn("noted", time=at)
    given_all = [
        simple("plain"),
        tree(),
        Conversation(id="empty"),
        Conversation(
            id="noted",
            messages=(noted[0], replace(noted[1], metadata={"rating": 5}, model="m")),
            created_at=at,
        ),
    ]
    store = place.open()
    for conversation in given_all:
        store.append(conversation)
    assert list(store.conversations()) == given_all
    assert store.count() == len(given_all)
    assert list(place.open().conversations()) == given_all, "a new process sees the same"


def as_json(value: Any) -> Any:
    """What JSON makes of a value: numbers beyond 64 bits become text."""
    return orjson.loads(encode(value))


def expressible(conversation: Conversation) -> Conversation:
    messages = tuple(
        replace(
            m,
            metadata=as_json(m.metadata),
            content=tuple(replace(part, data=as_json(part.data)) for part in m.content),
            tool_calls=tuple(
                replace(call, arguments=as_json(call.arguments)) for call in m.tool_calls
            ),
        )
        for m in conversation.messages
    )
    return replace(conversation, messages=messages, metadata=as_json(conversation.metadata))


@settings(max_examples=60)
@given(conversation=conversations())
@pytest.mark.parametrize("kind", STORES)
def test_any_conversation_survives(kind: Store, conversation: Conversation) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Place(kind, Path(folder)).open()
        store.append(conversation)
        store.append(conversation)
        assert list(store.conversations()) == [expressible(conversation)]


def test_half_a_surrogate_pair_is_bent_and_not_fatal(place: Place) -> None:
    store = place.open()
    store.append(Conversation(id="c", messages=(message("q", "user", "a\ud800b \ud83d\ude00"),)))
    (found,) = store.conversations()
    assert found.messages[0].text == "a\ufffdb 😀"


def test_appending_again_changes_nothing(place: Place) -> None:
    store = place.open()
    for _ in range(3):
        store.append(tree())
        store.append(simple("one"))
    changed = replace(
        simple("one"), messages=(replace(turn("one")[0], content=(Part(text="other"),)),)
    )
    store.append(changed)
    assert list(store.conversations()) == [tree(), simple("one")]


def test_a_revision_changes_with_its_conversation_and_no_other(place: Place) -> None:
    store, other = place.open(), place.open()
    assert store.revisions() == {}
    store.append_many([simple("a"), tree(), simple("b")])
    first = store.revisions()
    assert list(first) == ["a", "tree", "b"]
    other.append(Conversation(id="a", messages=turn("a2", parent="a/a")))
    other.add_feedback(
        Feedback(id="f", conversation_id="b", message_id="b/a", kind="thumb", value=1)
    )
    second = store.revisions()
    assert [name for name in first if first[name] != second[name]] == ["a"]
    other.append(Conversation(id="tree", leaf_id="a1"))
    third = store.revisions()
    assert [name for name in first if second[name] != third[name]] == ["tree"]
    other.forget("a")
    assert store.revisions() == {name: third[name] for name in ("tree", "b")}
    assert place.open().revisions() == store.revisions()


def test_the_change_token_is_another_after_every_change(place: Place) -> None:
    store, other = place.open(), place.open()
    tokens = [store.change_token()]

    def look() -> None:
        assert store.change_token() == store.change_token() == other.change_token()
        tokens.append(store.change_token())

    other.append(simple("a"))
    look()
    other.append_many([simple("b")])
    look()
    other.add_feedback(Feedback(id="f", conversation_id="b", message_id="b/a", kind="thumb"))
    look()
    assert list(store.conversations()) == [simple("a"), simple("b")]
    assert store.change_token() == tokens[-1], "reading changes nothing"
    other.forget("a")
    look()
    finish(writer(place, "w", 1))
    look()
    assert len(set(tokens)) == len(tokens)


def test_new_messages_join_their_conversation(place: Place) -> None:
    store, other = place.open(), place.open()
    store.append(simple("c"))
    other.append(simple("d"))
    grown = Conversation(id="c", messages=(*turn("c"), *turn("c2", parent="c/a")))
    other.append(grown)
    retry = message("c2/b", "assistant", "another try", "c2/q")
    store.append(Conversation(id="c", messages=(retry,)))
    assert list(store.conversations()) == [
        replace(grown, messages=(*grown.messages, retry)),
        simple("d"),
    ]


def test_followers_become_one_path_in_order(place: Place) -> None:
    stores = [place.open(), place.open()]
    for index in range(6):
        stores[index % 2].append(Conversation(id="session", messages=turn(str(index))), follow=True)
    stores[0].append(
        Conversation(id="session", messages=(message("x", "user", "one more question"),)),
        follow=True,
    )
    (found,) = stores[0].conversations()
    names = [f"{index}/{who}" for index in range(6) for who in "qa"]
    assert [m.id for m in found.path()] == [*names, "x"]


def test_following_twice_changes_nothing(place: Place) -> None:
    store = place.open()
    for name in ("1", "2", "1", "2"):
        store.append(Conversation(id="s", messages=turn(name)), follow=True)
    (found,) = store.conversations()
    assert [m.id for m in found.path()] == ["1/q", "1/a", "2/q", "2/a"]


def test_following_needs_no_earlier_conversation_and_no_given_parent(place: Place) -> None:
    store = place.open()
    loose = (message("1", "user", "a"), message("2", "assistant", "b"))
    store.append(Conversation(id="s", messages=loose), follow=True)
    branch = message("3", "assistant", "c", "1")
    store.append(Conversation(id="s", messages=(branch,)), follow=True)
    (found,) = store.conversations()
    assert [m.parent_id for m in found.messages] == [None, "1", "1"]


def test_the_shown_branch_is_the_one_appended_last(place: Place) -> None:
    store = place.open()
    one = Conversation(id="c", messages=(*turn("c"), message("c/b", "assistant", "b", "c/q")))
    store.append(replace(one, leaf_id="c/a"))
    assert [c.leaf_id for c in store.conversations()] == ["c/a"]
    store.append(replace(one, messages=(), leaf_id="c/b"))
    assert [c.leaf_id for c in store.conversations()] == ["c/b"]
    store.append(one)
    assert [c.leaf_id for c in store.conversations()] == ["c/b"], "nothing new, nothing changes"


def test_a_source_is_known_by_its_reference(place: Place) -> None:
    store = place.open()
    store.append(tree())
    again = replace(tree(), id="tree-imported-again")
    store.append(replace(again, messages=(*again.messages, message("a9", "assistant", "!", "t"))))
    store.append(replace(simple("other"), source="import:test"))
    store.append(replace(simple("another"), source="import:test"))
    found = list(store.conversations())
    assert [c.id for c in found] == ["tree", "other", "another"]
    assert [m.id for m in found[0].messages][-1] == "a9"


@pytest.mark.parametrize("follow", [False, True])
def test_an_unknown_parent_or_leaf_is_refused_and_nothing_written(
    place: Place, follow: bool
) -> None:
    store = place.open()
    store.append(simple("c"))
    orphan = message("o", "user", "?", "nowhere")
    with pytest.raises(DataError, match="unknown parent 'nowhere'"):
        store.append(Conversation(id="c", messages=(orphan,)), follow=follow)
    with pytest.raises(DataError, match="unknown message 'nowhere'"):
        store.append(replace(simple("d"), leaf_id="nowhere"), follow=follow)
    assert list(store.conversations()) == [simple("c")]


def test_message_ids_belong_to_their_conversation(place: Place) -> None:
    store = place.open()
    both = [Conversation(id=name, messages=turn("same")) for name in ("c", "d")]
    for conversation in both:
        store.append(conversation)
    assert list(store.conversations()) == both


def test_feedback_of_every_kind_is_kept_once(place: Place) -> None:
    store = place.open()
    common = {"conversation_id": "c", "message_id": "c/a"}
    said = [
        Feedback(id="1", kind="thumb", value=-1, reason="wrong", **common),
        Feedback(id="2", kind="rating", value=10, comment="à la carte", **common),
        Feedback(id="3", kind="correction", text="better\nreply", created_at="2026", **common),
        Feedback(id="4", kind="choice", rejected_id="c/b", **common),
    ]
    for judgement in [*said, *said]:
        store.add_feedback(judgement)
    store.add_feedback(replace(said[0], value=1))
    assert list(store.feedback()) == said
    assert list(store.conversations()) == []


def test_feedback_on_one_conversation(place: Place) -> None:
    store = place.open()
    said = [
        Feedback(id=f"{name}{n}", conversation_id=name, message_id="m", kind="thumb", value=1)
        for n in range(3)
        for name in "ab"
    ]
    store.append_many([simple("a")], said[:3])
    for judgement in said:
        store.add_feedback(judgement)
    assert list(store.feedback("a")) == said[::2]
    assert list(place.open().feedback("b")) == said[1::2]
    assert list(store.feedback("c")) == []
    store.forget("a")
    assert list(store.feedback("a")) == []
    assert list(store.feedback("b")) == said[1::2]


def test_an_absent_store_is_empty(place: Place) -> None:
    store = place.open()
    assert list(store.conversations()) == []
    assert list(store.feedback()) == []
    assert store.skipped == []


def test_the_store_may_grow_while_it_is_read(place: Place) -> None:
    store = place.open()
    for index in range(3):
        store.append(simple(str(index)))
    seen = []
    for conversation in store.conversations():
        seen.append(conversation.id)
        if len(seen) < 3:
            store.append(simple(f"new{len(seen)}"))
    assert seen[:3] == ["0", "1", "2"]
    assert len(set(seen)) == len(seen)
    assert len(list(store.conversations())) == 5


def test_a_file_in_place_of_the_folder_is_one_sentence(place: Place) -> None:
    place.folder.joinpath("file").write_text("x")
    with pytest.raises(StorageError):
        place._replace(folder=place.folder / "file").open().append(simple("c"))


WRITER = """
import sys
from fine_tuning.core.conversation import Conversation, Message, Part
path, who, count, shared = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
store = opened(path)
for index in range(count):
    name = f"{who}-{index}"
    asked = Message(id=name + "/q", role="user", content=(Part(text="q" * (index % 500) + name),))
    reply = Message(id=name + "/a", role="assistant", content=(Part(text="a " + name),),
                    parent_id=asked.id)
    store.append(Conversation(id=shared or who, messages=(asked, reply)), follow=True)
    print(name, flush=True)
"""


def writer(place: Place, who: str, count: int, shared: str = "") -> subprocess.Popen[str]:
    code = f"{place.store.imports}\n{WRITER}"
    return subprocess.Popen(
        [sys.executable, "-c", code, str(place.path), who, str(count), shared],
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> list[str]:
    out, _ = process.communicate(timeout=60)
    return out.split()


@pytest.mark.parametrize("shared", ["", "one-session"])
def test_four_processes_at_once_lose_nothing(place: Place, shared: str) -> None:
    processes = [writer(place, f"w{number}", 100, shared) for number in range(4)]
    acknowledged = {name for process in processes for name in finish(process)}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(acknowledged) == 400
    store = place.open()
    found = list(store.conversations())
    assert len(found) == (1 if shared else 4)
    on_paths = [m for conversation in found for m in conversation.path()]
    assert {m.id for m in on_paths if m.role == "assistant"} == {f"{n}/a" for n in acknowledged}
    assert len(on_paths) == 800, "every turn lies on the path, none on a side branch"
    for who in range(4):
        own = [m.id for m in on_paths if m.id.startswith(f"w{who}-") and m.role == "user"]
        assert own == [f"w{who}-{index}/q" for index in range(100)], "in its writer's order"
    assert store.skipped == []


def test_a_killed_writer_loses_no_acknowledged_turn(place: Place) -> None:
    acknowledged: set[str] = set()
    for round_number in range(5):
        process = writer(place, f"r{round_number}", 100_000)
        for _ in range(3 + 7 * round_number):
            acknowledged.add(process.stdout.readline().strip())
        process.send_signal(signal.SIGKILL)
        acknowledged.update(line for line in finish(process) if line)
    store = place.open()
    store.append(simple("after"))
    found = {m.id for c in store.conversations() for m in c.path() if m.role == "assistant"}
    assert {f"{name}/a" for name in acknowledged} <= found
    assert len(acknowledged) >= 85
    assert "after/a" in found


def test_one_conversation_is_found_by_its_id(place: Place) -> None:
    store = place.open()
    assert store.conversation("c") is None
    store.append(simple("c"))
    store.append(tree())
    assert store.conversation("tree") == tree()
    assert place.open().conversation("c") == simple("c")
    assert store.conversation("d") is None


def test_many_are_added_at_once_or_none(place: Place) -> None:
    store = place.open()
    thumb = Feedback(id="1", conversation_id="c", message_id="c/a", kind="thumb", value=1)
    assert store.append_many([simple("c"), tree(), simple("c")], [thumb, thumb]) == [
        True,
        True,
        False,
    ]
    grown = replace(simple("c"), messages=(*turn("c"), message("c/q2", "user", "more", "c/a")))
    orphan = Conversation(id="o", messages=(message("o", "user", "?", "nowhere"),))
    before = list(store.conversations()), list(store.feedback())
    with pytest.raises(DataError, match="unknown parent"):
        store.append_many([simple("d"), grown, orphan])
    assert (list(store.conversations()), list(store.feedback())) == before
    assert store.append_many([grown, simple("d")]) == [False, True]
    assert [len(c.messages) for c in place.open().conversations()] == [3, 7, 2]
    assert list(store.feedback()) == [thumb]


def test_who_judged_is_kept(place: Place) -> None:
    store = place.open()
    common = {"conversation_id": "c", "message_id": "c/a", "kind": "rating"}
    said = [
        Feedback(id="1", value=9, **common),
        Feedback(id="2", value=2, annotator_kind="model", annotator="judge:7", **common),
        Feedback(id="3", value=5, annotator_kind="code", annotator="length", **common),
    ]
    for judgement in said:
        store.add_feedback(judgement)
    assert list(place.open().feedback()) == said


def test_what_is_forgotten_is_in_no_file(place: Place) -> None:
    store = place.open()
    private_words = "The key lies under the third stone."
    private = Conversation(
        id="private",
        messages=(message("p/q", "user", private_words), message("p/a", "assistant", "a")),
    )
    for conversation in [*map(simple, "abc"), private, *map(simple, "def")]:
        store.append(conversation)
    more = Conversation(
        id="private", messages=(message("p/q2", "user", f"Again: {private_words}"),)
    )
    store.append(more, follow=True)
    for name in ("private", "a"):
        store.add_feedback(
            Feedback(
                id=f"f {name}",
                conversation_id=name,
                message_id="x",
                kind="correction",
                text=f"{name}: {private_words}" if name == "private" else "better",
            )
        )
    if place.store.torn:
        with place.path.open("ab") as file:
            file.write(place.store.torn)
    assert any(private_words.encode() in file.read_bytes() for file in place.folder.iterdir())
    assert store.forget("private") is True
    for file in place.folder.iterdir():
        assert private_words.encode() not in file.read_bytes(), file
        assert b"private" not in file.read_bytes(), file
    for seen in (store, place.open()):
        assert [c.id for c in seen.conversations()] == list("abcdef")
        assert [f.conversation_id for f in seen.feedback()] == ["a"]
    assert store.forget("private") is False
    store.append(simple("after"))
    assert place.open().conversation("after") is not None


def test_a_backup_is_whole_while_others_write(place: Place) -> None:
    store = place.open()
    store.append(tree())
    process = writer(place, "w", 200)
    first = process.stdout.readline().strip()
    safe = place._replace(folder=place.folder / "safe")
    safe.folder.mkdir()
    safe.path.write_bytes(b"an older file there")
    store.back_up(safe.path)
    acknowledged = [first, *finish(process)]
    found = {m.id for c in safe.open().conversations() for m in c.messages}
    assert f"{first}/a" in found
    assert safe.open().conversation("tree") == tree()
    assert safe.open().skipped == []
    assert len(acknowledged) == 200


@pytest.mark.slow
def test_forty_killed_writers_lose_no_acknowledged_turn(place: Place) -> None:
    """Four writers at a time, ten rounds, each killed at a random moment."""
    draw = random.Random(os.urandom(8))
    acknowledged: set[str] = set()
    for round_number in range(10):
        processes = [writer(place, f"r{round_number}w{who}", 10**6) for who in range(4)]
        for process in processes:
            acknowledged.add(process.stdout.readline().strip())
        for process in draw.sample(processes, 4):
            time.sleep(draw.uniform(0, 0.2))
            process.send_signal(signal.SIGKILL)
        for process in processes:
            acknowledged.update(process.stdout.read().split())
            process.wait(60)
            process.stdout.close()
    store = place.open()
    store.append(simple("after"))
    conversations_found = list(store.conversations())
    found = {m.id for c in conversations_found for m in c.path() if m.role == "assistant"}
    missing = {name for name in acknowledged if f"{name}/a" not in found}
    print(f"{place.store.name}: 40 killed writers, {len(acknowledged)} acknowledged turns")  # noqa: T201
    assert not missing
    assert len(acknowledged) > 100


def test_the_port_is_fulfilled(place: Place) -> None:
    def takes(
        log: ConversationLog, queries: ConversationQueries, admin: ConversationAdmin
    ) -> tuple[object, ...]:
        return log, queries, admin

    store: ConversationStore = place.open()
    assert takes(store, store, store)
