"""One server and one browser for all tests of the dashboard in a process."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.outside import not_run

from .shop import Shop, open_shop

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
TIMEOUT_MS = 20_000
ASKED_FOR = (
    "404 (Not Found)",
    "401 (Unauthorized)",
    "403 (Forbidden)",
    "503 (Service Unavailable)",
    "net::ERR_INTERNET_DISCONNECTED",
)


def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        text = "Chromium; on Debian and Ubuntu: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI=true, and there is no {text}")
        not_run(text)
    return found


@contextmanager
def serving_shop(folder: Path) -> Iterator[Shop]:
    """Serves the shop in a thread of its own."""
    ready, found = threading.Event(), dict[str, Any]()

    async def run() -> None:
        found["stop"], found["loop"] = asyncio.Event(), asyncio.get_running_loop()
        async with open_shop(folder) as shop:
            found["shop"] = shop
            ready.set()
            await found["stop"].wait()

    def main() -> None:
        try:
            asyncio.run(run())
        finally:
            ready.set()

    thread = threading.Thread(target=main, name="shop")
    thread.start()
    try:
        assert ready.wait(60)
        yield found["shop"]
    finally:
        if "shop" in found:
            found["loop"].call_soon_threadsafe(found["stop"].set)
        thread.join(30)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with serving_shop(tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture(scope="session")
def shop(served: Shop) -> str:
    """The address that asks for no key."""
    return served.address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not of the session: while Playwright runs, no other event loop can run in this thread."""
    path = chromium()
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS])
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page that tells what must never be: errors in the console, and requests to another host."""

    page: Page
    wrong: list[str] = field(default_factory=list)

    def watch(self, address: str) -> None:
        def said(message: ConsoleMessage) -> None:
            # The browser itself reports what tests ask for.
            if message.type in ("error", "warning") and not any(each in message.text for each in ASKED_FOR):
                self.wrong.append(f"{message.type}: {message.text}")

        def asked(request: Request) -> None:
            if not request.url.startswith((address, "data:")):
                self.wrong.append(f"request to {request.url}")

        self.page.on("console", said)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("request", asked)


@pytest.fixture
def opened(browser: Browser, served: Shop) -> Iterator[Callable[..., Page]]:
    """Opens a page by the part of its address behind ``#/``; at the end nothing may have been wrong on any."""
    with ExitStack() as stack:
        pages: list[Watched] = []

        def open_page(place: str, *, width: int = 1440, theme: Any = "light", locked: bool = False) -> Page:
            address = served.locked if locked else served.address
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
            stack.callback(context.close)
            context.set_default_timeout(TIMEOUT_MS)
            watched = Watched(context.new_page())
            watched.watch(address)
            pages.append(watched)
            watched.page.goto(f"{address}/#/{place}")
            watched.page.locator("#app main").wait_for()
            return watched.page

        yield open_page
        assert [each for page in pages for each in page.wrong] == []
