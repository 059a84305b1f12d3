"""The workers of the order fulfilment. Some names trigger failures:

- a sku that begins with ``sold-out``: it cannot be picked;
- an order whose id begins with ``lost-``: it is picked and cannot be sent.
"""

from __future__ import annotations

from sagaline.sagas import Rejected
from sagaline.sagas.examples.order_fulfilment import (
    GoodsBack,
    GoodsPicked,
    ParcelRecalled,
    ParcelSent,
    PickGoods,
    PutBack,
    RecallParcel,
    SendParcel,
    pick_goods,
    put_back,
    recall_parcel,
    send_parcel,
)
from sagaline.workers import Context, Inbox, Worker

from .books import note, take_back

__all__ = ["fulfilment_workers"]


def fulfilment_workers(inbox: Inbox) -> tuple[Worker, ...]:
    """The warehouse and the parcels."""
    return _warehouse(inbox), _parcels(inbox)


def _warehouse(inbox: Inbox) -> Worker:
    worker = Worker("warehouse", inbox=inbox)

    @worker.handles(pick_goods)
    async def pick(command: PickGoods, ctx: Context) -> GoodsPicked | Rejected:
        if any(sku.startswith("sold-out") for sku in command.skus):
            return Rejected("sold out", code="out_of_stock")
        note(ctx, "goods", command.order_id)
        return GoodsPicked(box=f"BOX-{command.order_id}")

    @worker.handles(put_back)
    async def back(command: PutBack, ctx: Context) -> GoodsBack:
        return GoodsBack(were_picked=take_back(ctx))

    return worker


def _parcels(inbox: Inbox) -> Worker:
    worker = Worker("parcels", inbox=inbox)

    @worker.handles(send_parcel)
    async def send(command: SendParcel, ctx: Context) -> ParcelSent | Rejected:
        if command.order_id.startswith("lost-"):
            return Rejected("no carrier goes there", code="no_carrier")
        note(ctx, "parcel", command.order_id)
        return ParcelSent(parcel=f"PX-{command.order_id}")

    @worker.handles(recall_parcel)
    async def recall(command: RecallParcel, ctx: Context) -> ParcelRecalled:
        return ParcelRecalled(was_sent=take_back(ctx))

    return worker
