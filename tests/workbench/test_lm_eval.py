"""lm-evaluation-harness, over our engine and runtime, finds what our own evaluation finds."""

from __future__ import annotations

import importlib.util
import json
import socket
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import ConfigError, MissingDependencyError
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.step import score_targets
from fine_tuning.evaluation.evaluator import Evaluator
from fine_tuning.evaluation.metrics import right_share
from fine_tuning.evaluation.probes import read_probe_items, tokenize_probes
from fine_tuning.evaluation.questions import Question
from fine_tuning.runtimes.base_model import resolve_base_model
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.workbench.evaluate import lm_eval as harness
from fine_tuning.workbench.workbench import Workbench

HAS_HARNESS = importlib.util.find_spec(harness.PACKAGE) is not None
LIMIT = 4
QUESTIONS = (
    Question(id="q1", question="What is the capital of France?", key_facts=("Paris",)),
    Question(id="q2", question="What is my boat called?", key_facts=("Zorbo",)),
)


def bench_in(home: Path, **evaluation: object) -> Workbench:
    settings = {
        "training": {"base_model": "embedded", "threads": 1, "max_steps": 2, "learning_rate": 1e-3},
        "data_preparation": {"train_ratio": 0.4, "validation_ratio": 0.1, "test_ratio": 0.5},
        "evaluation": {"max_reply_tokens": 12, "max_replies": 6, "test_prompts": [], **evaluation},
    }
    return Workbench(Settings.model_validate(settings), Workspace(home=home))


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "PACKAGE", "no_such_package")
    with pytest.raises(MissingDependencyError, match="lm-eval, which is not installed") as missing:
        bench_in(tmp_path).evaluate.lm_eval.run("base")
    assert missing.value.next_command == "pip install 'fine-tuning[lm-eval]'"


def test_an_unknown_task_is_named_with_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "PACKAGE", "json")  # some package that is there
    with pytest.raises(ConfigError, match=r"'mmlu'.*ability, ability_arithmetic"):
        bench_in(tmp_path).evaluate.lm_eval.run("base", tasks=["mmlu"])
    with pytest.raises(ConfigError, match="nothing to ask"):
        bench_in(tmp_path, ability_probe=False).evaluate.lm_eval.run("base")


@pytest.fixture
def run_home(tmp_path: Path) -> Path:
    """Return a workspace with a short run on conversations of one and of two turns."""
    bench = bench_in(tmp_path)
    logger = bench.data.logger()
    topics = ("tea", "bread", "boats", "stairs", "snow", "paint", "chess", "trains", "maps", "bees")
    for number, topic in enumerate(topics * 2):
        asked = f"Please tell me thing number {number} about {topic} in one sentence."
        logger.log_conversation(asked, f"Of {topic} I know fact {number}.", session_id=str(number))
        if number % 2:
            logger.log_conversation(
                f"And what about {topic} in winter?",
                f"In winter {topic} cost {number}.",
                session_id=str(number),
            )
    bench.train.train(bench.data.prepare(), run_id="short")
    return bench.context.workspace.home


def own_ability(first: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return, by our own scoring, share of right choices by skill and right share by item."""
    by_skill = defaultdict(list)
    for item in read_probe_items():
        by_skill[item.skill].append(item)
    items = [item for skill in by_skill.values() for item in skill[:first]]
    base = resolve_base_model("embedded")
    with (
        EmbeddedServer(base.path, threads=1, system=base.system) as server,
        Decoder.open(base.path) as decoder,
    ):
        probes = tokenize_probes(items, server.tokenizer, server.renderer)

        def score(examples):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            return score_targets(decoder, None, examples)

        suites = Evaluator().evaluate_ability(probes, score)
        sums = [
            [sum(found.log_probabilities) for found in score(probe.sequences)] for probe in probes
        ]
    right = defaultdict(list)
    for probe, found in zip(probes, sums, strict=True):
        right[f"ability_{probe.item.skill}"].append(float(np.argmax(found) == 0))
    accuracy = {skill: sum(found) / len(found) for skill, found in right.items()}
    accuracy["ability"] = sum(map(sum, right.values())) / len(items)
    (metric,) = suites[0].metrics
    return accuracy, dict(zip(suites[0].item_ids, metric.items, strict=True))


@pytest.mark.slow
@pytest.mark.skipif(not HAS_HARNESS, reason="needs the extra lm-eval")
@pytest.mark.filterwarnings("default")
def test_the_base_scores_what_our_own_evaluation_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = socket.socket.connect

    def only_here(self: socket.socket, address: object) -> None:
        assert isinstance(address, str) or address[0] in {"127.0.0.1", "localhost"}  # type: ignore[index]
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", only_here)
    report = bench_in(tmp_path).evaluate.lm_eval.run("base", tasks=["ability"], limit=LIMIT)
    accuracy, shares = own_ability(LIMIT)
    assert {score.task: score.value for score in report.scores} == accuracy
    assert 0 < accuracy["ability"] < 1
    given = {item["id"]: item["given"] for items in report.items.values() for item in items}
    assert given.keys() == shares.keys()
    for name, share in shares.items():
        assert right_share([value for value, _ in given[name]]) == pytest.approx(share, abs=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_HARNESS, reason="needs the extra lm-eval")
@pytest.mark.filterwarnings("default")
def test_a_run_answers_what_it_answers_to_our_own_evaluation(run_home: Path) -> None:
    bench = bench_in(run_home, ability_probe=False, metrics=["rouge", "f1"])
    ours = bench.evaluate.evaluate("short", questions=QUESTIONS)
    told: list[str] = []
    bench = bench.with_progress(
        lambda what, done, total: told.append(what) if done < total else None
    )
    report = bench.evaluate.lm_eval.run("short", questions=QUESTIONS)
    assert not [what for what in told if what.startswith("asking")]  # every reply was known
    scores = {(score.task, score.metric): score for score in report.scores}
    model = ours.models[-1]
    assert model.questions is not None
    assert model.replies is not None
    recall = {m.name: m.value for m in model.questions.suite.metrics}["fact_recall"]
    assert scores["questions", "fact_recall"].value == recall
    suite = model.replies.suite
    assert any(len(json.loads(line)["messages"]) > 2 for line in sources(report.folder))
    assert {item["id"] for item in report.items["replies"]} == set(suite.item_ids)
    for metric in suite.metrics:
        if metric.name in {"f1", "rouge1", "rouge2", "rougeL"}:
            found = {item["id"]: item[metric.name] for item in report.items["replies"]}
            assert found == dict(zip(suite.item_ids, metric.items, strict=True))
            assert scores["replies", metric.name].value == pytest.approx(metric.value, abs=1e-12)
    replies = {item["id"]: item["given"][0] for item in report.items["replies"]}
    assert replies == dict(zip(suite.item_ids, model.replies.replies, strict=True))
    assert not list(run_home.rglob("*.arrow"))
    assert json.loads((report.folder / "results.json").read_text("utf-8")) == report.to_dict()


def sources(folder: Path) -> list[str]:
    lines = (folder / "replies.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["source"] for line in lines]
