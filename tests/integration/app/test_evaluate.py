"""The page Evaluate in every state: no run, not compared, better, worse, torn, at work."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from fine_tuning.integration.app.evaluate_replies import PER_PAGE
from fine_tuning.integration.app.word_diff import word_diff
from fine_tuning.workbench.workbench import Workbench
from tests.integration.app.scenes import labels, page, press, sleeping_job, words
from tests.workbench.reported import NUM_ITEMS, write_report
from tests.workbench.trained import Trained, write_trained


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    made = write_trained(tmp_path)
    monkeypatch.setenv("FINE_TUNING_HOME", str(made.home))
    monkeypatch.setenv("FINE_TUNING__TRAINING__BASE_MODEL", made.name)
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "no-store"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return made


@pytest.fixture
def bench(trained: Trained) -> Workbench:
    return trained.bench()


@pytest.fixture
def worse(trained: Trained, bench: Workbench) -> AppTest:
    """The page of a run that is worse than its base."""
    trained.add_run()
    write_report(bench, "run1", gain=-1.0)
    return page("evaluate")


def test_without_a_run_the_way_to_one_is_shown(bench: Workbench) -> None:
    app = page("evaluate")
    assert "No model was trained yet" in words(app)
    assert labels(app) == ["Train a model", "Load the sample conversations and train the demo"]
    assert not bench.context.workspace.jobs.exists()


def test_a_run_that_was_not_compared_offers_to(trained: Trained) -> None:
    trained.add_run(1)
    trained.add_run(2)
    app = page("evaluate")
    assert "was not compared yet" in words(app)
    assert "Compare" in labels(app)
    against = next(one for one in app.selectbox if one.label == "Compare with")
    assert against.options == ["the base model", "run1"]


def test_a_better_run_is_told_in_plain_words(trained: Trained, bench: Workbench) -> None:
    trained.add_run()
    write_report(bench, "run1")
    app = page("evaluate")
    assert app.success[0].value.startswith("**Yes, run1 is better.**")
    said = words(app)
    assert "Fact recall\\: test questions answered right" in said
    assert "from 33 % to 100 %" in said
    assert "better beyond chance" in said
    assert "Against base" in said
    (table, *_) = app.dataframe
    assert set(table.value["Finding"]) <= {"better", "worse", "no clear difference", "-"}
    loss = table.value[table.value["Metric"].str.contains("Loss")].iloc[0]
    assert (loss["base"], loss["run1"], loss["Gain"]) == ("3.12", "2.12", "+1")


def test_a_worse_run_is_refused_and_what_failed_comes_first(worse: AppTest) -> None:
    assert worse.error[0].value.startswith("**No, run1 must not take over.**")
    reasons = [one.value for one in worse.markdown if ":material/" in one.value]
    assert reasons[0].startswith(":red[:material/cancel:]")
    assert "worse beyond chance" in reasons[0]


def test_the_worst_replies_come_first_and_their_words_are_harmless(worse: AppTest) -> None:
    app = worse
    marks = [one.value for one in app.markdown if "-badge[right]" in one.value]
    wrongs = [one.value for one in app.markdown if "-badge[wrong]" in one.value]
    assert len(wrongs) == PER_PAGE  # all lost questions before any kept one
    assert len(marks) == PER_PAGE
    said = words(app)
    assert "\\<b\\>" in said
    assert "<b>" not in said
    assert ":red-background[" in said
    assert ":green-background[" in said
    pages = next(one for one in app.number_input if one.label.startswith("Page of"))
    assert pages.max == -(-NUM_ITEMS // PER_PAGE)
    pages.set_value(pages.max).run()
    assert not app.exception


def test_changed_words_in_a_row_are_marked_as_one() -> None:
    before, after = word_diff("The cat sat here.\n\nOh", "The dog ran here.\nOh", is_prose=True)
    assert before == "The :red-background[cat sat] here\\.  \n  \nOh"
    assert after == "The :green-background[dog ran] here\\.  \nOh"
    assert word_diff("a b", "a b", is_prose=True) == ("a b", "a b")
    assert word_diff("", "one\ntwo", is_prose=True)[1].count("green-background") == 2


def test_a_test_question_is_added_and_taken_out(trained: Trained, bench: Workbench) -> None:
    trained.add_run()
    write_report(bench, "run1")
    app = page("evaluate")
    assert "No test question yet" in words(app)
    app.text_input[0].set_value("When do we get paid?")
    app.text_area[0].set_value("the 26th\n")
    press(app, "Add the question")
    (added,) = bench.evaluate.questions.read()
    assert added.key_facts == ("the 26th",)
    app.run()
    assert "When do we get paid?" in words(app)
    app.button(key=f"drop-{added.id}").click().run()
    assert bench.evaluate.questions.read() == ()


def test_a_question_without_facts_is_a_sentence(trained: Trained, bench: Workbench) -> None:
    trained.add_run()
    write_report(bench, "run1")
    app = page("evaluate")
    app.text_input[0].set_value("When do we get paid?")
    press(app, "Add the question")
    assert "expected at least one" in words(app)
    assert bench.evaluate.questions.read() == ()


def test_the_report_can_be_taken_along(trained: Trained, bench: Workbench) -> None:
    trained.add_run()
    write_report(bench, "run1")
    app = page("evaluate")
    downloads = app.get("download_button")
    assert [one.label for one in downloads] == ["Web page", "Markdown", "JSON"]


@pytest.mark.parametrize("text", ["{", "{}", '{"verdict": 1}'])
def test_a_torn_report_is_a_sentence_and_can_be_made_anew(trained: Trained, text: str) -> None:
    folder = trained.add_run()
    (folder / "evaluation.json").write_text(text, encoding="utf-8")
    app = page("evaluate")
    assert "cannot be read" in app.error[0].value
    assert "fine\\-tuning compare base run1" in app.error[0].value
    assert "Compare" in labels(app)


def test_comparing_joins_the_queue_with_what_was_chosen(trained: Trained, bench: Workbench) -> None:
    trained.add_run(1)
    trained.add_run(2)
    other = sleeping_job(bench)  # holds the runner, so that what is asked for waits
    app = page("evaluate", **{"evaluate-run": str(bench.context.workspace.runs / "run2")})
    next(one for one in app.selectbox if one.label == "Compare with").set_value(
        str(bench.context.workspace.runs / "run1")
    ).run()
    app.multiselect[0].set_value(["base"]).run()
    press(app, "Compare")
    asked = bench.jobs.all()[-1]
    assert (asked.kind, asked.run_id, asked.state) == ("evaluate", "run2", "queued")
    assert asked.params["against"] == str(bench.context.workspace.runs / "run1")
    assert asked.params["beside"] == ["base"]
    assert "Against run1" in words(app)
    bench.jobs.stop(asked.id)
    bench.jobs.stop(other.id)
