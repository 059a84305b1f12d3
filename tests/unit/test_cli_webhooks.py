"""``saga webhooks`` against real processes: what docs/webhooks.md shows, and deliveries when the courier is killed."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook as Verifier

from .test_cli_remote import ALL_IN_ONE, ORDER, SAGA, Process, saga

pytestmark = pytest.mark.slow

SETTINGS = {
    "SAGALINE_WEBHOOK_KEYS": '["a-key-for-tests-only-of-32-characters-or-more"]',
    "SAGALINE_WEBHOOK_NETWORKS": '["127.0.0.0/8"]',
    "SAGALINE_WEBHOOK_PLAIN_HTTP": "true",
}
ORDERS = 12
FULFILMENT = "sagaline.sagas.examples.order_fulfilment:order_fulfilment"


class Receiver(BaseHTTPRequestHandler):
    """Accepts everything and keeps it."""

    got: list[tuple[dict[str, str], bytes]] = []  # noqa: RUF012 - of the class, as the server makes one per request

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def receiver() -> Iterator[str]:
    Receiver.got = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook"
    server.shutdown()
    server.server_close()


def courier(folder: Path, name: str) -> Process:
    own = folder / name
    own.mkdir()
    log = f"sqlite:///{folder / 'sagaline.db'}"
    return Process(
        own, [*SAGA, "webhooks", "serve", "--log", log, "--member-timeout", "1", "--health-port", "0"], **SETTINGS
    )


@pytest.mark.long
def test_every_event_arrives_in_order_though_the_courier_is_killed(tmp_path: Path, receiver: str) -> None:
    shop = Process(tmp_path, [*ALL_IN_ONE, FULFILMENT, "--log", f"sqlite:///{tmp_path / 'sagaline.db'}"], **SETTINGS)
    first = second = None
    try:
        shop.wait_for(r"answering at (http\S+);")
        first = courier(tmp_path, "first")
        first.wait_for(r"(delivering webhooks)")
        first.wait_for(r"(partition taken)")
        health = first.wait_for(r"its health at (http\S+);")
        for _ in range(300):
            if (ready := httpx.get(health).status_code) == 200:
                break
            time.sleep(0.05)
        assert ready == 200
        made = saga(shop, "webhooks", "put", "billing", receiver)
        secret = made.rpartition(": ")[2].strip()
        assert "https://" not in made
        for number in range(ORDERS):
            body = {"order": {**ORDER, "id": f"A-{number}"}}
            saga(shop, "start", "order-checkout", "--key", f"A-{number}", "--input", json.dumps(body))
            if number == ORDERS // 2:
                first.end()
                second = courier(tmp_path, "second")
        expected: dict[str, list[int]] = {}
        for number in range(ORDERS):
            for _ in range(300):
                rows = json.loads(saga(shop, "history", f"order-checkout/A-{number}", "--json"))["decisions"]
                if rows[-1]["status"] == "completed":
                    break
                time.sleep(0.05)
            expected[f"order-checkout/A-{number}"] = [row["revision"] for row in rows if row["outcome"] == "applied"]
        for _ in range(600):
            if firsts() == expected:
                break
            time.sleep(0.05)
        assert firsts() == expected
        for headers, body in Receiver.got:
            assert Verifier(secret).verify(body, headers)
        assert "billing" in saga(shop, "webhooks", "list")
        assert "events are sent again" in saga(shop, "webhooks", "replay", "billing", "--after", "earliest")
        assert secret in saga(shop, "webhooks", "secret", "billing")
        assert "whsec_" in saga(shop, "webhooks", "rotate", "billing", "--overlap", "24h")
        assert saga(shop, "webhooks", "enable", "billing") == "enable billing: done\n"
        assert saga(shop, "webhooks", "delete", "billing") == "delete billing: done\n"
        assert saga(shop, "webhooks", "list") == "there is no webhook; register one with: saga webhooks put NAME URL\n"
        hooks_are_registered_and_take_a_delivery(shop)
        assert "which is not a public address" in saga(shop, "webhooks", "put", "b", "https://[::1]/", code=1)
    finally:
        for process in (shop, first, second):
            if process is not None:
                process.end()


def hooks_are_registered_and_take_a_delivery(shop: Process) -> None:
    """What docs/webhooks.md shows of hooks."""
    put = ["hooks", "put", "pay", "--event", "order-paid", "--key-at", "/order_id"]
    secret = saga(shop, *put).rpartition(": ")[2].strip()
    mapped = ["--type-at", "/type", "--key-at", "/o", "--field", "order_id=/o", "--field", "amount_cents=/c"]
    stripe = [
        "hooks",
        "put",
        "stripe",
        "--scheme",
        "timed-hmac",
        "--event",
        "paid=order-paid",
        "--id-at",
        "/id",
        *mapped,
    ]
    assert "whsec_" in saga(shop, *stripe)
    assert "give NAME=VALUE" in saga(shop, *put[:3], "--event", "order-paid", *mapped, code=2)
    assert "say where the type is by --type-at" in saga(shop, *put, "--event", "order-paid", code=2)
    body, now = b'{"order_id": "O-1", "amount_cents": 900}', datetime.now(UTC)
    headers = {
        "webhook-id": "msg-1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Verifier(secret).sign("msg-1", now, body.decode()),
    }
    url = shop.wait_for(r"answering at (http\S+);") + "/v1/hooks/pay"
    answer = httpx.post(url, content=body, headers=headers)
    assert (answer.status_code, answer.json()["id"]) == (202, "msg-1@/hooks/pay")
    assert httpx.post(url, content=body, headers=headers | {"webhook-id": "msg-2"}).status_code == 401
    assert "/v1/hooks/stripe" in saga(shop, "hooks", "list")
    assert "whsec_" in saga(shop, "hooks", "rotate", "pay")
    assert saga(shop, "hooks", "delete", "pay") == "delete pay: done\n"


def firsts() -> dict[str, list[int]]:
    """The revisions of each instance, in the order in which each event arrived first."""
    seen: dict[str, list[int]] = {}
    for _, body in list(Receiver.got):
        event = json.loads(body)
        revisions = seen.setdefault(event["subject"], [])
        if event["data"]["revision"] not in revisions:
            revisions.append(event["data"]["revision"])
    return seen


def test_without_a_key_nothing_is_delivered_and_it_says_how_to_make_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [*SAGA, "webhooks", "serve", "--log", f"sqlite:///{tmp_path / 'sagaline.db'}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "SAGALINE_WEBHOOK_KEYS" in done.stderr
