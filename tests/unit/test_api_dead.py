"""Dead letters over a real client, log and engine: what is dead is shown, and people act on it once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagaline.orchestrator.client import RequestOptions, dead_bulk
from sagaline.orchestrator.client.dead_bulk import DeadBulk, act_on_letters
from sagaline.orchestrator.codec.dead_letters import Why, dead_letter
from sagaline.orchestrator.codec.inputs import encode_request
from sagaline.orchestrator.errors import InvalidRequest, TransientError, UnknownDeadLetter
from sagaline.orchestrator.messages.dead import DeadAct
from sagaline.orchestrator.messages.inputs import Start
from sagaline.orchestrator.ports.log import Outgoing, Record, TopicSpec
from sagaline.orchestrator.ports.read_model import LetterFilter

from .stack import Stack, order, stack
from .test_api_instances import http

COMMANDS = "t.commands.stock"


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as running_stack:
        await running_stack.log.create_topics([TopicSpec(COMMANDS, 2, "delete")])
        yield running_stack


@pytest.fixture
async def api(up: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with http(up) as client:
        yield client


def dead(offset: int, *, topic: str = COMMANDS, reason: str = "it failed: Boom", key: bytes = b"A-1") -> Outgoing:
    """A command that no worker could carry out, in partition 0 of the dead letter topic."""
    record = Record(topic, 1, offset, key, b'{"n": %d}' % offset, (("a", b"\xff"),), 1)
    return dead_letter("t.dead", 0, record, Why(reason, "failed"), 900_000)


async def there(up: Stack, count: int) -> None:
    """So many letters can be read."""
    async with asyncio.timeout(10):
        while True:
            with suppress(TransientError):
                if await up.client.dead.count() >= count:
                    return
            await asyncio.sleep(0.01)


async def records(up: Stack, topic: str) -> list[Record]:
    """All records of a topic."""
    ends = await up.log.end_offsets([topic])
    tail = await up.log.tail([topic], "earliest")
    found: list[Record] = []
    try:
        while len(found) < sum(ends.values()):
            found += await tail.poll(max_records=500, timeout=0.1)
    finally:
        await tail.close()
    return found


async def test_a_start_that_inputs_could_not_take_is_edited_and_redriven(up: Stack, api: httpx.AsyncClient) -> None:
    start = Start(id="s1", definition="order-checkout", key="A-1", input=order())
    good = encode_request(up.topics.inputs, start, source="/t", now_ms=1)
    await up.log.append([good._replace(value=b"{oops")])
    await there(up, 1)
    listed = (await api.get("/v1/dead")).json()
    (letter,) = listed["letters"]
    assert (listed["count"], letter["topic"], letter["state"], letter["code"]) == (1, "t.inputs", "open", "unreadable")
    assert letter["key"]["text"] == "order-checkout/A-1"
    path = f"/v1/dead/{letter['id']}"
    body = {"value": {"text": (good.value or b"").decode()}, "by": "ann", "reason": "typo"}
    assert (await api.post(f"{path}/edit", json=body)).json()["changed"] is True
    assert (await api.post(f"{path}/redrive", json={"by": "bob", "reason": "fixed"})).json()["changed"] is True
    assert (await api.post(f"{path}/redrive", json={"by": "eve"})).json()["changed"] is False
    shown = (await api.get(path)).json()
    assert (shown["state"], shown["edited"], shown["by"], shown["why"]) == ("redriven", True, "bob", "fixed")
    assert (shown["value"]["text"], shown["edited_value"]["text"]) == ("{oops", (good.value or b"").decode())
    assert [(act["act"], act["by"], act["outcome"]) for act in shown["acts"]] == [
        ("edit", "ann", "applied"), ("redrive", "bob", "applied"), ("redrive", "eve", "unchanged"),
    ]  # fmt: skip
    assert shown["acts"][0]["value"]["text"] == (good.value or b"").decode()
    async with asyncio.timeout(10):
        while True:
            if (await api.get("/v1/instances/order-checkout/A-1")).status_code == 200:
                return
            await asyncio.sleep(0.01)


async def test_a_command_goes_back_to_its_queue_with_its_bytes_and_headers(up: Stack) -> None:
    await up.log.append([dead(7)])
    await there(up, 1)
    done = await up.client.dead.redrive("0-0", RequestOptions(by="ann"))
    assert done.changed
    (again,) = await records(up, COMMANDS)
    assert (again.key, again.value, again.headers) == (b"A-1", b'{"n": 7}', (("a", b"\xff"),))


async def test_letters_are_found_by_every_filter_and_counted(up: Stack, api: httpx.AsyncClient) -> None:
    await up.log.append([dead(n, reason=f"order {n} has no Stock", key=b"K-%d" % (n % 2)) for n in range(4)])
    await up.log.append([dead(9, topic="t.inputs", reason="boom")])
    await there(up, 5)
    await up.client.dead.discard("0-1")
    newest = (await api.get("/v1/dead?limit=1")).json()["letters"][0]
    print_of_stock = (await api.get("/v1/dead/0-0")).json()["fingerprint"]
    for query, ids in {
        "topic=t.inputs": ["0-4"],
        "key=K-1": ["0-3", "0-1"],
        "reason=STOCK": ["0-3", "0-2", "0-1", "0-0"],
        "reason=100%25": [],
        f"fingerprint={print_of_stock}&key=K-0": ["0-2", "0-0"],
        "state=discarded": ["0-1"],
        "state=open&key=K-1": ["0-3"],
        "since=2100-01-01T00:00:00Z": [],
        "until=2100-01-01T00:00:00Z&topic=t.inputs": ["0-4"],
    }.items():
        found = (await api.get(f"/v1/dead?{query}")).json()
        assert ([each["id"] for each in found["letters"]], found["count"]) == (ids, len(ids)), query
    assert newest["id"] == "0-4"
    groups = (await api.get("/v1/dead/groups?state=open")).json()
    assert groups["count"] == 4
    assert sorted((each["letters"], each["open"]) for each in groups["groups"]) == [(1, 1), (3, 3)]
    everything = (await api.get("/v1/dead/groups")).json()["groups"]
    assert {each["fingerprint"]: (each["letters"], each["open"]) for each in everything}[print_of_stock] == (4, 3)


@pytest.mark.parametrize("path", ["/v1/dead", "/v1/dead/groups"])
async def test_pages_have_every_entry_once(up: Stack, api: httpx.AsyncClient, path: str) -> None:
    await up.log.append([dead(n, reason="abcde"[n]) for n in range(5)])
    await there(up, 5)
    found: list[Any] = []
    cursor: str | None = None
    while cursor is not None or not found:
        page = (await api.get(path, params={"limit": 2, **({"cursor": cursor} if cursor else {})})).json()
        found += page.get("letters") or page.get("groups")
        assert page["count"] == 5
        cursor = page["cursor"]
    assert len({json.dumps(each) for each in found}) == len(found) == 5


async def test_a_letter_that_cannot_be_redriven_says_why_and_hides_no_other(up: Stack) -> None:
    large = Record("t.inputs", 0, 3, b"k", b"x" * 3_000, (), 1)
    foreign = Outgoing("t.dead", None, b"\xff", (("\x00", b"\xff"), ("dead-offset", b"x")), 0)
    of_nobody = Record("shop", 0, 3, b"k", b"v", (), 1)
    await up.log.append([dead_letter("t.dead", 0, large, Why("too large"), 2_000), foreign])
    await up.log.append([dead_letter("t.dead", 0, of_nobody, Why("expired"), 900_000), dead(1)])
    await there(up, 4)
    for name, part in (("0-0", "is cut; the original is at t.inputs/0/3"), ("0-1", "new message"), ("0-2", "all its")):
        shown = await up.client.dead.get(name)
        assert shown.denied is not None
        assert part in shown.denied.text
    page = await act_on_letters(up.client, DeadBulk(id="b", act=DeadAct.REDRIVE), dry_run=False)
    assert [(each.instance, each.fate) for each in page.asked] == [
        ("0-0", "denied"), ("0-1", "denied"), ("0-2", "denied"), ("0-3", "done"),
    ]  # fmt: skip
    assert (await up.client.dead.discard("0-1")).changed


async def test_a_dry_run_sends_nothing_and_the_bulk_then_keeps_the_order_of_a_key(
    up: Stack, api: httpx.AsyncClient
) -> None:
    await up.log.append([dead(n, key=b"K-%d" % (n % 2)) for n in range(12)])
    await there(up, 12)
    body = {"act": "redrive", "where": {"topic": COMMANDS}, "by": "ann", "limit": 50}
    dry = (await api.post("/v1/dead/bulk", json=body)).json()
    assert (dry["dry_run"], dry["counts"]["done"]) == (True, 12)
    assert await records(up, COMMANDS) == []
    assert (await api.post("/v1/dead/bulk", json=body | {"dry_run": False})).json()["counts"]["done"] == 12
    again = await records(up, COMMANDS)
    for key in (b"K-0", b"K-1"):
        values = [json.loads(record.value or b"")["n"] for record in again if record.key == key]
        assert values == [n for n in range(12) if b"K-%d" % (n % 2) == key]
    assert (await api.post("/v1/dead/bulk", json=body | {"dry_run": False})).json()["asked"] == []


async def test_a_bulk_stops_a_key_at_a_letter_that_is_not_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No engine decides: of each key only the first letter is sent, so that no later one can come before it."""
    monkeypatch.setattr(dead_bulk, "BULK_WAIT", timedelta(milliseconds=10))
    async with stack(tmp_path, engine=False) as up:
        await up.log.append([dead(n, key=b"K-%d" % (n % 2)) for n in range(6)])
        await there(up, 6)
        page = await act_on_letters(up.client, DeadBulk(id="b", act=DeadAct.REDRIVE), dry_run=False)
        assert [each.fate for each in page.asked] == ["unsure"] * 2 + ["failed"] * 4
        assert {each.reason for each in page.asked[2:]} == {"the letter before it is not decided; send the bulk again"}
        assert len(await records(up, "t.inputs")) == 2


async def test_a_redrive_that_is_cut_off_and_sent_again_redrives_each_letter_once(up: Stack) -> None:
    """Requests that were cut off may be carried out afterwards; the mark of the letter decides."""
    count = 40
    await up.log.append([dead(n, key=b"K-%d" % (n % 7)) for n in range(count)])
    await there(up, count)
    for round in range(4):
        bulk = DeadBulk(id=f"b{round}", act=DeadAct.REDRIVE)
        acting = asyncio.ensure_future(act_on_letters(up.client, bulk, dry_run=False, limit=count))
        async with asyncio.timeout(10):
            while True:
                if len(await records(up, COMMANDS)) >= round * 8:
                    break
                await asyncio.sleep(0)
        acting.cancel()
        with suppress(asyncio.CancelledError):
            await acting
    last = DeadBulk(id="last", act=DeadAct.REDRIVE, where=LetterFilter(key=None))
    await act_on_letters(up.client, last, dry_run=False, limit=count)
    again = [json.loads(record.value or b"")["n"] for record in await records(up, COMMANDS)]
    assert sorted(again) == list(range(count))


async def test_a_page_at_a_rate_is_short_and_goes_on(up: Stack, api: httpx.AsyncClient) -> None:
    await up.log.append([dead(n) for n in range(3)])
    await there(up, 3)
    body: dict[str, Any] = {"act": "discard", "dry_run": False, "per_second": 0.1}
    first = (await api.post("/v1/dead/bulk", json=body | {"per_second": 200, "limit": 1})).json()
    assert (len(first["asked"]), first["cursor"] is not None) == (1, True)
    dry = (await api.post("/v1/dead/bulk", json=body | {"dry_run": True})).json()
    assert len(dry["asked"]) == 1


async def test_a_bulk_at_a_rate_waits_before_every_letter_but_its_first(
    up: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await up.log.append([dead(n) for n in range(5)])
    await there(up, 5)
    waits: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    bulk = DeadBulk(id="b", act=DeadAct.DISCARD, per_second=0.1)
    with monkeypatch.context() as patched:
        patched.setattr(dead_bulk, "sleep", noted)
        first = await act_on_letters(up.client, bulk, dry_run=False, limit=3)
        assert waits == [10, 10]
        await act_on_letters(up.client, bulk, dry_run=False, limit=3, cursor=first.cursor)
    assert waits == [10] * 4


async def test_wrong_requests_say_what_to_give(up: Stack, api: httpx.AsyncClient) -> None:
    await there(up, 0)
    assert (await api.get("/v1/dead/0-99")).json()["type"] == "urn:sagaline:problem:unknown-dead-letter"
    for path in ("/v1/dead/x", "/v1/dead?since=2027-01-01", "/v1/dead?state=gone", "/v1/dead?cursor=x", "/v1/dead?x=1"):
        assert (await api.get(path)).status_code == 422, path
    answer = await api.post("/v1/dead/0-0/edit", params={"wait": 0})
    assert (answer.status_code, "changes nothing" in answer.json()["detail"]) == (422, True)
    wrong = {"act": "edit"}, {"act": "redrive", "id": ""}, {"act": "redrive", "where": {"until": "x"}}
    for body in wrong:
        assert (await api.post("/v1/dead/bulk", json=body)).status_code == 422, body
    with pytest.raises(UnknownDeadLetter):
        await up.client.dead.redrive("1-99")
    slow = await api.post("/v1/dead/bulk", json={"act": "redrive", "per_second": 0.05})
    assert slow.json()["detail"] == "the rate must be 0.1 or more; give letters per second"
    with pytest.raises(InvalidRequest, match=r"must be 0\.1 or more"):
        await act_on_letters(up.client, DeadBulk(id="b", act=DeadAct.REDRIVE, per_second=0), dry_run=True)
