"""One act on many instances: those that a filter finds, page by page, some at once, each asked at most once.

The request id of each is made of the bulk's own id, the act and the instance, so a bulk that broke off is gone on with
by asking for it again: who was asked already is not asked twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import assert_never

from ..errors import ActDenied, InvalidRequest, NotYetDecided, OperatorError, TransientError, UnknownInstance
from ..messages.document import Document
from ..messages.inputs import ActName
from ..messages.outputs import Outcome
from ..messages.reasons import ReasonCode
from ..ports.read_model import InstanceFilter
from .checks import ID_CHARS_MAX, check_act, check_json, check_text
from .client import Client
from .results import OnStep

__all__ = ["Asked", "Bulk", "BulkPage", "Fate", "act_on_many"]

_ID_CHARS_MAX = 128
_ALONE = frozenset({ActName.FORK})
_WAIT = timedelta(seconds=3)
_EVERYBODY = InstanceFilter()


class Fate(StrEnum):
    """What became of one instance of a bulk; in a dry run what would become of it. ``unsure``: it is in the log, and
    was not decided within the wait. ``failed``: it could not be asked; the same bulk again asks it.
    """

    DONE = "done"
    UNCHANGED = "unchanged"
    DENIED = "denied"
    UNSURE = "unsure"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """What is asked of whom.

    Attributes:
        id: of the bulk, at most 128 characters; the same id asks nobody twice.
        act: any but ``fork``, which needs a key for each.
        where: which instances; without a status only those that have not ended.
        older_than: only those whose last change is at least so long ago.
        step: only those in which this step is under way, stuck, or what needs attention. Acts on a step are about it,
            unless ``on`` names another.
        by, reason, on: as of ``Client.act``.
    """

    id: str
    act: ActName
    where: InstanceFilter = _EVERYBODY
    older_than: timedelta | None = None
    step: str = ""
    by: str = ""
    reason: str = ""
    on: OnStep | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One instance of a bulk and what became of it; ``code`` and ``reason``: why it was denied or has failed."""

    instance: str
    fate: Fate
    code: ReasonCode | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkPage:
    """Some instances of a bulk. ``looked_at`` counts those that the filter found, left out by age or step or not.

    ``cursor`` leads to the next page; None: this was the last.
    """

    asked: Sequence[Asked]
    looked_at: int
    cursor: str | None

    @property
    def counts(self) -> dict[Fate, int]:
        """How many of each."""
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
    """Looks at up to ``limit`` instances and asks those that match, at most ``concurrency`` at once.

    Newest start first: nobody is met twice, and nobody who matches all the time is missed; who comes to match meanwhile
    may be. In a dry run everything is decided as the engine would decide it now, and nothing is sent.

    Raises:
        InvalidRequest: what is asked is malformed for everybody; ``field`` says where.
        TransientError: the read model does not answer.
    """
    _check(bulk)
    page = await client.list(bulk.where, limit=limit, cursor=cursor)
    chosen = [document for document in page.documents if _matches(bulk, document, client.now_ms)]
    at_once = asyncio.Semaphore(concurrency)

    async def one(document: Document) -> Asked:
        async with at_once:
            return _rehearsed(client, bulk, document) if dry_run else await _asked(client, bulk, document)

    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(one(document)) for document in chosen]
    return BulkPage(asked=[each.result() for each in asked], looked_at=len(page.documents), cursor=page.cursor)


def _check(bulk: Bulk) -> None:
    if bulk.act in _ALONE:
        raise InvalidRequest(f"{bulk.act} needs a key for each instance; ask it of them one by one", field="act")
    if not bulk.id:
        raise InvalidRequest("a bulk has an id; give one of 1 to 128 characters", field="id")
    if bulk.where == _EVERYBODY and bulk.older_than is None and not bulk.step:
        raise InvalidRequest("it is not said of which instances; give a definition, status, age or step", field="")
    check_text(bulk.id, "id", _ID_CHARS_MAX)
    check_text(bulk.step, "step", ID_CHARS_MAX)
    check_act("bulk/bulk", bulk.act, id=bulk.id, by=bulk.by, reason=bulk.reason, on=_on(bulk))


def _matches(bulk: Bulk, document: Document, now_ms: int) -> bool:
    if bulk.where.status is None and document.status.is_final:
        return False
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


def _rehearsed(client: Client, bulk: Bulk, document: Document) -> Asked:
    decision = client.rehearse(document, bulk.act, by=bulk.by, reason=bulk.reason, on=_on(bulk))
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
    """The same for the same act of the same bulk on the same instance, and for nothing else."""
    on = _on(bulk) or OnStep()
    value = check_json(on.value, "value") if on.value is not None else None
    asked = json.dumps([bulk.act, on.step, value, instance], sort_keys=True)
    return f"{bulk.id}/{hashlib.sha256(asked.encode()).hexdigest()[:32]}"


async def _asked(client: Client, bulk: Bulk, document: Document) -> Asked:
    try:
        acted = await client.act(
            document.id,
            bulk.act,
            by=bulk.by,
            reason=bulk.reason,
            on=_on(bulk),
            request_id=_request_id(bulk, document.id),
            wait=_WAIT,
        )
    except ActDenied as error:
        return Asked(instance=document.id, fate=Fate.DENIED, code=error.code, reason=error.reason)
    except InvalidRequest as error:
        return Asked(instance=document.id, fate=Fate.DENIED, code=ReasonCode.INVALID, reason=str(error))
    except UnknownInstance:
        gone = ReasonCode.NO_SUCH_INSTANCE
        return Asked(instance=document.id, fate=Fate.DENIED, code=gone, reason="there is no such instance any more")
    except NotYetDecided as error:
        return Asked(instance=document.id, fate=Fate.UNSURE, reason=str(error))
    except (TransientError, OperatorError) as error:
        return Asked(instance=document.id, fate=Fate.FAILED, reason=str(error))
    return Asked(instance=document.id, fate=Fate.DONE if acted.changed else Fate.UNCHANGED)
