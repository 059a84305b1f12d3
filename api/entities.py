"""Routes that show locks and mailboxes: holders, waiters and kept events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, JsonValue

from ..orchestrator.client import Client
from ..orchestrator.client.checks import check_key
from ..orchestrator.messages.entities import Grant, Lock, Mailbox
from ..orchestrator.messages.outputs import shown_label
from .bodies import Json
from .identity import Permission, needs
from .paths import segment_of
from .problems import documented
from .queries import Cursor, Limit, only
from .views import iso

__all__ = ["entities_router"]

Waiting = Annotated[bool, Query(description="only those that have waiters")]


class GrantView(BaseModel):
    """A holder or waiter of a lock: for which step, since when."""

    instance: str
    step: str
    since: str


class LockView(BaseModel):
    """``holder`` null: it is free."""

    name: str
    holder: GrantView | None
    waiting: list[GrantView] = Field(description="in the order in which they get it")


class LockList(BaseModel):
    """A page of held locks, by name."""

    locks: list[LockView]
    cursor: str | None = Field(description="pass it on as ?cursor= for the next page; null: this is the last page")


class WatcherView(BaseModel):
    instance: str
    step: str


class KeptEventView(BaseModel):
    """An event that is kept for instances that wait for it later."""

    id: str
    body: dict[str, JsonValue]
    until: str
    taken_by: list[str] = Field(description="instances that received it")


class MailboxSummary(BaseModel):
    event: str
    key: str
    waiting: int = Field(description="number of waiters")
    kept: int = Field(description="number of kept events")


class MailboxView(BaseModel):
    """A mailbox; empty when nothing waits and no event is kept."""

    event: str
    key: str
    waiting: list[WatcherView]
    kept: list[KeptEventView]


class MailboxList(BaseModel):
    """A page of mailboxes, by event and key."""

    mailboxes: list[MailboxSummary]
    cursor: str | None = Field(description="pass it on as ?cursor= for the next page; null: this is the last page")


def entities_router(client: Client) -> APIRouter:
    """Read-only routes."""
    router = APIRouter(prefix="/v1", tags=["entities"])
    _add_locks(router, client)
    _add_mailboxes(router, client)
    return router


def _add_locks(router: APIRouter, client: Client) -> None:
    @router.get(
        "/locks",
        response_model=LockList,
        summary="List held semantic locks and their waiters",
        responses=documented(401, 403, 422, 503),
    )
    @needs(Permission.VIEW)
    async def list_locks(
        request: Request,
        *,
        prefix: Annotated[str, Query(max_length=512, description="only names that start with this")] = "",
        waiting: Waiting = False,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        only(request, "prefix", "waiting", "limit", "cursor")
        page = await client.locks.list(prefix, waiting=waiting, limit=limit, cursor=cursor)
        return Json(LockList(locks=[_lock(each) for each in page.entities], cursor=page.cursor))

    @router.get(
        "/locks/{name}",
        response_model=LockView,
        summary="Show the holder and the waiters of a lock",
        responses=documented(401, 403, 422, 503),
    )
    @needs(Permission.VIEW)
    async def get_lock(request: Request, name: str) -> Response:
        only(request)
        text = segment_of(name, "name")
        return Json(_lock(await client.locks.get(text) or Lock(id="", name=text)))


def _add_mailboxes(router: APIRouter, client: Client) -> None:
    @router.get(
        "/mailboxes",
        response_model=MailboxList,
        summary="List mailboxes that have waiters or kept events",
        responses=documented(401, 403, 422, 503),
    )
    @needs(Permission.VIEW)
    async def list_mailboxes(
        request: Request,
        *,
        event: Annotated[str | None, Query(max_length=64, description="only of this event")] = None,
        waiting: Waiting = False,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        only(request, "event", "waiting", "limit", "cursor")
        page = await client.mailboxes.list(event, waiting=waiting, limit=limit, cursor=cursor)
        return Json(MailboxList(mailboxes=[_summary(each) for each in page.entities], cursor=page.cursor))

    @router.get(
        "/mailboxes/{event}/{key}",
        response_model=MailboxView,
        summary="Show the waiters and the kept events of an event and key",
        responses=documented(401, 403, 422, 503),
    )
    @needs(Permission.VIEW)
    async def get_mailbox(request: Request, event: str, key: str) -> Response:
        only(request)
        name, text = segment_of(event, "event"), check_key(segment_of(key, "key"))
        return Json(_mailbox(await client.mailboxes.get(name, text) or Mailbox(id="", event=name, key=text)))


def _lock(lock: Lock) -> LockView:
    holder = _grant(lock.holder) if lock.holder is not None else None
    return LockView(name=lock.name, holder=holder, waiting=[_grant(each) for each in lock.waiting])


def _grant(grant: Grant) -> GrantView:
    return GrantView(instance=grant.by, step=shown_label(grant.place), since=iso(grant.at_ms))


def _summary(box: Mailbox) -> MailboxSummary:
    return MailboxSummary(event=box.event, key=box.key, waiting=len(box.watchers), kept=len(box.kept))


def _mailbox(box: Mailbox) -> MailboxView:
    return MailboxView(
        event=box.event,
        key=box.key,
        waiting=[WatcherView(instance=each.by, step=shown_label(each.place)) for each in box.watchers],
        kept=[
            KeptEventView(
                id=each.id,
                body=each.body,
                until=iso(each.until_ms),
                taken_by=[taker.by for taker in each.taken_by],
            )
            for each in box.kept
        ],
    )
