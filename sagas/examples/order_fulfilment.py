"""Order fulfilment: a process manager. What happens next depends on which events have arrived, in any order.

An order is placed and paid, or paid and placed; then it is picked and shipped. An order that is not paid within a day,
or is called off before the parcel is sent, fails: picked goods are put back, and a parcel that may have been sent is
recalled.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, Field

from sagaline.sagas import Contract, Event, Retry, step
from sagaline.sagas.nodes import emit
from sagaline.sagas.process_manager import Next, ProcessManager


class OrderPlaced(BaseModel):
    order_id: str = Field(min_length=1, max_length=64)
    skus: list[str] = Field(min_length=1, max_length=100)


class OrderPaid(BaseModel):
    order_id: str
    amount_cents: int = Field(ge=0)


class OrderCalledOff(BaseModel):
    order_id: str
    reason: str


class OrderFulfilled(BaseModel):
    order_id: str
    parcel: str


class PickGoods(BaseModel):
    order_id: str
    skus: list[str]


class GoodsPicked(BaseModel):
    box: str


class PutBack(BaseModel):
    order_id: str


class GoodsBack(BaseModel):
    were_picked: bool


class SendParcel(BaseModel):
    order_id: str


class ParcelSent(BaseModel):
    parcel: str


class RecallParcel(BaseModel):
    order_id: str


class ParcelRecalled(BaseModel):
    was_sent: bool


order_placed = Event("order-placed", OrderPlaced)
order_paid = Event("order-paid", OrderPaid)
order_called_off = Event("order-called-off", OrderCalledOff)
order_fulfilled = Event("order-fulfilled", OrderFulfilled)
pick_goods = Contract("pick-goods", PickGoods, GoodsPicked, queue="warehouse")
put_back = Contract("put-back", PutBack, GoodsBack, queue="warehouse")
send_parcel = Contract("send-parcel", SendParcel, ParcelSent, queue="parcels")
recall_parcel = Contract("recall-parcel", RecallParcel, ParcelRecalled, queue="parcels")


class Fulfilment(BaseModel):
    """The state of a fulfilment."""

    order_id: str
    skus: list[str]
    paid_cents: int = 0
    goods: GoodsPicked | None = None
    sent: ParcelSent | None = None


@step(pick_goods, into="goods")
def pick(s: Fulfilment) -> PickGoods:
    return PickGoods(order_id=s.order_id, skus=s.skus)


@pick.undo(put_back)
def unpick(s: Fulfilment) -> PutBack:
    return PutBack(order_id=s.order_id)


@step(send_parcel, into="sent", retry=Retry(max_attempts=10))
def send(s: Fulfilment) -> SendParcel:
    return SendParcel(order_id=s.order_id)


@send.undo(recall_parcel)
def recall(s: Fulfilment) -> RecallParcel:
    return RecallParcel(order_id=s.order_id)


def fulfilled(s: Fulfilment) -> OrderFulfilled:
    return OrderFulfilled(order_id=s.order_id, parcel=s.sent.parcel if s.sent else "")


announce = emit(order_fulfilled, fulfilled, key=lambda s: s.order_id, name="announce")

order_fulfilment = ProcessManager("order-fulfilment", Fulfilment, version=1, steps=[pick, send])


@order_fulfilment.starts_on(order_placed, key=lambda e: e.order_id)
def placed(e: OrderPlaced) -> Next[Fulfilment]:
    known = Fulfilment(order_id=e.order_id, skus=e.skus)
    return Next("unpaid", known, timers={"payment": timedelta(days=1)})


@order_fulfilment.on(order_paid, key=lambda e: e.order_id, when="unpaid")
def paid(s: Fulfilment, e: OrderPaid) -> Next[Fulfilment]:
    return Next("picking", s.model_copy(update={"paid_cents": e.amount_cents}), do=[pick], clear=["payment"])


@order_fulfilment.on_timer("payment", when="unpaid")
def unpaid(s: Fulfilment) -> Next[Fulfilment]:
    return Next.fail("not paid within a day")


@order_fulfilment.on(order_called_off, key=lambda e: e.order_id, when=["unpaid", "picking"])
def called_off(s: Fulfilment, e: OrderCalledOff) -> Next[Fulfilment]:
    return Next.fail(f"called off: {e.reason}")


@order_fulfilment.on_done(pick, when="picking")
def picked(s: Fulfilment) -> Next[Fulfilment]:
    return Next("sending", do=[send])


@order_fulfilment.on_done(send, when="sending")
def sent(s: Fulfilment) -> Next[Fulfilment]:
    return Next.complete(emit=[announce])
