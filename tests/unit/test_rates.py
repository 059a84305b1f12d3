"""Starts by the hour: over the client with a clock that stands, and over the API."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.client.asking import Asking
from sagaline.orchestrator.client.rates import Rates
from sagaline.orchestrator.errors import InvalidRequest
from sagaline.orchestrator.messages.document import Status

from .stack import Stack, order, stack
from .test_api_instances import http

HOUR_MS = 3_600_000


class StandingClock(SystemClock):
    def __init__(self, now_ms: int) -> None:
        self.at_ms = now_ms

    def now_ms(self) -> int:
        return self.at_ms


def rates_at(up: Stack, now_ms: int) -> Rates:
    parts = replace(up.parts, clock=StandingClock(now_ms))
    return Rates(parts, Asking(parts))


async def test_a_start_counts_in_its_hour_by_the_status_of_now(tmp_path: Path) -> None:
    """The hour that it is now is the last one until it has ended; a start ahead of our clock is in none."""
    async with stack(tmp_path) as up:
        await up.client.start("order-checkout", order(), key="A-1")
        began_ms = (await up.client.get("order-checkout/A-1")).created_ms
        hour = began_ms - began_ms % HOUR_MS
        for now_ms in (hour, began_ms, hour + HOUR_MS - 1):
            (found,) = await rates_at(up, now_ms).hours(1)
            assert found[:2] == (hour, hour + HOUR_MS)
            assert found.statuses == dict.fromkeys(Status, 0) | {Status.RUNNING: 1}
        before, after = await rates_at(up, hour + HOUR_MS).hours(2, "order-checkout")
        assert (before.since_ms, before.statuses[Status.RUNNING]) == (hour, 1)
        assert sum(after.statuses.values()) == 0
        for late in (hour - 1, hour + 48 * HOUR_MS):
            assert not any(sum(each.statuses.values()) for each in await rates_at(up, late).hours(48))
        assert not any(sum(each.statuses.values()) for each in await rates_at(up, began_ms).hours(1, "unknown"))
        for wrong in (0, 49, -1):
            with pytest.raises(InvalidRequest, match="give 1 to 48") as refused:
                await up.client.rates.hours(wrong)
            assert refused.value.field == "hours"


async def test_the_api_shows_whole_hours_without_gaps(tmp_path: Path) -> None:
    async with stack(tmp_path) as up, http(up) as api:
        await api.post("/v1/sagas/order-checkout", json={"key": "A-1", "input": order()})
        hours = (await api.get("/v1/instances/rates")).json()["hours"]
        assert len(hours) == 24
        assert all(before["until"] == after["since"] for before, after in pairwise(hours))
        assert all(each["since"].endswith(":00:00.000Z") and len(each["statuses"]) == len(Status) for each in hours)
        assert sum(each["started"] for each in hours) == sum(each["statuses"]["running"] for each in hours) == 1
        for wrong in (
            "hours=0",
            "hours=49",
            "hours=x",
            "hours=",
            "hour=1",
            "hours=1&hours=2",
            "definition=" + 65 * "x",
        ):
            refused = await api.get(f"/v1/instances/rates?{wrong}")
            assert (refused.status_code, refused.json()["type"]) == (422, "urn:sagaline:problem:invalid-request"), wrong
