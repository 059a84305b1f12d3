"""Every page, in both themes and at 360 px: it is accessible, it scrolls nothing sideways, it asks no other host."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.repo.tree import ROOT

from .places import PLACES

pytestmark = pytest.mark.slow

AXE = ROOT / ".cache" / "npm" / "node_modules" / "axe-core" / "axe.min.js"
RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]},
    "rules": {"target-size": {"enabled": True}},
}
"""Without its name the one rule of WCAG 2.2 is not asked."""
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
"""All that depends on the theme."""
Open = Callable[..., Page]
WIDER = """document.documentElement.scrollWidth <= 360 ? [] : [...document.querySelectorAll("body *")]
    .filter((each) => each.getBoundingClientRect().right > 361 && !each.closest(".scroll, .rail, pre"))
    .map((each) => each.outerHTML.slice(0, 120))"""

SMALL = """for (const name of "ab") {
    const small = document.createElement("button");
    small.ariaLabel = name;
    small.style.cssText = "padding: 0; min-width: 9px; width: 9px; min-height: 9px; height: 9px";
    document.querySelector("main").prepend(small);
}"""


def violations(page: Page, rules: object = RULES) -> list[str]:
    """What axe finds, as ``rule: where``."""
    page.evaluate(AXE.read_text())
    found = page.evaluate(f"axe.run(document, {json.dumps(rules)})")
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.long
def test_a_page_is_accessible_in_both_themes_and_fits_360_px(opened: Open, name: str) -> None:
    """axe-core finds no violation of WCAG 2.2 AA, and nothing but what is meant to scrolls sideways."""
    page = opened(PLACES[name].place)
    page.get_by_text(PLACES[name].shows, exact=True).first.wait_for()
    found = {"light": violations(page)}
    page.emulate_media(color_scheme="dark")
    found["dark"] = violations(page, COLOURS)
    page.set_viewport_size({"width": 360, "height": 800})
    found["narrow"] = [*page.evaluate(WIDER), *violations(page)]
    assert found == {"light": [], "dark": [], "narrow": []}


def test_the_check_finds_what_is_planted(opened: Open) -> None:
    page = opened("instances")
    page.get_by_text("A-1001", exact=True).wait_for()
    page.evaluate("document.querySelector('h1').style.color = '#ddd'")
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    page.evaluate(SMALL)
    assert {each.partition(":")[0] for each in violations(page)} == {"color-contrast", "button-name", "target-size"}


def test_the_tools_are_those_of_the_lock() -> None:
    lock = json.loads((ROOT / "api" / "dashboard" / "package-lock.json").read_text())["packages"]
    installed = json.loads(Path(AXE).with_name("package.json").read_text())
    assert installed["version"] == lock["node_modules/axe-core"]["version"]
