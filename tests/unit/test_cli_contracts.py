"""``saga contracts``: enough to write a worker in another language, and true to what the engine sends."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner

from sagaline.orchestrator.cli.app import app
from sagaline.orchestrator.cli.contracts import described
from sagaline.orchestrator.kernel import decide
from sagaline.orchestrator.messages.inputs import Arrival, Start
from sagaline.orchestrator.messages.outputs import SendCommand
from sagaline.sagas.examples.flight_search import CARRIERS, flight_search
from sagaline.sagas.examples.loan_approval import loan_approval
from sagaline.sagas.examples.order_checkout import checkout

EXAMPLES = "sagaline.sagas.examples"


def by_name(*definitions: Any) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in described(definitions)}


def test_each_contract_names_its_queue_its_schemas_and_its_undo() -> None:
    charge = by_name(checkout)["charge-card"]
    assert charge["queues"] == ["payment"]
    assert set(charge["command"]["required"]) == {"order_id", "customer", "amount_cents"}
    assert charge["reply"]["properties"] == {"charge_id": {"title": "Charge Id", "type": "string"}}
    (use,) = charge["sent_by"]
    assert use == {
        "definition": "order-checkout",
        "version": 1,
        "step": "charge",
        "direction": "do",
        "undo": "refund-card",
    }


def test_a_contract_that_undoes_names_the_step_that_it_undoes() -> None:
    (use,) = by_name(checkout)["refund-card"]["sent_by"]
    assert use == {"definition": "order-checkout", "version": 1, "step": "charge", "direction": "undo"}


def test_a_question_of_a_scatter_names_every_queue_that_it_travels_on() -> None:
    assert by_name(flight_search)["ask-offer"]["queues"] == list(CARRIERS)


def test_a_command_that_the_engine_sends_is_of_the_schema() -> None:
    order = {"id": "A-1", "customer": "C-1", "lines": [{"sku": "s", "quantity": 1}], "total_cents": 5}
    start = Start(id="r", definition="order-checkout", key="A-1", input={"order": order})  # type: ignore[dict-item]
    sent = decide(checkout, None, Arrival(message=start, now_ms=1)).actions
    commands = [action for action in sent if isinstance(action, SendCommand)]
    assert commands
    for command in commands:
        schema, body = by_name(checkout)[command.contract]["command"], json.loads(command.payload)
        assert set(schema["required"]) <= set(body) <= set(schema["properties"])


def test_the_command_prints_json_that_a_script_reads_and_a_table_for_people() -> None:
    references = [f"{EXAMPLES}.order_checkout:checkout", f"{EXAMPLES}.loan_approval:loan_approval"]
    done = CliRunner().invoke(app, ["contracts", "--json", *references])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {"contracts": described([checkout, loan_approval])}
    lines = CliRunner().invoke(app, ["contracts", *references]).stdout.splitlines()
    assert "charge-card  ChargeCard -> CardCharged  queue payment" in lines
    assert "    order-checkout v1: charge, undone by refund-card" in lines
    assert "    order-checkout v1: undo of charge" in lines
