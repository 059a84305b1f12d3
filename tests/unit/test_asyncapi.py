"""The AsyncAPI document says what the declarations say, and the official JSON Schema accepts it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import jsonschema
import pytest
from pydantic import BaseModel, Field
from typer.testing import CliRunner

from sagaline import Contract, Saga, step
from sagaline.api.app import create_app
from sagaline.orchestrator.cli.app import app
from sagaline.orchestrator.cli.asyncapi import service_of
from sagaline.orchestrator.client.asyncapi import asyncapi_document
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.ports.topics import Topics
from sagaline.sagas import Event
from sagaline.sagas.examples.checkout_by_events import order_placed
from sagaline.sagas.examples.flight_search import flight_search
from sagaline.sagas.examples.invoice_import import invoice_import
from sagaline.sagas.examples.loan_approval import loan_approval
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.sagas.examples.order_fulfilment import order_fulfilment
from sagaline.sagas.examples.trip_booking import trip_booking
from sagaline.workers import Context, Worker
from sagaline.workers.examples.checkout_by_events import ServiceBooks, checkout_services
from sagaline.workers.examples.order_checkout import order_workers
from tests.outside import fetched
from tests.unit.stack import stack

SPECS = "@asyncapi/specs@6.11.1"


class Card(BaseModel):
    kind: Literal["card"]
    number: str


class Transfer(BaseModel):
    kind: Literal["transfer"]
    iban: str


class Pay(BaseModel):
    """What drafts of JSON Schema write differently: a discriminator, a tuple, a model of models."""

    by: Annotated[Card | Transfer, Field(discriminator="kind")]
    place: tuple[float, int] = (0.0, 1)
    others: dict[str, list[Card]] = {}


class Paid(BaseModel):
    number: str = Field(examples=["P-1"])
    properties: dict[str, str] = {}


class State(BaseModel):
    pay: Pay
    paid: Paid | None = None


paying = Contract("pay", Pay, Paid, queue="cash", priority="normal")
paid_out = Event("paid-out", Paid)


@step(paying, into="paid", name="pay")
def pay(s: State) -> Pay:
    return s.pay


payment = Saga("payment", State, flow=[pay])


def workers() -> list[Worker]:
    worker = Worker("cash")

    @worker.handles(paying)
    async def handle(command: Pay, ctx: Context) -> Paid:
        return Paid(number="P")

    @worker.subscribes(paid_out, group="books")
    async def note(event: Paid) -> None: ...

    @worker.consumes("bank.statements/2026", model=Paid, group="books")
    async def read(event: Paid) -> None: ...

    return [worker]


def everything(folder: Path) -> dict[str, Any]:
    examples = [checkout, flight_search, invoice_import, loan_approval, order_fulfilment, trip_booking, payment]
    services = [*order_workers(folder / "l.db"), *checkout_services(ServiceBooks(folder / "b.db")), *workers()]
    return asyncapi_document(Topics("shop"), Registry(examples), [service_of(each) for each in services])


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The schema of AsyncAPI 3.0.0 as its own package carries it."""
    folder = tmp_path_factory.mktemp("specs")
    packed = fetched(["npm", "pack", SPECS, "--silent"], folder).split()[-1]
    with tarfile.open(folder / packed) as archive:
        schema = archive.extractfile("package/schemas/3.0.0-without-$id.json")
        assert schema is not None
        yield json.load(schema)


def wrong(schema: dict[str, Any], document: dict[str, Any]) -> list[str]:
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(document)]


@pytest.mark.slow  # it fetches the schema
def test_the_official_schema_accepts_it(official: dict[str, Any], tmp_path: Path) -> None:
    document = everything(tmp_path)
    assert wrong(official, document) == []
    document["operations"]["engine.receive.shop.inputs.start.payment"]["action"] = "read"
    assert wrong(official, document) != [], "the schema is really applied"
    assert wrong(official, everything(tmp_path) | {"asyncapi": "2.0.0"}) != []


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def followed(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_every_reference_leads_somewhere(tmp_path: Path) -> None:
    document = everything(tmp_path)
    found = set(references(document))
    assert len(found) > 100
    for reference in found:
        assert followed(document, reference), reference


def test_its_operations_say_who_sends_and_receives_what(tmp_path: Path) -> None:
    document = everything(tmp_path)
    operations = document["operations"]
    for lane in ("cash.high", "cash", "cash.low"):
        sent = operations[f"engine.send.shop.commands.{lane}.command.pay"]
        taken = operations[f"cash.receive.shop.commands.{lane}.command.pay"]
        assert (sent["action"], taken["action"]) == ("send", "receive")
        assert sent["messages"] == taken["messages"]
        assert [each["$ref"].rpartition("/")[2] for each in taken["reply"]["messages"]] == [
            "reply.pay",
            "reply-rejected",
            "reply-failed",
        ]
        assert followed(document, taken["channel"]["$ref"])["address"] == f"shop.commands.{lane}"
    assert operations["books.receive.shop.events.event.paid-out"]["tags"] == [{"name": "books"}]
    foreign = operations["books.receive.bank.statements_2026.bank.statements_2026.Paid"]
    assert followed(document, foreign["channel"]["$ref"])["address"] == "bank.statements/2026"
    assert "engine.receive.shop.inputs.start.order-checkout" in operations
    assert "payment-service.receive.shop.events.event.goods-reserved" in operations
    assert f"stock-service.receive.shop.events.event.{order_placed.name}" in operations


def test_its_messages_have_the_headers_of_the_wire_and_the_models(tmp_path: Path) -> None:
    document = everything(tmp_path)
    command = document["components"]["messages"]["command.pay"]
    assert command["headers"]["properties"]["ce_type"] == {"type": "string", "const": "pay"}
    assert {"ce_id", "ce_type", "ce_effectkey", "ce_attempt", "ce_replytopic"} <= set(command["headers"]["required"])
    model = followed(document, command["payload"]["$ref"])
    assert model["properties"]["by"]["discriminator"] == "kind"
    good = {
        "by": {"kind": "card", "number": "4"},
        "place": [1.5, 2],
        "others": {"a": [{"kind": "card", "number": "5"}]},
    }
    schema = {**command["payload"], "components": document["components"]}
    assert wrong(schema, good) == []
    assert wrong(schema, {**good, "place": ["here", 2]}) != []
    assert wrong(schema, {**good, "by": {"kind": "cash"}}) != []
    paid = followed(document, document["components"]["messages"]["event.paid-out"]["payload"]["$ref"])
    assert set(paid["properties"]) == {"number", "properties"}, "a field may be called as a keyword is"


def test_the_command_prints_it_or_writes_it(tmp_path: Path) -> None:
    arguments = ["asyncapi", "sagaline.sagas.examples.order_checkout:checkout", "--namespace", "shop"]
    printed = CliRunner().invoke(app, arguments)
    assert printed.exit_code == 0, printed.output
    assert json.loads(printed.output) == asyncapi_document(Topics("shop"), Registry([checkout]))
    written = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "shop.json")])
    assert (written.exit_code, written.output) == (0, "")
    assert (tmp_path / "shop.json").read_text() == printed.output
    nowhere = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "no" / "shop.json")])
    assert nowhere.exit_code == 2
    assert "give another file with --out" in nowhere.stderr


def test_the_command_takes_lists_of_workers_and_says_what_is_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    both = [
        "sagaline.sagas.examples.order_checkout:checkout",
        "sagaline.workers.examples.order_checkout:order_workers()",
    ]
    printed = CliRunner().invoke(app, ["asyncapi", *both])
    assert (
        "inventory.receive.sagaline.commands.inventory.command.reserve-stock"
        in json.loads(printed.output)["operations"]
    )
    neither = CliRunner().invoke(app, ["asyncapi", "sagaline.sagas.examples.order_checkout:reserve_stock"])
    assert neither.exit_code == 2
    assert "neither a saga nor a worker" in neither.stderr


@pytest.mark.slow
async def test_the_api_serves_that_of_its_definitions(tmp_path: Path) -> None:
    async with stack(tmp_path, engine=False, registry=Registry([payment])) as up:
        transport = httpx.ASGITransport(create_app(up.client, clock=up.parts.clock))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as api:
            answer = await api.get("/asyncapi.json")
            assert answer.json() == asyncapi_document(up.topics, Registry([payment]))
            assert (await api.get("/asyncapi.json?all=yes")).status_code == 422
