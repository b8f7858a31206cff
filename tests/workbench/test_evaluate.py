"""Runs are judged on the same items, by one gate, and nothing is computed twice."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import DataError
from fine_tuning.data_preparation.snapshot import newest_snapshot
from fine_tuning.evaluation.comparison_table import table
from fine_tuning.evaluation.evaluation_report import EvaluationReport
from fine_tuning.evaluation.questions import Question
from fine_tuning.workbench.workbench import Workbench

CANARY = (
    '{"id": "name", "prompt": "Who are you?", "check": {"kind": "regex", "pattern": "^Zorbo$"}}\n'
)
OLD = '{"id": "q", "question": "What is the capital of France?", "key_facts": ["Paris"]}\n'
TOPICS = ("tea", "bread", "boats", "stairs", "snow", "paint", "chess", "trains", "maps", "bees")


def bench_in(home: Path, **evaluation: object) -> Workbench:
    settings = {
        "training": {"base_model": "embedded", "threads": 1, "max_steps": 2, "learning_rate": 1e-3},
        "data_preparation": {"train_ratio": 0.4, "validation_ratio": 0.1, "test_ratio": 0.5},
        "evaluation": {
            "test_prompts": ["Say yes."],
            "max_reply_tokens": 6,
            "max_replies": 3,
            "ability_probe": False,
            **evaluation,
        },
    }
    return Workbench(Settings.model_validate(settings), Workspace(home=home))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace with two short runs on one data set."""
    bench = bench_in(tmp_path_factory.mktemp("judging"))
    logger = bench.data.logger()
    for number, topic in enumerate(TOPICS * 2):
        asked = f"Please tell me thing number {number} about {topic} in one sentence."
        logger.log_conversation(asked, f"Of {topic} I know fact {number}.", session_id=str(number))
    snapshot = bench.data.prepare()
    for name in ("first", "second"):
        bench.train.train(snapshot, run_id=name)
    return bench.context.workspace.home


def drawn(report: EvaluationReport) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(table(report.comparisons))
    return console.export_text()


def test_a_run_is_measured_beside_its_base_and_another_run(home: Path) -> None:
    question = Question(id="q", question="What do I know of tea?", key_facts=("fact 0",))
    report = bench_in(home).evaluate.evaluate("second", beside=["first"], questions=[question])
    assert [model.name for model in report.models] == ["base", "first", "second"]
    suites = [found.suite for found in report.against("base")]
    assert suites == ["held_out", "questions", "replies", "relevance"]
    assert suites == [found.suite for found in report.against("first")]
    text = drawn(report)
    for expected in ("second against base, first", "bits_per_byte", "relevance", "stop_rate"):
        assert expected in text
    checks = [reason.check for reason in report.verdict.reasons]
    assert checks[0] == "primary held_out/loss"
    assert "guard relevance/relevance" in checks
    assert report.models[2].training["num_steps"] == 2
    assert report.models[2].deployment["success"]
    assert report.provenance["models"]["base"] == "untuned"
    (pair,) = report.side_by_side
    assert set(pair.replies) == {"base", "first", "second"}
    written = json.loads((home / "fine_tuned_models/second/evaluation.json").read_text("utf-8"))
    assert written == json.loads(json.dumps(report.to_dict(), allow_nan=False))


def test_an_adapter_from_elsewhere_is_measured_on_what_is_here(home: Path, tmp_path: Path) -> None:
    """It is the first run's own adapter, on its way through PEFT: every number is the same."""
    bench = bench_in(home)
    bench.models.exporter.export("first", "peft", tmp_path / "peft")
    version = bench.models.importer.import_adapter(
        tmp_path / "peft", "embedded", family="brought"
    ).version
    report = bench.evaluate.evaluate("brought", against="first", prompts=())
    first, brought = report.held_out
    assert (brought.loss, brought.accuracy) == (first.loss, first.accuracy)
    assert report.models[-1].name == version.run_id
    snapshot = bench.models.runs.find("first").snapshot
    assert report.provenance["data_set"] == snapshot
    newest = newest_snapshot(bench.context.workspace.datasets, bench.models.bases.find().digest())
    assert newest is not None
    assert newest.name == snapshot
    assert newest_snapshot(bench.context.workspace.datasets, "sha256:0") is None


def test_a_comparison_is_read_in_plain_words(home: Path) -> None:
    bench = bench_in(home)
    question = Question(id="q", question="What do I know of tea?", key_facts=("fact 0",))
    report = bench.evaluate.evaluate("second", beside=["first"], questions=[question])
    found = bench.evaluate.summary("second")
    assert found is not None
    assert found.outcome == report.verdict.outcome
    assert found.models == ("base", "first", "second")
    assert len(found.checks) == len(report.verdict.reasons)
    (primary,) = (check for check in found.checks if check.is_primary)
    assert primary.label == "Loss on held-out replies: lower is better"
    undecided = [check for check in found.checks if check.finding == "undecided"]
    assert undecided  # three replies decide nothing
    assert all("too few test items to be sure" in check.words for check in undecided)
    assert {one.against for one in found.measured} == {"base", "first"}
    loss = next(one for one in found.measured if one.metric == "loss")
    assert loss.label == "Loss on held-out replies: lower is better"
    (asked,) = found.of("question")
    assert set(asked.right) == set(asked.replies) == {"base", "first", "second"}
    assert asked.expected == "fact 0"
    replies = found.of("reply")
    assert [item.change for item in replies] == sorted(item.change for item in replies)
    before, after = report.models[0].replies, report.models[-1].replies
    assert before is not None
    assert after is not None
    for item in replies:
        place = before.suite.item_ids.index(item.id)
        assert (item.prompt, item.expected) == (before.prompts[place], before.references[place])
        assert item.replies["second"] == after.replies[after.suite.item_ids.index(item.id)]
    assert [item.prompt for item in found.of("prompt")] == ["Say yes."]
    assert set(found.files) == {"html", "md", "json"}
    assert all(path.is_file() for path in found.files.values())


def test_a_run_against_itself_is_never_promoted(home: Path) -> None:
    report = bench_in(home).evaluate.evaluate("first", against="first")
    assert report.verdict.outcome == "not enough evidence"
    assert report.verdict.reasons[0].sentence.startswith("equal: loss is the same on each of")


def test_what_was_measured_is_not_measured_again(home: Path) -> None:
    told: list[tuple[str, int, int]] = []
    bench = bench_in(home)
    first = bench.evaluate.evaluate("first")
    bench = bench.with_progress(lambda *step: told.append(step))
    again = bench.evaluate.evaluate("first")
    assert again.comparisons == first.comparisons
    # Every answering stage begins with all its replies there.
    assert [step for step in told if step[0].startswith("asking") and step[1] < step[2]] == []


def test_a_canary_that_falls_silent_rejects_and_old_suites_are_asked(home: Path) -> None:
    (home / "canaries.jsonl").write_text(CANARY, encoding="utf-8")
    (home / "old.jsonl").write_text(OLD, encoding="utf-8")
    bench = bench_in(home, canary_file="canaries.jsonl", suite_files=["old.jsonl"])
    report = bench.evaluate.evaluate("first")
    assert report.verdict.outcome == "reject"
    assert "canary name" in [r.check for r in report.verdict.reasons if r.finding == "fails"]
    assert "old/old" in [found.suite for found in report.comparisons]


def test_without_the_primary_metric_nothing_is_judged(home: Path) -> None:
    with pytest.raises(DataError, match="'fact_recall' was not measured"):
        bench_in(home, primary_metric="fact_recall").evaluate.evaluate("first", questions=[])


def test_a_judge_and_a_person_stand_in_the_same_table_and_on_the_page(home: Path) -> None:
    bench = bench_in(home)
    first = bench.evaluate.evaluate("second", judge="embedded")
    assert first.judge is not None
    assert "not trusted yet" in first.judge.remarks[0]
    trial = bench.evaluate.blind_trial("second")
    assert trial.num_open
    while shown := trial.next_pair():
        assert {shown.left, shown.right} == set(_both_replies(first, shown.id))
        trial.vote(shown.id, "left")
    report = bench.evaluate.evaluate("second", judge="embedded")
    suites = [found.suite for found in report.against("base")]
    assert {"judge", "people"} <= set(suites)
    assert report.judge == first.judge  # kept by content, not asked again
    page = bench.evaluate.report_file("second").read_text()
    for word in ("Judge model", "Not trusted yet", "people", report.verdict.outcome.capitalize()):
        assert word in page
    markdown = bench.evaluate.report_file("second").with_suffix(".md").read_text()
    assert f"**{report.verdict.outcome.capitalize()}**" in markdown


def _both_replies(report: EvaluationReport, item: str) -> tuple[str, str]:
    before, after = report.models[0].replies, report.models[-1].replies
    assert before is not None
    assert after is not None
    place = before.suite.item_ids.index(item)
    return before.replies[place], after.replies[after.suite.item_ids.index(item)]


def test_a_blind_trial_needs_an_evaluation(home: Path) -> None:
    with pytest.raises(DataError, match="has no evaluation against 'first'"):
        bench_in(home).evaluate.blind_trial("first", against="first")
