"""``saga push`` against real processes: what docs/push.md shows, from the key to the message."""

from __future__ import annotations

import json
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.push_kit import Browser, claims_of

from .test_cli_remote import ALL_IN_ONE, SAGA, Process, saga

pytestmark = pytest.mark.slow


class PushService(BaseHTTPRequestHandler):
    """Takes every message and keeps it."""

    got: list[tuple[str, bytes]] = []  # noqa: RUF012 - of the class, as the server makes one per request

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.append((self.headers["authorization"], body))
        self.send_response(201)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def service() -> Iterator[str]:
    PushService.got = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), PushService)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/push/1"
    server.shutdown()
    server.server_close()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SAGA, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_from_the_key_to_the_message(tmp_path: Path, service: str) -> None:
    key = tmp_path / "push.key"
    made = run("push", "key", "--out", str(key))
    assert (made.returncode, stat.S_IMODE(key.stat().st_mode)) == (0, 0o600)
    assert key.read_text().strip() not in made.stdout + made.stderr
    again = run("push", "key", "--out", str(key))
    assert (again.returncode, "give another file" in again.stderr) == (2, True)
    settings = {
        "SAGALINE_PUSH_KEY": str(key),
        "SAGALINE_PUSH_CONTACT": "mailto:ops@example.com",
        "SAGALINE_PUSH_NETWORKS": '["127.0.0.0/8"]',
        "SAGALINE_WEBHOOK_PLAIN_HTTP": "true",
    }
    log, courier = f"sqlite:///{tmp_path / 'sagaline.db'}", None
    shop = Process(tmp_path, [*ALL_IN_ONE, "--log", log], **settings)
    browser = Browser(service)
    given = tmp_path / "subscription.json"
    given.write_text(json.dumps(browser.subscription()))
    try:
        shop.wait_for(r"answering at (http\S+);")
        (tmp_path / "courier").mkdir()
        courier = Process(
            tmp_path / "courier", [*SAGA, "webhooks", "serve", "--log", log, "--member-timeout", "1"], **settings
        )
        courier.wait_for(r"(delivering webhooks)")
        assert saga(shop, "push", "list").startswith("no browser is subscribed")
        name = saga(shop, "push", "add", f"@{given}", "--type", "attention").partition(" ")[0]
        assert name in saga(shop, "push", "list")
        given.write_text(json.dumps(browser.subscription(types=["paused"], definitions=["order-checkout"])))
        saga(shop, "push", "add", f"@{given}")
        (kept,) = json.loads(saga(shop, "push", "list", "--json"))["subscriptions"]
        assert (kept["types"], kept["definitions"]) == (["paused"], ["order-checkout"]), "what the file has stays"
        assert saga(shop, "push", "test", name) == f"test {name}: done\n"
        for _ in range(300):
            if PushService.got:
                break
            time.sleep(0.05)
        authorization, body = PushService.got[0]
        assert browser.read(body)["kind"] == "test"
        assert claims_of(authorization)[0]["sub"] == "mailto:ops@example.com"
        assert saga(shop, "push", "delete", name) == f"delete {name}: done\n"
        assert "give one object" in saga(shop, "push", "add", "[]", code=2)
        assert "keys" in saga(shop, "push", "add", '{"endpoint": "https://push.example.net/1"}', code=1)
    finally:
        for process in (shop, courier):
            if process is not None:
                process.end()


def test_a_key_without_a_contact_or_a_wrong_one_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = f"sqlite:///{tmp_path / 'sagaline.db'}"
    for key, says in (("k" * 43, "SAGALINE_PUSH_CONTACT"), ("canary-not-a-key", "saga push key")):
        monkeypatch.setenv("SAGALINE_PUSH_KEY", key)
        done = run("webhooks", "serve", "--log", log)
        assert (done.returncode, says in done.stderr) == (2, True), done.stderr
        assert key not in done.stderr
