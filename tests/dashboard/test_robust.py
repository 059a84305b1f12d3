"""What goes wrong round the dashboard: it says so, loses nothing, and puts little load on a server in trouble."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from .shop import TOKEN

pytestmark = pytest.mark.slow

Open = Callable[..., Page]


def test_a_page_that_cannot_be_drawn_says_so_and_the_others_go_on(opened: Open) -> None:
    page = opened("log")
    page.route("**/v1/tables", lambda route: route.fulfill(json={"tables": None}))
    page.goto(page.url.replace("log", "tables"))
    expect(page.get_by_role("alert")).to_contain_text("This page could not be drawn")
    page.unroute("**/v1/tables")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("navigation", name="Tables")).to_be_visible()


def test_a_browser_that_forbids_to_remember_shows_everything(opened: Open) -> None:
    page = opened("log")
    page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('forbidden'); } })")
    page.reload()
    page.get_by_role("button", name="Theme: system").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    expect(page.locator(".boot")).to_have_count(0)


def test_a_dangerous_act_waits_for_the_preview_of_what_is_sent(opened: Open) -> None:
    page = opened("instances/parcel-return/lost-1")
    page.route("**/waive?dry_run=true", lambda route: route.abort("internetdisconnected"))
    page.get_by_role("button", name="More acts").click()
    page.get_by_role("button", name=re.compile("^Accept the loss")).click()
    sheet = page.get_by_role("dialog")
    expect(sheet.get_by_role("alert")).to_contain_text("The API does not answer")
    expect(sheet).to_contain_text("Without its preview it is not sent.")
    expect(sheet.get_by_role("button", name="Accept the loss")).to_be_disabled()
    page.unroute("**/waive?dry_run=true")
    sheet.get_by_role("button", name="Try again").click()
    expect(sheet).to_contain_text("What it would do now")
    expect(sheet.get_by_role("button", name="Accept the loss")).to_be_enabled()


def decisions(route: Route) -> None:
    """A history of 700 decisions."""
    asked = {name: values[0] for name, values in parse_qs(urlsplit(route.request.url).query).items()}
    all_of_it = [
        {"sequence": number, "revision": number, "at": "2026-01-01T00:00:00Z", "outcome": "applied", "changes": []}
        | {"message": None, "sent": [], "reason": f"decision {number}"}
        for number in range(1, 701)
    ]
    after, newest = int(asked.get("after", -1)), "newest_first" in asked
    if newest:
        left = [each for each in reversed(all_of_it) if after < 0 or each["sequence"] < after]
    else:
        left = [each for each in all_of_it if each["sequence"] > after]
    page = left[: int(asked["limit"])]
    route.fulfill(json={"decisions": page, "next": page[-1]["sequence"] if len(left) > len(page) else None})


def test_a_long_history_shows_its_newest_decisions_and_the_older_ones_when_asked(opened: Open) -> None:
    page = opened("log")
    page.route("**/history*", decisions)
    page.goto(page.url.replace("log", "instances/order-checkout/A-1001"))
    history = page.locator("table.history")
    expect(history).to_contain_text("decision 700")
    expect(history.locator("tbody tr")).to_have_count(500)
    page.get_by_role("button", name="Older ones").click()
    expect(history.locator("tbody tr")).to_have_count(700)
    expect(history.locator("tbody tr").first).to_contain_text("decision 1")
    expect(page.get_by_role("button", name="Older ones")).to_have_count(0)


def test_an_instance_is_read_again_only_when_it_has_changed(opened: Open, shop: str) -> None:
    own = f"{shop}/v1/instances/parcel-return/read-1"
    page = opened("overview")
    page.request.post(f"{shop}/v1/sagas/parcel-return", data={"key": "read-1", "input": {"parcel": "x"}})
    read: list[str] = []
    page.on("request", lambda request: read.append(request.url))
    page.goto(f"{shop}/#/instances/parcel-return/read-1")
    expect(page.locator(".why")).to_contain_text("waits for the answer of a person")
    newest = f"{own}/revisions/{page.request.get(own).json()['revision']}"
    seen = -1
    for _ in range(20):  # until it has read the newest revision, and nothing for a second
        if newest in read and len(read) == seen:
            break
        seen = len(read)
        page.wait_for_timeout(1_000)
    read.clear()
    with page.expect_request("**/v1/queues"):
        page.request.post(f"{shop}/v1/sagas/parcel-return", data={"key": "whole-9", "input": {"parcel": "x"}})
    assert [url for url in read if url.startswith(own)] == []
    with page.expect_request(f"{own}/inspection"):
        page.request.post(f"{own}/pause", data={"by": "ann"})
    page.request.post(f"{own}/resume", data={"by": "ann"})


def test_a_refused_stream_is_asked_for_less_and_less(opened: Open) -> None:
    page = opened("log")
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=503, json={})

    page.clock.install()
    page.route("**/v1/events/stream", refuse)
    page.reload()
    expect(page.locator("table")).to_be_visible()
    for _ in range(60):
        page.clock.run_for(2_000)
        page.evaluate("fetch('/livez').then((answer) => answer.text())")
    assert 3 <= len(asked) <= 7


def test_a_write_that_is_forbidden_is_sent_once_more_with_the_identity_of_now(opened: Open) -> None:
    page = opened("instances/parcel-return/whole-1", locked=True)
    page.get_by_label("Key").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Pause", exact=True).click()
    sent: list[dict[str, Any]] = []

    def answer(route: Route) -> None:
        sent.append({"token": route.request.headers["x-csrf-token"], "body": json.loads(route.request.post_data or "")})
        if len(sent) == 1:
            route.fulfill(status=403, json={"type": "urn:sagaline:problem:forbidden", "detail": "another token"})
        else:
            route.fulfill(json={"changed": True, "status": "running", "revision": 3})

    page.route("**/pause", answer)
    sheet = page.get_by_role("dialog")
    sheet.get_by_label("Why").fill("the scale is broken")
    expect(sheet).to_contain_text("What it would do now")  # what comes after it moves the button
    with page.expect_response("**/v1/me"):
        sheet.get_by_role("button", name=re.compile("^Pause")).click()
    expect(sheet.get_by_role("status").last).to_contain_text("Done")
    first, again = sent
    assert first["body"] == again["body"]
