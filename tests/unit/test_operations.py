"""The operations log: who asked for what, on what, why, and how it was decided."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args

import httpx
import pytest

from sagaline.api import create_app
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.errors import ActDenied
from sagaline.orchestrator.messages.inputs import ActName, Message
from sagaline.orchestrator.messages.operations import OPERATIONS, Operation

from .stack import order, stack

ITEM = "order-checkout/A-1"


def test_every_message_that_says_who_and_why_is_an_operation() -> None:
    def classes(kind: object) -> set[type]:
        if isinstance(kind, type):
            return {kind} if is_dataclass(kind) else set()
        return {one for each in get_args(kind) for one in classes(each)}

    signed = {each for each in classes(Message) if {"by", "reason"} <= {field.name for field in fields(each)}}
    assert signed == set(OPERATIONS) == classes(Operation)


async def test_acts_are_listed_with_their_decisions(tmp_path: Path) -> None:
    async with stack(tmp_path) as up:
        await up.client.start("order-checkout", order(), key="A-1")
        await up.client.act(ITEM, ActName.PAUSE, by="ann", reason="stocktaking", request_id="p-1")
        with pytest.raises(ActDenied):
            await up.client.act(ITEM, ActName.RETRY, by="ben")
        transport = httpx.ASGITransport(create_app(up.client, clock=SystemClock()))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as api:
            listed = (await api.get("/v1/operations")).json()
            retry, pause = listed["operations"]
            assert listed["cursor"] is None
            assert pause == pause | {
                "who": "ann",
                "act": "pause",
                "target": ITEM,
                "instance": True,
                "step": None,
                "why": "stocktaking",
                "outcome": "applied",
                "code": None,
                "request_id": "p-1",
            }
            assert (retry["who"], retry["outcome"], retry["code"]) == ("ben", "denied", "paused")
            for query, expected in (
                ({"who": "ann"}, ["pause"]),
                ({"act": "retry"}, ["retry"]),
                ({"target": "order-checkout/none"}, []),
                ({"since": "2020-01-01T00:00:00Z", "limit": "1"}, ["retry"]),
                ({"until": "2020-01-01T00:00:00Z"}, []),
            ):
                found = (await api.get("/v1/operations", params=query)).json()
                assert [each["act"] for each in found["operations"]] == expected, query
            wrong = await api.get("/v1/operations", params={"since": "then"})
            assert (wrong.status_code, wrong.json()["field"]) == (422, "since")
