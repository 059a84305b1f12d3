"""Editing the state: a patch is taken as a whole and fits the author's model, or nothing has changed."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, JsonValue, field_validator

from sagaline.orchestrator.kernel import Limits, block, decide
from sagaline.orchestrator.kernel.inspection import inspect
from sagaline.orchestrator.messages.document import Status, StepStatus
from sagaline.orchestrator.messages.inputs import Act, ActName, Arrival, JsonObject
from sagaline.orchestrator.messages.outputs import Change, Decision, Outcome
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Saga
from sagaline.sagas.examples.loan_approval import loan_approval
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.sagas.examples.order_fulfilment import OrderPlaced, order_fulfilment

from .kernel_kit import TOO_LARGE
from .kernel_nodes import flow_of, leg, redeployed

RUNNING = Scene.start(checkout).ok("reserve")
SHIPPING = RUNNING.ok("charge").ok("book")


def edited(scene: Scene, *operations: JsonObject, **more: JsonValue) -> Scene:
    return scene.act(ActName.EDIT, "wrong amount", value={"patch": [*operations], **more}, by="ann")


def last(scene: Scene) -> Decision:
    assert scene.last is not None
    return scene.last


def op(name: str, path: str, **more: JsonValue) -> JsonObject:
    return {"op": name, "path": path, **more}


DEARER = op("replace", "/order/total_cents", value=7)


def test_an_edit_changes_the_state_and_nothing_else() -> None:
    """What is under way stays so; the history tells it, and who asked and why."""
    after = edited(RUNNING, DEARER)
    assert after.state.order.total_cents == 7
    assert (after.document.steps, after.document.timers) == (RUNNING.document.steps, RUNNING.document.timers)
    assert after.sent == RUNNING.sent
    assert last(after).changes == (Change(what="state", before=None, after="edited"),)
    assert after.document.requests[-1].id.startswith("act-")


def test_what_is_sent_next_is_built_from_what_was_edited() -> None:
    """Also an undo."""
    stuck = RUNNING.ok("charge").cancel().ok("book").undo_rejects("book")
    assert stuck.status is Status.ATTENTION
    undoing = edited(stuck, op("replace", "/order/id", value="B-9")).retry()
    assert b'"B-9"' in undoing.open("book", undo=True).payload


def test_an_instance_in_attention_stays_there_until_it_is_retried() -> None:
    """Or it goes on at once, when the edit says so."""
    stuck = SHIPPING.rejects("ship")
    assert stuck.status is Status.ATTENTION
    alone = edited(stuck, DEARER)
    assert (alone.status, alone.attention) == (Status.ATTENTION, stuck.attention)
    assert alone.retry().step("ship") is StepStatus.SENT
    at_once = edited(stuck, DEARER, retry=True)
    assert (at_once.step("ship"), at_once.state.order.total_cents) == (StepStatus.SENT, 7)
    tested = edited(stuck, op("test", "/order/total_cents", value=stuck.state.order.total_cents), retry=True)
    assert tested.step("ship") is StepStatus.SENT


def test_a_patch_that_changes_nothing_is_no_decision() -> None:
    """Neither is one that only tests."""
    same = op("replace", "/payment", value=None)
    for scene in (edited(RUNNING, same), edited(RUNNING, op("test", "/payment", value=None))):
        assert (last(scene).outcome, last(scene).reason) == (Outcome.UNCHANGED, "nothing to change")
        assert scene.document is RUNNING.document


@pytest.mark.parametrize(
    ("operations", "reason"),
    [
        (
            [op("replace", "/order/total_cents", value="much")],
            "the state would not fit Checkout: order.total_cents: Input",
        ),
        ([DEARER, op("remove", "/order")], "the state would not fit Checkout: order: the field is missing, add it"),
        (
            [op("add", "/oder", value=1)],
            "the state would not fit Checkout: oder: there is no such field, remove it or correct its name",
        ),
        (
            [op("add", "/order/totl", value=1)],
            "the state would not fit Checkout: order.totl: there is no such field",
        ),
        (
            [op("replace", "", value=[])],
            "the state would not fit Checkout: the state: Input should be an object",
        ),
        ([op("replace", "/nowhere", value=1)], "operation 1 (replace /nowhere): "),
        (
            [DEARER, op("test", "/order/total_cents", value=8)],
            "operation 2 (test /order/total_cents): 7 (<class 'int'>)",
        ),
        ([op("test", "/order/lines/0/quantity", value=True)], "operation 1 (test /order/lines/0/quantity): 1 ("),
        ([op("frobnicate", "/order")], "operation 1 (frobnicate /order): Unknown operation 'frobnicate'"),
        ([op("add", "/order/id")], "operation 1 (add /order/id): The operation does not contain a 'value' member"),
        ([op("move", "/order")], "operation 1 (move /order): The operation does not contain a 'from' member"),
        ([op("add", "order", value=1)], "operation 1 (add order): Location must start with /"),
        ([{"op": "add", "value": 1}], "operation 1 (add None): Operation must have a 'path' member"),
        ([op("add", 7, value=1)], "operation 1 (add 7): Invalid 'path'"),  # type: ignore[arg-type]  # that is the point
        ([op("add", "/order/lines/-1", value=1)], "operation 1 (add /order/lines/-1): "),
        (["remove"], "the patch must be a list of 1 to 100 operations of RFC 6902, each an object"),
        ([], "the patch must be a list of 1 to 100 operations of RFC 6902, each an object"),
        ([DEARER] * 101, "the patch must be a list of 1 to 100 operations of RFC 6902, each an object"),
    ],
)
def test_an_edit_into_something_invalid_is_refused_and_nothing_changes(
    operations: list[JsonValue], reason: str
) -> None:
    """It says which operation, or which field, and why."""
    for scene in (RUNNING, SHIPPING.rejects("ship")):
        after = scene.act(ActName.EDIT, value={"patch": operations})
        assert last(after).outcome is Outcome.DENIED
        assert last(after).reason.startswith(reason), last(after).reason
        assert after.document is scene.document
        assert (last(after).actions, last(after).changes) == ((), ())


SHAPE = 'an edit needs {"patch": [operations of RFC 6902]}; "retry": true is optional'


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, SHAPE),
        ({}, SHAPE),
        ({"patch": None}, SHAPE),
        ({"patch": [DEARER], "retry": "yes"}, SHAPE),
        ({"patch": [DEARER], "rety": True}, "an edit takes patch and retry, not rety"),
        ({"patch": [DEARER], "retry": True}, "it is running and does not need attention; omit retry"),
        ({"patch": DEARER}, "the patch must be a list of 1 to 100 operations of RFC 6902, each an object"),
    ],
)
def test_an_edit_of_another_shape_is_refused(value: JsonObject | None, reason: str) -> None:
    after = RUNNING.act(ActName.EDIT, value=value)
    assert (last(after).outcome, last(after).reason) == (Outcome.DENIED, reason)
    assert after.document is RUNNING.document


def test_what_has_ended_is_not_edited() -> None:
    ended = RUNNING.cancel().settle()
    after = edited(ended, DEARER)
    assert last(after).reason == "it is compensated and can no longer change"
    assert after.document is ended.document


class Fussy(BaseModel):
    """Keeps what it does not know, and raises for 13."""

    model_config = ConfigDict(extra="allow")
    n: int = 0

    @field_validator("n")
    @classmethod
    def lucky(cls, n: int) -> int:
        if n == 13:
            raise RuntimeError("unlucky")
        return n


def test_the_authors_model_decides_what_it_takes() -> None:
    """Fields that it allows are kept; what its validators raise refuses the edit."""
    scene = Scene.start(Saga("fussy", Fussy, flow=[leg("a", model=Fussy)]))
    assert edited(scene, op("add", "/note", value="x")).document.state == {"n": 0, "note": "x"}
    refused = edited(scene, op("replace", "/n", value=13))
    assert last(refused).reason == "the check of Fussy raised RuntimeError: unlucky"
    assert refused.document is scene.document


def test_a_patch_is_not_changed_by_carrying_it_out() -> None:
    """Later operations work on the state, not on the message that goes into the history."""
    lines: JsonValue = [{"sku": "pen", "quantity": 1}]
    patch = [op("replace", "/order/lines", value=lines), op("replace", "/order/lines/0/quantity", value=5)]
    act = Act(id="r", instance=RUNNING.id, act=ActName.EDIT, value={"patch": [*patch]})
    after = RUNNING.play(act)
    assert after.state.order.lines[0].quantity == 5
    assert lines == [{"sku": "pen", "quantity": 1}]


def test_copies_of_copies_do_not_fill_the_memory() -> None:
    """Sixty doublings are given up when the limit of a document is reached."""
    scene = Scene.start(Saga("fussy", Fussy, flow=[leg("a", model=Fussy)]))
    doubling = [op("copy", "/a/-", **{"from": "/a"}) for _ in range(60)]
    after = edited(scene, op("add", "/a", value=["x" * 1000]), *doubling)
    assert last(after).outcome is Outcome.DENIED
    assert "the limit is 512,000" in last(after).reason
    assert after.document is scene.document


def test_an_edit_whose_document_cannot_be_stored_is_refused() -> None:
    """It does not put the instance into attention, as a message from elsewhere would."""
    act = Act(id="r", instance=RUNNING.id, act=ActName.EDIT, value={"patch": [DEARER]})
    decision = block(RUNNING.document, Arrival(message=act, now_ms=0), TOO_LARGE)
    assert (decision.document, decision.outcome, decision.reason) == (RUNNING.document, Outcome.DENIED, "too large")
    small = decide(checkout, RUNNING.document, Arrival(message=act, now_ms=0), Limits(document_bytes=50))
    assert small.reason.endswith("bytes, the limit is 50")
    assert small.document is RUNNING.document


def test_a_process_manager_is_edited_too() -> None:
    """Its phase and what waits stay."""
    scene = Scene.of(order_fulfilment).receives("order-placed", OrderPlaced(order_id="k", skus=["pen"]), key="k")
    after = edited(scene, op("add", "/skus/-", value="ink"))
    assert last(after).outcome is Outcome.APPLIED, last(after).reason
    assert after.state.skus == ["pen", "ink"]
    assert after.document.managed == scene.document.managed
    assert after.document.timers == scene.document.timers


def test_what_a_routing_slip_carries_is_edited_when_it_is_home() -> None:
    """On its way it would go on with the state as it was."""
    out = Scene.start(loan_approval)
    after = edited(out, op("test", "", value=out.document.state))
    assert last(after).outcome is Outcome.DENIED
    assert last(after).reason.startswith("the slip is on its way to ")
    assert ActName.EDIT not in inspect(loan_approval, out.document).acts
    home = out.ok("score").ok("reserve").rejects("contract")
    assert home.status is Status.COMPENSATING
    assert ActName.EDIT in inspect(loan_approval, home.document).acts
    assert last(edited(home, op("test", "", value=home.document.state))).reason == "nothing to change"


def test_an_edit_waits_for_the_code_like_every_act() -> None:
    """The author's model must be there to check it."""
    scene = Scene.start(flow_of(leg("a"), leg("b"))).ok("a")
    gone = redeployed(scene, flow_of(leg("z")))
    after = edited(gone, op("replace", "/n", value=3))
    assert "the deployed code has no step 'a'" in last(after).reason
