"""docs/api.md lists every route and every problem, and its requests are answered as it shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from sagaline.api import create_app
from sagaline.api.problems import KINDS
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.kernel import Registry
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.sagas.examples.order_fulfilment import order_fulfilment
from tests.repo.tree import ROOT
from tests.unit.stack import stack

PAGE = (ROOT / "docs" / "api.md").read_text()


class Shown(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    status: int
    answer: dict[str, Any]


def shown() -> Iterator[Shown]:
    for block in re.findall(r"^```http\n(.*?)^```$", PAGE, re.M | re.S):
        asked, answered = block.split("\n\n")
        line, *more = asked.splitlines()
        method, path = line.split(" ")
        headers = dict(each.split(": ") for each in more if re.match(r"[A-Za-z-]+: ", each))
        body = "".join(each for each in more if not re.match(r"[A-Za-z-]+: ", each))
        status, _, answer = answered.partition("\n")
        yield Shown(method, path, headers, json.loads(body) if body else None, int(status), json.loads(answer))


async def test_every_request_is_answered_as_the_page_shows(tmp_path: Path) -> None:
    """One after the other, on a fresh log; the answer has at least the fields that are shown."""
    requests = list(shown())
    assert len(requests) >= 8
    async with stack(tmp_path, registry=Registry([checkout, order_fulfilment])) as up:
        app = create_app(up.client, clock=SystemClock())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
            for each in requests:
                answer = await api.request(each.method, each.path, json=each.body, headers=each.headers)
                found = answer.json()
                assert (answer.status_code, {name: found.get(name) for name in each.answer}) == (
                    each.status,
                    each.answer,
                ), f"{each.method} {each.path}: {answer.text}"


async def test_the_page_lists_every_route_with_its_summary(tmp_path: Path) -> None:
    async with stack(tmp_path) as up:
        paths = create_app(up.client, clock=SystemClock()).openapi()["paths"]
    routes = [
        (f"{method.upper()} {path}", operation["summary"])
        for path, operations in paths.items()
        for method, operation in operations.items()
    ]
    assert re.findall(r"^\| `([A-Z]+ /\S+)` \| (.+?) \|$", PAGE, re.M) == routes


def test_the_page_lists_every_problem_with_its_status() -> None:
    listed = re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \| (.+?) \| (?:caller|operator|author) \| .{5,} \|$", PAGE, re.M)
    assert listed == [(name, str(kind.status), kind.title) for name, kind in KINDS.items()]
