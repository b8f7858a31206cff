"""The demo keeps its promises. Minutes long, so it has its own target (``make test-slow``)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fine_tuning.config.workspace import Workspace
from fine_tuning.workbench.demo import DEMO_SETTINGS, log_samples, read_samples, run_demo
from fine_tuning.workbench.workbench import Workbench

NUM_ALIKE = 12
"""General conversations a cleaner may take for copies of each other: refusals, short answers."""


def test_the_samples_are_logged_and_cleaned(tmp_path: Path) -> None:
    bench = Workbench(DEMO_SETTINGS, Workspace(home=tmp_path))
    log_samples(bench)
    counts = bench.data.clean().counts
    handbook, general, messy = (
        read_samples(f"{name}_conversations.jsonl") for name in ("handbook", "general", "messy")
    )
    flawed = [c for c in messy if c.metadata["flaw"]]
    assert counts["in"] == len(handbook) + len(general) + len(messy)
    assert len(flawed) == len(messy)
    assert counts["kept"] >= len(handbook) + len(general) - NUM_ALIKE
    assert counts["in"] == counts["kept"] + sum(counts["dropped"].values())


@pytest.mark.slow
def test_the_tuned_model_knows_the_handbook(tmp_path: Path) -> None:
    result = run_demo(tmp_path / "demo")
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text(encoding="utf-8"))
    assert summary == json.loads(json.dumps(result.to_dict()))
    assert summary["held_out_loss"]["ratio"] <= 0.70
    assert summary["facts_right"]["base"] <= 0.10
    assert summary["facts_right"]["tuned"] >= 0.85
    assert summary["verdict"]["outcome"] == "promote"
    assert len(summary["shown"]) == 3
