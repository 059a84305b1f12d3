"""One secret in every field that a user can fill: it shows only where it must.

Each field has a canary of its own. ``MAY`` says in which places it may show, and why; in any other place it is a
leak. Webhooks have what the feed has. Ids of instances and subjects show everywhere: docs say to give ids that say
nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel
from structlog.testing import capture_logs

from sagaline.api import ApiSettings, create_app
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.runtime.exposition import exposition
from sagaline.orchestrator.runtime.metrics import Metrics
from sagaline.orchestrator.tracing import Tracing
from sagaline.sagas import Contract, Event, Rejected, Retry, Saga, step
from sagaline.sagas.nodes import ask, expect, wait
from sagaline.sagas.personal import Personal, Subject
from sagaline.workers import Context, Worker, WorkerRuntime

from .stack import running, stack

PATIENCE_SECONDS = 30
TOKEN = "canary-token-of-the-settings-0123456789"

PERSONAL = {
    name: f"canary-personal-{name}@example.org"
    for name in ("start", "event", "reply", "answer", "error", "rejected", "act")
}
"""In fields that are ``Personal``, and in the texts of errors that a handler makes of them: nobody may see these."""

IN_DOCUMENT = frozenset({"document", "history", "disk"})
MAY = {
    "start": IN_DOCUMENT,  # what a saga knows: who may view instances sees it, and the log and the read model keep it
    "event": IN_DOCUMENT,  # as the start: it becomes state
    "reply": IN_DOCUMENT,
    "answer": IN_DOCUMENT,
    "error": IN_DOCUMENT | {"log", "span", "feed", "listing"},  # a reason is a text for people: they look for it there
    "act": IN_DOCUMENT | {"operations", "feed", "listing"},  # why an operator did it; it is asked for to be read
    "progress": IN_DOCUMENT,
    "refused": frozenset(),  # a value that a model rejects is not even repeated to who sent it
    "wrong token": frozenset(),
    "token": frozenset(),
    "key": frozenset({"new key"}),  # the answer that makes it is the only place
}
PLAIN = {name: f"canary-plain-{name.replace(' ', '-')}-4000" for name in MAY} | {"token": TOKEN}


class Customer(BaseModel):
    id: Annotated[str, Subject()]
    email: Personal[str]
    note: str


class Visit(BaseModel):
    customer: Customer
    count: int = 0
    paid: Customer | None = None
    found: Customer | None = None
    form: Customer | None = None


class Look(BaseModel):
    email: Personal[str]
    error: Personal[str]


def customer(name: str) -> dict[str, Any]:
    return {"id": "C-7", "email": PERSONAL[name], "note": PLAIN[name]}


look = Contract("look", Look, Customer, queue="looking")
check = Contract("check", Look, Customer, queue="looking")
paid = Event("paid", Customer, keep=timedelta(days=1))


@step(look, into="found", retry=Retry(max_attempts=2, first_delay=timedelta(milliseconds=1)))
def looking(s: Visit) -> Look:
    return Look(email=s.customer.email, error=s.customer.email)


@step(check)
def checking(s: Visit) -> Look:
    return Look(email=s.customer.email, error=s.customer.email)


waiting = wait(expect(paid, key=lambda s: "k", into="paid"), timeout=timedelta(days=1))
asking = ask(
    "form", Customer, question=lambda s: "?", who=lambda s: ["administrator"], into="form", due=timedelta(days=1)
)
visit = Saga("visit", Visit, flow=[looking, waiting, asking, checking])


def worker() -> Worker:
    worker = Worker("looker")

    @worker.handles(look)
    async def find(command: Look, ctx: Context) -> Customer:
        ctx.heartbeat({"said": PLAIN["progress"]})
        if ctx.attempt == 1:
            raise ValueError(f"no {PLAIN['error']} for {command.email.reveal()}") from KeyError(command.email.reveal())
        return Customer(id="C-7", email=Personal(PERSONAL["reply"]), note=PLAIN["reply"])

    @worker.handles(check)
    async def no(command: Look) -> Customer:
        raise Rejected(f"{command.email.reveal()} is not welcome", code="no")

    return worker


class Shown:
    """What was said, by place."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}

    def add(self, place: str, text: str) -> None:
        self.places[place] = self.places.get(place, "") + text

    def of(self, secret: str) -> set[str]:
        return {place for place, text in self.places.items() if secret in text}


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if await happened():
                return
            await asyncio.sleep(0.02)


async def refused_acts(api: httpx.AsyncClient, item: str, shown: Shown) -> None:
    """A plain value where nothing seals it, and an act that is only tried."""
    plain = {"patch": [{"op": "replace", "path": "/customer/email", "value": PERSONAL["act"]}]}
    for act, body in (
        ("edit", {"value": plain}),
        ("restart", {"step": "looking", "value": plain}),
        ("fork", {"step": "looking", "value": {"key": "A-2", **plain}}),
        ("replace-undo", {"step": "looking", "value": {"command": {"email": PERSONAL["act"]}}}),
        ("revise", {"value": {"ahead": [PERSONAL["act"]]}}),
        ("skip", {"step": "form", "value": {"email": PERSONAL["act"]}}),
        ("answer", {"step": "looking", "value": {"email": PERSONAL["act"]}}),
    ):
        refused_act = await api.post(f"{item}/{act}", json=body)
        assert refused_act.status_code in (409, 422), (act, refused_act.text)
        shown.add("problem", refused_act.text)
    tried = await api.post(f"{item}/answer?dry_run=true", json={"step": "form", "value": customer("answer")})
    assert tried.json()["outcome"] == "applied", tried.text
    shown.add("problem", tried.text)


async def play(folder: Path, api: httpx.AsyncClient, shown: Shown) -> None:
    """Fills every field, and reads every place."""
    item = "/v1/instances/visit/A-1"

    async def status() -> str:
        return str((await api.get(item)).json().get("status", ""))

    async def at(step: str) -> Callable[[], Awaitable[bool]]:
        async def there() -> bool:
            return f'"{step}"' in json.dumps((await api.get(item)).json().get("steps", ""))

        return there

    refused = {"customer": customer("start"), "count": PLAIN["refused"], "form": {"note": PLAIN["refused"]}}
    unfit = {"customer": {**customer("start"), "email": [PERSONAL["start"]]}}
    for body in (refused, {"customer": PLAIN["refused"]}, unfit):
        answer = await api.post("/v1/sagas/visit", json={"key": "A-0", "input": body})
        assert answer.status_code == 422
        shown.add("problem", answer.text)
    for body in ("{" + PLAIN["refused"], json.dumps({"key": "A-0", "input": PLAIN["refused"]})):
        answer = await api.post("/v1/sagas/visit", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422)
        shown.add("problem", answer.text)
    wrong = await api.get("/v1/instances", headers={"authorization": f"Bearer {PLAIN['wrong token']}"})
    assert wrong.status_code == 401
    shown.add("problem", wrong.text)
    made = await api.post("/v1/keys", json={"name": "ann", "role": "viewer"})
    PLAIN["key"] = made.json()["secret"]
    shown.add("new key", made.text)

    started = await api.post("/v1/sagas/visit", json={"key": "A-1", "input": {"customer": customer("start")}})
    assert started.status_code == 201, started.text
    shown.add("answer", started.text)
    assert (await api.post("/v1/events/paid", json={"key": "k", "body": customer("event")})).is_success
    await until(await at("form"))
    acted = await api.post(f"{item}/pause", json={"reason": PLAIN["act"]})
    assert acted.is_success, acted.text
    shown.add("answer", acted.text)
    assert (await api.post(f"{item}/resume", json={})).is_success
    await refused_acts(api, item, shown)
    answered = await api.post(f"{item}/answer", json={"step": "form", "value": customer("answer")})
    assert answered.is_success, answered.text

    async def is_over() -> bool:
        return await status() == "compensated"

    await until(is_over)
    for place, path in (
        ("document", item),
        ("history", f"{item}/history"),
        ("listing", "/v1/instances"),
        ("listing", "/v1/questions"),
        ("listing", "/v1/dead"),
        ("listing", "/v1/keys"),
        ("feed", "/v1/events?after=earliest"),
        ("operations", "/v1/operations"),
        ("health", "/readyz"),
        ("queues", "/v1/queues"),
    ):
        answer = await api.get(path)
        assert answer.is_success, (path, answer.text)
        shown.add(place, answer.text)
    for each in await asyncio.to_thread(lambda: [path.read_bytes() for path in folder.iterdir()]):
        shown.add("disk", each.decode(errors="replace"))


async def test_a_secret_shows_only_where_it_must(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shown, spans, reader = Shown(), InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    tracing, metrics = Tracing(provider), Metrics(MeterProvider([reader], shutdown_on_exit=False))
    caplog.set_level(logging.DEBUG)
    with capture_logs() as said:
        async with stack(tmp_path, registry=Registry([visit]), tracing=tracing, metrics=metrics) as up:
            runtime = WorkerRuntime(
                worker(), up.log, up.topics, up.parts.clock, tracing, metrics=metrics, vault=up.parts.vault
            )
            app = create_app(up.client, clock=SystemClock(), tracing=tracing, settings=ApiSettings(tokens=(TOKEN,)))
            transport = httpx.ASGITransport(app)
            headers = {"authorization": f"Bearer {TOKEN}"}
            async with (
                running(runtime.run()),
                httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as api,
            ):
                await play(tmp_path, api, shown)
    shown.add("log", f"{said}{caplog.text}")
    shown.add("span", "".join(span.to_json() for span in spans.get_finished_spans()))
    shown.add("metric", exposition(reader.get_metrics_data()))
    leaks = {name: found for name, secret in PERSONAL.items() if (found := shown.of(secret))}
    leaks |= {name: found for name, secret in PLAIN.items() if (found := shown.of(secret) - MAY[name])}
    assert not leaks
    for name in ("start", "event", "reply", "answer", "act"):
        assert shown.of(PLAIN[name]) >= {"document"} or shown.of(PLAIN[name]) >= {"history"}, "the canary lives"
    assert all("**********" in shown.places[place] for place in ("history", "span", "log")), "it was there to hide"
