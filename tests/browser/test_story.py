"""The whole story in a real browser on the real embedded model, from a file to rolling back.

Training and comparison are cut short by settings: what is tested is the way, not the model.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

from fine_tuning.config.loader import load_settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.runtimes.base_model import EMBEDDED_PACKAGE
from fine_tuning.workbench.workbench import Workbench
from tests.browser.app import IDLE, App, command_of
from tests.browser.test_first_visit import SETTINGS, recorded, say

SAMPLES = Path(__file__).parents[2] / "fine_tuning" / "data" / "samples"
SHORT = f"""{SETTINGS.replace("embedded}", "embedded, max_steps: 12, adapter: lora}", 1)}
evaluation: {{ability_probe: false, max_replies: 6, metrics: [perplexity]}}
"""
NUM_CONVERSATIONS = 60
LONG_MS = 600_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec(EMBEDDED_PACKAGE) is None, reason=f"the wheel {EMBEDDED_PACKAGE} is not installed"
    ),
]


def record_samples(home: Path, count: int) -> None:
    """Record the first of the sample conversations."""
    settings = load_settings(None)
    bench = Workbench(settings, Workspace.open(home, settings))
    with (SAMPLES / "handbook_conversations.jsonl").open(encoding="utf-8") as lines:
        some = home.parent / "some.jsonl"
        some.write_text("".join(islice(lines, count)), encoding="utf-8")
    bench.data.importer.import_file(some)


def go(page: Page, name: str) -> None:
    """Turn to another page by its link."""
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=name).click()
    page.wait_for_selector(IDLE)


def kill_trainer(home: Path) -> None:
    """End the process that works on a job of this home, as the kernel does."""
    parts = [p for p in psutil.process_iter() if {"job_process", str(home)} <= words_of(p)]
    assert parts
    for process in parts:
        process.kill()
    psutil.wait_procs(parts, timeout=30)


def words_of(process: psutil.Process) -> set[str]:
    """Return what a process' command line says, its module by the last name."""
    return {
        word.rpartition(".")[2] if "/" not in word else word for word in command_of(process).split()
    }


def test_from_a_file_to_rolling_back(
    start_app: Callable[..., App], open_page: Callable[..., Page], tmp_path: Path
) -> None:
    app = start_app(SHORT)
    page = open_page(app)

    chats = tmp_path / "chats.jsonl"
    with (SAMPLES / "handbook_conversations.jsonl").open(encoding="utf-8") as lines:
        chats.write_text("".join(islice(lines, NUM_CONVERSATIONS)), encoding="utf-8")
    go(page, "Conversations")
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(chats)
    page.get_by_role("button", name="Import", exact=True).last.click()
    expect(page.get_by_text(f"{NUM_CONVERSATIONS} new conversations")).to_be_visible()
    assert len(recorded(app.home)) == NUM_CONVERSATIONS

    go(page, "Chat")
    say(page, "What is the capital of France?")
    page.get_by_role("button", name="Edit").last.click()
    page.get_by_label("The reply as it should have been").fill("Paris, and nothing else.")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("edited by you")).to_be_visible()
    page.get_by_role("button", name="Regenerate").click()
    page.get_by_role("button", name="This one is better").last.click()
    expect(page.get_by_text("2 of 2")).to_be_visible()

    go(page, "Train")
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_role("button", name="Pause").first).to_be_visible()
    expect(page.get_by_text("Finished runs")).to_be_visible(timeout=LONG_MS)

    go(page, "Evaluate")
    expect(page.get_by_text("Against base").first).to_be_visible(timeout=LONG_MS)

    go(page, "Models")
    page.get_by_role("button", name="Deploy and use").click()
    expect(page.get_by_text("It answers whoever asks for")).to_be_visible(timeout=LONG_MS)
    expect(page.get_by_role("button", name="Roll back")).to_be_visible()

    go(page, "Chat")
    page.get_by_role("button", name="New chat").click()
    expect(page.get_by_text("Say hello to your model")).to_be_visible()
    say(page, "Where is the spare key?")
    expect(page.get_by_text("fine_tuned_embedded:champion")).to_be_visible()

    go(page, "Models")
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_text("answers as").first).to_be_visible()
    expect(page.get_by_role("button", name="Use", exact=True)).to_be_visible()


def test_whatever_is_killed_nothing_is_lost(
    start_app: Callable[..., App], open_page: Callable[..., Page], tmp_path: Path
) -> None:
    record_samples(tmp_path / "home", NUM_CONVERSATIONS)
    app = start_app(SHORT)
    page = open_page(app)
    page.get_by_placeholder("Write a message").fill("Tell me a long story about a lighthouse.")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page).to_have_url(re.compile(r"\?chat="))
    app.kill()
    app.start()
    page.reload()
    expect(page.get_by_text("Tell me a long story about a lighthouse.", exact=True)).to_be_visible()
    again = page.get_by_role("button", name=re.compile("Try again|Regenerate"))
    again.click()
    expect(page.get_by_role("button", name="Edit").last).to_be_visible()
    told = [m.text for c in recorded(app.home) for m in c.messages if m.role == "user"]
    assert told.count("Tell me a long story about a lighthouse.") == 1

    go(page, "Train")
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_text("Loss, nats per token (lower is better)").first).to_be_visible(
        timeout=LONG_MS
    )
    kill_trainer(app.home)
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause").first).to_be_visible()
    app.kill()
    app.start()
    page.reload()
    expect(page.get_by_text("Finished runs")).to_be_visible(timeout=LONG_MS)
