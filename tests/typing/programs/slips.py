"""Routing slips: what must type-check, and on marked lines what must not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_type

from sagaline.sagas import Saga
from sagaline.sagas.routing_slip import AnyStop, Kept, RoutingSlip, Stop, stop

from .shared import Checkout, Release, Reserve, Reserved, Returns, release_stock, reserve_stock

reserve = stop(reserve_stock, into="stock")
assert_type(reserve, Stop[Reserve, Reserved])


@reserve.undo(release_stock)
def release(kept: Kept[Reserve, Reserved]) -> Release:
    assert_type(kept.command, Reserve | None)
    assert_type(kept.reply, Reserved | None)
    return Release(order_id=kept.command.order_id if kept.command else "")


again = stop(reserve_stock, name="again")
again.undo(release_stock)(lambda kept: Release(order_id=kept.command.order_id if kept.command else ""))

slip = RoutingSlip("slip", Checkout, stops=[reserve, again], hops=2)
assert_type(slip, RoutingSlip[Checkout])


@slip.plan
def plan(s: Checkout) -> Sequence[AnyStop]:
    return [reserve] if s.total > 1 else [reserve, again]


@again.undo(release_stock)  # expect: error (another command)
def wrong_command(kept: Kept[Reserve, Reserved]) -> Reserve:
    return Reserve(order_id="")


@again.undo(release_stock)  # expect: error (another stop's)
def wrong_kept(kept: Kept[Release, Reserved]) -> Release:
    return Release(order_id="")


@again.undo(release_stock)
def may_be_unknown(kept: Kept[Reserve, Reserved]) -> Release:
    return Release(order_id=kept.command.order_id)  # expect: error (may be None)


@slip.plan  # expect: error (another state)
def wrong_state(s: Returns) -> Sequence[AnyStop]:
    return [reserve]


@slip.plan  # expect: error (names are not stops)
def names(s: Checkout) -> Sequence[str]:
    return ["reserve"]


stop("reserve-stock")  # expect: error (a name is no contract)
stop(reserve_stock, takes={"order_id": 1})  # expect: error (a path is a text)
stop(reserve_stock, revises=True)  # expect: error (the name of a field)
RoutingSlip("no-model", int, stops=[reserve])  # expect: error (no model)
RoutingSlip("no-stop", Checkout, stops=[reserve_stock])  # expect: error (a contract is no stop)
Saga("no-node", Checkout, flow=[reserve])  # expect: error (a stop is no node)
