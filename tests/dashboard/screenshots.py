"""``make screenshots``: every page of the dashboard, in both themes, at three widths, into ``.cache/screenshots``.

With ``ARGS=--docs`` it draws the pictures of ``docs/dashboard.md`` instead: few, and small enough to be in git.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page, sync_playwright

from tests.repo.tree import ROOT

from .conftest import FLAGS, chromium, serving_shop
from .places import PLACES

TARGET = ROOT / ".cache" / "screenshots"
IMAGES = ROOT / "docs" / "images"
WIDTHS, HEIGHT = (1440, 360, 1920), 900
SHOWN: Final[dict[str, tuple[int, Any]]] = {
    "overview": (1100, "light"),
    "instances": (1100, "dark"),
    "instance-attention": (1100, "light"),
    "instance-cancel": (1100, "light"),
    "instance-question": (360, "dark"),
    "attention": (1100, "light"),
    "questions": (1100, "dark"),
    "letter": (1100, "light"),
    "definitions": (1100, "light"),
    "queues": (1100, "dark"),
    "schedules": (1100, "light"),
    "records": (1100, "light"),
}
"""Of the pictures in the documentation: width and theme."""


@contextmanager
def shop_page() -> Iterator[tuple[Page, str]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        serving_shop(Path(folder)) as shop,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*FLAGS])
        yield browser.new_page(), shop.address
        browser.close()


def visit(page: Page, address: str, name: str) -> None:
    """Opens a place anew, and returns when it shows what makes it complete."""
    place, shows = PLACES[name]
    page.goto("about:blank")
    page.goto(f"{address}/#/{place}")
    page.get_by_text(shows, exact=True).first.wait_for()
    page.wait_for_load_state("networkidle")


def draw() -> None:
    """All places at all widths, as high as they are."""
    TARGET.mkdir(parents=True, exist_ok=True)
    with shop_page() as (page, address):
        for name in PLACES:
            page.set_viewport_size({"width": WIDTHS[0], "height": HEIGHT})
            page.emulate_media(color_scheme="light")
            visit(page, address, name)
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": HEIGHT})
                for theme in ("light", "dark"):
                    page.emulate_media(color_scheme=theme)
                    page.screenshot(path=TARGET / f"{name}-{width}-{theme}.png", full_page=True)


def draw_for_docs() -> None:
    """The first screen of each."""
    IMAGES.mkdir(exist_ok=True)
    with shop_page() as (page, address):
        for name, (width, theme) in SHOWN.items():
            page.set_viewport_size({"width": width, "height": 640})
            page.emulate_media(color_scheme=theme)
            visit(page, address, name)
            page.screenshot(path=IMAGES / f"{name}.png")


if __name__ == "__main__":
    drawn, target = (draw_for_docs, IMAGES) if "--docs" in sys.argv else (draw, TARGET)
    drawn()
    print(f"{len(list(target.glob('*.png')))} pictures in {target.relative_to(ROOT)}")
