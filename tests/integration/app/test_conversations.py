"""The page Conversations in every state: nothing, some, many, out of date, torn, hostile."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from fine_tuning.config.loader import load_settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.conversation import Conversation, Message, Part
from fine_tuning.core.feedback import Feedback
from fine_tuning.data_collection.file_import import MAX_UPLOAD_BYTES, safe_name
from fine_tuning.integration.app.conv_export import FORMATS
from fine_tuning.integration.app.conv_words import REASONS
from fine_tuning.integration.app.conversations import PARTS
from fine_tuning.integration.app.word_diff import MOST_TOKENS, word_diff
from fine_tuning.workbench.workbench import Workbench
from tests.integration.app.scenes import labels, page, press, words

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
REFUSAL = "I'm sorry, but I can't help with that."
HOSTILE = "<img src=x onerror=alert(1)> **bold** [a](http://evil.example) :red[x] $1+1$ `code`"
TOPICS = ["kite", "spar", "line", "wing", "fold", "rope", "knot", "sail", "reel", "grip"]
CHATGPT = [
    {
        "title": "Knots",
        "create_time": 1700000000.0,
        "current_node": "b",
        "conversation_id": "k1",
        "mapping": {
            "r": {"id": "r", "message": None, "parent": None, "children": ["a"]},
            "a": {
                "id": "a", "parent": "r", "children": ["b"],
                "message": {
                    "id": "a", "author": {"role": "user"}, "create_time": 1700000001.0,
                    "content": {"content_type": "text", "parts": ["Which knot holds a line?"]},
                },
            },
            "b": {
                "id": "b", "parent": "a", "children": [],
                "message": {
                    "id": "b", "author": {"role": "assistant"}, "create_time": 1700000002.0,
                    "content": {"content_type": "text", "parts": ["A bowline, as it cannot slip."]},
                },
            },
        },
    }
]  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINE_TUNING_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def bench_at(home: Path) -> Workbench:
    settings = load_settings(None)
    return Workbench(settings, Workspace.open(home, settings))


def chat(name: str, question: str, reply: str, *, day: int = 0, **fields: Any) -> Conversation:
    at = (START + timedelta(days=day)).isoformat()
    asked = Message(id=f"{name}/0", role="user", content=(Part(text=question),), created_at=at)
    said = Message(
        id=f"{name}/1", role="assistant", content=(Part(text=reply),), parent_id=asked.id,
        created_at=at, model="mistral:7b",
    )  # fmt: skip
    return Conversation(id=name, messages=(asked, said), created_at=at, **fields)


def some_chats(home: Path) -> Workbench:
    """A home with a conversation of every fate."""
    bench = bench_at(home)
    said = "Tie it to the spar with two half hitches and pull the line tight."
    chats = [
        chat("disliked", "What holds the tail?", "A nail, hammered right through the sail."),
        chat("good", "How do I tie it?", said, day=1),
        chat("twin", "How do I tie it?", said, day=2),
        chat("short", "hi", "yo", day=3),
        chat("refusal", "Which wood is best?", REFUSAL, day=4, source="import:chatgpt"),
        chat("private", "Who sells spars?", "Write to max@kite.example for a list of them.", day=5),
        chat("german", "Wer verkauft Drachen?", "Im Laden am Markt gibt es viele Drachen.", day=6),
    ]
    thumb = Feedback(
        id="f", conversation_id="disliked", message_id="disliked/1", kind="thumb", value=-1,
        reason="wrong",
    )  # fmt: skip
    bench.context.store.append_many(chats, [thumb])
    return bench


def many_chats(home: Path, number: int) -> Workbench:
    bench = bench_at(home)
    bench.context.store.append_many(
        [
            chat(
                f"c{n}", f"What is number {n} about {TOPICS[n % 10]} and {TOPICS[n // 10 % 10]}?",
                f"Number {n} says that the {TOPICS[n % 7]} is {n} steps from the {TOPICS[n % 9]}.",
                day=n,
            )
            for n in range(number)
        ]
    )  # fmt: skip
    return bench


def seen(app: AppTest) -> str:
    """All that is to be read on a page, a piece a line."""
    parts = [app.title, app.subheader, app.text, app.metric, app.toast]
    told = [str(one.value) for part in parts for one in part]
    told += [one.label for one in (*app.expander, *app.metric)]
    return "\n".join([words(app), *told, *labels(app)])


def part(name: str, **session: object) -> AppTest:
    return page("conversations", **{"conv-part": name}, **session)


def set_value(app: AppTest, kind: str, key: str, value: Any) -> AppTest:
    getattr(app, kind)(key=key).set_value(value).run()
    assert not app.exception
    return app


# Nothing, loading, failing


def test_nothing_yet_offers_a_chat_the_demo_and_an_import(home: Path) -> None:
    app = page("conversations")
    assert "No conversations yet" in words(app)
    assert "Start a chat" in labels(app)
    assert any("sample conversations" in label for label in labels(app))
    assert len(app.file_uploader) == 1
    assert not app.error
    assert not (home / "conversations.jsonl").exists()


@pytest.mark.parametrize("name", list(PARTS))
def test_every_part_shows_what_there_is(home: Path, name: str) -> None:
    some_chats(home)
    app = part(name)
    assert not app.error
    assert not app.exception
    again = part(name)
    assert seen(again).splitlines()[:3] == seen(app).splitlines()[:3]


@pytest.mark.parametrize("name", list(PARTS))
def test_a_torn_log_shows_what_can_be_read(home: Path, name: str) -> None:
    some_chats(home)
    with (home / "conversations.jsonl").open("a") as log:
        log.write('no json\n{"schema": "ft/1", "messages": 3}\n{"schema": "ft-turn/1", "cut')
    app = part(name)
    assert not app.error
    assert not app.exception


def test_a_log_that_cannot_be_read_is_said_in_a_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    (home / "c.db").write_bytes(b"this is no database at all, but it is long enough " * 10)
    monkeypatch.setenv("FINE_TUNING__DATA_COLLECTION__LOG_FILE", "c.db")

    def script() -> None:
        from fine_tuning.integration.app.common import told  # noqa: PLC0415
        from fine_tuning.integration.app.conversations import show  # noqa: PLC0415

        with told():
            show()

    app = AppTest.from_function(script, default_timeout=60).run()
    assert not app.exception
    assert len(app.error) == 1
    assert "Traceback" not in app.error[0].value


# Browse


def test_the_list_names_facts_and_fates(home: Path) -> None:
    some_chats(home).data.review.sort_out()
    text = seen(page("conversations"))
    assert "7 conversations" in text
    assert "left out: too short" in text
    assert ":material/thumb\\_down:" in text or ":material/thumb_down:" in text
    assert "German" in text
    assert "Imported\\: chatgpt" in text


def test_the_list_is_searched_filtered_and_ordered(home: Path) -> None:
    some_chats(home).data.review.sort_out()
    app = page("conversations")

    def shown() -> list[str]:
        keys = [str(button.key) for button in app.button]
        return [key.removeprefix("open-") for key in keys if key.startswith("open-")]

    assert shown() == ["german", "private", "refusal", "short", "twin", "good", "disliked"]
    set_value(app, "selectbox", "conv-order", "oldest")
    assert shown()[0] == "disliked"
    set_value(app, "text_input", "conv-words", "SPAR hitches")
    assert shown() == ["good", "twin"]
    set_value(app, "multiselect", "conv-ratings", ["disliked"])
    assert shown() == []
    press(app, "Clear")
    assert len(shown()) == 7
    set_value(app, "multiselect", "conv-ratings", ["disliked"])
    assert shown() == ["disliked"]
    press(app, "Clear")
    set_value(app, "multiselect", "conv-sources", ["import:chatgpt"])
    assert shown() == ["refusal"]
    press(app, "Clear")
    set_value(app, "multiselect", "conv-languages", ["de"])
    assert shown() == ["german"]
    press(app, "Clear")
    set_value(app, "number_input", "conv-most", 5)
    assert shown() == ["short"]
    press(app, "Clear")
    set_value(app, "date_input", "conv-first", (START + timedelta(days=5)).date())
    assert shown() == ["private", "german"]
    set_value(app, "date_input", "conv-last", (START + timedelta(days=5)).date())
    assert shown() == ["private"]
    press(app, "Clear")
    set_value(app, "selectbox", "conv-fate", "too_short")
    assert shown() == ["short"]
    set_value(app, "selectbox", "conv-fate", "trained on")
    assert shown() == ["good", "private", "german"]
    set_value(app, "text_input", "conv-words", "nobody says this")
    assert "No conversation matches" in words(app)


def test_many_conversations_come_in_pages(home: Path) -> None:
    many_chats(home, 45)
    app = page("conversations")
    assert "1 to 20 of 45 conversations" in words(app)
    assert app.button(key="conv-previous").disabled
    app.button(key="conv-next").click().run()
    app.button(key="conv-next").click().run()
    assert "41 to 45 of 45 conversations" in words(app)
    assert app.button(key="conv-next").disabled
    set_value(app, "text_input", "conv-words", "number")
    assert "1 to 20 of 45 conversations" in words(app), "a new search begins at the first page"


def test_what_people_say_is_shown_letter_by_letter(home: Path) -> None:
    bench = bench_at(home)
    bench.context.store.append_many([chat("bad", HOSTILE, HOSTILE + " " + HOSTILE, title=HOSTILE)])
    app = page("conversations")
    label = app.button(key="open-bad").label
    assert label.replace("\\", "") == HOSTILE
    assert "\\<img" in label
    assert "\\*\\*bold" in label
    app.button(key="open-bad").click().run()
    assert HOSTILE in [one.value for one in app.text], "texts are no Markdown"
    assert all(not one.allow_html for one in app.markdown)


# One conversation


def test_a_conversation_opens_in_place_of_the_list_and_closes(home: Path) -> None:
    some_chats(home)
    app = page("conversations")
    set_value(app, "text_input", "conv-words", "max")
    app.button(key="open-private").click().run()
    text = seen(app)
    assert "This conversation is trained on." in text
    assert "Cleaning changes 1 text" in text
    assert ":red-background[" in text
    assert ":green-background[\\<EMAIL\\_1\\>]" in text
    assert "mistral" in text
    press(app, "All conversations")
    assert "1 conversation, of 7 in all" in words(app), "the search is still there"


def test_why_one_is_left_out_and_what_stays_for_it(home: Path) -> None:
    some_chats(home).data.review.sort_out()
    app = page("conversations", **{"conv-open": "twin"})
    assert "Left out: duplicate" in words(app)
    app.button(key="conv-twin").click().run()
    assert "This conversation is trained on." in words(app)
    app = page("conversations", **{"conv-open": "disliked"})
    assert "wrong" in words(app), "the thumb's reason"
    assert "not trained on" in words(app)


def test_deciding_in_a_conversation_is_recorded_and_can_be_taken_back(home: Path) -> None:
    bench = some_chats(home)
    app = page("conversations", **{"conv-open": "short"})
    assert "Left out: too short" in words(app)
    app.button(key="conv-accept").click().run()
    assert "This conversation is trained on." in words(app)
    assert bench.data.pipeline.reviewed() == {"short": True}
    app.button(key="conv-open-again").click().run()
    assert bench.data.pipeline.reviewed() == {}
    app.button(key="conv-reject").click().run()
    assert "Left out: you rejected it" in words(app)


def test_forgetting_a_conversation_leads_back_to_the_list(home: Path) -> None:
    bench = some_chats(home)
    app = page("conversations", **{"conv-open": "private"})
    app.button(key="conv-forget").click().run()
    assert not app.exception
    assert bench.context.store.conversation("private") is None
    assert "6 conversations" in words(app)


def test_a_conversation_that_is_gone_is_said_so(home: Path) -> None:
    some_chats(home)
    assert "gone" in words(page("conversations", **{"conv-open": "nothing"}))


# Training data


def test_what_is_left_out_adds_up_and_says_why(home: Path) -> None:
    some_chats(home)
    app = part("Training data")
    text = seen(app)
    assert "7 conversations = 3 kept + 4 left out" in text
    assert "Too short: 1 conversation" in text.replace("1 exchange, ", "")
    assert "Refusals: 1 conversation" in text.replace("1 exchange, ", "")
    assert "the exchange has 4 characters" in text.replace("\\", "")


def test_a_conversation_may_lose_exchanges_for_several_reasons(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINE_TUNING__DATA_COLLECTION__MAX_CONVERSATION_LENGTH", "100")
    said = [
        ("user", "Which knot holds a line?"),
        ("assistant", "A bowline, as it cannot slip."),
        ("user", "Which wood is best for the frame?"),
        ("assistant", REFUSAL),
        ("user", "Tell me all about spars and sails."),
        (
            "assistant",
            "A spar is a pole that carries a sail, and a sail is a cloth. It is old. " * 2,
        ),
    ]
    bench = bench_at(home)
    bench.context.store.append(Conversation.from_turns(said, id="several"))
    app = part("Training data")
    assert not app.error
    text = seen(app)
    assert "1 conversation = 1 kept + 0 left out. 3 exchanges = 1 kept + 2 left out" in text
    assert "Refusals: 1 exchange" in text
    assert "Too long: 1 exchange" in text
    assert "too long: 1 of 3 exchanges is left out" in text.replace("\\", "").lower()
    opened = page("conversations", **{"conv-part": "Browse", "conv-open": "several"})
    assert "This conversation is trained on" in words(opened)
    assert "1 exchange: too long" in words(opened)


def test_many_are_checked_on_demand_and_the_outcome_says_when_it_is_old(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fine_tuning.integration.app.conv_learning.QUICK_TOKENS", 10)
    bench = some_chats(home)
    app = part("Training data")
    assert not app.metric
    press(app, "Check all conversations")
    assert {metric.label: metric.value for metric in app.metric}["Conversations"] == "3 of 7"
    assert {metric.label: metric.value for metric in app.metric}["Replies"] == "3"
    bench.data.queue.decide("short", "accept")
    app.run()
    assert "changed" in words(app)
    press(app, "Check again")
    assert {metric.label: metric.value for metric in app.metric}["Conversations"] == "4 of 7"


def test_what_cannot_be_remembered_is_shown_nevertheless(home: Path) -> None:
    some_chats(home)
    (home / "cache").write_text("in the way of the folder")
    app = part("Training data")
    assert "7 conversations = 3 kept + 4 left out" in words(app)


def test_a_reason_leads_to_all_it_left_out(home: Path) -> None:
    bench = bench_at(home)
    bench.context.store.append_many([chat(f"s{n}", f"h{n}", "yo", day=n) for n in range(8)])
    app = part("Training data")
    press(app, "List all 8 conversations")
    assert app.session_state["conv-part"] == "Browse"
    assert "8 conversations" in words(app)
    assert app.selectbox(key="conv-fate").value == "too_short"


def test_changed_words_are_shown_before_and_after(home: Path) -> None:
    some_chats(home)
    app = part("Training data", **{"conv-kind": "Changed"})
    text = seen(app)
    assert "Private values redacted" in str(app.button_group)
    assert ":red-background[max]" in text or "max" in text
    assert ":green-background[\\<EMAIL\\_1\\>]" in text


def test_duplicates_stand_under_the_one_that_stays(home: Path) -> None:
    some_chats(home)
    app = part("Training data", **{"conv-kind": "Duplicates"})
    assert "1 group; 1 copy left out" in words(app)
    app.button(key="out-twin").click().run()
    assert "Left out" in words(app)


@pytest.mark.parametrize("kind", ["Left out", "Changed", "Duplicates"])
def test_when_nothing_is_left_out_it_says_so(home: Path, kind: str) -> None:
    many_chats(home, 1)
    app = part("Training data", **{"conv-kind": kind})
    assert len(app.success) == 1


def test_every_reason_of_cleaning_has_words() -> None:
    from fine_tuning.data_collection.cleaning_steps import REASONS as GIVEN  # noqa: PLC0415

    assert set(REASONS) == set(GIVEN)


# Overview


def test_plots_have_labelled_axes_with_units(home: Path) -> None:
    some_chats(home).data.review.sort_out()
    app = part("Overview")
    found: list[dict[str, Any]] = []

    def look(block: Any) -> None:
        for child in getattr(block, "children", {}).values():
            look(child)
            if getattr(child, "type", "") == "vega_lite_chart":
                found.append(json.loads(child.proto.spec))

    look(app.main)
    assert len(found) == 5
    for spec in found:
        axes = [spec["encoding"][name] for name in ("x", "y")]
        titles = [axis.get("title") for axis in axes]
        assert "conversations" in titles
        assert all(axis.get("title") or axis["type"] == "nominal" for axis in axes)
    told = json.dumps(found)
    assert "estimated tokens" in told
    assert "0 to 1" in told
    assert found[0]["encoding"]["color"]["scale"]["domain"] == ["trained on", "left out"]


# Review


def test_the_review_begins_with_the_thumb_down_and_records_decisions(home: Path) -> None:
    bench = some_chats(home)
    bench.data.review.sort_out()
    app = part("Review")
    assert "What holds the tail?" in seen(app).replace("\\", "")
    assert "You gave a thumb down" in words(app)
    app.button(key="review-reject").click().run()
    assert bench.data.pipeline.reviewed() == {"disliked": False}
    assert "Which wood is best?" in seen(app).replace("\\", "")
    app.button(key="conv-undo").click().run()
    assert bench.data.pipeline.reviewed() == {}
    assert "You gave a thumb down" in words(app)


def test_a_reply_that_is_fixed_is_what_is_learnt(home: Path) -> None:
    bench = some_chats(home)
    app = part("Review")
    app.button(key="review-skip").click().run()
    app.button(key="review-fix").click().run()
    better = "Spruce, as it is light and straight and bends before it breaks."
    app.text_area(key="fix-refusal/1").set_value(better)
    press(app, "Save and accept")
    assert bench.data.pipeline.reviewed() == {"refusal": True}
    learnt = {c.id: c.path()[-1].text for c in bench.data.clean().kept}
    assert learnt["refusal"] == better
    again = part("Browse", **{"conv-open": "refusal"})
    assert better in [one.value for one in again.text]


def test_fixing_can_be_left_and_an_empty_reply_is_refused(home: Path) -> None:
    bench = some_chats(home)
    app = part("Review")
    app.button(key="review-fix").click().run()
    app.text_area(key="fix-disliked/1").set_value("  ")
    press(app, "Save and accept")
    assert "empty text" in app.error[0].value.replace("\\", "")
    assert bench.data.pipeline.reviewed() == {}
    press(app, "Cancel")
    assert not app.text_area


def test_a_review_that_is_done_says_so(home: Path) -> None:
    many_chats(home, 2)
    app = part("Review")
    assert "Nothing left to review" in words(app)
    some = some_chats(home / "other")
    assert some.data.queue.pending()


# Import


def drop(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    app.file_uploader[0].set_value([(name, data, "text/plain") for name, data in files]).run()
    assert not app.exception
    return app


def test_a_dropped_file_is_told_apart_imported_and_reported(home: Path) -> None:
    app = drop(page("conversations"), ("conversations.json", json.dumps(CHATGPT).encode()))
    assert "ChatGPT" in words(app)
    assert "because" in words(app)
    app.button(key="conv-import").click().run()
    assert not app.error
    app = part("Import")
    assert bench_at(home).context.store.count() == 1
    again = drop(app, ("conversations.json", json.dumps(CHATGPT).encode()))
    again.button(key="conv-import").click().run()
    assert "0 new conversations" in words(again)
    assert "1 already in the log" in words(again)


def test_the_format_can_be_chosen_and_bad_records_are_handed_back(home: Path) -> None:
    turns = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]
    good = json.dumps({"messages": turns})
    data = "\n".join([good, "no json", good.replace("Hi", "Ho")]).encode()
    app = drop(page("conversations"), ("chats.jsonl", data))
    app.selectbox[0].set_value("openai").run()
    app.button(key="conv-import").click().run()
    text = seen(app)
    assert "2 new conversations" in text
    assert "chosen by you" in text
    assert "1 record set aside, and why" in text
    assert any("line 2" in one.value for one in app.text)
    assert len(list((home / "quarantine").iterdir())) == 1
    assert any(one.label == "Download what was set aside" for one in app.download_button)


def test_the_assistant_of_a_chat_between_persons_is_chosen(home: Path) -> None:
    lines = "1/2/26, 10:00 AM - Ann: Which colour?\n1/2/26, 10:01 AM - Bo: Red, of course.\n"
    app = drop(page("conversations"), ("_chat.txt", lines.encode()))
    (person,) = [box for box in app.selectbox if box.label == "Assistant"]
    assert person.options == ["Ann", "Bo"]
    person.set_value("Bo").run()
    app.button(key="conv-import").click().run()
    assert not app.error
    (chat,) = bench_at(home).context.store.conversations()
    assert [(m.role, m.text) for m in chat.messages] == [
        ("user", "Which colour?"), ("assistant", "Red, of course."),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "data", [b"", b"\x00\xff\xfe" * 50, b"just words", b'{"a": 1}', b"PK\x03\x04 torn"]
)
def test_a_file_that_holds_nothing_is_said_so(home: Path, data: bytes) -> None:
    app = drop(page("conversations"), ("x.json", data))
    assert not app.error, "what it is stands beside the file"
    app.button(key="conv-import").click().run()
    assert len(app.error) == 1
    told = app.error[0].value.replace("\\", "")
    assert told.startswith("The file x.json holds no conversation"), "nobody knows its folder"
    assert bench_at(home).context.store.count() == 0


@pytest.mark.parametrize(
    ("name", "harmless"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\windows\\x.json", "x.json"),
        ("<img src=x>.json", "_img_src_x_.json"),
        ("..", "upload"),
        (".hidden", "hidden"),
        ("a\x00b\n.json", "a_b_.json"),
        ("x" * 300 + ".json", "x" * 75 + ".json"),
        ("", "upload"),
    ],
)
def test_names_of_uploads_do_no_harm(home: Path, name: str, harmless: str) -> None:
    assert safe_name(name) == harmless
    bench = bench_at(home)
    report = bench.data.importer.import_upload(name, json.dumps(CHATGPT).encode())
    assert report.path == Path(harmless)
    assert {path.name for path in home.iterdir()} <= {"conversations.jsonl", "records.db"} | {
        "records.db-wal", "records.db-shm", "attachments",
    }  # fmt: skip


@pytest.mark.usefixtures("home")
def test_a_file_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fine_tuning.data_collection.file_import.MAX_UPLOAD_BYTES", 1 << 20)
    app = drop(page("conversations"), ("big.json", b" " * (1 << 21)))
    assert "2 MiB, expected at most 1 MiB" in words(app).replace("\\", "")
    assert app.file_uploader[0].proto.max_upload_size_mb == MAX_UPLOAD_BYTES >> 20


# Export


def test_every_format_is_written_and_offered(home: Path) -> None:
    bench = some_chats(home)
    bench.data.queue.fix(
        "refusal", {"refusal/1": "Spruce, as it is light and straight and strong."}
    )
    app = part("Export")
    assert not app.download_button
    press(app, "Write the files")
    assert not app.error
    written = {path.stem for path in (home / "exports").iterdir()}
    assert written == set(FORMATS)
    assert len(app.download_button) == len(FORMATS)
    assert "Write the files again" in labels(app)


# The diff


def test_a_diff_marks_what_differs_and_nothing_else() -> None:
    before, after = word_diff("write to a@b.example, now", "write to <EMAIL_1>, now")
    assert before.startswith("write to :red-background[")
    assert after == "write to :green-background[\\<EMAIL\\_1\\>], now"
    assert word_diff("same *text*", "same *text*") == ("same \\*text\\*", "same \\*text\\*")
    before, after = word_diff("a  b", "a b")
    assert (before, after) == ("a:red-background[␣␣]b", "a:green-background[␣]b")
    before, _ = word_diff("a\n\n\nb", "a\nb")
    assert "↵" in before
    assert "\n\n" not in before, "a blank line would end the mark"
    long, _ = word_diff("word " * MOST_TOKENS, "")
    assert len(long) < 12 * MOST_TOKENS
