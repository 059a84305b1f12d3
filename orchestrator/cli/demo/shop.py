"""The demo's customers: start and query orders over HTTP, as any client would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

import httpx

from ....sagas.examples.order_checkout import checkout
from ....sagas.models import as_json
from ...messages.document import Status
from ..errors import Failure
from ..paths import instance_path
from ..remote import Json
from .scenario import Plan

__all__ = ["Shop"]

_AT_ONCE = 10
_TRIES = 20
_PAUSE_SECONDS = 0.25
_PAGE = 100
_EVERY_PAGE = 10
_SAID_MAX = 500
_ENDED = frozenset({status.value for status in Status if status.is_final} | {Status.ATTENTION.value})


class Shop:
    """An HTTP client of the demo's API."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._looks = 0
        self.seen: dict[str, Json] = {}
        """Orders by instance id, in their last known state."""
        self.where: Json = {"definition": checkout.name}
        """Which instances are looked at."""

    async def start_all(self, plans: Sequence[Plan], *, pause_seconds: float = 0.0) -> None:
        """Starts every order; returns when all are accepted.

        Raises:
            Failure: the API rejected one, or did not accept it in many tries.
        """
        async with asyncio.TaskGroup() as group:
            for plan in plans:
                group.create_task(self._start(plan))
                await asyncio.sleep(pause_seconds)

    async def wait_for(self, instances: Iterable[str]) -> None:
        """Returns when all of them have ended or need attention; ``seen`` is then up to date."""
        waiting = set(instances)
        while True:
            await self.look()
            waiting = {each for each in waiting if self.seen.get(each, {}).get("status") not in _ENDED}
            if not waiting:
                return
            await asyncio.sleep(_PAUSE_SECONDS)

    async def look(self) -> None:
        """Refreshes ``seen``: the newest pages until one contains nothing new, then the open orders.

        Now and then it fetches every page.
        """
        self._looks += 1
        was_open = {id for id, order in self.seen.items() if order["status"] not in _ENDED}
        async for page in self._pages(self.where):
            news = [each for each in page if each["id"] not in self.seen]
            self.seen.update((each["id"], each) for each in page)
            was_open.difference_update(each["id"] for each in page)
            if not news and self._looks % _EVERY_PAGE:
                break
        if was_open:
            async for page in self._pages({**self.where, "status": Status.RUNNING.value}):
                self.seen.update((each["id"], each) for each in page)
                was_open.difference_update(each["id"] for each in page)
        self.seen.update(await self.details(was_open))

    async def _pages(self, filters: Json) -> AsyncIterator[list[Json]]:
        cursor: str | None = None
        while True:
            query = {**filters, "limit": _PAGE} | ({"cursor": cursor} if cursor else {})
            page = await self.get("/v1/instances", query)
            yield page["instances"]
            cursor = page["cursor"]
            if cursor is None:
                return

    async def details(self, instances: Iterable[str]) -> dict[str, Json]:
        """Orders in full, by instance id."""

        async def one(instance: str) -> Json:
            async with self._at_once:
                return await self.get(instance_path(instance), {})

        found = await asyncio.gather(*(one(instance) for instance in instances))
        return {order["id"]: order for order in found}

    async def history(self, instance: str) -> list[Json]:
        """Its decisions, oldest first."""
        page = await self.get(f"{instance_path(instance)}/history", {"limit": _PAGE})
        rows: list[Json] = page["decisions"]
        return rows

    async def _start(self, plan: Plan) -> None:
        body = {"key": plan.order.id, "input": as_json(plan.input)}
        await self.post(f"/v1/sagas/{checkout.name}", body, f"order {plan.order.id}")

    async def post(self, path: str, body: Json, what: str, method: str = "POST") -> None:
        """Sends it until it is accepted; ``what`` names it in the error.

        Raises:
            Failure: the API rejected it, or did not accept it in many tries.
        """
        last = ""
        async with self._at_once:
            for attempt in range(_TRIES):
                if attempt:
                    await asyncio.sleep(_PAUSE_SECONDS)
                try:
                    response = await self._client.request(method, path, json=body)
                except httpx.TransportError as error:
                    last = type(error).__name__
                    continue
                if response.status_code < 300:
                    return
                if response.status_code < 500:
                    raise Failure(f"{what} was rejected: {_detail(response)}")
                last = _detail(response)
        raise Failure(f"{what} was not accepted in {_TRIES} tries; the last answer: {last}")

    async def get(self, path: str, query: Json) -> Json:
        """What the API answers.

        Raises:
            Failure: it was not answered in many tries.
        """
        last = ""
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(_PAUSE_SECONDS)
            try:
                response = await self._client.get(path, params=query)
            except httpx.TransportError as error:
                last = type(error).__name__
                continue
            if response.status_code == httpx.codes.OK:
                found: Json = response.json()
                return found
            last = f"{response.status_code} {_detail(response)}"
            if response.status_code < 500:
                break
        raise Failure(f"GET {path} was not answered: {last}")


def _detail(response: httpx.Response) -> str:
    """The detail of a problem document, or the raw text."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.text
    return str(detail)[:_SAID_MAX]
