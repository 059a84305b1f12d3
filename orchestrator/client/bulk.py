"""One act on many instances: those that match a filter, page by page, several at once, each at most once.

Each request id is derived from the bulk's id, the act and the instance. So an interrupted bulk continues when it is
sent again: no instance gets the act twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple, Protocol, assert_never

from ..errors import (
    ActDenied,
    InvalidRequest,
    NotYetDecided,
    OperatorError,
    TransientError,
    UnknownInstance,
    ValueTooLarge,
)
from ..messages.document import Document, Status
from ..messages.inputs import ActName
from ..messages.outputs import Outcome
from ..messages.reasons import ReasonCode
from ..ports.read_model import InstanceFilter
from .checks import ID_CHARS_MAX, check_act, check_id, check_json, check_text
from .client import Client
from .results import Caller, OnStep

__all__ = ["BULK_WAIT", "Asked", "Bulk", "BulkPage", "Fate", "act_on_many", "asked_of", "part_id"]

INSTANCES_MAX = 100
_ALONE = frozenset({ActName.FORK})
BULK_WAIT = timedelta(seconds=3)
_EVERYBODY = InstanceFilter()
_OPEN = tuple(status for status in Status if not status.is_final)


class Fate(StrEnum):
    """The result for one instance of a bulk; in a dry run the expected result. ``unsure``: the request is in the log
    and was not decided within the wait. ``failed``: the request could not be sent; the same bulk again retries it.
    """

    DONE = "done"
    UNCHANGED = "unchanged"
    DENIED = "denied"
    UNSURE = "unsure"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """An act and the instances it is for.

    Attributes:
        id: of the bulk, at most 256 characters; with the same id no instance gets the act twice.
        act: any act except ``fork``, which needs a key for each instance.
        where: which instances; without a status only those that have not ended.
        instances: exactly these, instead of ``where``, ``older_than`` and ``step``; at most 100. Those that do not
            exist are denied.
        older_than: only instances whose last change is at least this long ago.
        step: only instances in which this step is under way, stuck, or needs attention. An act on a step is about this
            step, unless ``on`` names another.
        by, reason, on: as for ``Client.act``.
    """

    id: str
    act: ActName
    where: InstanceFilter = _EVERYBODY
    instances: Sequence[str] = ()
    older_than: timedelta | None = None
    step: str = ""
    by: str | Caller = ""
    reason: str = ""
    on: OnStep | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One instance (or dead letter) of a bulk and its result; ``code`` and ``reason``: why it was denied or failed."""

    instance: str
    fate: Fate
    code: ReasonCode | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkPage:
    """Some instances of a bulk. ``looked_at`` counts those that match the filter, before age and step are applied.

    ``cursor`` selects the next page; None: this is the last page.
    """

    asked: Sequence[Asked]
    looked_at: int
    cursor: str | None

    @property
    def counts(self) -> dict[Fate, int]:
        """The number of instances per result."""
        found = Counter(each.fate for each in self.asked)
        return {fate: found[fate] for fate in Fate}


async def act_on_many(
    client: Client,
    bulk: Bulk,
    *,
    dry_run: bool,
    limit: int = 50,
    cursor: str | None = None,
    concurrency: int = 10,
) -> BulkPage:
    """Looks at up to ``limit`` instances and sends the act to those that match, at most ``concurrency`` at once.

    Newest start first: no instance is visited twice, except one that begins a new run meanwhile, and none that matches
    all the time is missed; one that begins to match meanwhile may be missed. A dry run decides everything as the engine
    would now, and sends nothing.

    Raises:
        InvalidRequest: the request is malformed for all instances; ``field`` says where.
        TransientError: the read model does not answer.
    """
    _check(bulk)
    page = await _page(client, bulk, limit, cursor)
    chosen = [each for each in page.found if isinstance(each, Asked) or _matches(bulk, each, client.now_ms)]
    at_once = asyncio.Semaphore(concurrency)

    async def one(found: Document | Asked) -> Asked:
        if isinstance(found, Asked):
            return found
        async with at_once:
            return await (_rehearsed if dry_run else _asked)(client, bulk, found)

    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(one(each)) for each in chosen]
    return BulkPage(asked=[each.result() for each in asked], looked_at=len(page.found), cursor=page.cursor)


class _Page(NamedTuple):
    """What a bulk looks at, and in place of an instance that does not exist its result."""

    found: Sequence[Document | Asked]
    cursor: str | None


async def _page(client: Client, bulk: Bulk, limit: int, cursor: str | None) -> _Page:
    if bulk.instances:
        return _Page([await _named(client, each) for each in dict.fromkeys(bulk.instances)], None)
    where = bulk.where if bulk.where.statuses else bulk.where._replace(statuses=_OPEN)
    return _Page(*await client.list(where, limit=limit, cursor=cursor))


async def _named(client: Client, instance: str) -> Document | Asked:
    try:
        return await client.get(instance)
    except UnknownInstance:
        return _gone(instance)


def _gone(instance: str) -> Asked:
    reason = "there is no such instance, or no longer"
    return Asked(instance=instance, fate=Fate.DENIED, code=ReasonCode.NO_SUCH_INSTANCE, reason=reason)


def _check(bulk: Bulk) -> None:
    if bulk.instances and (bulk.where != _EVERYBODY or bulk.older_than is not None or bulk.step):
        text = "the bulk names instances and conditions, age or step; give one of them (the step of the act is on_step)"
        raise InvalidRequest(text, field="instances")
    if len(bulk.instances) > INSTANCES_MAX:
        text = f"the bulk names {len(bulk.instances):,} instances; give at most {INSTANCES_MAX}"
        raise InvalidRequest(text, field="instances")
    if bulk.act in _ALONE:
        raise InvalidRequest(f"{bulk.act} needs a key for each instance; send it to each instance", field="act")
    check_id(bulk.id)
    if bulk.where == _EVERYBODY and not bulk.instances and bulk.older_than is None and not bulk.step:
        raise InvalidRequest("the bulk selects no instances; give a definition, status, age or step", field="")
    check_text(bulk.step, "step", ID_CHARS_MAX)
    check_act("bulk/bulk", bulk.act, id=bulk.id, by=bulk.by, reason=bulk.reason, on=_on(bulk))


def _matches(bulk: Bulk, document: Document, now_ms: int) -> bool:
    if bulk.older_than is not None and now_ms - document.updated_ms < bulk.older_than.total_seconds() * 1000:
        return False
    if not bulk.step:
        return True
    record = document.steps.get(bulk.step)
    needs = document.attention is not None and document.attention.step == bulk.step
    return needs or (record is not None and record.status.is_live)


def _on(bulk: Bulk) -> OnStep | None:
    on = bulk.on or OnStep()
    return OnStep(on.step or bulk.step, on.value) if on.step or bulk.step or on.value is not None else None


async def _rehearsed(client: Client, bulk: Bulk, document: Document) -> Asked:
    try:
        decision = await client.rehearse(document, bulk.act, by=bulk.by, reason=bulk.reason, on=_on(bulk))
    except InvalidRequest as error:
        return Asked(instance=document.id, fate=Fate.DENIED, code=ReasonCode.INVALID, reason=str(error))
    match decision.outcome:
        case Outcome.APPLIED | Outcome.DEFERRED:
            return Asked(instance=document.id, fate=Fate.DONE)
        case Outcome.UNCHANGED:
            return Asked(instance=document.id, fate=Fate.UNCHANGED, code=decision.code, reason=decision.reason)
        case Outcome.DENIED | Outcome.IGNORED:
            return Asked(instance=document.id, fate=Fate.DENIED, code=decision.code, reason=decision.reason)
        case _:
            assert_never(decision.outcome)


def _request_id(bulk: Bulk, instance: str) -> str:
    """Unique for the act and the instance, and always the same for them."""
    on = _on(bulk) or OnStep()
    value = check_json(on.value, "value") if on.value is not None else None
    return part_id(bulk.id, json.dumps([bulk.act, on.step, value, instance], sort_keys=True))


def part_id(bulk: str, part: str) -> str:
    """The request id of a part of a bulk: of each bulk and part another one, which begins as the bulk's id."""
    return f"{bulk[:128]}/{hashlib.sha256(f'{len(bulk)}/{bulk}/{part}'.encode()).hexdigest()[:32]}"


async def _asked(client: Client, bulk: Bulk, document: Document) -> Asked:
    return await asked_of(
        document.id,
        client.act(
            document.id,
            bulk.act,
            by=bulk.by,
            reason=bulk.reason,
            on=_on(bulk),
            request_id=_request_id(bulk, document.id),
            wait=BULK_WAIT,
        ),
    )


class _Acted(Protocol):
    @property
    def changed(self) -> bool: ...


async def asked_of(id: str, acting: Awaitable[_Acted]) -> Asked:
    """The result of one act of a bulk. Raises nothing that concerns only this one."""
    try:
        acted = await acting
    except ActDenied as error:
        return Asked(instance=id, fate=Fate.DENIED, code=error.code, reason=error.reason)
    except (InvalidRequest, ValueTooLarge) as error:
        return Asked(instance=id, fate=Fate.DENIED, code=ReasonCode.INVALID, reason=str(error))
    except UnknownInstance:
        return _gone(id)
    except NotYetDecided as error:
        return Asked(instance=id, fate=Fate.UNSURE, reason=str(error))
    except (TransientError, OperatorError) as error:
        return Asked(instance=id, fate=Fate.FAILED, reason=str(error))
    return Asked(instance=id, fate=Fate.DONE if acted.changed else Fate.UNCHANGED)
