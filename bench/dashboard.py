"""How soon the dashboard shows something, in Chromium: the list of 100,000 instances, and a graph of 200 nodes.

    python -m bench.dashboard
    python -m bench.dashboard --instances 1000000 --rounds 9

API, engine, workers, browser and this program share the machine. The list is loaded each time by a fresh browser
context, without a cache; *paint* is the browser's first contentful paint, *rows* when the first row stands in the page.
The graph is opened from another page: *drawn* is when its last node stands in the page and the frame after it has
begun, *sheet* how long a click on a button of that page then takes until its sheet is open.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from sagaline.orchestrator.adapters.read_model import SqlReadModel
from sagaline.orchestrator.ports.read_model import DocumentRow, Update
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import open_base
from tests.dashboard.conftest import FLAGS, chromium, serving_shop

from .read_model import T0, attributes, document

BATCH = 5_000
NOTED = """window.noted = new Promise((done) => new MutationObserver((_, observer) => {
    if (document.querySelector("tbody tr")) { observer.disconnect(); done(performance.now()); }
}).observe(document, { childList: true, subtree: true }));"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
GRAPH = """() => new Promise((done) => {
    const began = performance.now();
    const look = () => document.querySelectorAll("svg.graph .node .title").length === 200
        ? requestAnimationFrame(() => done(performance.now() - began)) : requestAnimationFrame(look);
    location.hash = "#/definitions?case=long-way";
    look();
})"""
SHEET = """() => new Promise((done) => {
    const began = performance.now();
    const look = () => document.querySelector("dialog[open]")
        ? requestAnimationFrame(() => done(performance.now() - began)) : requestAnimationFrame(look);
    [...document.querySelectorAll("button")].find((each) => each.textContent === "Start one").click();
    look();
})"""


async def many(folder: Path, count: int) -> None:
    settings = Settings(log=f"sqlite:///{folder / 'shop.db'}", namespace="shop")
    async with open_base(settings):
        pass  # the log makes the file, and takes none that something else has made
    model = await SqlReadModel.open(settings.read_model_url, namespace="shop", deadline=timedelta(minutes=2))
    try:
        for first in range(0, count, BATCH):
            found = {n: document(n) for n in range(first, min(first + BATCH, count))}
            rows = {each.id: DocumentRow(n, each, attributes(n)) for n, each in found.items()}
            await model.apply(Update(rows, [], {}, now_ms=T0 + count))
    finally:
        await model.close()


def listed(page: Page, address: str) -> dict[str, float]:
    page.add_init_script(NOTED)
    page.goto(f"{address}/#/instances")
    rows = page.evaluate("window.noted")
    return {"list: paint": page.evaluate(PAINT), "list: rows": rows}


def drawn(page: Page, address: str) -> dict[str, float]:
    page.goto(f"{address}/#/log")
    page.locator("main h1").wait_for()
    page.wait_for_load_state("networkidle")
    found = {"graph: drawn": page.evaluate(GRAPH)}
    return found | {"graph: sheet": page.evaluate(SHEET)}


def once(browser: Browser, measure: Callable[[Page, str], dict[str, Any]], address: str) -> dict[str, float]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    try:
        return measure(context.new_page(), address)
    finally:
        context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="kept; one that is filled already is measured as it is")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sagaline-bench-") as name:
        folder = options.folder or Path(name)
        if not (folder / "shop.db").exists():
            folder.mkdir(exist_ok=True)
            asyncio.run(many(folder, options.instances))
        with serving_shop(folder) as shop, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=[*FLAGS])
            rounds = [
                once(browser, listed, shop.address) | once(browser, drawn, shop.address) for _ in range(options.rounds)
            ]
            browser.close()
    print("| what | median ms | least | most |\n|---|---|---|---|")
    for what in rounds[0]:
        times = [each[what] for each in rounds]
        print(f"| {what} | {median(times):.0f} | {min(times):.0f} | {max(times):.0f} |")


if __name__ == "__main__":
    main()
