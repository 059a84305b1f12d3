"""Contracts and states that the programs of this folder share."""

from __future__ import annotations

from pydantic import BaseModel

from sagaline.sagas import Contract


class Reserve(BaseModel):
    order_id: str


class Reserved(BaseModel):
    reservation_id: str


class Release(BaseModel):
    order_id: str


class Released(BaseModel):
    was_reserved: bool


class Base(BaseModel):
    """What several sagas know."""

    order_id: str


class Checkout(Base):
    total: int
    stock: Reserved | None = None


class Returns(BaseModel):
    parcel: str


reserve_stock = Contract("reserve-stock", Reserve, Reserved, queue="inventory")
release_stock = Contract("release-stock", Release, Released, queue="inventory")
