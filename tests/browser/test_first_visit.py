"""A first visit in a real browser: every page's first words, a chat, a thumb, a reload, a crash."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from fine_tuning.config.loader import load_settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.conversation import Conversation
from fine_tuning.runtimes.base_model import EMBEDDED_PACKAGE
from fine_tuning.workbench.workbench import Workbench
from tests.browser.app import IDLE, PHONE, App

SETTINGS = """
training: {base_model: embedded}
deployment: {runtime: embedded}
"""

pytestmark = pytest.mark.skipif(
    find_spec(EMBEDDED_PACKAGE) is None, reason=f"the wheel {EMBEDDED_PACKAGE} is not installed"
)


def recorded(home: Path) -> list[Conversation]:
    """Return what is on disk."""
    settings = load_settings(None)
    return list(Workbench(settings, Workspace.open(home, settings)).context.store.conversations())


def say(page: Page, text: str) -> str:
    """Send a message and wait for the whole reply."""
    replies = page.get_by_label("Chat message from assistant")
    before = replies.count()
    page.get_by_placeholder("Write a message").fill(text)
    page.keyboard.press("Enter")
    expect(page.get_by_text(text, exact=True)).to_be_visible()
    expect(replies).to_have_count(before + 1)
    expect(page.get_by_role("button", name="Edit").last).to_be_visible()
    page.wait_for_selector(IDLE)
    return replies.last.inner_text()


def test_a_chat_is_kept_through_a_reload_and_a_crash(
    start_app: Callable[..., App], open_page: Callable[..., Page]
) -> None:
    app = start_app(SETTINGS)
    page = open_page(app)
    expect(page.get_by_text("Say hello to your model")).to_be_visible()
    reply = say(page, "What is the capital of France?")
    assert reply.strip()  # which words come is left to chance
    page.get_by_role("radio", name="Thumbs up").click()
    page.wait_for_selector(IDLE)
    expect(page).to_have_url(re.compile(r"\?chat="))

    page.reload()
    expect(page.get_by_text("What is the capital of France?", exact=True)).to_be_visible()

    app.kill()
    app.start()
    page.reload()
    expect(page.get_by_text("What is the capital of France?", exact=True)).to_be_visible()
    (conversation,) = recorded(app.home)
    assert [message.role for message in conversation.path()] == ["user", "assistant"]


def test_an_empty_page_says_the_next_step_and_fits_a_phone(
    start_app: Callable[..., App], open_page: Callable[..., Page]
) -> None:
    app = start_app(SETTINGS)
    for name in ("conversations", "train", "evaluate", "models", "doctor"):
        page = open_page(app, name, PHONE)
        expect(page.get_by_role("heading", level=1).first).to_have_text(name.title())
        page.wait_for_selector(IDLE)
        assert page.get_by_test_id("stException").count() == 0
        expect(page.get_by_test_id("stMain").get_by_role("button").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
