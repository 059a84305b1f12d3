"""``World``: the real engine and workers in a test's own hands."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

import pytest

from sagaline.orchestrator.testing import Faults
from sagaline.orchestrator.testing.faults import FAULTS_OF
from sagaline.pytest_plugin import MakeWorld
from sagaline.sagas import Rejected
from sagaline.sagas.examples import order_checkout as shop
from sagaline.sagas.examples import order_fulfilment as warehouse
from sagaline.sagas.nodes import parallel, sleep
from sagaline.testing import Fault, Operation, World
from tests.repo.tree import ROOT

from .kernel_nodes import flow_of, leg

pytest_plugins = ["pytester"]


@pytest.fixture
def world(saga_world: MakeWorld) -> World:
    return saga_world(shop.checkout, warehouse.order_fulfilment)


def test_a_world_answers_by_itself(world: World) -> None:
    """Without a word every contract is answered, by the smallest reply."""
    order = world.start(shop.checkout, "A-1")
    world.settle()
    assert world.status(order) == "completed"
    assert [name for name, _ in world.calls] == ["reserve-stock", "charge-card", "book-carrier", "ship-order"]
    assert world.state(order).shipment is not None


def test_an_answer_decides_what_happens(world: World) -> None:
    """A refusal, and a function of the command."""
    world.answer(shop.charge_card, lambda command: Rejected(f"no card of {command.customer!r}", code="declined"))
    order = world.start(shop.checkout, "A-1")
    world.settle()
    assert world.status(order) == "compensated"
    assert world.calls[-1][0] == "release-stock"


def test_time_passes_only_when_told(world: World) -> None:
    """An unpaid order is given up after a day, not before."""
    world.publish(warehouse.order_placed, warehouse.OrderPlaced(order_id="O-1", skus=["book"]), key="O-1")
    assert world.status("order-fulfilment/O-1") == "running"
    world.advance(hours=23)
    assert world.status("order-fulfilment/O-1") == "running"
    world.advance(hours=1)
    assert world.status("order-fulfilment/O-1") == "compensated"


def test_days_pass_and_cost_nothing_where_nothing_happens() -> None:
    """A day with one timer in it takes some thousand steps of the loop: nobody looks every second."""
    flow = [leg("reserve"), sleep("nap", timedelta(days=2)), leg("charge")]
    with World(nap := flow_of(*flow)) as world:
        order = world.start(nap, "A-1")
        world.advance(seconds=5)
        before = world.steps
        world.advance(days=1)
        assert world.steps - before < 5_000
        assert world.status(order) == "running"
        world.advance(days=1)
        assert world.status(order) == "completed"


def test_a_world_that_is_closed_leaves_no_connection_open() -> None:
    """Python 3.13 warns of one, and a warning fails its author's tests."""
    with World(shop.checkout) as world:
        pass
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        world.store.connection.execute("SELECT 1")


def test_a_jump_of_the_clock_is_noticed_at_once() -> None:
    with World(nap := flow_of(sleep("nap", timedelta(days=2)))) as world:
        order = world.start(nap, "A-1")
        world.advance(seconds=5)
        world.clock.jump(timedelta(days=2))
        world.advance(seconds=1)
        assert world.status(order) == "completed"


@pytest.mark.slow
def test_a_worker_that_raises_is_asked_again_until_it_is_mended(world: World) -> None:
    """Twenty attempts in an hour, past the pivot: then an operator."""
    world.answer(shop.ship_order, RuntimeError("the printer is on fire"))
    order = world.start(shop.checkout, "A-1")
    world.settle()
    assert world.status(order) == "attention"
    world.answer(shop.ship_order, shop.OrderShipped(tracking_number="7"))
    world.act(order, "retry")
    world.settle(timedelta(minutes=1))
    assert world.status(order) == "completed"


def test_faults_and_crashes_lose_nothing(world: World) -> None:
    """Whatever goes wrong meanwhile."""
    for fault in (Fault.LOSE, Fault.DELAY, Fault.DOUBLE, Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
        world.faults.set_rate(fault, 0.05)
    orders = [world.start(shop.checkout, f"A-{number}") for number in range(5)]
    world.crash("engine")
    world.crash()
    world.faults.heal()
    world.settle()
    assert {world.status(order) for order in orders} <= {"completed", "compensated"}


@pytest.mark.slow
@pytest.mark.parametrize("fault", Fault)
def test_each_fault_can_be_switched_on_and_loses_nothing(fault: Fault, saga_world: MakeWorld) -> None:
    """It is injected, and after it is healed every order ends."""
    world = saga_world(shop.checkout)
    world.faults.set_rate(fault, 0.2)
    for at in (each for each in Operation if fault in FAULTS_OF[each]):
        world.faults.inject(fault, at)
    orders = [world.start(shop.checkout, f"A-{number}") for number in range(2)]
    world.advance(seconds=10)
    world.faults.heal()
    world.settle()
    assert world.faults.counts[fault] > 0
    assert {world.status(order) for order in orders} <= {"completed", "compensated"}


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
def test_a_crash_at_every_single_write_loses_nothing_and_asks_nobody_again(fault: Fault, saga_world: MakeWorld) -> None:
    """One run for each write, until there is none left. A command may be handled twice; it is sent once."""
    flow = flow_of(leg("a"), parallel(leg("b"), leg("c")), sleep("nap", timedelta(seconds=30)))
    for write in range(100):
        world = saga_world(flow)
        world.faults.inject(fault, skip=write)
        instance = world.start(flow, "1")
        world.settle()
        document = world.documents()[instance]
        assert document.status == "completed", f"crash at write {write}"
        assert [document.steps[name].attempt for name in "abc"] == [1, 1, 1], f"crash at write {write}"
        world.close()
        if not world.faults.counts[fault]:
            assert write > 10
            return
    raise AssertionError("an order takes fewer writes than that")


def test_the_page_names_every_fault() -> None:
    page = (ROOT / "docs" / "testing.md").read_text()
    assert [fault.name for fault in Fault if f"`Fault.{fault.name}`" not in page] == []


def test_a_fault_spares_as_many_calls_as_is_asked() -> None:
    faults = Faults()
    faults.inject(Fault.LOSE, Operation.COMMIT, skip=2)
    drawn = [faults.draw(each) for each in (Operation.COMMIT, Operation.APPEND, Operation.COMMIT, Operation.COMMIT)]
    assert drawn == [None, None, None, Fault.LOSE]
    assert faults.draw(Operation.COMMIT) is None


def test_an_instance_that_does_not_end_is_told(world: World) -> None:
    """With all that there is."""
    world.answer(shop.reserve_stock, RuntimeError("not yet"))
    world.start(shop.checkout, "A-1")
    with pytest.raises(AssertionError, match="order-checkout/A-1 is running"):
        world.settle(timedelta(0))
    with pytest.raises(AssertionError, match="there is no instance 'x'; there are order-checkout/A-1"):
        world.status("x")


AUTHORS_TEST = """
from sagaline.sagas.examples.order_checkout import checkout

def test_an_order_ends(saga_world):
    world = saga_world(checkout)
    order = world.start(checkout, "A-1")
    world.settle()
    assert (world.status(order), world.clock.new_id()[:4]) == ("completed", "{id}")
"""


@pytest.mark.slow
def test_an_author_has_the_fixture_without_an_import_and_chooses_the_seed(pytester: pytest.Pytester) -> None:
    """The same seed gives the same world, ids and all."""
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")

    def run(seed: int, id: str) -> pytest.RunResult:
        pytester.makepyfile(AUTHORS_TEST.replace("{id}", id))
        return pytester.runpytest_inprocess(f"--saga-seed={seed}")

    new_id = run(7, "?").stdout.str().split("At index 1 diff: '")[1][:4]
    run(7, new_id).assert_outcomes(passed=1)
    run(8, new_id).assert_outcomes(failed=1)
