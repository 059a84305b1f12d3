"""The REST API as Python methods: the models come back, repeats act once, errors say why."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from pydantic import BaseModel, computed_field

from sagaline.api import create_app
from sagaline.api.views import AcceptedView, OutcomeView
from sagaline.client import ApiProblem, ApiUnreachable, InstanceWhere, RestClient, SyncRestClient
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.errors import ConfigurationError, InvalidRequest
from sagaline.sagas.models import as_json, read_foreign
from sagaline.sagas.personal import Personal, Subject

from .stack import Stack, order, stack

URL = "http://localhost"
ITEM = "order-checkout/A-1"


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Stack, RestClient]]:
    async with stack(folder) as up:
        transport = httpx.ASGITransport(create_app(up.client, clock=SystemClock()))
        async with RestClient(URL, transport=transport) as client:
            yield up, client


def answering(*answers: httpx.Response | Exception) -> tuple[httpx.MockTransport, list[httpx.Request]]:
    """A transport that gives these answers, one after another, and the requests that came."""
    left, seen = list(answers), list[httpx.Request]()

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return httpx.MockTransport(handle), seen


async def test_an_instance_is_started_found_and_operated(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        started = await client.start("order-checkout", order(), key="A-1")
        assert isinstance(started, OutcomeView)
        assert (started.id, started.created) == (ITEM, True)
        again = await client.start("order-checkout", order(), key="A-1")
        assert isinstance(again, OutcomeView)
        assert not again.created
        paused = await client.act(ITEM, "pause", reason="stocktaking", by="ann")
        assert isinstance(paused, OutcomeView)
        assert paused.changed
        shown = await client.get(ITEM)
        assert (shown.paused, shown.links.self_) == (True, "/v1/instances/order-checkout/A-1")
        only = InstanceWhere(key="A-1", paused=True)
        assert [each.id async for each in client.each(only)] == [ITEM]
        assert (await client.count(only)).count == 1
        assert (await client.count(InstanceWhere(paused=False))).count == 0
        rates = await client.rates(hours=2, definition="order-checkout")
        assert [each.started for each in rates.hours] in ([0, 1], [1, 0])
        assert (await anext(client.history(ITEM))).outcome == "applied"
        assert "order-checkout" in {each.name for each in (await client.definitions()).definitions}


async def test_what_happens_is_followed_from_a_cursor(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        await client.start("order-checkout", order(), key="A-1")
        events = client.changes(after="earliest", instance=ITEM)
        first = await anext(events)
        assert first.data.key == "A-1"
        following = asyncio.ensure_future(anext(client.changes(after=first.cursor, type="paused")))
        await client.act(ITEM, "pause")
        assert (await following).type == "sagaline.instance.paused"


async def test_a_refusal_is_a_problem_with_its_kind(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        with pytest.raises(ApiProblem, match="there is no definition 'nothing'") as caught:
            await client.start("nothing", {})
        assert (caught.value.kind, caught.value.problem.status) == ("unknown-definition", 404)
        with pytest.raises(ApiProblem) as caught:
            await client.start("order-checkout", {"order": 1})
        assert caught.value.problem.field is not None


async def test_a_request_that_is_repeated_has_one_id() -> None:
    busy = httpx.Response(503, headers={"Retry-After": "0"}, json={"detail": "busy"})
    taken = httpx.Response(202, json={"id": ITEM, "request_id": "r", "links": {"self": "", "history": "", "acts": {}}})
    transport, seen = answering(httpx.ConnectError("refused"), busy, httpx.ReadTimeout("late"), taken)
    async with RestClient(URL, transport=transport, token="t") as client:
        assert isinstance(await client.start("order-checkout", order()), AcceptedView)
    assert len(seen) == 4
    assert len({request.content for request in seen}) == 1
    assert {request.headers["Authorization"] for request in seen} == {"Bearer t"}


class Customer(BaseModel):
    id: Annotated[str, Subject()]
    email: Personal[str]
    birthday: Personal[date]
    known: Personal[str]

    @computed_field
    def label(self) -> str:
        return f"customer {self.id}"


async def test_models_are_written_as_the_api_reads_them() -> None:
    """Without computed fields; personal values are sealed by the API, which gets them open."""
    known: Any = {"sealed": "AQ==", "subject": "C-1"}
    customer = Customer(id="C-1", email=Personal("a@shop.example"), birthday=Personal(date(1990, 5, 1)), known=known)
    taken = httpx.Response(202, json={"id": ITEM, "request_id": "r", "links": {"self": "", "history": "", "acts": {}}})
    published = httpx.Response(202, json={"id": "e", "event": "e", "key": "k"})
    transport, seen = answering(taken, published)
    async with RestClient(URL, transport=transport) as client:
        await client.start("order-checkout", customer)
        await client.publish("registered", customer, key="C-1")
    written = {"id": "C-1", "email": "a@shop.example", "birthday": "1990-05-01", "known": known}
    assert [json.loads(request.content)[name] for request, name in zip(seen, ("input", "body"), strict=True)] == [
        written,
        written,
    ]
    assert read_foreign(Customer, written, extra="forbid").email.reveal() == "a@shop.example"
    with pytest.raises(ValueError, match="not sealed"):
        as_json(customer)


async def test_what_cannot_be_sent_is_not() -> None:
    class Measured(BaseModel):
        value: float

    transport, seen = answering(httpx.Response(500))
    async with RestClient(URL, transport=transport) as client:
        with pytest.raises(InvalidRequest, match="there is no act 'nonsense'; there are "):
            await client.act(ITEM, "nonsense")
        with pytest.raises(InvalidRequest, match="JSON has no NaN"):
            await client.start("order-checkout", Measured(value=float("nan")))
    assert seen == []


@pytest.mark.parametrize("answer", [httpx.ConnectError("refused"), httpx.Response(503, json={})])
async def test_the_deadline_ends_the_repeats(answer: httpx.Response | Exception) -> None:
    transport, _ = answering(answer)
    async with RestClient(URL, transport=transport, deadline=timedelta(0)) as client:
        with pytest.raises(ApiUnreachable):
            await client.get(ITEM)


@pytest.mark.parametrize("answer", [httpx.Response(200, text="<html>"), httpx.Response(404, text="no such page")])
async def test_another_server_is_told_apart(answer: httpx.Response) -> None:
    transport, seen = answering(answer)
    async with RestClient(URL, transport=transport) as client:
        with pytest.raises(ApiProblem, match="the API of a release that this client knows") as caught:
            await client.get(ITEM)
    assert caught.value.kind == "not-this-api"
    assert len(seen) == 1


@pytest.mark.parametrize("address", ["ftp://host", "host", "http://", "http://host:port"])
def test_an_address_that_cannot_be_is_refused_at_once(address: str) -> None:
    with pytest.raises(ConfigurationError, match="address"):
        RestClient(address)
    with pytest.raises(ConfigurationError, match="token"):
        RestClient(URL, token="clé\n")


def test_without_an_event_loop() -> None:
    page = {"decisions": [decision(1), decision(2)], "next": 2}
    last = {"decisions": [decision(3)], "next": None}
    transport, seen = answering(httpx.Response(200, json=page), httpx.Response(200, json=last))
    client = SyncRestClient(URL, transport=transport)
    with pytest.raises(ConfigurationError, match="not open"):
        client.get(ITEM)
    with client:
        assert [each.sequence for each in client.history(ITEM)] == [1, 2, 3]
    assert [request.url.params.get("after") for request in seen] == [None, "2"]
    client.close()


def decision(sequence: int) -> dict[str, Any]:
    names = ("status", "message", "code", "trace_id")
    rest = {"revision": 1, "at": "", "outcome": "applied", "changes": [], "sent": [], "reason": ""}
    return {"sequence": sequence, **rest, **dict.fromkeys(names)}
