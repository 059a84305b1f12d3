"""``make screenshots``: every page of the dashboard, in both themes, at three widths, into ``.cache/screenshots``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.repo.tree import ROOT

from .conftest import FLAGS, chromium, serving_shop
from .places import PLACES

TARGET = ROOT / ".cache" / "screenshots"


def draw() -> None:
    """Draws them all, each once it shows what makes it complete."""
    TARGET.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving_shop(Path(folder)) as shop,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*FLAGS])
        page = browser.new_page()
        for name, (place, shows) in PLACES.items():
            page.set_viewport_size({"width": 1440, "height": 900})
            page.emulate_media(color_scheme="light")
            page.goto("about:blank")
            page.goto(f"{shop.address}/#/{place}")
            page.get_by_text(shows, exact=True).first.wait_for()
            page.wait_for_load_state("networkidle")
            for width in (1440, 360, 1920):
                page.set_viewport_size({"width": width, "height": 900})
                for theme in ("light", "dark"):
                    page.emulate_media(color_scheme=theme)
                    page.screenshot(path=TARGET / f"{name}-{width}-{theme}.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    draw()
    print(f"{len(list(TARGET.glob('*.png')))} pictures in {TARGET.relative_to(ROOT)}")
