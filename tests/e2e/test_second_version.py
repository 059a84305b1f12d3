"""Version 2 of the checkout takes over open orders of version 1; without a migration the deploy check rejects it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import JsonValue

from sagaline.orchestrator.cli.demo.parts import demo_parts, unless_ended
from sagaline.orchestrator.cli.demo.place import Place
from sagaline.orchestrator.cli.demo.scenario import plan_orders
from sagaline.orchestrator.cli.deploy_check import objection, read_open
from sagaline.orchestrator.kernel import Registry
from sagaline.sagas import Saga, pivot
from sagaline.sagas.examples.order_checkout import Checkout, book, charge, checkout, reserve, ship
from sagaline.workers.examples.ledger import Ledger
from sagaline.workers.examples.order_checkout import order_workers

from .demo_place import LOGS, demo_place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


class CheckoutInCurrency(Checkout):
    currency: str


def second_version(*, migrating: bool) -> Saga[CheckoutInCurrency]:
    second = Saga(checkout.name, CheckoutInCurrency, version=2, flow=[reserve, charge, book, pivot, ship])
    if migrating:

        @second.migrate(from_version=1)
        def from_version_1(before: dict[str, JsonValue]) -> CheckoutInCurrency:
            return CheckoutInCurrency.model_validate(before | {"currency": "EUR"})

    return second


async def objections(place: Place, saga: Saga[CheckoutInCurrency]) -> list[str]:
    """Why ``saga deploy-check`` would reject this code."""
    seen = await read_open(place.settings, None)
    registry = Registry([saga])
    found = [objection(registry, each, seen.history.get(id, [])) for id, each in seen.documents.items()]
    return [why for why in found if why is not None]


@pytest.mark.parametrize("log", LOGS)
async def test_a_second_version_takes_over_open_orders(
    request: pytest.FixtureRequest, log: str, tmp_path: Path
) -> None:
    """Every order ends as version 2, as planned, and nothing is done twice."""
    plans = plan_orders(10, "roll")
    with demo_place(request, log, tmp_path) as (place, listener):
        async with demo_parts(place, listener.dup(), [checkout], []) as parts:
            await unless_ended(parts.shop.start_all(plans), parts)
        rejected = await objections(place, second_version(migrating=False))
        assert len(rejected) == len(plans)
        assert all("version 1 of 'order-checkout' is not in" in each for each in rejected)
        second = second_version(migrating=True)
        assert await objections(place, second) == []
        async with demo_parts(place, listener, [second], order_workers(place.ledger)) as parts:
            await unless_ended(parts.shop.wait_for(plan.instance for plan in plans), parts)
            orders = await parts.shop.details(plan.instance for plan in plans)
        ended = {id: (order["version"], order["status"]) for id, order in orders.items()}
        assert ended == {plan.instance: (2, plan.fate.ends) for plan in plans}
        ledger = Ledger(place.ledger)
        assert (ledger.open_charges(), ledger.done_twice()) == ([], [])
