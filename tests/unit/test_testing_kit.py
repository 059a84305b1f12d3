"""The test kit itself: each expectation can fail, and says what is so instead."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sagaline import testing
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract
from sagaline.sagas.examples.order_checkout import CardCharged, ChargeCard, charge, checkout, reserve
from sagaline.sagas.examples.trip_booking import TripConfirmed, trip_booking, trip_confirmed
from sagaline.sagas.nodes import parallel, scatter
from sagaline.testing import (
    Expectation,
    Given,
    given,
    has_state,
    has_status,
    needs_attention,
    ok,
    published,
    rejects,
    sent,
    settle,
    undone,
    waits_for,
)

from .kernel_nodes import HOUR, Do, Offer, flow_of, leg


@pytest.fixture
def charging() -> Given:
    return given(checkout).when(ok(reserve))


@pytest.mark.parametrize(
    ("expected", "complaint"),
    [
        (sent("ship"), "sent ship: not sent; sent: charge"),
        (sent(charge, undo=True), "sent the undo of charge: not sent; sent: charge"),
        (sent(charge, ChargeCard(order_id="B", customer="x", amount_cents=7)), "sent charge: sent, but with {"),
        (has_status("completed"), "has status completed: it is running"),
        (has_state(payment=CardCharged(charge_id="c")), "has state payment: payment is None"),
        (has_state(price=7), "has state price: the state has no field price"),
        (waits_for("ship"), "waits for ship: it waits for charge"),
        (waits_for(), "waits for nothing: it waits for charge"),
        (undone(reserve), "undone reserve: undone: nothing"),
        (needs_attention("help"), "needs attention: help: it does not need attention"),
        (published(trip_confirmed), "published trip-confirmed: not published"),
    ],
)
def test_an_expectation_that_does_not_hold_says_what_is_so(
    charging: Given, expected: Expectation, complaint: str
) -> None:
    """Beside the others, which are shown as well, and the instance."""
    with pytest.raises(AssertionError) as failed:
        charging.then(waits_for(charge), expected)
    assert complaint in str(failed.value)
    assert "waits for charge: holds" in str(failed.value)
    assert "order-checkout/k is running" in str(failed.value)


def test_other_bodies_and_other_words_are_told() -> None:
    """What was published, and what the operator is told."""
    done = given(trip_booking).when(settle())
    with pytest.raises(AssertionError, match="published, but with"):
        done.then(published(trip_confirmed, TripConfirmed(trip_id="other", ticket="")))
    stuck = given(checkout).when(
        ok(reserve), testing.cancel(), testing.time_out(charge), testing.undo_rejects(charge, "closed")
    )
    with pytest.raises(AssertionError, match=r"it says '.*closed"):
        stuck.then(needs_attention("open"))
    with pytest.raises(AssertionError, match="its code is 'no'"):
        stuck.then(needs_attention(code="past-pivot"))
    stuck.then(needs_attention("closed", code="no"))


def test_only_what_came_of_the_last_when_counts_as_sent(charging: Given) -> None:
    """``reserve`` left before it."""
    with pytest.raises(AssertionError, match="not sent; sent: charge"):
        charging.then(sent(reserve))
    given(checkout).then(sent(reserve))


def test_a_given_can_be_gone_on_from_twice(charging: Given) -> None:
    """It never changes."""
    charging.when(rejects(charge)).then(has_status("compensating"))
    charging.when(ok(charge)).then(has_status("running"))


def test_whatever_can_happen_can_be_told(charging: Given) -> None:
    """Acts, failures of undos and time."""
    paused = charging.when(testing.pause(), ok(charge)).then(waits_for(), has_status("running"))
    paused.when(testing.resume()).then(waits_for("book"))
    turned = charging.when(testing.crash(charge), testing.cancel())
    failed = turned.when(testing.undo_crash(charge), testing.after(timedelta(hours=1)), testing.undo_exhaust(charge))
    failed.then(has_status("attention"))
    failed.when(testing.retry(), testing.undo_ok(charge), testing.undo_ok(reserve)).then(undone(charge, reserve))


def test_a_reply_that_nobody_waits_for_is_a_mistake_of_the_test() -> None:
    """It says who is waited for."""
    with pytest.raises(AssertionError, match="no reply to 'charge' is expected; expected: reserve"):
        given(checkout).when(ok(charge))
    with pytest.raises(AssertionError, match="the input is not valid: order"):
        given(checkout, {})


def test_a_question_whose_time_is_over_stays_while_an_operator_is_waited_for() -> None:
    """It is closed when somebody retries; silence then is no mistake of the test."""
    quote = Contract("quote", Do, Offer, queue="q")
    question = scatter(quote, queues=("one", "two"), into="offers", deadline=HOUR, name="quotes")(lambda s: Do())
    stuck = Scene.start(flow_of(parallel(question, leg("a", undo=False), name="both"), past_pivot=True)).exhaust("a")
    silent = stuck.time_out("quotes.one")
    assert (silent.status, silent.step("quotes.one"), silent.timers) == ("attention", "sent", [])
    assert silent.retry().step("quotes.one") == "dropped"
