"""Forgetting is proven the way a suspicious person would: by searching every file."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.conversation import Conversation, Message, Part
from fine_tuning.core.errors import DataError
from fine_tuning.core.feedback import Feedback
from fine_tuning.data_preparation.snapshot import Snapshot
from fine_tuning.storage.open_store import open_store
from fine_tuning.storage.records import Records
from fine_tuning.workbench.workbench import Workbench

HIDDEN = "My grandmother Ottilie hid her marmalade recipe behind the blue cupboard."
ANSWER = "Then look behind the blue cupboard, and mind the third shelf of it."
PICTURE = b"\x89PNG picture of the blue cupboard"
PRIVATE = "private-talk"


def bench_of(home: Path, log: str, **training: object) -> Workbench:
    data = {"data_collection": {"log_file": log, "min_conversation_length": 4}}
    given = {"base_model": "embedded", "num_epochs": 1, "lora_r": 2, **training}
    return Workbench(
        Settings.model_validate({**data, "training": given}), Workspace(home=home, log_file=log)
    )


def talk(number: int) -> Conversation:
    asked = f"What is the height of tower number {number} in the old town?"
    reply = f"Tower number {number} of the old town is {number * 7 + 11} metres high."
    return Conversation.from_turns([("user", asked), ("assistant", reply)], id=f"talk-{number}")


def private() -> Conversation:
    url = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
    made = Conversation.from_turns([("user", HIDDEN), ("assistant", ANSWER)], id=PRIVATE)
    shown = Message(
        id="shown",
        role="user",
        content=(Part(type="image_url", data={"url": url}),),
        parent_id=made.messages[1].id,
    )
    return replace(made, messages=(*made.messages, shown))


@pytest.fixture(params=["conversations.jsonl", "conversations.db"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Workbench:
    """A workbench with a log, feedback, a picture, exports, records and a quarantine."""
    bench = bench_of(tmp_path / "home", request.param)
    given = tmp_path / "given.jsonl"
    lines = [json.dumps(one.to_dict()) for one in [*map(talk, range(1, 13)), private()]]
    given.write_text("\n".join([*lines, f'{{"messages": "torn {HIDDEN}']))
    bench.data.importer.import_file(given)
    given.unlink()
    store = open_store(bench.context.workspace.conversations)
    judged = Feedback(
        id="f",
        conversation_id=PRIVATE,
        message_id=private().messages[1].id,
        kind="correction",
        text=f"Better: {ANSWER}",
    )
    store.add_feedback(judged)
    bench.data.export()
    return bench


def files_with(home: Path, *pieces: bytes) -> list[str]:
    return [
        str(path.relative_to(home))
        for path in sorted(home.rglob("*"))
        if path.is_file() and any(piece in path.read_bytes() for piece in pieces)
    ]


WANTED = (HIDDEN[:40].encode(), ANSWER[:40].encode(), PICTURE, base64.b64encode(PICTURE))


def members(snapshot: Snapshot) -> set[str]:
    return {name for split in snapshot.conversation_ids.values() for name in split}


def test_a_forgotten_conversation_is_in_no_file(bench: Workbench) -> None:
    home = bench.context.workspace.home
    snapshot = bench.data.prepare()
    assert PRIVATE in members(snapshot)
    evaluation = bench.context.workspace.runs / "run1" / "evaluation.json"
    evaluation.parent.mkdir(parents=True)
    evaluation.write_text(json.dumps({"replies": [ANSWER]}))
    copy = bench.context.workspace.runs / "unfinished" / "data" / "train.jsonl"
    copy.parent.mkdir(parents=True)
    sequences = [record.tokenized for record in snapshot.split("train").records]
    copy.write_bytes(b"".join(orjson.dumps(one.to_dict()) + b"\n" for one in sequences))
    before = files_with(home, *WANTED)
    kinds = {Path(name).parts[0] for name in before}
    assert {"attachments", "datasets", "exports", "fine_tuned_models", "quarantine"} < kinds

    found = bench.data.eraser.forget(PRIVATE[:9])

    assert files_with(home, *WANTED) == []
    assert found.residue == ()
    assert found.conversation_id == PRIVATE
    assert evaluation in found.removed
    assert PRIVATE.encode() not in copy.read_bytes()
    assert b"talk-1" in copy.read_bytes()
    assert set(found.datasets) == {snapshot.name}
    assert PRIVATE not in {c.id for c in bench.data.conversations()}
    assert len(bench.data.conversations()) == 12
    again = bench.data.datasets.find(snapshot.name)
    assert again.name == found.datasets[snapshot.name] != snapshot.name
    assert members(again) == members(snapshot) - {PRIVATE}
    assert again.manifest["forgotten"] == 1
    assert not snapshot.path.exists()
    for split in ("train", "validation", "test"):
        before_ids = set(snapshot.manifest["splits"][split]["conversation_ids"])
        assert set(again.manifest["splits"][split]["conversation_ids"]) == before_ids - {PRIVATE}
    with pytest.raises(DataError, match="there is no conversation 'private-talk'"):
        bench.data.eraser.forget(PRIVATE)


def test_words_that_others_said_too_are_left_to_them(bench: Workbench) -> None:
    twin = replace(private(), id="twin-talk")
    open_store(bench.context.workspace.conversations).append(twin)
    bench.data.export()
    found = bench.data.eraser.forget(PRIVATE)
    assert found.residue == ()
    assert (bench.context.workspace.exports / "chatml.jsonl").exists()
    assert [c.id for c in bench.data.conversations()][-1] == "twin-talk"


def test_the_beginning_must_tell_which(bench: Workbench) -> None:
    with pytest.raises(DataError, match="12 conversations begin with 'talk-'"):
        bench.data.eraser.forget("talk-")
    assert bench.data.eraser.forget("talk-1").conversation_id == "talk-1", "an exact id comes first"


@pytest.mark.slow
def test_what_learnt_from_it_is_marked(bench: Workbench) -> None:
    """The whole story: a data set, a trained run, a version; then the talk is taken back."""
    home = bench.context.workspace.home
    snapshot = bench.data.prepare()
    run = bench.train.train(snapshot, run_id="run1")
    assert run.adapter_file.exists()
    learnt = PRIVATE not in snapshot.conversation_ids["test"]
    found = bench.data.eraser.forget(PRIVATE)
    assert files_with(home, *WANTED) == []
    assert bool(found.to_retrain) == learnt
    assert [one.name for one in bench.models.lineage.to_retrain()] == list(found.to_retrain)
    assert (
        bench.data.datasets.of_run(bench.models.runs.find("run1")).name
        == found.datasets[snapshot.name]
    )


def test_a_backup_of_either_kind_holds_everything(bench: Workbench, tmp_path: Path) -> None:
    for name in ("backup.db", "backup.jsonl"):
        target = bench.data.back_up(tmp_path / "safe" / name)
        copy = open_store(target)
        log = open_store(bench.context.workspace.conversations)
        assert list(copy.conversations()) == list(log.conversations())
        assert list(copy.feedback()) == list(log.feedback())
        assert [p.name for p in target.parent.iterdir() if p.name.startswith(".backup")] == []


def test_cleaning_and_preparing_are_remembered(bench: Workbench) -> None:
    open_store(bench.context.workspace.conversations).append(
        Conversation.from_turns([("user", "Hm"), ("assistant", "o")], id="short")
    )
    snapshot = bench.data.prepare()
    records = Records(bench.context.workspace.records)
    cleaning, preparation = records.runs("clean")[-1], records.runs("prepare")[-1]
    drops = {drop.conversation_id: drop.reason for drop in records.drops(cleaning.id)}
    assert drops == {"short": "too_short"}
    steps = records.steps(cleaning.id)
    assert steps[0].num_in == 14
    assert sum(step.num_dropped for step in steps) == 1
    assert cleaning.stats["kept"] == 13
    assert cleaning.finished_at
    assert records.datasets()[-1].name == snapshot.name
    assert records.datasets()[-1].run_id == preparation.id
    assert records.runs("import")[0].stats["quarantined"] == 1


def test_what_was_said_about_replies_is_learnt(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, "log.jsonl")
    logger = bench.data.logger()
    ids = [logger.log_conversation(f"Question {n}?", f"Answer {n}.") for n in range(3)]
    logger.log_thumb(ids[0], up=False)
    logger.log_edit(ids[1], "A better answer.")
    replies = {
        m.text: m.weight
        for c in bench.data.pipeline.with_feedback()
        for m in c.messages
        if m.role == "assistant"
    }
    assert replies == {"Answer 0.": 0, "A better answer.": 1, "Answer 2.": 1}
    off = bench.context.settings.data_collection.model_copy(update={"learn_from_feedback": False})
    settings = bench.context.settings.model_copy(update={"data_collection": off})
    bench = Workbench(settings, bench.context.workspace)
    assert {m.text for c in bench.data.pipeline.with_feedback() for m in c.messages} > {
        "Answer 0.",
        "Answer 1.",
    }


def test_a_reply_is_judged_by_its_ids(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, "log.db")
    logger = bench.data.logger()
    reply = logger.log_conversation("Question?", "Answer.")
    other = logger.log_regeneration(reply, "Another answer.")
    session = logger.session_id
    bench.data.feedback.record(session, other, "choice", rejected_id=reply)
    bench.data.feedback.record(session, other, "rating", value=8)
    counts = bench.data.feedback.counts()
    assert (counts["choices"], counts["ratings"], counts["preference_pairs"]) == (1, 1, 1)
    with pytest.raises(DataError, match="has no reply 'nowhere'"):
        bench.data.feedback.record(session, "nowhere", "thumb", value=1)
    out = tmp_path / "pairs.jsonl"
    assert bench.data.feedback.write_preference_pairs(out) == 1
    (pair,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert pair == {
        "prompt": [{"role": "user", "content": "Question?"}],
        "chosen": [{"role": "assistant", "content": "Another answer."}],
        "rejected": [{"role": "assistant", "content": "Answer."}],
    }


def test_pairs_for_other_trainers_are_redacted_as_exports_are(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, "log.jsonl")
    logger = bench.data.logger()
    reply = logger.log_conversation(
        "Whom do I ask at anna.berg@example.org?", "Write to anna.berg@example.org, please."
    )
    logger.log_edit(reply, "Anna answers at anna.berg@example.org   within a day.")
    out = tmp_path / "pairs.jsonl"
    assert bench.data.feedback.write_preference_pairs(out) == 1
    text = out.read_text()
    assert "anna.berg" not in text
    (pair,) = [json.loads(line) for line in text.splitlines()]
    assert pair["chosen"][0]["content"].endswith("within a day.")
    exported = bench.data.export(tmp_path / "exports")["trl_dpo"]
    assert exported.read_bytes() == out.read_bytes(), "one writer"
    assert next(bench.data.feedback.preference_pairs()).chosen.text.count("anna.berg") == 1, (
        "the log stays"
    )


def test_importing_reports_what_is_new_known_and_set_aside(tmp_path: Path) -> None:
    bench = bench_of(tmp_path / "home", "log.jsonl")
    path = tmp_path / "chats.json"
    chats = [
        {"instruction": f"What is {n}?", "input": "", "output": f"It is {n}."} for n in range(150)
    ]
    path.write_text(json.dumps([*chats, {"instruction": "broken", "output": 5}]))
    report = bench.data.importer.import_file(path)
    assert (report.format, report.num_in, report.num_new) == ("alpaca", 151, 150)
    assert (report.num_known, report.num_quarantined) == (0, 1)
    (aside,) = [json.loads(line) for line in report.quarantine.read_text().splitlines()]
    assert aside["line"] == 1
    assert "expected text" in aside["reason"]
    assert "broken" in aside["excerpt"]
    again = bench.data.importer.import_file(path)
    assert (again.num_new, again.num_known, again.num_quarantined) == (0, 150, 1)
    assert len(bench.data.conversations()) == 150
    path.write_text('[{"instruction": 1, "output": 2}]')
    with pytest.raises(DataError, match="all 1 records were set aside"):
        bench.data.importer.import_file(path)


def test_pictures_go_into_files_of_their_own(tmp_path: Path) -> None:
    bench = bench_of(tmp_path / "home", "log.jsonl")
    path = tmp_path / "given.jsonl"
    path.write_text(json.dumps(private().to_dict()))
    bench.data.importer.import_file(path)
    (found,) = bench.data.conversations()
    part = found.messages[2].content[0]
    assert part.data["url"].startswith("blob:sha256:")
    assert part.data["mime"] == "image/png"
    (kept,) = [p for p in bench.context.workspace.attachments.rglob("*") if p.is_file()]
    assert kept.read_bytes() == PICTURE
    assert part.data["url"].endswith(kept.name)
