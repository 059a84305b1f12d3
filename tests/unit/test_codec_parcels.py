"""Parcels on the wire: what is written reads back, and what is wrong is a bad record that says what to give."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagaline.orchestrator.codec.entities import encode_entity_message
from sagaline.orchestrator.codec.inputs import decode_input
from sagaline.orchestrator.codec.wire import BadRecord
from sagaline.orchestrator.messages.keys import id_wrong
from sagaline.orchestrator.messages.parcels import (
    Discard,
    Edit,
    Handled,
    Letter,
    Posted,
    Redrive,
    Reschedule,
    RetryPolicy,
    Skip,
    Source,
    ToParcel,
    delayed_id,
    from_base64,
    is_delayed,
    parcel_id,
    parked_letter,
    single_id,
)
from sagaline.orchestrator.ports.log import Record

SOURCE = Source(topic="shop.orders", partition=3, offset=17)
RETRY = RetryPolicy(max_attempts=5, first_ms=1_000, factor=2.0, most_ms=60_000)
KEY = parcel_id("billing", b"A-1")
PARKED = parked_letter("billing", SOURCE, b"A-1", b"\x00\xff", (("type", b"paid"), ("type", b"\xfe")))
LATER = Letter(id="m-1", topic="sagaline.commands.mail", key="QQ==", value=None)
FAILED = Posted(
    id="p1",
    instance=KEY,
    letter=PARKED,
    group="billing",
    redeliver_to="sagaline.redelivered.billing",
    redeliver_partition=3,
    retry=RETRY,
    error="Boom",
    detail="at line 7",
    attempts=1,
)
MESSAGES: dict[str, ToParcel] = {
    "delayed": Posted(id="p0", instance=delayed_id("m-1"), letter=LATER, due_ms=90_000),
    "failed": FAILED,
    "handled": Handled(id="h", instance=KEY, source=SOURCE, attempt=2, ok=False, error="Boom", detail="d", poison=True),
    "redrive": Redrive(id="r", instance=KEY, by="ann", reason="fixed"),
    "reschedule": Reschedule(id="r", instance=delayed_id("m-1"), due_ms=5, by="ann", reason="later"),
    "edit": Edit(id="r", instance=KEY, letter=PARKED.id, value="e30=", headers=(("a", "Yg=="),), by="ann"),
    "skip": Skip(id="r", instance=KEY, letter=PARKED.id, by="ann", reason="known"),
    "discard": Discard(id="r", instance=KEY, by="ann", reason="test data"),
}


def written(message: ToParcel) -> Record:
    out = encode_entity_message("sagaline.inputs", message, source="/test", now_ms=1, traceparent=None)
    return Record(out.topic, 0, 7, out.key, out.value, out.headers, 1)


def changed(message: ToParcel, **fields: object) -> Record:
    """The record with some fields of its body changed."""
    record = written(message)
    body = json.loads(record.value or b"")
    for name, value in fields.items():
        body[name] = {**body[name], **value} if isinstance(value, Mapping) and body[name] else value
    return record._replace(value=json.dumps(body).encode())


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_to_a_parcel_reads_as_it_was_written(name: str) -> None:
    assert decode_input(written(MESSAGES[name])) == MESSAGES[name]


def test_a_letter_keeps_the_bytes_of_its_record() -> None:
    assert PARKED.id == "billing/shop.orders/3/17"
    assert (from_base64(PARKED.key), from_base64(PARKED.value)) == (b"A-1", b"\x00\xff")
    assert PARKED.raw_headers == (("type", b"paid"), ("type", b"\xfe"))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (changed(FAILED, letter={"value": "%"}), "letter.value"),
        (changed(FAILED, letter={"headers": [["a", "="]]}), "letter.headers"),
        (changed(FAILED, letter={"topic": "a b"}), "letter.topic"),
        (changed(FAILED, letter={"source": {"topic": "a", "partition": 0, "offset": -1}}), "letter.source.offset"),
        (changed(FAILED, letter={"source": None}), "needs its source"),
        (changed(FAILED, retry={"max_attempts": 0}), "retry.max_attempts"),
        (changed(FAILED, retry={"factor": 0.5}), "retry.factor"),
        (changed(FAILED, retry=None), "needs its source, retry and redeliver_to"),
        (changed(FAILED, redeliver_to=""), "needs its source, retry and redeliver_to"),
        (changed(FAILED, due_ms=5), "has no due_ms"),
        (changed(FAILED, group="other"), "its body is of group 'other'"),
        (changed(FAILED, redeliver_to="no topic"), "redeliver_to"),
        (changed(MESSAGES["delayed"], due_ms=None), "needs due_ms"),
        (changed(MESSAGES["delayed"], group="billing"), "has no group"),
        (changed(MESSAGES["delayed"], due_ms=10**18), "due_ms"),
        (changed(MESSAGES["handled"], source={"offset": "17"}), "source.offset"),
        (changed(MESSAGES["edit"], value="?"), "value"),
        (changed(MESSAGES["reschedule"], due_ms=-1), "due_ms"),
        (written(FAILED)._replace(key=b"@table/billing"), "is not a parcel's id"),
        (written(FAILED)._replace(key=b"orders/A-1"), "is not a parcel's id"),
    ],
)
def test_what_is_wrong_is_a_bad_record_that_says_so(record: Record, message: str) -> None:
    with pytest.raises(BadRecord, match=message):
        decode_input(record)


def test_a_failure_is_cut_to_what_a_document_can_keep() -> None:
    record = changed(FAILED, error="x" * 5_000 + "\x00", detail="y" * 50_000)
    found = decode_input(record)
    assert isinstance(found, Posted)
    assert found.error is not None
    assert (len(found.error), len(found.detail)) == (1_000, 8_000)


def test_a_key_of_a_group_is_named_by_its_text_where_it_can_be() -> None:
    assert parcel_id("billing", b"A-1") == "@parcel/billing/A-1"
    assert parcel_id("billing", None) == "@parcel/billing/~"
    assert single_id("billing", SOURCE) == "@parcel/billing/shop.orders:3:17"
    assert delayed_id("m-1") == "@parcel/m-1"
    assert [is_delayed(each) for each in (delayed_id("m/1"), parcel_id("billing", b"m"))] == [True, False]


@pytest.mark.parametrize("key", [b"", b"a/b", b"~a", b"\xff", b"a\nb", b".", b"..", b"a" * 600, "\u2028".encode()])
def test_any_other_key_is_named_by_its_digest(key: bytes) -> None:
    name = parcel_id("billing", key).removeprefix("@parcel/billing/")
    assert name.startswith("~")
    assert len(name) == 65


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_each_key_has_its_own_parcel(one: bytes, other: bytes) -> None:
    first, second = parcel_id("billing", one), parcel_id("billing", other)
    assert (first == second) == (one == other)
    assert id_wrong(first) is None
