"""``Scene``: what happens to an instance gives a new scene, by the real kernel, and nothing else does."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from sagaline.orchestrator.messages.document import Status, StepStatus
from sagaline.orchestrator.scenes.sample import Mentions, NoSampleError, samples
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas.examples.invoice_import import invoice_import
from sagaline.sagas.examples.order_checkout import CardCharged, checkout
from sagaline.sagas.examples.order_fulfilment import order_fulfilment


def test_what_happens_gives_a_new_scene_and_leaves_the_old_one() -> None:
    """A scene can be gone on from twice."""
    reserved = Scene.start(checkout).ok("reserve")
    refused, charged = reserved.rejects("charge"), reserved.ok("charge", CardCharged(charge_id="c1"))
    assert reserved.step("charge") is StepStatus.SENT
    assert refused.status is Status.COMPENSATING
    assert charged.state.payment == CardCharged(charge_id="c1")


def test_every_outcome_of_a_step_can_be_told() -> None:
    """A crash is tried again, exhaustion and silence give up, and what may have happened is undone."""
    scene = Scene.start(checkout).ok("reserve")
    assert scene.crash("charge").step("charge") is StepStatus.BACKOFF
    for given_up in (scene.exhaust("charge"), scene.time_out("charge")):
        ended = given_up.undo_ok("charge").undo_ok("reserve")
        assert ended.status is Status.COMPENSATED
        assert ended.undone == ("order-checkout/k/charge", "order-checkout/k/reserve")


def test_a_late_reply_changes_nothing() -> None:
    """Neither one that comes twice nor one that comes too late."""
    scene = Scene.start(checkout).ok("reserve").rejects("charge")
    assert scene.late("charge").document is scene.document
    assert scene.duplicate("reserve").document is scene.document


def test_an_undo_that_fails_needs_an_operator() -> None:
    """After a retry it goes on."""
    scene = Scene.start(checkout).ok("reserve").cancel().ok("charge").undo_rejects("charge")
    assert scene.status is Status.ATTENTION
    assert scene.attention is not None
    assert scene.retry().settle().status is Status.COMPENSATED


def test_children_and_events_play_along() -> None:
    """A scene holds whoever the instance talks to."""
    rows = Scene.start(invoice_import).ok("count", {"rows": 2})
    assert rows.ok("book", of=rows.waiting[1].instance).ok("book").settle().state.booked == 2
    early = Scene.of(order_fulfilment, key="order_id").receives("order-paid")
    assert early.receives("order-placed").settle().status is Status.COMPLETED


def test_time_passes_only_when_it_is_told_to() -> None:
    """What is due on the way fires."""
    placed = Scene.of(order_fulfilment, key="order_id").receives("order-placed")
    assert placed.advance(timedelta(hours=23)).status is Status.RUNNING
    assert placed.advance(timedelta(hours=24)).status is Status.COMPENSATED


def test_an_answer_that_nobody_waits_for_is_a_mistake_of_the_test() -> None:
    """The message says what is waited for."""
    with pytest.raises(AssertionError, match="no reply to 'charge' is expected; expected: reserve"):
        Scene.start(checkout).ok("charge")


class Inner(BaseModel):
    size: int = Field(gt=3)


class Wide(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    name: str = Field(min_length=8)
    kind: Literal["a", "b"]
    inner: Inner
    flag: bool = False
    note: str | None = None


def test_a_sample_is_the_smallest_valid_value() -> None:
    """Variants differ from it where the author's code looks."""
    assert samples(Wide) == ({"name": "namename", "kind": "a", "inner": {"size": 4}},)
    looked = samples(Wide, Mentions(names=frozenset({"kind", "flag", "note"})))
    assert [{**looked[0], **each} for each in looked] == list(looked)
    assert {(each["kind"], each.get("flag"), each.get("note")) for each in looked} == {
        ("a", None, None),
        ("b", None, None),
        ("a", True, None),
        ("a", None, "note"),
    }


def test_a_model_without_a_sample_is_named() -> None:
    """The author is told to give an example."""

    class Odd(BaseModel):
        code: str = Field(pattern="^[xyz]{7}$")

    with pytest.raises(NoSampleError, match="no valid Odd could be made"):
        samples(Odd)
