"""Looking through conversations: rows, filters, what cleaning made of them, decisions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError
from fine_tuning.core.feedback import Feedback
from fine_tuning.data_collection.conversation_index import Wanted
from fine_tuning.workbench.workbench import Workbench

GOOD = "A spar is the stick that keeps a kite flat when the wind is strong."
BETTER = "Use spruce: it is light, straight and cheap, and it bends before it breaks."


def chat(name: str, question: str, reply: str, **fields: Any) -> Conversation:
    made = Conversation.from_turns([("user", question), ("assistant", reply)], id=name, **fields)
    at = fields.get("created_at", "")
    return replace(made, messages=tuple(replace(m, created_at=at) for m in made.messages))


CHATS = [
    chat("good", "What is a spar?", GOOD, created_at="2026-03-01T10:00:00+00:00"),
    chat("short", "hi", "yo", created_at="2026-03-02T10:00:00+00:00"),
    chat("twin", "What is a spar?", GOOD, created_at="2026-03-03T10:00:00+00:00"),
    chat(
        "refusal",
        "Which wood?",
        "I'm sorry, but I can't help with that.",
        source="import:chatgpt",
        created_at="2026-03-04T10:00:00+00:00",
    ),
    chat(
        "private",
        "Wem darf ich wegen der Drachenschnur schreiben?",
        "Schreiben Sie bitte an max@kite.example, er kennt die Drachenschnüre am besten.",
        created_at="2026-03-05T10:00:00+00:00",
    ),
]


@pytest.fixture(params=["conversations.jsonl", "conversations.db"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Workbench:
    collection = Settings().data_collection.model_copy(update={"log_file": request.param})
    settings = Settings().model_copy(update={"data_collection": collection})
    made = Workbench(settings, Workspace.open(tmp_path, settings))
    made.context.store.append_many(CHATS)
    return made


def thumb(name: str, value: int) -> Feedback:
    return Feedback(
        id=f"{name} {value}", conversation_id=name, message_id=f"{name}/1", kind="thumb",
        value=value,
    )  # fmt: skip


def found(bench: Workbench, **wanted: Any) -> list[str]:
    return [row.id for row in bench.data.index.listing().find(Wanted(**wanted))]


def again(bench: Workbench) -> Workbench:
    """The same workspace in a new process."""
    return Workbench(bench.context.settings, bench.context.workspace)


def test_filters_and_orders(bench: Workbench) -> None:
    assert found(bench) == ["private", "refusal", "twin", "short", "good"]
    assert found(bench, order="oldest")[0] == "good"
    assert found(bench, order="longest")[0] == "private"
    assert found(bench, words="SPAR stick") == ["twin", "good"]
    assert found(bench, words="drachenschnüre") == ["private"]
    assert found(bench, sources=("import:chatgpt",)) == ["refusal"]
    assert found(bench, languages=("de",)) == ["private"]
    assert found(bench, most_tokens=5) == ["short"]
    assert found(bench, since="2026-03-02", until="2026-03-04") == ["twin", "short"]
    assert found(bench, ids=frozenset({"good", "gone"})) == ["good"]
    bench.context.store.append_many([], [thumb("good", -1), thumb("twin", 1)])
    assert found(bench, ratings=("disliked",)) == ["good"]
    assert found(bench, ratings=("liked",)) == ["twin"]
    assert len(found(bench, ratings=("unrated",))) == 3
    assert bench.data.index.listing().counts("source") == {"chat": 4, "import:chatgpt": 1}


def test_the_listing_follows_the_log_and_measures_only_what_changed(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bench.data.index.listing()
    assert bench.data.index.listing() is first
    other = again(bench)
    read: list[str] = []
    one = other.context.store.conversation
    monkeypatch.setattr(
        other.context.store, "conversation", lambda name: read.append(name) or one(name)
    )
    assert other.data.index.listing().rows == first.rows
    assert other.data.index.listing().version == first.version
    assert read == [], "the rows were remembered"
    bench.context.store.append_many([chat("new", "Which line?", "Forty kilos.")])
    assert "new" in other.data.index.listing().rows
    assert read == ["new"]
    assert bench.data.index.listing().version != first.version


def test_a_damaged_memory_is_made_anew(bench: Workbench) -> None:
    rows = bench.data.index.listing().rows
    file = bench.context.workspace.home / "cache" / "listing.jsonl"
    lines = file.read_text().splitlines()
    for damaged in (["{"], [lines[0], "{}"], [lines[0], '{"revision":"1","id":"x"}'], lines[:2]):
        file.write_text("\n".join(damaged))
        assert again(bench).data.index.listing().rows == rows
    bench.data.review.sort_out()
    cleaning = file.with_name("cleaning.json")
    for damaged in ("", "{}", "[]", '{"drops": 1}'):
        cleaning.write_text(damaged)
        assert again(bench).data.review.outcome() is None


def test_forgetting_leaves_no_trace_in_what_is_remembered(bench: Workbench) -> None:
    bench.data.review.sort_out()
    assert found(bench, words="max@kite.example") == ["private"]
    bench.data.eraser.forget("private")
    assert found(bench, words="max@kite.example") == []
    for path in bench.context.workspace.home.rglob("*"):
        assert not path.is_file() or b"Drachenschnur" not in path.read_bytes(), path


def test_the_outcome_accounts_for_every_conversation(bench: Workbench) -> None:
    assert bench.data.review.outcome() is None
    outcome = bench.data.review.sort_out()
    assert {n: d.reason for n, d in outcome.drops.items()} == {
        "short": "too_short", "twin": "duplicate", "refusal": "refusal",
    }  # fmt: skip
    assert outcome.counts["in"] == 5 == outcome.counts["kept"] + len(outcome.drops)
    assert outcome.duplicates() == {"good": ["twin"]}
    assert outcome.changed == {"private": ("redaction",)}
    assert outcome.num_pairs == 2
    assert any(f.title == "Training data too small" for f in outcome.findings)
    assert again(bench).data.review.outcome() == outcome
    assert outcome.version == bench.data.review.outcome_version(bench.data.index.listing())
    bench.data.queue.decide("short", "accept")
    assert outcome.version != bench.data.review.outcome_version(bench.data.index.listing()), (
        "it is out of date"
    )


def test_near_duplicates_of_duplicates_stand_under_the_one_that_stays(bench: Workbench) -> None:
    words = " ".join(f"word{n}" for n in range(40))
    bench.context.store.append_many(
        [
            chat("a", "Which words?", f"{words}."),
            chat("b", "Which words?", f"{words}."),
            chat("c", "Which words?", f"Sure! {words}."),
        ]
    )
    groups = bench.data.review.sort_out().duplicates()
    assert sorted(map(len, groups.values())) == [1, 2]
    assert all(name not in bench.data.review.sort_out().drops for name in groups)


def test_looking_at_one_says_what_would_be_learnt(bench: Workbench) -> None:
    looked = bench.data.review.look_at("private")
    assert looked.learnt is not None
    assert "<EMAIL_1>" in looked.learnt.path()[-1].text
    assert [c.before != c.after for c in looked.changes] == [True]
    refused = bench.data.review.look_at("refusal")
    assert (refused.learnt, refused.drop and refused.drop.reason) == (None, "refusal")
    with pytest.raises(DataError, match="no conversation 'x'"):
        bench.data.review.look_at("x")


def test_the_queue_begins_with_what_needs_a_person_most(bench: Workbench) -> None:
    bench.context.store.append_many([], [thumb("good", -1)])
    queue = bench.data.queue.pending(bench.data.review.sort_out())
    assert [one.row.id for one in queue][:2] == ["good", "refusal"]
    assert queue[0].why == ("you gave a thumb down",)
    assert bench.data.index.listing().ratings("good") == {"disliked"}
    bench.context.store.append_many([], [thumb("good", 0)])
    assert bench.data.index.listing().ratings("good") == {"unrated"}
    assert bench.data.queue.pending(bench.data.review.sort_out())[0].row.id == "refusal", (
        "it was taken back"
    )
    bench.context.store.append_many([], [replace(thumb("good", -1), id="again")])
    queue = bench.data.queue.pending(bench.data.review.sort_out())
    assert any(why.startswith("cleaning leaves it out: ") for why in queue[1].why)
    bench.data.queue.decide("good", "reject")
    assert next(one.row.id for one in bench.data.queue.pending()) == "refusal"
    bench.data.queue.decide("good", "open")
    assert next(one.row.id for one in bench.data.queue.pending()) == "good", "taken back"


def test_decisions_are_kept_and_cleaning_follows_them(bench: Workbench) -> None:
    bench.data.queue.decide("good", "reject", comment="wrong")
    bench.data.queue.decide("short", "accept")
    bench.data.queue.fix("refusal", {"refusal/1": BETTER})
    other = again(bench)
    report = other.data.clean()
    assert {d.conversation.id: d.reason for d in report.dropped} == {"good": "rejected"}
    learnt = {c.id: c.path()[-1] for c in report.kept}
    assert set(learnt) == {"short", "twin", "refusal", "private"}
    assert (learnt["refusal"].text, learnt["refusal"].weight) == (BETTER, 1)
    said = [f for f in other.context.store.feedback() if f.kind == "review"]
    assert [(f.conversation_id, f.value, f.annotator_kind) for f in said] == [
        ("good", -1, "human"), ("short", 1, "human"), ("refusal", 1, "human"),
    ]  # fmt: skip
    assert {row.id for row in other.data.index.listing().find(Wanted(ratings=("accepted",)))} == {
        "short", "refusal",
    }  # fmt: skip
    pairs = [(p.chosen.text, p.conversation_id) for p in other.data.feedback.preference_pairs()]
    assert pairs == [(BETTER, "refusal")]


def test_accepting_what_has_a_thumb_down_brings_it_back(bench: Workbench) -> None:
    bench.context.store.append_many([], [thumb("good", -1)])
    assert "good" in {d.conversation.id for d in bench.data.clean().dropped}
    bench.data.queue.decide("good", "accept")
    assert "good" in {c.id for c in bench.data.clean().kept}


def test_nothing_is_recorded_about_what_is_not_there(bench: Workbench) -> None:
    with pytest.raises(DataError, match="no conversation 'x'"):
        bench.data.queue.decide("x", "accept")
    with pytest.raises(DataError, match="has no reply 'good/0'"):
        bench.data.queue.fix("good", {"good/0": "Better."})
    with pytest.raises(DataError, match="empty text"):
        bench.data.queue.fix("good", {"good/1": " "})
    assert list(bench.context.store.feedback()) == []
