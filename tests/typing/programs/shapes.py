"""What the declarations of a normalizer accept."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from sagaline.workers import Worker
from sagaline.workers.shapes import Blob, BlobStore, Normalizer


class Order(BaseModel):
    number: str


class Other(BaseModel): ...


orders = Normalizer(Order, version=2)
worker = Worker("w")
wrong = Normalizer(dict)  # expect: error


@orders.upcasts(from_version=1)
def upcast(document: dict[str, Any]) -> dict[str, Any]:
    return document


@orders.translates("application/json", when={"no"})
def translated(body: dict[str, Any]) -> Order:
    return Order(number=body["no"])


@orders.translates("text/csv", when="no", version=1)
def as_document(rows: list[dict[str, str]]) -> dict[str, str]:
    return rows[0]


@orders.translates("application/json")  # expect: error
def another(body: dict[str, Any]) -> Other:
    return Other()


@worker.consumes("topic", model=orders)
async def take(order: Order) -> None: ...


@worker.consumes("other", model=orders)  # expect: error
async def take_other(order: Other) -> None: ...


def read(value: bytes) -> Order:
    return orders.read(value, {})


async def passed_on(store: BlobStore) -> bytes:
    blob: Blob = await store.put(b"x", media_type="a/b")
    await store.put("text")  # expect: error
    return await store.read(blob)
