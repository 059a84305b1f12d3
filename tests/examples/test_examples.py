"""The shipped examples, tested as their authors would: with the test kit."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sagaline.sagas.examples import flight_search as search
from sagaline.sagas.examples import invoice_import as invoices
from sagaline.sagas.examples import loan_approval as lending
from sagaline.sagas.examples import order_checkout as shop
from sagaline.sagas.examples import order_fulfilment as warehouse
from sagaline.sagas.examples import trip_booking as travel
from sagaline.testing import (
    Given,
    after,
    cancel,
    exhaust,
    given,
    has_state,
    has_status,
    needs_attention,
    ok,
    published,
    receives,
    rejects,
    retry,
    sent,
    settle,
    time_out,
    undo_ok,
    undone,
    waits_for,
)

ORDER = shop.Order(id="A-1", customer="ann", lines=[shop.OrderLine(sku="book", quantity=1)], total_cents=4200)
TRIP = travel.Trip(id="T-1", traveller="ann", to="Lisbon", nights=3, insured=True)


@pytest.fixture
def order() -> Given:
    return given(shop.checkout, shop.Checkout(order=ORDER)).then(waits_for(shop.reserve))


@pytest.fixture
def trip() -> Given:
    return given(travel.trip_booking, travel.TripBooking(trip=TRIP)).then(waits_for("flight", "hotel", "car"))


@pytest.fixture
def loan() -> Given:
    small = lending.Application(id="L-1", applicant="ann", amount_cents=90_000)
    return given(lending.loan_approval, lending.Loan(application=small)).then(waits_for("score"))


def booking(reference: str) -> travel.Booked:
    return travel.Booked(reference=reference, price_cents=100)


def test_a_checkout_charges_what_the_order_costs(order: Given) -> None:
    """The command holds the order's own figures."""
    charged = order.when(ok(shop.reserve)).then(
        sent(shop.charge, shop.ChargeCard(order_id="A-1", customer="ann", amount_cents=4200))
    )
    charged.when(settle()).then(has_status("completed"))


def test_a_declined_card_gives_the_stock_back(order: Given) -> None:
    """What the card's company refused is not refunded."""
    declined = order.when(ok(shop.reserve), rejects(shop.charge, "declined"))
    declined.then(has_status("compensating"), sent(shop.reserve, shop.ReleaseStock(order_id="A-1"), undo=True))
    declined.when(undo_ok(shop.reserve)).then(has_status("compensated"), undone(shop.reserve))


def test_a_silent_card_company_may_have_charged_and_is_asked_to_refund(order: Given) -> None:
    """Last done, first undone."""
    silent = order.when(ok(shop.reserve), time_out(shop.charge), undo_ok(shop.charge), undo_ok(shop.reserve))
    silent.then(has_status("compensated"), undone(shop.charge, shop.reserve))


def test_a_parcel_that_was_handed_over_only_goes_forward(order: Given) -> None:
    """Past the pivot a failure needs an operator, and nothing is undone."""
    stuck = order.when(ok(shop.reserve), ok(shop.charge), ok(shop.book), exhaust(shop.ship))
    stuck.then(has_status("attention"), undone(), needs_attention("past the pivot"))
    stuck.when(retry(), ok(shop.ship)).then(has_status("completed"))


def test_a_trip_is_insured_when_asked_for_and_confirmed_at_the_end(trip: Given) -> None:
    """The payment is for everything that was booked."""
    legs = trip.when(*[ok(leg, booking(leg)) for leg in ("flight", "hotel", "car")]).then(waits_for("insurance"))
    pays = legs.when(ok("insurance", booking("insurance")))
    pays.then(sent("pay", travel.Pay(trip_id="T-1", traveller="ann", amount_cents=400)))
    confirmed = pays.when(ok("pay"), ok("ticket", travel.Ticket(number="7")))
    event = travel.TripConfirmed(trip_id="T-1", ticket="7")
    confirmed.then(has_status("completed"), published(travel.trip_confirmed, event))


def test_a_trip_without_insurance_leaves_it_out() -> None:
    """The choice is made once the legs are booked."""
    plain = travel.TripBooking(trip=TRIP.model_copy(update={"insured": False}))
    legs = given(travel.trip_booking, plain).when(ok("flight"), ok("hotel"), ok("car"))
    legs.then(waits_for("pay"))


def test_a_trip_without_a_hotel_cancels_the_other_legs_beside_each_other(trip: Given) -> None:
    """The leg still under way is waited for; then both undos are out at once."""
    full = trip.when(ok("flight"), rejects("hotel", "full"), ok("car"))
    full.then(has_status("compensating"), waits_for("flight", "car"))
    full.when(undo_ok("car"), undo_ok("flight")).then(has_status("compensated"), undone("car", "flight"))


def test_the_cheapest_of_the_offers_in_time_is_held() -> None:
    """A carrier that stays silent is not waited for."""
    asked = given(search.flight_search, search.FlightSearch(journey=_journey()))
    answered = asked.when(ok("offers.carrier-blue", _offer("blue", 900)), ok("offers.carrier-red", _offer("red", 500)))
    held = answered.then(waits_for("offers.carrier-green")).when(after(timedelta(seconds=6)))
    held.then(has_state(offer=_offer("red", 500)), waits_for(search.hold))


def test_a_search_without_any_offer_fails_and_leaves_nothing() -> None:
    """There is nothing to undo."""
    asked = given(search.flight_search, search.FlightSearch(journey=_journey()))
    asked.when(after(timedelta(seconds=6))).then(has_status("compensated"), undone())


def test_an_import_books_every_row_and_tells_the_total() -> None:
    """Rows are instances of their own; the import gathers what they come to."""
    counted = given(invoices.invoice_import, invoices.InvoiceImport(file="may.csv"))
    booked = counted.when(ok(invoices.count, invoices.RowsCounted(rows=45)), settle())
    booked.then(has_status("completed"), has_state(booked=45))


def test_a_cancelled_import_takes_every_booked_row_back() -> None:
    """Whatever was booked: nothing of the file is left."""
    counted = given(invoices.invoice_import, invoices.InvoiceImport(file="may.csv"))
    begun = counted.when(ok(invoices.count, invoices.RowsCounted(rows=25)), ok(invoices.book), ok(invoices.book))
    cancelled = begun.when(cancel("wrong file"), settle()).then(has_status("compensated"))
    assert all(row.status == "compensated" for row in cancelled.scene.documents)


@pytest.mark.parametrize("first", ["placed", "paid"])
def test_an_order_is_fulfilled_in_whatever_order_its_events_come(first: str) -> None:
    """Paid first: the payment is kept until the order is there."""
    happens = [receives(warehouse.order_placed, _placed()), receives(warehouse.order_paid, _paid(), key="O-1")]
    both = given(warehouse.order_fulfilment, key="O-1").when(*(happens if first == "placed" else reversed(happens)))
    fulfilled = both.then(waits_for(warehouse.pick), has_state(paid_cents=900)).when(
        ok(warehouse.pick), ok(warehouse.send, warehouse.ParcelSent(parcel="P-1"))
    )
    event = warehouse.OrderFulfilled(order_id="O-1", parcel="P-1")
    fulfilled.then(has_status("completed"), published(warehouse.order_fulfilled, event))


def test_an_order_that_nobody_pays_is_given_up_after_a_day() -> None:
    """Nothing was picked, so nothing goes back."""
    placed = given(warehouse.order_fulfilment, key="O-1").when(receives(warehouse.order_placed, _placed()))
    placed.when(after(timedelta(hours=23))).then(has_status("running"))
    placed.when(after(timedelta(hours=24))).then(has_status("compensated"), undone())


def test_a_small_loan_passes_no_appraiser(loan: Given) -> None:
    """Each desk sends the file on; the engine only hears of it."""
    paid = loan.when(ok("score", lending.Scored(points=80)), ok("reserve"), ok("contract"), ok("pay"))
    paid.then(has_status("completed"), has_state(appraisal=None))
    assert [command.step for command in paid.scene.sent] == ["score", "reserve", "contract", "pay"]


def test_a_large_loan_is_appraised_first() -> None:
    """Planned at the start."""
    large = lending.Application(id="L-1", applicant="ann", amount_cents=lending.LARGE_CENTS)
    scored = given(lending.loan_approval, lending.Loan(application=large)).when(ok("score"))
    scored.then(waits_for("appraisal"))


def test_a_score_in_the_grey_zone_sends_the_file_to_a_person_first(loan: Given) -> None:
    """The scoring desk revises what lies ahead; the contract is told the score all the same."""
    grey = loan.when(ok("score", lending.Scored(points=55, desks=["review", "reserve", "contract", "pay"])))
    drawn = grey.then(waits_for("review")).when(ok("review"), ok("reserve")).then(waits_for("contract"))
    assert drawn.scene.open("contract").payload == b'{"loan_id":"L-1","points":55}'


def test_a_loan_that_cannot_be_paid_out_is_taken_back(loan: Given) -> None:
    """The contract first, then the funds, by what each desk kept."""
    drawn = loan.when(ok("score"), ok("reserve", lending.FundsReserved(reservation="R-1")), ok("contract"))
    back = drawn.when(rejects("pay")).then(sent("contract", lending.VoidContract(loan_id="L-1"), undo=True))
    freed = back.when(undo_ok("contract")).then(
        sent("reserve", lending.FreeFunds(loan_id="L-1", reservation="R-1"), undo=True)
    )
    freed.when(undo_ok("reserve")).then(has_status("compensated"), undone("contract", "reserve"))


def _journey() -> search.Journey:
    return search.Journey(id="J-1", origin="LIS", destination="OSL", seats=2)


def _offer(carrier: str, price_cents: int) -> search.Offer:
    return search.Offer(carrier=carrier, flight="F1", price_cents=price_cents)


def _placed() -> warehouse.OrderPlaced:
    return warehouse.OrderPlaced(order_id="O-1", skus=["book"])


def _paid() -> warehouse.OrderPaid:
    return warehouse.OrderPaid(order_id="O-1", amount_cents=900)
