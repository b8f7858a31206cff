from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from fine_tuning.config.loader import load_settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError
from fine_tuning.core.finding import Finding
from fine_tuning.storage.open_store import open_store
from fine_tuning.workbench.workbench import Workbench

WORDS = tuple(f"{one}{other}" for one in ("ki", "wi", "sa", "ma", "ro") for other in "tnlsp")


def bench_at(home: Path, *overrides: str) -> Workbench:
    settings = load_settings(None, overrides=overrides)
    return Workbench(settings, Workspace.open(home, settings))


def talk(number: int) -> Conversation:
    rng = random.Random(number)
    question, answer = (" ".join(rng.choices(WORDS, k=12)) for _ in range(2))
    return Conversation.from_turns(
        [("user", f"{question}?"), ("assistant", f"{answer}.")], id=f"talk-{number}"
    )


def record(bench: Workbench, *numbers: int) -> None:
    store = open_store(bench.context.workspace.conversations)
    for number in numbers:
        store.append(talk(number))


def by_check(findings: list[Finding]) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        found.setdefault(finding.check, []).append(finding)
    return found


def test_export_is_due_after_every_interval_whatever_arrives_at_once(tmp_path: Path) -> None:
    bench = bench_at(tmp_path, "data_collection.export_interval=5")
    record(bench, *range(4))
    assert bench.data.export_if_due() == {}
    record(bench, *range(4, 7))  # five is passed, not met
    files = bench.data.export_if_due()
    assert len(files["chatml"].read_text().splitlines()) == 7
    assert bench.data.export_if_due() == {}, "once for the same conversations"
    record(bench, *range(7, 11))
    assert bench.data.export_if_due() == {}
    record(bench, 11)
    assert bench.data.export_if_due()


def test_importing_cleaning_and_preparing_tell_how_far_they_are(tmp_path: Path) -> None:
    told: dict[str, list[tuple[int, int]]] = {}
    settings = load_settings(None, overrides=["training.base_model=embedded"])
    bench = Workbench(
        settings,
        Workspace.open(tmp_path / "home", settings),
        lambda what, done, total: told.setdefault(what, []).append((done, total)),
    )
    file = tmp_path / "chats.jsonl"
    rows = [
        {"messages": [{"role": m.role, "content": m.text} for m in talk(number).messages]}
        for number in range(200)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    bench.data.importer.import_file(file)
    bench.data.prepare()
    size = -(-file.stat().st_size // 1000)
    assert list(told) == ["importing chats.jsonl, kB", "cleaning", "tokenizing"]
    assert told["importing chats.jsonl, kB"][-1] in {(size, size), (size - 1, size)}
    assert told["cleaning"] == [(64, 200), (128, 200), (192, 200), (200, 200)]
    assert told["tokenizing"][-1] == (200, 200)
    for steps in told.values():
        assert steps == sorted(steps)


def test_without_conversations_the_preflight_says_what_to_do(tmp_path: Path) -> None:
    (finding,) = bench_at(tmp_path).train.preflight.check()
    assert (finding.severity, finding.title) == ("stop", "No conversations to train on")
    assert "enable conversation logging" in finding.fix


def test_the_preflight_of_a_small_log(tmp_path: Path) -> None:
    bench = bench_at(tmp_path, "training.base_model=embedded")
    record(bench, *range(30))
    store = open_store(bench.context.workspace.conversations)
    store.append(
        Conversation.from_turns([("user", "Write to a@b.example?"), ("assistant", "I did it.")])
    )
    found = by_check(bench.train.preflight.check())
    assert found["size"][0].title == "Training data too small"
    assert found["size"][0].numbers == {"pairs": 31, "recommended": 100}
    assert {one.title for one in found["secrets"]} == {
        "1 conversation holds private values",
        "no private value would be trained on",
    }
    for check in ("leakage", "stop token", "template parity", "trained tokens", "memory"):
        assert found[check][0].severity == "good", found[check]
    assert sum(found["token lengths"][0].numbers["histogram"].values()) == 31
    assert not (tmp_path / "datasets").exists(), "nothing is kept"


def test_a_training_that_does_not_fit_into_memory_is_found_before_it_begins(tmp_path: Path) -> None:
    bench = bench_at(tmp_path, "training.base_model=embedded", "training.memory_budget=0.1")
    record(bench, *range(12))
    (finding,) = by_check(bench.train.preflight.check())["memory"]
    assert finding.severity == "stop"
    assert finding.title.startswith("Memory error during training: the run needs")
    assert "expected at most 0.1 GiB" in finding.title
    assert finding.fix.startswith("--set training.memory_budget=")
    assert not (tmp_path / "runs").exists()


def test_secrets_that_would_be_learnt_stop(tmp_path: Path) -> None:
    bench = bench_at(tmp_path, "data_collection.skip_steps=[redaction]", "training.base_model=none")
    store = open_store(bench.context.workspace.conversations)
    store.append(
        Conversation.from_turns(
            [("user", "my password is hunter2"), ("assistant", "I did not read that.")], id="leak"
        )
    )
    found = by_check(bench.train.preflight.check())
    assert [(one.severity, one.examples) for one in found["secrets"]] == [("stop", ("leak",))]
    assert found["tokens"][0].severity == "warning", "without a base model tokens are not checked"


def test_the_report_is_one_page_that_loads_nothing(tmp_path: Path) -> None:
    bench = bench_at(tmp_path)
    with pytest.raises(DataError, match="No conversations"):
        bench.data.reporter.report()
    record(bench, *range(30), *range(5))
    store = open_store(bench.context.workspace.conversations)
    store.append(
        Conversation.from_turns([("user", "<script>x</script>"), ("assistant", "no " * 9)])
    )
    report = bench.data.reporter.report()
    page = bench.data.reporter.write(report, tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert page.count("<svg") >= 7
    for way in ("src=", 'href="http', "url(http", "@import", "<link", "<iframe"):
        assert way not in page
    value = json.loads(json.dumps(report.to_dict()))
    assert value["cleaning"]["in"] == value["cleaning"]["kept"] + 1
    assert value["clean"]["conversations"] == 30
    assert value["clean"]["turns"]["mean"] == 1
