"""The page Models in every state: none yet, deployed, in use, many, forgotten from, pruned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fine_tuning.config.schema import TrainingSettings
from fine_tuning.integration.app.models import PER_PAGE
from fine_tuning.model_management.lineage import Lineage
from fine_tuning.workbench.plans import training_plan
from fine_tuning.workbench.workbench import Workbench
from tests.integration.app.scenes import labels, page, press, sleeping_job, words
from tests.workbench.reported import write_report
from tests.workbench.trained import Trained, write_trained


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    made = write_trained(tmp_path)
    settings_of(made, monkeypatch)
    return made


def settings_of(made: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "HOME": str(made.home),
        "_TRAINING__BASE_MODEL": made.name,
        "_TRAINING__THREADS": "1",
        "_DEPLOYMENT__RUNTIME": "embedded",
        "_DEPLOYMENT__FAMILY": "support",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"FINE_TUNING_{name}", value)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def bench(trained: Trained) -> Workbench:
    return trained.bench()


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Return a home with two versions; both are deployed and proven, the second is in use."""
    made = write_trained(tmp_path_factory.mktemp("deployed"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        for number in (1, 2):
            made.add_run(number)
            made.bench().models.deployment.deploy(f"run{number}")
    return made


def test_without_a_version_the_way_to_one_is_shown(bench: Workbench) -> None:
    app = page("models")
    assert "No model was trained yet" in words(app)
    assert labels(app) == ["Train a model", "Load the sample conversations and train the demo"]
    assert not bench.context.workspace.models.exists()


@pytest.fixture
def in_use(deployed: Trained, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    """The workbench of the home whose second version is in use, which the page shows."""
    settings_of(deployed, monkeypatch)
    return deployed.bench()


def test_a_version_that_is_not_deployed_can_be(trained: Trained, bench: Workbench) -> None:
    trained.add_run()
    write_report(bench, "run1")
    app = page("models")
    said = words(app)
    assert "No version is in use yet" in said
    assert "support\\:1" in said
    assert "thumb\\_up" in said or "thumb_up" in said
    assert "not deployed" in said
    assert "It was not deployed yet" in said
    other = sleeping_job(bench)  # holds the runner, so that what is asked for waits
    press(app, "Deploy and use")
    asked = bench.jobs.all()[-1]
    assert (asked.kind, asked.run_id, asked.params["switch"]) == ("deploy", "run1", True)
    bench.jobs.stop(asked.id)
    bench.jobs.stop(other.id)


def test_the_settings_of_a_run_by_the_defaults_are_not_listed(trained: Trained) -> None:
    folder = trained.add_run()
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    plan = training_plan(TrainingSettings(), takes_adapters=True)
    path.write_text(json.dumps(manifest | {"plan": plan.to_dict()}), encoding="utf-8")
    tables = [table.value for table in page("models").dataframe]
    told = [key for table in tables if "Setting" in table for key in table["Setting"]]
    assert told == ["data_preparation.max_length"], "which the data set of these tests changed"


def test_what_is_in_use_is_proven_switched_and_rolled_back(in_use: Workbench) -> None:
    app = page("models")
    said = words(app)
    assert "#### :material/star: support\\:2" in said
    assert "Output\\: the probabilities of the trained model" in said
    assert "fine_tuned_support:champion" in said
    app.button(key="use-support:1").click().run()
    assert not app.exception
    assert "answers as support\\:1" in app.success[0].value
    assert [one.version for one in in_use.models.aliases.all_aliases()] == ["support:1"]
    press(app, "Roll back")
    assert "answers as support\\:2 again" in app.success[0].value
    app.button(key="base-support:2").click().run()
    assert [one.version for one in in_use.models.aliases.all_aliases()] == [""]
    assert "the base model of support" in words(app)
    press(app, "Roll back")
    assert [one.version for one in in_use.models.aliases.all_aliases()] == ["support:2"]


def test_a_version_is_tried_on_some_conversations(in_use: Workbench) -> None:
    app = page("models")
    app.select_slider[0].set_value(30)
    press(app, "Start")
    assert "support\\:1 answers 30 % of the conversations" in app.success[0].value
    (traffic,) = in_use.models.aliases.traffic()
    assert (traffic.version, traffic.share) == ("support:1", 0.3)
    assert "support\\:2 answers 70 % of the conversations, support\\:1 30 %" in words(app)
    assert words(app).count("0 conversations, no thumb yet") == 2
    press(app, "Back to support\\:2 for all")
    assert in_use.models.aliases.traffic() == []
    press(app, "Start")
    press(app, "Use support\\:1 for all")
    assert [one.version for one in in_use.models.aliases.all_aliases()] == ["support:1"]
    assert in_use.models.aliases.traffic() == []
    press(app, "Roll back")
    assert [one.version for one in in_use.models.aliases.all_aliases()] == ["support:2"]


def test_a_version_is_put_aside_and_taken_up_again(trained: Trained, bench: Workbench) -> None:
    trained.add_run()
    app = press(page("models"), "Archive")
    assert bench.models.versions.find("support:1").stage == "archived"
    press(app, "Restore")
    assert bench.models.versions.find("support:1").stage == "challenger"


def test_a_runtime_that_is_down_is_a_sentence_and_changes_nothing(
    deployed: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_of(deployed, monkeypatch)
    monkeypatch.setenv("FINE_TUNING__DEPLOYMENT__RUNTIME", "ollama")
    monkeypatch.setenv("FINE_TUNING__DEPLOYMENT__OLLAMA_BASE_URL", "http://127.0.0.1:9")
    before = deployed.bench().models.aliases.all_aliases()
    app = page("models")  # what is known is shown without the runtime
    assert not app.error
    press(app, "Roll back")
    (error,) = app.error
    assert "No Ollama server answers" in error.value
    assert deployed.bench().models.aliases.all_aliases() == before


def test_two_versions_are_compared(trained: Trained) -> None:
    trained.add_run(1)
    app = page("models")
    assert "There is one version only" in words(app)
    trained.add_run(2)
    app = page("models")
    first, second = (one for one in app.selectbox if one.key in {"diff-first", "diff-second"})
    assert (first.value, second.value) == ("support:1", "support:2")
    assert "**Base**: the same" in words(app)


def test_a_note_is_kept_and_files_are_checked(trained: Trained, bench: Workbench) -> None:
    folder = trained.add_run()
    app = page("models")
    app.text_input[0].set_value("After the <b>new</b> price list")
    press(app, "Save note")
    assert (
        bench.models.versions.find("support:1").notes[0].text == "After the <b>new</b> price list"
    )
    assert "After the \\<b\\>new" in words(app)
    press(app, "Verify files")
    assert "All files are unchanged" in words(app)
    (folder / "adapter" / "adapter.gguf").write_bytes(b"changed")
    press(app, "Verify files")
    assert app.error


def test_the_plan_is_shown_before_anything_is_removed(trained: Trained, bench: Workbench) -> None:
    for number in range(1, 3):
        trained.add_run(number)
    app = page("models")
    assert "Nothing to prune" in words(app)
    keep = next(one for one in app.number_input if one.label.startswith("Newest versions"))
    keep.set_value(1).run()
    remove = next(one for one in app.button if one.label == "Remove the files")
    assert remove.disabled
    assert bench.models.versions.find("support:1").present
    app.checkbox[0].check().run()
    press(app, "Remove the files")
    assert not bench.models.versions.find("support:1").present
    assert bench.models.versions.find("support:2").present
    assert "freed" in app.success[0].value
    assert "files pruned" in words(app)


def test_many_versions_are_paged(trained: Trained) -> None:
    for number in range(1, PER_PAGE + 3):
        trained.add_run(number)
    app = page("models")
    shown = [one.value for one in app.markdown if one.value.startswith("**support\\:")]
    assert len(shown) == PER_PAGE
    assert shown[0].startswith(f"**support\\:{PER_PAGE + 2}**")
    next(one for one in app.number_input if one.key == "models-page").set_value(2).run()
    shown = [one.value for one in app.markdown if one.value.startswith("**support\\:")]
    assert [one.partition("** ")[0] for one in shown] == ["**support\\:2", "**support\\:1"]


def test_a_version_that_learnt_from_what_was_forgotten_says_so(
    trained: Trained, bench: Workbench
) -> None:
    trained.add_run()
    registry = bench.models.register.registry()
    Lineage(registry).record_dataset(
        bench.models.versions.find("support:1").snapshot, {"train": ["talk-1"]}
    )
    bench.models.lineage.mark_for_retraining("talk-1", "it was forgotten")
    assert "trained on 1 conversations that were forgotten" in words(page("models"))


def test_a_damaged_registry_is_a_sentence(trained: Trained, bench: Workbench) -> None:
    trained.add_run()
    bench.models.register.versions()
    for file in bench.context.workspace.models.glob("*.db*"):
        file.write_bytes(b"no database" * 500)
    app = page("models")
    (error,) = app.error
    assert "Traceback" not in error.value
