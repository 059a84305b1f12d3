"""Orders checkouts over REST, as a shop's clients would, waits until all have ended and shows how each kind did.

    python compose/orders.py [COUNT] [--url http://127.0.0.1:19099]

- A sixth of them each: the card is declined, the stock is sold out, the carrier never answers, the first charge fails;
  the rest go well.
- An order whose time runs out while a server is down is undone: that counts as planned.
- A bearer token is taken from ``SAGALINE_API_TOKEN``.
- Exit code 1: an order did not end as planned, or not in time. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
ENDED = {"completed", "compensated", "attention", "abandoned"}
PATIENCE_SECONDS = 30.0


class Kind(NamedTuple):
    """What happens to an order: its key's last word, its customer and what is ordered make the workers do it."""

    name: str
    story: str
    ends: str = "completed"
    customer: str = "ann"
    sku: str = "teapot"


KINDS = (
    Kind("smooth", "nothing goes wrong"),
    Kind("declined", "the card is declined, the stock released", "compensated", customer="declined-dora"),
    Kind("flaky", "the first charge fails and is retried", customer="flaky-finn"),
    Kind("soldout", "the stock is sold out", "compensated", sku="sold-out-lamp"),
    Kind("smooth", "nothing goes wrong"),
    Kind("silent", "the carrier never answers, all is undone", "compensated"),
)


class OrdersError(Exception):
    """The API cannot be used; the message says what to do."""


def order(number: int, run: str) -> tuple[str, Kind, dict[str, Any]]:
    """An order's key, its kind, and the input of its checkout."""
    kind = KINDS[number % len(KINDS)]
    key = f"{run}-{number:04}-{kind.name}"
    lines = [{"sku": kind.sku, "quantity": 1}]
    return key, kind, {"order": {"id": key, "customer": kind.customer, "lines": lines, "total_cents": 1_000 + number}}


class Shop:
    """Speaks to the API. While that is away, or says 503, a request is repeated for half a minute."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def start(self, key: str, value: dict[str, Any]) -> None:
        """Idempotent: the same key with the same input is the same instance."""
        self._ask("/v1/sagas/order-checkout", {"key": key, "input": value})

    def look(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = self._ask(f"/v1/instances/order-checkout/{key}")
        return found

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if token := os.environ.get("SAGALINE_API_TOKEN"):
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self._url + path, data, headers)

        def once() -> Any:
            with self._opener.open(request, timeout=20) as answer:
                return json.load(answer)

        return _patiently(once)


def _patiently(call: Callable[[], T]) -> T:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:500]
            if error.code < 500 or time.monotonic() > deadline:
                raise OrdersError(f"{error.url} was answered by {error.code}: {said}") from None
        except OSError as error:
            if time.monotonic() > deadline:
                raise OrdersError(f"the API does not answer ({error}): give its address by --url") from None
        time.sleep(0.5)


def run_orders(shop: Shop, count: int, timeout: float) -> bool:
    """Starts them, waits, prints the table; True when each ended as its kind should."""
    kinds: dict[str, Kind] = {}
    run = secrets.token_hex(3)
    for number in range(count):
        key, kind, value = order(number, run)
        shop.start(key, value)
        kinds[key] = kind
    print(f"{count} orders are accepted", flush=True)
    ended: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + timeout
    while len(ended) < count and time.monotonic() < deadline:
        for key in kinds.keys() - ended.keys():
            if (found := shop.look(key))["status"] in ENDED:
                ended[key] = found
        time.sleep(0.2)
    groups = Counter((ended[key]["status"] if key in ended else "open", kind.story) for key, kind in kinds.items())
    print(f"\n{'orders':>6}  {'status':<14} what was planned")
    for (status, story), number in sorted(groups.items()):
        print(f"{number:>6}  {status:<14} {story}")
    wrong = [key for key, kind in kinds.items() if key not in ended or not _as_planned(kind, ended[key])]
    print(f"\nNot as planned: {', '.join(wrong[:5])}" if wrong else "\nEvery order ended as planned.")
    return not wrong


def _as_planned(kind: Kind, found: dict[str, Any]) -> bool:
    late = (found["cause"] or {}).get("kind") == "timeout"
    return bool(found["status"] == ("compensated" if late else kind.ends))


def main() -> int:
    parser = argparse.ArgumentParser(description="Orders checkouts over REST and shows what came of them.")
    parser.add_argument("count", type=int, nargs="?", default=20, help="how many (default 20)")
    parser.add_argument("--url", default=os.environ.get("SAGALINE_URL", "http://127.0.0.1:19099"))
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds after which it gives up (default 120)")
    given = parser.parse_args()
    try:
        return 0 if run_orders(Shop(given.url), given.count, given.timeout) else 1
    except OrdersError as error:
        print(f"orders.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
