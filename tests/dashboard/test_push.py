"""The control that subscribes this browser to push messages, in each of its states. Headless browsers have no push
service, so ``PushManager`` is a stand-in; the service worker is the real one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from sagaline.orchestrator.messages.pushes import push_name
from tests.push_kit import Browser

pytestmark = pytest.mark.slow

KEY = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
ENDPOINT = "https://push.example.net/1"
NAME = push_name(ENDPOINT)
STAND_IN = """
  const json = %s, store = window.sessionStorage;
  const raw = () => Uint8Array.from(atob(store.on.replace(/-/g, "+").replace(/_/g, "/")), (each) => each.charCodeAt(0));
  const options = { get applicationServerKey() { return raw().buffer; } };
  const unsubscribe = async () => { store.removeItem("on"); return true; };
  const subscription = { ...json, options, toJSON: () => json, unsubscribe };
  Object.defineProperty(Notification, "permission", { get: () => store.permission ?? "default" });
  PushManager.prototype.getSubscription = async () => (store.on ? subscription : null);
  PushManager.prototype.subscribe = async (options) => {
    if (store.refuses) throw new Error("The person has said no.");
    store.on = options.applicationServerKey;
    return subscription;
  };
"""


class Server:
    """What the page asks of the routes of push."""

    def __init__(self, page: Page, key: str | None = KEY) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.key, self.status, self.known = key, 201, True
        page.add_init_script(STAND_IN % json.dumps(Browser(ENDPOINT).subscription()))
        page.route("**/v1/push/**", self.answer)

    def answer(self, route: Route) -> None:
        request = route.request
        if request.url.endswith("/key"):
            route.fulfill(json={"key": self.key})
            return
        if request.method == "GET":
            known = self.known and request.url.endswith(NAME)
            route.fulfill(status=200 if known else 404, json={"name": NAME} if known else {"title": "unknown"})
            return
        self.asked.append((request.method, request.url.partition("/v1/")[2], request.post_data_json))
        if self.status >= 400:
            route.fulfill(status=self.status, json={"detail": "there are 201 push subscriptions"})
        else:
            route.fulfill(status=self.status, json={"name": NAME})


def overview(opened: Callable[..., Page], key: str | None = KEY, **stored: str) -> tuple[Page, Server]:
    page = opened("tables")
    server = Server(page, key)
    page.evaluate("stored => Object.assign(sessionStorage, stored)", stored)
    page.evaluate("location.hash = '#/overview'")
    page.reload()
    expect(page.locator(".figures")).to_be_visible()
    return page, server


def test_a_browser_subscribes_and_stops(opened: Callable[..., Page]) -> None:
    page, server = overview(opened)
    page.get_by_role("button", name="Notify this browser").click()
    stop = page.get_by_role("button", name="Stop notifying")
    expect(stop).to_be_visible()
    expect(page.get_by_text("This browser is told of attention.")).to_be_visible()
    ((method, path, body),) = server.asked
    assert (method, path, body["types"], set(body["keys"])) == (
        "POST",
        "push/subscriptions",
        ["attention"],
        {"p256dh", "auth"},
    )
    assert page.evaluate("sessionStorage.on") == KEY
    assert page.evaluate("navigator.serviceWorker.ready.then((each) => each.active.scriptURL)").endswith("/sw.js")
    page.reload()
    stop.click()
    expect(page.get_by_role("button", name="Notify this browser")).to_be_visible()
    assert server.asked[-1][:2] == ("DELETE", f"push/subscriptions/{NAME}")
    assert page.evaluate("sessionStorage.on ?? null") is None


def test_a_browser_that_the_server_does_not_deliver_to_is_not_told_that_it_is(opened: Callable[..., Page]) -> None:
    page, server = overview(opened)
    stop, start = (page.get_by_role("button", name=name) for name in ("Stop notifying", "Notify this browser"))
    start.click()
    expect(stop).to_be_visible()
    server.known = False
    page.reload()
    expect(start).to_be_visible()
    server.known, server.key = True, KEY.replace("B", "C")
    page.reload()
    expect(start).to_be_visible()
    assert page.evaluate("sessionStorage.on ?? null") is None, "a subscription of another key is of no use"


def test_it_stops_also_when_the_server_does_not_know_it(opened: Callable[..., Page]) -> None:
    page, server = overview(opened)
    page.get_by_role("button", name="Notify this browser").click()
    expect(page.get_by_role("button", name="Stop notifying")).to_be_visible()
    server.status = 404
    page.get_by_role("button", name="Stop notifying").click()
    expect(page.get_by_role("button", name="Notify this browser")).to_be_visible()
    assert page.evaluate("sessionStorage.on ?? null") is None


def test_the_service_worker_shows_what_arrives(opened: Callable[..., Page]) -> None:
    """The browser itself delivers to it, by the protocol of its developer tools."""
    page, _ = overview(opened)
    page.context.grant_permissions(["notifications"])
    tools, registered = page.context.new_cdp_session(page), list[str]()
    tools.on(
        "ServiceWorker.workerRegistrationUpdated",
        lambda event: registered.extend(each["registrationId"] for each in event["registrations"]),
    )
    tools.send("ServiceWorker.enable")
    page.evaluate("navigator.serviceWorker.register('/sw.js').then(() => navigator.serviceWorker.ready).then(() => 1)")
    event = {"kind": "attention", "instance": "order-checkout/A-1", "url": "/#/instances/order-checkout/A-1"}
    for message in (event, {**event, "kind": "test", "instance": "", "url": "/"}):
        told = {"origin": page.evaluate("location.origin"), "registrationId": registered[-1]}
        tools.send("ServiceWorker.deliverPushMessage", {**told, "data": json.dumps(message)})
    page.wait_for_function(
        "navigator.serviceWorker.ready.then((each) => each.getNotifications()).then((all) => all.length === 2)"
    )
    shown = page.evaluate(
        "navigator.serviceWorker.ready.then((each) => each.getNotifications())"
        ".then((all) => Object.fromEntries(all.map((each) => [each.title, each.data])))"
    )
    assert shown == {
        "order-checkout/A-1: attention": "/#/instances/order-checkout/A-1",
        "Sagaline: messages arrive": "/",
    }


def test_what_goes_wrong_is_said_and_leaves_nothing_behind(opened: Callable[..., Page]) -> None:
    page, server = overview(opened)
    server.status = 503
    start = page.get_by_role("button", name="Notify this browser")
    start.click()
    expect(page.get_by_text("there are 201 push subscriptions")).to_be_visible()
    assert page.evaluate("sessionStorage.on ?? null") is None
    page.evaluate("sessionStorage.refuses = '1'")
    start.click()
    expect(page.get_by_text("The person has said no.")).to_be_visible()
    expect(start).to_be_enabled()


@pytest.mark.parametrize(("key", "stored"), [(None, {}), (KEY, {"permission": "denied"})])
def test_nothing_is_offered_where_it_cannot_work(
    opened: Callable[..., Page], key: str | None, stored: dict[str, str]
) -> None:
    page, _ = overview(opened, key, **stored)
    page.wait_for_load_state("networkidle")
    expect(page.get_by_role("button", name="Notify this browser")).to_have_count(0)
