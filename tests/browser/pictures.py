"""Take the pictures of the README: every page, desktop and phone, light and dark.

Run: python -m tests.browser.pictures HOME FOLDER      (make pictures)
HOME is a workspace with something to see: the demo's, with a comparison and a deployment. Pictures
are written with 256 colours, which is all that a page has.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Page

from fine_tuning.config.loader import load_settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.workbench.workbench import Workbench
from tests.browser.app import DESKTOP, IDLE, PATIENCE_MS, PHONE, App, chromium, open_browser

PAGES = ("chat", "conversations", "train", "evaluate", "models", "doctor")
SIZES = {"desktop": DESKTOP, "phone": PHONE}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
HEIGHTS = {("doctor", "desktop"): 620, ("doctor", "phone"): 720}
"""Where a picture ends early: whose computer it was taken on is nobody's business."""
QUIET_MS = 1_500
"""How long a page must have drawn nothing new: plots come last."""


def main(home: Path, folder: Path) -> int:
    """Take all pictures; return 1 without a browser."""
    path = chromium()
    if path is None:
        sys.stderr.write("no Chromium found. Next: apt-get install chromium\n")
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    addresses = {"chat": newest_chat(home)}
    app = App(home)
    app.start()
    try:
        with open_browser(path) as browser:
            for size_name, (width, height) in SIZES.items():
                for scheme in SCHEMES:
                    context = browser.new_context(
                        viewport={"width": width, "height": height}, color_scheme=scheme
                    )
                    page = context.new_page()
                    for name in PAGES:
                        page.goto(f"{app.url}/{addresses.get(name, name)}")
                        settle(page)
                        picture = folder / f"{name}-{size_name}-{scheme}.png"
                        high = HEIGHTS.get((name, size_name), height)
                        page.screenshot(
                            path=picture, clip={"x": 0, "y": 0, "width": width, "height": high}
                        )
                        shrink(picture)
                        sys.stdout.write(f"{picture}\n")
                    context.close()
    finally:
        app.stop()
    return 0


def newest_chat(home: Path) -> str:
    """Return the address of the newest chat; without one, of the page itself."""
    settings = load_settings(None)
    rows = Workbench(settings, Workspace.open(home, settings)).chat.chats(limit=1).rows
    return f"?chat={rows[0].id}" if rows else ""


def settle(page: Page) -> None:
    """Wait until the page is drawn."""
    page.wait_for_selector(IDLE, timeout=PATIENCE_MS)
    page.wait_for_timeout(QUIET_MS)
    page.wait_for_selector(IDLE, timeout=PATIENCE_MS)


def shrink(picture: Path) -> None:
    """Write a picture anew with a palette."""
    with Image.open(picture) as image:
        small = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(picture, optimize=True)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), Path(sys.argv[2])))
