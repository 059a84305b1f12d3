"""Replacing an undo that failed: another command, the same effect key, and the unwind goes on."""

from __future__ import annotations

import pytest
from pydantic_core import from_json

from sagaline.orchestrator.messages.document import Status, StepStatus
from sagaline.orchestrator.messages.inputs import ActName, JsonObject
from sagaline.orchestrator.messages.outputs import Decision, Outcome
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Saga
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.sagas.examples.trip_booking import trip_booking
from sagaline.sagas.nodes import run

from .kernel_nodes import LIFE, Talk, flow_of, leg, redeployed

STUCK = Scene.start(checkout).ok("reserve").ok("charge").cancel().ok("book").undo_ok("book").undo_rejects("charge")
OTHER: JsonObject = {"command": {"order_id": "by hand"}}


def last(scene: Scene) -> Decision:
    assert scene.last is not None
    return scene.last


def replaced(scene: Scene, value: JsonObject | None, step: str = "charge") -> Scene:
    return scene.act(ActName.REPLACE_UNDO, "the card is gone", step=step, value=value, by="ann")


def test_the_given_command_is_the_next_attempt_under_the_same_effect_key() -> None:
    """By the undo's own contract when none is named; it is recorded who gave it."""
    assert (STUCK.status, STUCK.step("charge")) == (Status.ATTENTION, StepStatus.UNDO_FAILED)
    after = replaced(STUCK, OTHER)
    command = after.open("charge", undo=True)
    assert (command.id, command.effect_key) == (
        f"order-checkout/k/charge~{LIFE}/undo/2",
        f"order-checkout/k/charge~{LIFE}",
    )
    assert (command.contract, from_json(command.payload)) == ("refund-card", {"order_id": "by hand"})
    assert (after.status, after.attention) == (Status.COMPENSATING, None)
    memo = after.document.steps["charge"].memo or {}
    assert memo["undo_instead"] == {"contract": "refund-card", "command": {"order_id": "by hand"}, "by": "ann"}
    ended = after.undo_ok("charge").undo_ok("reserve")
    assert ended.status is Status.COMPENSATED
    assert [key.rpartition("/")[2] for key in ended.undone] == ["book", "charge", "reserve"]


def test_another_contract_of_the_definition_takes_back_what_the_first_cannot() -> None:
    """On its own queue, with its own reply."""
    after = replaced(STUCK, {"contract": "release-stock", **OTHER})
    command = after.open("charge", undo=True)
    assert (command.contract, command.queue) == ("release-stock", "inventory")
    assert after.document.steps["charge"].undo == "release-stock"
    assert after.undo_ok("charge", {"was_reserved": True}).step("charge") is StepStatus.UNDONE


def test_further_attempts_send_the_given_command_again() -> None:
    """Those of the policy, those of an operator's retry, and a second replacement wins."""
    crashed = replaced(STUCK, OTHER).undo_crash("charge").tick()
    assert from_json(crashed.open("charge", undo=True).payload) == {"order_id": "by hand"}
    retried = crashed.undo_rejects("charge").retry()
    assert from_json(retried.open("charge", undo=True).payload) == {"order_id": "by hand"}
    again = replaced(retried.undo_rejects("charge"), {"command": {"order_id": "third"}})
    assert from_json(again.open("charge", undo=True).payload) == {"order_id": "third"}


@pytest.mark.parametrize(
    ("value", "step", "reason"),
    [
        (OTHER, "reserve", "the undo of step 'reserve' has not failed: it is done"),
        (OTHER, "book", "the undo of step 'book' has not failed: it is undone"),
        (OTHER, "ship", "it has no step 'ship' on record; there are reserve, charge, book"),
        (
            {"contract": "send-flowers", **OTHER},
            "charge",
            "Saga('order-checkout', version=1) has no contract 'send-flowers'; it has reserve-stock, release-stock, "
            "charge-card, refund-card, book-carrier, cancel-carrier, ship-order",
        ),
        ({"contract": 7, **OTHER}, "charge", "Saga('order-checkout', version=1) has no contract 7; it has "),
        ({}, "charge", 'the command is missing; give {"command": {…}}, and "contract" if it is another one'),
        (None, "charge", 'the command is missing; give {"command": {…}}, and "contract" if it is another one'),
        ({"command": 7}, "charge", 'the command is missing; give {"command": {…}}, and "contract" if it'),
        ({"command": {}}, "charge", "the command does not fit RefundCard: order_id: the field is missing, add it"),
        ({"payload": {}}, "charge", "an undo takes contract and command, not payload"),
    ],
)
def test_a_replacement_that_makes_no_sense_is_refused(value: JsonObject | None, step: str, reason: str) -> None:
    """And nothing has changed."""
    after = replaced(STUCK, value, step)
    assert last(after).outcome is Outcome.DENIED
    assert last(after).reason.startswith(reason), last(after).reason
    assert after.document is STUCK.document


def test_the_undo_of_a_child_is_not_replaced_from_its_parent() -> None:
    """The child's own undo is, where it failed."""
    child: Saga[Talk] = flow_of(leg("inner"), name="child")
    scene = Scene.start(flow_of(run(child, lambda s: Talk(), name="sub"), leg("b"))).ok("inner").rejects("b")
    inner = f"child/talk/k/sub~{LIFE}"
    stuck = scene.undo_rejects("inner").act(ActName.ABANDON, of=inner)
    assert stuck.step("sub") is StepStatus.UNDO_FAILED
    assert last(replaced(stuck, {"command": {}}, "sub")).reason == (
        "the undo of 'sub' is not a command; act on its child instances"
    )
    mended = scene.undo_rejects("inner").act(ActName.REPLACE_UNDO, step="inner", value={"command": {"n": 4}}, of=inner)
    assert mended.undo_ok("inner").status is Status.COMPENSATED


def test_a_contract_that_is_not_deployed_any_more_asks_an_operator_again() -> None:
    """The command is not lost: with the contract back a retry sends it."""
    one, two = leg("a"), leg("b")
    with_b, without = flow_of(one, two), flow_of(leg("a"), leg("c"))
    stuck = Scene.start(with_b).ok("a").rejects("b").undo_rejects("a")
    crashed = replaced(stuck, {"contract": "do-b", "command": {"n": 4}}, "a").undo_crash("a")
    del two
    steps = {name: record for name, record in crashed.document.steps.items() if name != "b"}
    assert set(steps) == {"a"}
    gone = redeployed(crashed, without).tick()
    assert gone.attention is not None
    assert "b" in gone.attention.message
    back = redeployed(gone, with_b).retry()
    assert from_json(back.open("a", undo=True).payload) == {"n": 4}


def test_parallel_legs_that_are_unwound_wait_for_nothing_but_their_own() -> None:
    """Two undos have failed; the one is replaced, and with it the other is tried again."""
    scene = Scene.start(trip_booking)
    legs = [command.step for command in scene.waiting]
    assert len(legs) > 1
    for step in legs:
        scene = scene.ok(step)
    turned = scene.cancel()
    while not [command for command in turned.waiting if command.undo]:
        turned = turned.ok(turned.waiting[0].step)
    undoing = [command.step for command in turned.waiting if command.undo]
    stuck = turned
    for step in undoing:
        stuck = stuck.undo_rejects(step)
    payload = from_json(turned.open(undoing[0], undo=True).payload)
    after = replaced(stuck, {"command": payload}, undoing[0])
    assert sorted(command.step for command in after.waiting) == sorted(undoing)
