"""The whole story in a real browser on the real embedded model, from a file to rolling back.

Training and comparison are cut short by settings: what is tested is the way, not the model.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from fine_tuning.runtimes.base_model import EMBEDDED_PACKAGE
from tests.browser.app import IDLE, App
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


def go(page: Page, name: str) -> None:
    """Turn to another page by its link."""
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=name).click()
    page.wait_for_selector(IDLE)


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
    page.get_by_role("button", name="Deploy and use it").click()
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
    expect(page.get_by_role("button", name="Use it")).to_be_visible()
