"""Tables, locks and mailboxes over a real client, log and engine: shown as they stand; rules change while flows run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from sagaline.orchestrator.client import Client
from sagaline.orchestrator.errors import InvalidRequest, UnknownTable, VersionConflict
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.document import Document
from sagaline.orchestrator.messages.entity_messages import Rule
from sagaline.sagas import Contract, Saga, step
from sagaline.sagas.nodes import expect, route, wait
from tests.unit.kernel_nodes import HOUR, Did, Do, Talk, paid

from .stack import Stack, stack
from .test_api_instances import http

FAST, SLOW = Rule(when={"n": {">": 5}}, to="fast"), Rule(when={}, to="slow")


def parked(name: str, *, locks: str | None = None) -> Any:
    """A step that nobody answers."""
    return step(Contract(f"do-{name}", Do, Did, queue="q"), timeout=HOUR, name=name, locks=locks)(lambda s: Do())


ways = {"fast": parked("fast"), "slow": parked("slow")}
REGISTRY = Registry(
    [
        Saga("routed", Talk, flow=[route("ways", by=lambda s: {"n": s.n}, to=ways, otherwise="slow")]),
        Saga("locked", Talk, flow=[parked("work", locks="order:{n}")]),
        Saga("waiting", Talk, flow=[wait(expect(paid, key=lambda s: f"o/{s.n}"), timeout=HOUR, name="payment")]),
    ]
)


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path, registry=REGISTRY) as running_stack:
        yield running_stack


@pytest.fixture
async def api(up: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with http(up) as client:
        yield client


refused = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """One system for all that is ``refused``: it leaves nothing behind."""
    async with stack(tmp_path_factory.mktemp("tables"), registry=REGISTRY) as up, http(up) as client:
        yield client


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    """What is there as soon as something is."""
    async with asyncio.timeout(10):
        while True:
            if found := await look():
                return found
            await asyncio.sleep(0.02)


def body(*rules: Rule, **more: Any) -> dict[str, Any]:
    return {"rules": [{"when": dict(rule.when), "to": rule.to} for rule in rules], **more}


async def routed(up: Stack, key: str, n: int) -> Document:
    """An instance that has passed its router."""
    await up.client.start("routed", {"n": n}, key=key)

    async def past() -> Document | None:
        document = await up.client.get(f"routed/{key}")
        return document if "branch" in (document.steps["route-ways"].memo or {}) else None

    found: Document = await until(past)
    return found


async def test_rules_are_changed_and_shown_with_who_why_and_when(up: Stack, api: httpx.AsyncClient) -> None:
    """A client reads its own change at once."""
    before = (await api.get("/v1/tables/ways")).json()
    assert before | {} == {
        "name": "ways", "version": 0, "rules": [], "branches": ["fast", "slow"], "changed_at": None,
        "changed_by": "", "reason": "",
    }  # fmt: skip
    answer = await api.put("/v1/tables/ways", json=body(FAST, SLOW, version=0, by="ann", reason="more is urgent"))
    done = answer.json()
    assert (answer.status_code, done["version"], done["changed"]) == (200, 1, True)
    assert done["trace_id"] == answer.headers["traceresponse"].split("-")[1]
    shown = (await api.get("/v1/tables/ways")).json()
    assert (shown["version"], shown["changed_by"], shown["reason"]) == (1, "ann", "more is urgent")
    assert shown["rules"] == body(FAST, SLOW)["rules"]
    assert shown["changed_at"].endswith("Z")
    assert (await api.get("/v1/tables")).json()["tables"] == [shown]
    again = await api.put("/v1/tables/ways", json=body(FAST, SLOW, version=0))
    assert (again.status_code, again.json()["changed"], again.json()["version"]) == (200, False, 1)


async def test_a_change_counts_for_who_comes_after_it_and_not_for_who_was_routed(up: Stack) -> None:
    """Without a restart; each instance keeps the version it was routed by."""
    await up.client.tables.set("ways", [SLOW])
    before = await routed(up, "1", 9)
    await up.client.tables.set("ways", [FAST, SLOW], version=1)
    after = await routed(up, "2", 9)
    for document, branch, version in ((before, "slow", 1), (after, "fast", 2)):
        now = await up.client.get(document.id)
        memo = now.steps["route-ways"].memo or {}
        assert (memo["branch"], memo["version"]) == (branch, version)
        assert branch in now.steps


async def test_who_has_not_seen_the_last_change_is_told_so(up: Stack, api: httpx.AsyncClient) -> None:
    await up.client.tables.set("ways", [SLOW])
    answer = await api.put("/v1/tables/ways", json=body(FAST, version=0))
    told = answer.json()
    assert (answer.status_code, told["type"]) == (409, "urn:sagaline:problem:version-conflict")
    assert told["code"] == "version-differs"
    assert told["detail"] == "table 'ways' is at version 1, not 0; read its rules again, then retry"
    with pytest.raises(VersionConflict) as refused:
        await up.client.tables.set("ways", [FAST], version=7)
    assert (refused.value.version, refused.value.actual) == (7, 1)
    assert (await up.client.tables.get("ways")).rules == (SLOW,)


async def test_every_request_to_change_a_table_is_in_its_history(up: Stack, api: httpx.AsyncClient) -> None:
    """Those that were refused or changed nothing too; page by page."""
    await up.client.tables.set("ways", [SLOW], by="ann", reason="first")
    with pytest.raises(VersionConflict):
        await up.client.tables.set("ways", [FAST], version=0, by="bob", reason="late")
    await up.client.tables.set("ways", [SLOW], by="cat")
    await up.client.tables.set("ways", [FAST, SLOW], by="dan", reason="second")

    async def all_four() -> list[dict[str, Any]]:
        changes: list[dict[str, Any]] = (await api.get("/v1/tables/ways/history")).json()["changes"]
        return changes if len(changes) == 4 else []

    changes = await until(all_four)
    assert [(each["by"], each["outcome"], each["version"]) for each in changes] == [
        ("ann", "applied", 1), ("bob", "denied", 1), ("cat", "unchanged", 1), ("dan", "applied", 2),
    ]  # fmt: skip
    assert changes[0]["rules"] == body(SLOW)["rules"]
    assert (changes[3]["reason"], changes[3]["answer"]) == ("second", "version 2")
    page = (await api.get("/v1/tables/ways/history", params={"limit": 2})).json()
    rest = (await api.get("/v1/tables/ways/history", params={"limit": 9, "after": page["next"]})).json()
    assert (page["changes"] + rest["changes"], rest["next"]) == (changes, None)


@pytest.mark.parametrize(
    ("rule", "detail"),
    [
        ({"when": {"n": {"~": 1}}, "to": "fast"}, "rule 1, fact 'n': give one of the operators ==, !=, <, <=,"),
        ({"when": {}, "to": "far"}, "rule 1: no deployed definition has a branch 'far'; there are: fast, slow"),
    ],
)
async def test_rules_that_could_never_work_are_422_and_nothing_changes(
    up: Stack, api: httpx.AsyncClient, rule: dict[str, Any], detail: str
) -> None:
    answer = await api.put("/v1/tables/ways", json={"rules": [rule]})
    assert (answer.status_code, answer.json()["field"]) == (422, "rules")
    assert answer.json()["detail"].startswith(detail)
    assert (await up.client.tables.get("ways")).version == 0
    assert list(await up.client.tables.history("ways")) == []


async def test_an_engine_that_does_not_know_a_branch_refuses_rules_that_a_client_lets_pass(tmp_path: Path) -> None:
    """A client of the next deployment beside an engine of this one: no message is routed to what is not there."""
    newer = Registry([Saga("routed", Talk, flow=[
        route("ways", by=lambda s: {"n": s.n}, to={**ways, "express": parked("express")}, otherwise="slow")
    ])])  # fmt: skip
    async with stack(tmp_path, registry=REGISTRY) as up:
        client = Client(replace(up.parts, registry=newer))
        with pytest.raises(InvalidRequest, match="the engine denied the rules: rule 1: no deployed definition has a"):
            await client.tables.set("ways", [Rule(when={}, to="express")])


@refused
@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({}, "rules"),
        ({"rules": {}}, "rules"),
        ({"rules": [{"to": "fast"}]}, "rules.0.when"),
        ({"rules": [{"when": {}, "to": "fast", "else": 1}]}, "rules.0.else"),
        ({"rules": [], "version": -1}, "version"),
        ({"rules": [], "by": "x" * 257}, "by"),
        ({"rules": [], "reason": "x" * 2_001}, "reason"),
    ],
)
async def test_a_malformed_change_is_422_and_names_the_field(
    one_api: httpx.AsyncClient, bad: dict[str, Any], field: str
) -> None:
    answer = await one_api.put("/v1/tables/ways", json=bad)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


async def test_a_table_that_nobody_routes_by_is_404(up: Stack, api: httpx.AsyncClient) -> None:
    for path in ("/v1/tables/none", "/v1/tables/none/history"):
        answer = await api.get(path)
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:sagaline:problem:unknown-table")
    assert answer.json()["detail"] == "there is no table 'none'; there are: ways"
    with pytest.raises(UnknownTable):
        await up.client.tables.set("none", [])


async def test_a_change_that_is_not_decided_in_time_is_202(tmp_path: Path) -> None:
    async with stack(tmp_path, registry=REGISTRY, engine=False) as up, http(up) as api:
        answer = await api.put("/v1/tables/ways", params={"wait": 0}, json=body(SLOW, request_id="r-1"))
        assert (answer.status_code, answer.json()) == (202, {"name": "ways", "request_id": "r-1"})


@pytest.mark.slow
async def test_locks_are_shown_with_who_holds_and_who_waits(up: Stack, api: httpx.AsyncClient) -> None:
    for key, n in (("1", 7), ("2", 7), ("3", 8)):
        await up.client.start("locked", {"n": n}, key=key)

    async def listed() -> list[dict[str, Any]]:
        locks: list[dict[str, Any]] = (await api.get("/v1/locks")).json()["locks"]
        return locks if len(locks) == 2 and locks[0]["waiting"] else []

    first, second = await until(listed)
    assert (first["name"], first["holder"]["instance"], first["holder"]["step"]) == ("order:7", "locked/1", "work")
    assert [each["instance"] for each in first["waiting"]] == ["locked/2"]
    assert (second["name"], second["holder"]["instance"], second["waiting"]) == ("order:8", "locked/3", [])
    assert (await api.get("/v1/locks", params={"waiting": "true"})).json()["locks"] == [first]
    assert (await api.get("/v1/locks", params={"prefix": "order:8"})).json()["locks"] == [second]
    assert (await api.get("/v1/locks/order%3A7")).json() == first
    assert (await api.get("/v1/locks/a%2Fb")).json() == {"name": "a/b", "holder": None, "waiting": []}
    page = (await api.get("/v1/locks", params={"limit": 1})).json()
    rest = (await api.get("/v1/locks", params={"limit": 1, "cursor": page["cursor"]})).json()
    assert (page["locks"], rest["locks"], rest["cursor"]) == ([first], [second], None)


@pytest.mark.slow
async def test_mailboxes_are_shown_with_who_waits_and_what_is_kept(up: Stack, api: httpx.AsyncClient) -> None:
    await up.client.start("waiting", {"n": 1}, key="1")
    await up.client.publish("paid", {"amount": 9}, key="o/2", id="e-1")

    async def listed() -> list[dict[str, Any]]:
        boxes: list[dict[str, Any]] = (await api.get("/v1/mailboxes", params={"event": "paid"})).json()["mailboxes"]
        return boxes if len(boxes) == 2 else []

    assert await until(listed) == [
        {"event": "paid", "key": "o/1", "waiting": 1, "kept": 0},
        {"event": "paid", "key": "o/2", "waiting": 0, "kept": 1},
    ]
    waited = (await api.get("/v1/mailboxes/paid/o%2F1")).json()
    assert (waited["waiting"], waited["kept"]) == ([{"instance": "waiting/1", "step": "payment"}], [])
    (kept,) = (await api.get("/v1/mailboxes/paid/o%2F2")).json()["kept"]
    assert (kept["id"], kept["body"], kept["taken_by"]) == ("e-1", {"amount": 9}, [])
    only_waited = (await api.get("/v1/mailboxes", params={"waiting": "true"})).json()["mailboxes"]
    assert [each["key"] for each in only_waited] == ["o/1"]
    assert (await api.get("/v1/mailboxes", params={"event": "pai"})).json()["mailboxes"] == []
    nothing = (await api.get("/v1/mailboxes/paid/none")).json()
    assert nothing == {"event": "paid", "key": "none", "waiting": [], "kept": []}


@refused
@pytest.mark.parametrize(
    "path",
    [
        "/v1/locks?limit=0",
        "/v1/locks?cursor=x",
        "/v1/locks?waits=1",
        "/v1/mailboxes?cursor=x",
        "/v1/locks/%FF",
        f"/v1/tables?cursor={'x' * 4_097}",
    ],
)
async def test_a_malformed_look_is_422(one_api: httpx.AsyncClient, path: str) -> None:
    assert (await one_api.get(path)).status_code == 422
