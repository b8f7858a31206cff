"""Test questions a person writes, and reports that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from fine_tuning.core.errors import DataError
from fine_tuning.evaluation.evaluation_summary import label_of, read_summary
from fine_tuning.workbench.workbench import Workbench
from tests.workbench.trained import write_trained


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    trained = write_trained(tmp_path)
    trained.add_run()
    return trained.bench()


def test_a_question_is_added_kept_and_taken_out(bench: Workbench) -> None:
    assert bench.evaluate.questions.read() == ()
    first = bench.evaluate.questions.add(" When do we get paid? ", [" the 26th ", ""])
    assert (first.question, first.key_facts) == ("When do we get paid?", ("the 26th",))
    second = bench.evaluate.questions.add("Who has the keys?", ["Mara", "the porter"], "run1")
    assert list(bench.evaluate.questions.read("run1")) == [first, second]
    assert list(bench.evaluate.questions.read()) == [
        first,
        second,
    ]  # the run lies in this workspace
    bench.evaluate.questions.remove(first.id)
    bench.evaluate.questions.remove(second.id)
    assert bench.evaluate.questions.read() == ()
    assert not (bench.context.workspace.home / "questions.jsonl").exists()


def test_a_bad_question_is_refused_and_the_others_stand(bench: Workbench) -> None:
    kept = bench.evaluate.questions.add("When do we get paid?", ["the 26th"])
    with pytest.raises(DataError, match="is among the test questions"):
        bench.evaluate.questions.add("When do we get paid?", ["the 27th"])
    with pytest.raises(DataError, match="expected at least one"):
        bench.evaluate.questions.add("Who has the keys?", [" "])
    with pytest.raises(DataError, match="has no text"):
        bench.evaluate.questions.add(" ", ["Mara"])
    with pytest.raises(DataError, match="there is no test question 'x'"):
        bench.evaluate.questions.remove("x")
    assert list(bench.evaluate.questions.read()) == [kept]


def test_what_was_never_compared_has_no_judgement(bench: Workbench) -> None:
    assert bench.evaluate.summary("run1") is None


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"verdict": {"outcome": "perhaps"}}'])
def test_a_torn_report_is_a_sentence(bench: Workbench, text: str) -> None:
    folder = bench.models.runs.find("run1").folder
    (folder / "evaluation.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="cannot be read") as caught:
        read_summary(folder)
    assert caught.value.next_command == "fine-tuning compare base run1"


@pytest.mark.parametrize(
    ("suite", "metric", "label"),
    [
        ("questions", "fact_recall", "Fact recall: test questions answered right"),
        ("ability/reading", "right_choice", "General ability: reading"),
        ("old/monday", "fact_recall", "fact recall, earlier test monday"),
        ("judge", "wins", "Preferred by the judge model"),
        ("replies", "something_new", "something new"),
    ],
)
def test_a_metric_has_a_name_for_people(suite: str, metric: str, label: str) -> None:
    assert label_of(suite, metric) == label


def test_installed_models_say_whether_they_fit(bench: Workbench) -> None:
    choices = {one.name: one for one in bench.models.bases.choices()}
    own = choices[bench.context.settings.training.base_model]
    assert (own.source, own.can_train, own.fits) == ("file", True, True)
    assert own.reason.startswith("fits: about")
