"""A headless Chromium, where this machine has one: for the tests of the report page and for its picture."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "google-chrome", "chromium-browser")
_ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run")
_QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync")


def chromium() -> str | None:
    """The path of the browser, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def started() -> Iterator[Any]:
    """A running browser of Playwright's."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium(), args=[*_ARGUMENTS, *_QUIET])
        try:
            yield browser
        finally:
            browser.close()


def screenshot(page: Path, selector: str, out: Path) -> None:
    """A picture of one element of a page at 1,100 px, in at most 256 colours."""
    from PIL import Image

    with started() as browser:
        opened = browser.new_page(viewport={"width": 1100, "height": 900})
        opened.goto(page.resolve().as_uri())
        box = opened.locator(selector).bounding_box()
        edge = 24
        clip = {"x": box["x"] - edge, "y": box["y"], "width": box["width"] + 2 * edge, "height": box["height"] + edge}
        opened.screenshot(path=out, clip=clip, full_page=True)
    Image.open(out).convert("RGB").quantize(256).save(out, optimize=True)
