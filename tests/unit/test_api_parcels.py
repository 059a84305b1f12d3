"""Parcels over a real client, log and engine: what waits is shown, and people act on it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagaline.orchestrator.codec.entities import encode_entity_message
from sagaline.orchestrator.errors import InvalidRequest, TransientError, UnknownParcel
from sagaline.orchestrator.messages.entities import Parcel, ParcelStatus
from sagaline.orchestrator.messages.parcels import (
    Letter,
    Posted,
    RetryPolicy,
    Source,
    delayed_id,
    parcel_id,
    parked_letter,
    to_base64,
)
from sagaline.orchestrator.ports.log import TopicSpec

from .stack import Stack, stack
from .test_api_instances import http

AGAIN = "t.redelivered.billing"
KEY = "/v1/parked/billing/A-1"
LATER_MS = 4_102_444_800_000  # 2100


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as running_stack:
        await running_stack.log.create_topics([TopicSpec(AGAIN, 1, "delete"), TopicSpec("mail", 1, "delete")])
        yield running_stack


@pytest.fixture
async def api(up: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with http(up) as client:
        yield client


def post(offset: int, key: bytes = b"A-1", *, park: bool = False, value: bytes = b"v") -> Posted:
    source = Source(topic="shop.orders", partition=3, offset=offset)
    return Posted(
        id=f"{key!r}{offset}",
        instance=parcel_id("billing", key),
        letter=parked_letter("billing", source, key, value, (("a", b"\xff"),)),
        group="billing",
        redeliver_to=AGAIN,
        redeliver_partition=0,
        retry=RetryPolicy(max_attempts=3, first_ms=3_600_000, factor=2.0, most_ms=3_600_000),
        error="Boom: no" if park else None,
        detail="line 7",
        attempts=1 if park else 0,
        park=park,
    )


def delay(id: str = "m-1") -> Posted:
    letter = Letter(id=id, topic="mail", key=to_base64(b"k"), value=to_base64(b"{}"))
    return Posted(id=f"d{id}", instance=delayed_id(id), letter=letter, due_ms=LATER_MS)


async def told(up: Stack, *messages: Posted) -> None:
    """The messages are decided, and can be read."""
    for message in messages:
        record = encode_entity_message(up.topics.inputs, message, source="/test", now_ms=1, traceparent=None)
        await up.log.append([record])
    async with asyncio.timeout(10):
        for message in messages:
            while not await is_there(up, message):
                with suppress(TransientError):  # the projector may not have begun yet
                    await up.projector.caught_up(timeout=5)


async def is_there(up: Stack, message: Posted) -> bool:
    found = await up.read_model.entity(message.instance)
    return isinstance(found, Parcel) and message.letter in found.letters


def coded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


async def test_a_parked_key_is_listed_shown_edited_and_redriven(up: Stack, api: httpx.AsyncClient) -> None:
    """What follows is shown at once to who asked for it."""
    await told(up, post(17, park=True, value=b"\xfe"), post(18))
    (found,) = (await api.get("/v1/parked")).json()["parked"]
    first = "billing/shop.orders/3/17"
    assert found["since"] == found["failed_at"]
    assert {**found, "since": None, "failed_at": None} == {
        "group": "billing", "key": "A-1", "status": "parked", "letters": 2, "first": first, "attempts": 1,
        "error": "Boom: no", "failed_at": None, "next_at": None, "since": None,
    }  # fmt: skip
    shown = (await api.get(KEY)).json()
    assert shown["detail"] == "line 7"
    assert shown["contents"][0] == {
        "id": first, "topic": "shop.orders", "partition": 3, "source": "shop.orders/3/17",
        "key": {"base64": coded(b"A-1"), "text": "A-1"}, "value": {"base64": coded(b"\xfe"), "text": None},
        "headers": [{"name": "a", "base64": coded(b"\xff"), "text": None}],
    }  # fmt: skip
    body: dict[str, Any] = {"letter": first, "value": {"text": "ü"}, "headers": [{"name": "b", "base64": "YQ=="}]}
    answer = await api.post(f"{KEY}/edit", json=body | {"by": "ann", "request_id": "e1"})
    assert (answer.status_code, answer.json()["changed"]) == (200, True)
    assert (await api.post(f"{KEY}/edit", json=body | {"request_id": "e1"})).json()["changed"] is False
    edited = (await api.get(KEY)).json()["contents"][0]
    assert (edited["value"]["text"], edited["headers"][0]["text"]) == ("ü", "a")
    assert (await api.post(f"{KEY}/redrive", json={"by": "ann", "reason": "fixed"})).json()["changed"] is True
    assert (await api.get("/v1/parked")).json()["parked"] == []
    (retried,) = (await api.get("/v1/parked?status=retrying&group=billing")).json()["parked"]
    assert (retried["status"], retried["attempts"], retried["next_at"]) == ("retrying", 2, None)
    assert (await api.get("/v1/parked?status=retrying&group=other")).json()["parked"] == []


async def test_a_key_is_skipped_and_discarded(up: Stack, api: httpx.AsyncClient) -> None:
    await told(up, post(17, park=True), post(18), post(19))
    wrong = await api.post(f"{KEY}/skip", json={"letter": "billing/shop.orders/3/18"})
    assert (wrong.status_code, wrong.json()["code"]) == (409, "stale")
    assert "its first letter is 'billing/shop.orders/3/17' now" in wrong.json()["detail"]
    assert (await api.post(f"{KEY}/skip")).json()["changed"] is True
    assert (await api.get(KEY)).json()["letters"] == 2
    assert (await api.post(f"{KEY}/discard", json={"reason": "test data"})).json()["changed"] is True
    gone = await api.get(KEY)
    assert (gone.status_code, gone.json()["type"]) == (404, "urn:sagaline:problem:unknown-parcel")
    assert (await api.post(f"{KEY}/redrive")).status_code == 404


async def test_a_delayed_message_is_listed_shown_rescheduled_and_cancelled(up: Stack, api: httpx.AsyncClient) -> None:
    await told(up, delay(), delay("orders/7"))
    listed = (await api.get("/v1/delayed?limit=1")).json()
    assert (listed["delayed"][0]["id"], listed["delayed"][0]["due_at"]) == ("m-1", "2100-01-01T00:00:00.000Z")
    rest = (await api.get(f"/v1/delayed?cursor={listed['cursor']}")).json()
    (hidden,) = rest["delayed"]
    assert (hidden["message"], hidden["topic"], hidden["id"][0]) == ("orders/7", "mail", "~")
    for name in ("orders%2F7", hidden["id"]):  # by the id of the message, or as it is listed
        assert (await api.get(f"/v1/delayed/{name}")).json()["content"]["value"]["text"] == "{}"
    moved = await api.post("/v1/delayed/m-1/reschedule", json={"at": "2101-01-01T00:00:00Z", "by": "ann"})
    assert moved.json()["changed"] is True
    assert (await api.get("/v1/delayed/m-1")).json()["due_at"] == "2101-01-01T00:00:00.000Z"
    assert (await api.post("/v1/delayed/m-1/cancel", json={"by": "ann"})).json()["changed"] is True
    assert [each["id"] for each in (await api.get("/v1/delayed")).json()["delayed"]] == [hidden["id"]]
    assert (await api.get("/v1/delayed/m-1")).status_code == 404
    sent = await api.post(f"/v1/delayed/{hidden['id']}/reschedule", json={"at": "2000-01-01T00:00:00+02:00"})
    assert sent.json()["changed"] is True
    assert (await api.get("/v1/delayed")).json()["delayed"] == []
    assert sum((await up.log.end_offsets(["mail"])).values()) == 1


@pytest.mark.parametrize(
    ("path", "body", "status", "part"),
    [
        ("delayed/m-1/reschedule", {"at": "soon"}, 422, "'soon' is not a time; give ISO 8601"),
        ("delayed/m-1/reschedule", {"at": "2100-01-01"}, 422, "has no time zone; add one"),
        ("delayed/m-1/edit", {"letter": "m-1"}, 422, "give a value, headers or both"),
        ("delayed/m-1/edit", {"letter": "m-1", "value": {}}, 422, "value: give exactly one of text and base64"),
        ("delayed/m-1/edit", {"letter": "m-1", "value": {"base64": "?"}}, 422, "value is not base64"),
        ("delayed/m-1/edit", {"letter": "m-1", "headers": [{"name": "a"}]}, 422, "headers: give exactly one of"),
        ("delayed/m-1/edit", {"letter": "other", "value": {"text": "a"}}, 409, "there is no letter 'other' in it"),
        ("delayed/m-1/cancel", {"by": "x" * 257}, 422, "by has 257 characters"),
        ("delayed/none/cancel", {}, 404, "nothing waits in '@parcel/none'"),
        (f"parked/billing/{'x' * 257}/redrive", {}, 422, "key has 257 characters; give at most 256"),
        ("parked/billing/none/redrive", {}, 404, "nothing waits in '@parcel/billing/none'"),
        ("parked/billing/A-1/edit", {"letter": "a", "value": {"text": "x" * 200_000}}, 409, "there is no letter 'a'"),
    ],
)
async def test_what_is_wrong_is_a_problem_that_says_what_to_do(
    up: Stack, api: httpx.AsyncClient, path: str, body: dict[str, Any], status: int, part: str
) -> None:
    await told(up, delay(), post(17, park=True))
    answer = await api.post(f"/v1/{path}", json=body)
    assert answer.status_code == status
    assert part in answer.json()["detail"]


async def test_a_client_in_python_names_a_parcel_by_its_id(up: Stack) -> None:
    parcels = up.client.parcels
    await told(up, delay(), post(17, park=True))
    assert (await parcels.get(delayed_id("m-1"))).status is ParcelStatus.DELAYED
    assert [each.id for each in (await parcels.list(ParcelStatus.PARKED)).entities] == ["@parcel/billing/A-1"]
    later = datetime(2100, 1, 1, tzinfo=UTC)
    assert (await parcels.reschedule(delayed_id("m-1"), later)).changed is False
    for id in ("order-checkout/A-1", "@parcel/\n"):
        with pytest.raises(InvalidRequest, match="is not a parcel's id"):
            await parcels.redrive(id)
    with pytest.raises(UnknownParcel):
        await parcels.get(parcel_id("billing", None))
