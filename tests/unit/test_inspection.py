"""The case of an instance: what an operator is told is what the acts then do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from sagaline.api import create_app
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.cli.output import inspection_view
from sagaline.orchestrator.kernel import block
from sagaline.orchestrator.kernel.acts import ON_STEPS
from sagaline.orchestrator.kernel.inspection import Inspection, inspect
from sagaline.orchestrator.messages.inputs import ActName, Arrival, JsonObject, TimerFired
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.messages.reasons import Reason, ReasonCode, not_now
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas.examples.order_checkout import checkout

from .kernel_kit import TOO_LARGE
from .stack import order, stack


def of(scene: Scene) -> Inspection:
    return inspect(checkout, scene.document)


CHARGED = Scene.start(checkout).ok("reserve").ok("charge")
SHIPPING = CHARGED.ok("book").exhaust("ship")
UNDO_FAILED = CHARGED.cancel().ok("book").undo_rejects("book")
BLOCKED = block(
    CHARGED.document,
    Arrival(message=TimerFired(id="t", instance=CHARGED.id, timer="x", due_ms=1), now_ms=0),
    TOO_LARGE,
).document
assert BLOCKED is not None
SCENES = {
    "charged": CHARGED,
    "crashed": CHARGED.crash("book"),
    "past pivot": SHIPPING,
    "undo failed": UNDO_FAILED,
    "undoing": CHARGED.cancel().ok("book"),
    "paused": CHARGED.act(ActName.PAUSE),
    "ended": CHARGED.ok("book").ok("ship"),
    "blocked": replace(CHARGED, entities={CHARGED.id: BLOCKED}),
    "abandoned": SHIPPING.act(ActName.ABANDON),
    "compensated": CHARGED.cancel().ok("book").settle(),
}


def test_a_cancel_undoes_what_was_said_in_that_order() -> None:
    """What is under way first, after its answer."""
    told = of(CHARGED).cancel
    assert (told.denied, told.awaited, told.stays) == (None, ("book",), ())
    assert [each.step for each in told.undone] == ["book", "charge", "reserve"]
    assert [each.undo for each in told.undone] == ["cancel-carrier", "refund-card", "release-stock"]
    done = CHARGED.cancel().ok("book").settle()
    assert [key.rpartition("/")[2] for key in done.undone] == [each.step for each in told.undone]


def test_a_cancel_that_would_be_refused_says_why() -> None:
    """Past the pivot, and when it is being unwound already."""
    past = Reason(ReasonCode.PAST_PIVOT, "it is past its pivot and can only go forward")
    assert of(SHIPPING).cancel.denied == past
    unwound = not_now("it is already compensating and an undo needs attention; retry it")
    assert of(UNDO_FAILED).cancel.denied == unwound
    assert of(SCENES["ended"]).cancel.denied == not_now("it is completed and can no longer change")


def test_what_stands_is_named_with_what_takes_it_back() -> None:
    """Of an undo that fails all that is behind it as well."""
    stands = of(UNDO_FAILED).outstanding
    assert [(each.step, each.status.value) for each in stands] == [
        ("book", "undo_failed"),
        ("charge", "done"),
        ("reserve", "done"),
    ]
    assert stands[0].error == "no"


BRINGS: dict[ActName, JsonObject | None] = {
    ActName.EDIT: {"patch": [{"op": "replace", "path": "/order/total_cents", "value": 7}]},
    ActName.REPLACE_UNDO: {"command": {"order_id": "x"}},
    ActName.FORK: {"key": "new"},
}
REPLIES: dict[str, JsonObject] = {
    "reserve": {"reservation_id": "r"},
    "charge": {"charge_id": "c"},
    "book": {"carrier": "x"},
    "ship": {"tracking_number": "7"},
}


@pytest.mark.parametrize("name", SCENES)
def test_exactly_the_acts_that_are_named_are_taken(name: str) -> None:
    """Each act is tried; those on steps with what they bring."""
    scene, case = SCENES[name], of(SCENES[name])
    for act in ActName:
        if act in (ActName.ANSWER, ActName.CLAIM, ActName.ASSIGN):
            continue
        for step in list(scene.document.steps) if act in ON_STEPS else [""]:
            value = REPLIES[step] if act is ActName.SKIP else BRINGS.get(act)
            tried = scene.act(act, "insured", step=step, value=value)
            assert tried.last is not None
            named = act in case.acts if not step else (step, act) in case.on_steps
            assert (tried.last.outcome is Outcome.APPLIED) == named, (act, step, tried.last.reason)


def test_what_is_not_deployed_can_only_be_abandoned() -> None:
    """Every other act needs the author's code."""
    for document in (CHARGED.document, SHIPPING.document):
        case = inspect(None, document)
        assert case.acts == ((ActName.ABANDON,) if document.attention else ())
        assert case.on_steps == ()


def test_what_is_being_taken_back_cannot_be_skipped() -> None:
    """A restart takes it back; the case says so as the act does."""
    undoing = SCENES["blocked"].act(ActName.RESTART, step="charge")
    assert undoing.open("book", undo=True)
    assert [act for _, act in of(undoing).on_steps if act is ActName.SKIP] == []


async def test_the_case_is_told_over_http_and_by_the_command_line(tmp_path: Path) -> None:
    """With everything that the kernel says."""
    async with stack(tmp_path) as up:
        app = create_app(up.client, clock=SystemClock())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
            await api.post("/v1/sagas/order-checkout", json={"key": "A-1", "input": order()})
            case = (await api.get("/v1/instances/order-checkout/A-1/inspection")).json()
            assert (await api.get("/v1/instances/order-checkout/B-1/inspection")).status_code == 404
    assert (case["attention"], case["acts"]) == (None, ["cancel", "pause", "edit"])
    assert case["on_steps"] == [{"step": "reserve", "act": "skip"}, {"step": "reserve", "act": "fork"}]
    assert case["cancel"]["awaited"] == ["reserve"]
    shown = "\n".join(str(line) for line in inspection_view(case).renderables)  # type: ignore[union-attr]
    assert "cancel would undo, in this order: reserve (sent, by release-stock)" in shown
