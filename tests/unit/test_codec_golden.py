"""The stored and the wire formats, byte for byte: what this release writes and what it must go on reading.

A change here is a change of a public format: raise ``FORMAT`` (or the event type) and keep the old file readable.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sagaline.orchestrator.codec.commands import Command, ReplyTo, decode_command, encode_command
from sagaline.orchestrator.codec.documents import decode_document, encode_document
from sagaline.orchestrator.codec.entities import decode_entity, encode_entity
from sagaline.orchestrator.codec.formats import Upcasts, upcast
from sagaline.orchestrator.codec.inputs import decode_input, encode_reply, encode_request
from sagaline.orchestrator.messages.document import (
    Attention,
    Cause,
    CauseKind,
    Document,
    Status,
    StepRecord,
    StepStatus,
)
from sagaline.orchestrator.messages.entities import (
    DeadMark,
    DeadStatus,
    DeletedSchedule,
    Entity,
    Fired,
    Grant,
    KeptEvent,
    Lock,
    Mailbox,
    Parcel,
    ParcelStatus,
    Period,
    Route,
    Schedule,
    Table,
    Watcher,
)
from sagaline.orchestrator.messages.entity_messages import Rule
from sagaline.orchestrator.messages.inputs import Act, ActName, Completed, Failed, Rejected, Start, TimerFired
from sagaline.orchestrator.messages.outputs import SendCommand
from sagaline.orchestrator.messages.parcels import RetryPolicy, Source, parked_letter
from sagaline.orchestrator.messages.reasons import ReasonCode
from sagaline.orchestrator.messages.schedules import Plan
from sagaline.orchestrator.ports.log import Outgoing, Record
from sagaline.sagas.calendar import Calendar

GOLDEN = Path(__file__).parents[1] / "golden"
NOW_MS = 1_700_000_000_123
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

DOCUMENT = Document(
    id="order-checkout/A-1",
    definition="order-checkout",
    version=1,
    key="A-1",
    status=Status.ATTENTION,
    revision=9,
    state={"order": {"id": "A-1", "lines": [{"sku": "x", "quantity": 2}], "total": 1.5}, "note": "é\n", "stock": None},
    digest="e3b0c442",
    started_by="request-1",
    incarnation="k3x9wq2z",
    created_ms=NOW_MS,
    updated_ms=NOW_MS + 5,
    backward=True,
    steps={
        "reserve": StepRecord(
            status=StepStatus.UNDO_FAILED,
            at_ms=NOW_MS + 4,
            kind="step",
            undo="release-stock",
            attempt=2,
            undo_attempt=3,
            spent=1,
            undo_spent=1,
            order=1,
            error="boom",
        ),
        "charge": StepRecord(status=StepStatus.REJECTED, at_ms=NOW_MS + 3, kind="step", attempt=1),
    },
    timers={"reserve:deadline": NOW_MS + 60_000},
    cause=Cause(kind=CauseKind.REJECTED, message="declined", at_ms=NOW_MS + 3, step="charge", code="card_declined"),
    attention=Attention(kind=CauseKind.VERSION, message="not deployed", at_ms=NOW_MS + 5, detail="…"),
    deferred=(
        Completed(
            id="r1",
            instance="order-checkout/A-1",
            command_id="order-checkout/A-1/reserve~k3x9wq2z/undo/3",
            reply={"a": 1},
        ),
        Rejected(id="r2", instance="order-checkout/A-1", command_id="c", reason="no", code="no"),
        Failed(id="r3", instance="order-checkout/A-1", command_id="c", error="boom", detail="trace"),
        TimerFired(id="t1", instance="order-checkout/A-1", timer="reserve:attempt", due_ms=NOW_MS),
    ),
    traceparent=TRACE,
)

REQUESTS: dict[str, Start | Act] = {
    "start": Start(id="req-1", definition="order-checkout", key="A-1", input={"n": 1}, version=2, traceparent=TRACE),
    "act": Act(id="req-2", instance="order-checkout/A-1", act=ActName.CANCEL, by="ann", reason="é"),
}
REPLIES: dict[str, Completed | Rejected | Failed] = {
    "completed": Completed(
        id="rep-1",
        instance="order-checkout/A-1",
        command_id="order-checkout/A-1/reserve~k3x9wq2z/1",
        reply={"reservation_id": "r-1", "parts": [1, 2.5, None, True]},
        traceparent=TRACE,
    ),
    "rejected": Rejected(
        id="rep-2",
        instance="order-checkout/A-1",
        command_id="order-checkout/A-1/charge~k3x9wq2z/1",
        reason="no",
        code="declined",
    ),
    "failed": Failed(
        id="rep-3",
        instance="order-checkout/A-1",
        command_id="order-checkout/A-1/ship~k3x9wq2z/1",
        error="boom",
        detail="trace",
    ),
}
COMMAND = SendCommand(
    instance="order-checkout/A-1",
    step="reserve",
    contract="release-stock",
    queue="inventory",
    undo=True,
    attempt=3,
    payload=b'{"order_id":"A-1"}',
    deadline_ms=NOW_MS + 60_000,
    incarnation="k3x9wq2z",
)


def as_record(out: Outgoing) -> Record:
    return Record(out.topic, out.partition or 0, 7, out.key, out.value, out.headers, NOW_MS)


def _golden(out: Outgoing) -> dict[str, Any]:
    """A record as the golden file shows it; the trace goes along as any header does."""
    assert out.key is not None
    assert out.value is not None
    headers = [[name, value.decode()] for name, value in out.headers]
    return {"key": out.key.decode(), "value": out.value.decode(), "partition": out.partition, "headers": headers}


def _wire() -> dict[str, Outgoing]:
    source = "sagaline/orders"
    sent: dict[str, Outgoing] = {
        name: encode_request("sagaline.inputs", request, source=source, now_ms=NOW_MS)
        for name, request in REQUESTS.items()
    }
    for name, reply in REPLIES.items():
        sent[name] = encode_reply("sagaline.inputs", 3, reply, source="worker", now_ms=NOW_MS)
    reply_to = ReplyTo(topic="sagaline.inputs", partition=3)
    sent["command"] = encode_command(
        "sagaline.commands.inventory", COMMAND, reply_to, source=source, now_ms=NOW_MS, traceparent=TRACE
    )
    return sent


MAILBOX = Mailbox(
    id="@mailbox/paid/O-7",
    event="paid",
    key="O-7",
    revision=3,
    watchers=(Watcher(by="order-checkout/A-1", place="pay~k3x9wq2z", index=0, traceparent=TRACE),),
    kept=(KeptEvent(id="e1", body={"amount": 9}, until_ms=NOW_MS, traceparent=TRACE),),
    timers={"keep": NOW_MS},
)
LOCK = Lock(
    id="@lock/one",
    name="one",
    revision=2,
    holder=Grant(by="order-checkout/A-1", place="charge~k3x9wq2z", at_ms=NOW_MS),
    waiting=(Grant(by="order-checkout/A-2", place="charge~k3x9wq2z", at_ms=NOW_MS + 1),),
)
TABLE = Table(
    id="@table/carriers",
    name="carriers",
    revision=1,
    version=1,
    rules=(Rule(when={"weight": {">": 30}}, to="freight"),),
    changed_ms=NOW_MS,
    changed_by="ann",
    reason="é",
)
PARCEL = Parcel(
    id="@parcel/billing/A-1",
    group="billing",
    revision=4,
    status=ParcelStatus.RETRYING,
    letters=(
        replace(
            parked_letter(
                "billing", Source(topic="shop", partition=1, offset=17), b"A-1", b"\xff", (("type", "é".encode()),)
            ),
            timestamp_ms=NOW_MS - 1,
        ),
    ),
    routes=(Route(topic="shop", partition=1, redeliver_to="s.redelivered.billing", redeliver_partition=1, last=19),),
    retry=RetryPolicy(max_attempts=5, first_ms=1_000, factor=2.0, most_ms=60_000),
    attempts=2,
    error="Boom",
    detail="line 7",
    failed_ms=NOW_MS,
    begun_ms=NOW_MS,
    requests=("r1",),
    timers={"retry": NOW_MS + 2_000},
)
DEAD = DeadMark(
    id="@dead/1-17",
    revision=2,
    status=DeadStatus.REDRIVEN,
    edited=PARCEL.letters[0],
    by="ann",
    reason="é",
    at_ms=NOW_MS,
    requests=("r1", "r2"),
    timers={"expiry": NOW_MS + 60_000},
)
DELETED = DeletedSchedule(
    id="@schedule/nightly", revision=7, through_ms=NOW_MS, requests=("r1", "r2"), timers={"expiry": NOW_MS + 60_000}
)
SCHEDULE = Schedule(
    id="@schedule/nightly",
    name="nightly",
    revision=5,
    plan=Plan(
        definition="report",
        input={"text": "é"},
        calendar=Calendar(cron="30 2 * * *", zone="Europe/Berlin"),
        due_into="day",
        jitter_ms=60_000,
    ),
    through_ms=NOW_MS,
    started=2,
    denied=1,
    missed=3,
    recent=(
        Fired(
            id="@schedule/nightly/2023-11-14T01:30:00Z",
            due_ms=NOW_MS - 5,
            at_ms=NOW_MS,
            instance="report/nightly-2023-11-14T01:30:00Z",
            decided=True,
            code=ReasonCode.KEY_TAKEN,
            reason="started already with another input",
        ),
    ),
    backfill=Period(request="r7", through_ms=NOW_MS - 9, to_ms=NOW_MS),
    changed_ms=NOW_MS,
    changed_by="ann",
    reason="é",
    requests=("r7",),
    timers={"due": NOW_MS + 60_000},
)
DOCUMENTS: dict[str, tuple[bytes, Document | Entity]] = {
    "document": (encode_document(DOCUMENT), DOCUMENT),
    "mailbox": (encode_entity(MAILBOX), MAILBOX),
    "lock": (encode_entity(LOCK), LOCK),
    "table": (encode_entity(TABLE), TABLE),
    "parcel": (encode_entity(PARCEL), PARCEL),
    "dead": (encode_entity(DEAD), DEAD),
    "schedule": (encode_entity(SCHEDULE), SCHEDULE),
    "deleted-schedule": (encode_entity(DELETED), DELETED),
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_document_is_written_as_its_format_says(kind: str) -> None:
    """Byte for byte: other tools read the state topic."""
    golden = (GOLDEN / f"{kind}-format-1.json").read_bytes().rstrip(b"\n")
    written, document = DOCUMENTS[kind]
    assert written == golden
    assert (decode_document(golden) if kind == "document" else decode_entity(golden)) == document


def test_a_document_of_an_older_format_is_upcast_step_by_step() -> None:
    """By the table of its kind of document."""
    upcasts: Upcasts = {
        1: lambda body: body | {"names": [body["name"]]},
        2: lambda body: {name: value for name, value in body.items() if name != "name"},
    }
    assert json.loads(upcast(b'{"name": "a", "format": 1}', 3, upcasts)) == {"names": ["a"], "format": 3}
    assert json.loads(upcast(b'{"names": ["b"], "name": "a", "format": 2}', 3, upcasts)) == {
        "names": ["b"],
        "format": 3,
    }
    newest = b'{"format":3,"names":["a"]}'
    assert upcast(newest, 3, upcasts) is newest


def test_a_document_is_read_whatever_the_order_and_spacing_of_its_fields() -> None:
    """Other tools may have written it again."""
    body = json.loads((GOLDEN / "document-format-1.json").read_bytes())
    turned = dict(reversed(body.items()))
    assert decode_document(json.dumps(turned, indent=1).encode()) == DOCUMENT


@pytest.mark.parametrize("name", ["start", "act", "completed", "rejected", "failed", "command"])
def test_a_message_is_written_as_the_wire_format_says(name: str) -> None:
    """Key, value, headers and their order."""
    expected = json.loads((GOLDEN / "wire-format-1.json").read_bytes())
    assert _golden(_wire()[name]) == expected[name]


@pytest.mark.parametrize("name", [*REQUESTS, *REPLIES])
def test_a_message_reads_as_it_was_written(name: str) -> None:
    assert decode_input(as_record(_wire()[name])) == {**REQUESTS, **REPLIES}[name]


def test_a_command_reads_as_it_was_written() -> None:
    assert decode_command(as_record(_wire()["command"])) == Command(
        id="order-checkout/A-1/reserve~k3x9wq2z/undo/3",
        contract="release-stock",
        instance="order-checkout/A-1",
        effect_key="order-checkout/A-1/reserve~k3x9wq2z",
        undo=True,
        attempt=3,
        payload=b'{"order_id":"A-1"}',
        reply_to=ReplyTo(topic="sagaline.inputs", partition=3),
        written_ms=NOW_MS,
        deadline_ms=NOW_MS + 60_000,
        traceparent=TRACE,
    )
