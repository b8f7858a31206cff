"""The app as its user meets it: started by the command, seen through a real browser.

Chromium is looked for on the path; without it these tests are skipped, and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.app import DESKTOP, NAMES, PATIENCE_MS, App, chromium, open_browser

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")  # longer, its event loop would be in the way of other tests
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    path = chromium()
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the path")
    with open_browser(path) as found:
        yield found


@pytest.fixture
def start_app(tmp_path: Path) -> Iterator[Callable[..., App]]:
    """Start the app on a home below ``tmp_path``; it is stopped at the end."""
    apps: list[App] = []

    def start(settings: str = "", home: Path | None = None) -> App:
        app = App(home or tmp_path / "home", settings)
        apps.append(app)
        app.start()
        return app

    yield start
    for app in apps:
        app.stop()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a page of the app in a window of its own."""
    contexts = []

    def opened(app: App, path: str = "", size: tuple[int, int] = DESKTOP) -> Page:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]})
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.goto(f"{app.url}/{path}")
        return page

    yield opened
    for context in contexts:
        context.close()
