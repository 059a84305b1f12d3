"""The pages of the dashboard as tests and screenshots visit them: the address, and a text that shows it is complete."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["PLACES"]


class Place(NamedTuple):
    place: str
    shows: str


PLACES: Final = {
    "overview": Place("overview", "steps that take longer than expected"),
    "instances": Place("instances", "A-1001"),
    "instances-none": Place("instances?status=abandoned", "No instance is like this"),
    "instance-completed": Place("instances/order-checkout/A-1001", "History"),
    "instance-compensated": Place("instances/order-checkout/A-1002", "History"),
    "instance-attention": Place("instances/parcel-return/lost-1", "History"),
    "instance-question": Place("instances/parcel-return/whole-1", "History"),
    "instance-children": Place("instances/gift/G-1", "1 instance, in the order of their start"),
    "instance-edit": Place("instances/parcel-return/whole-2?act=edit", "Nothing is changed yet."),
    "instance-cancel": Place("instances/parcel-return/whole-2?act=cancel", "This is undone, in this order:"),
    "attention": Place("attention", "What can be done"),
    "questions": Place("questions", "Answer…"),
    "dead": Place("dead", "Letter"),
    "letter": Place("dead/0-0", "What was done"),
    "parked": Place("parked", "Redrive"),
    "limits": Place("queues?act=limits", "Add a limit"),
    "definitions": Place("definitions?case=parcel-return", "Versions"),
    "definition-start": Place("definitions?case=parcel-return&act=start", "Key"),
    "queues": Place("queues", "Nobody reads"),
    "schedules": Place("schedules", "Last starts"),
    "tables": Place("tables", "Changes"),
    "log": Place("log", "parcel-return/whole-3"),
    "records": Place("log/records?topic=shop.state", "Latest of each key"),
    "instance-unknown": Place("instances/order-checkout/A-404", "No such instance"),
}
