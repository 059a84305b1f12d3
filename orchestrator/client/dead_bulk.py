"""One act on many dead letters: those that match a filter, in the order of their topic, page by page, at a given rate.

Letters of one key of one topic are acted upon one after the other, each decided before the next; different keys at
once. After a letter that is not decided or could not be sent the rest of its key has failed: the order of a key holds.
The mark of each letter decides whether it was redriven: a bulk that was interrupted is simply sent again.
"""

from __future__ import annotations

import asyncio
from asyncio import sleep
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import InvalidRequest
from ..messages.dead import DeadAct
from ..messages.entities import DeadStatus
from ..ports.read_model import LetterFilter, LetterRow
from .bulk import BULK_WAIT, Asked, BulkPage, Fate, asked_of, part_id
from .checks import BY_CHARS_MAX, REASON_CHARS_MAX, check_id, check_text
from .client import Client
from .options import RequestOptions

__all__ = ["DeadBulk", "act_on_letters"]

_AT_ONCE = 10
_PER_SECOND_MIN = 0.1
"""A page has at least one letter and is answered before any requester gives up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadBulk:
    """An act and the dead letters it is for.

    Attributes:
        id: of the bulk, at most 256 characters.
        act: ``redrive`` or ``discard``.
        where: which letters; without a state only those that are open.
        by, reason: as in ``RequestOptions``.
        per_second: the most letters per second, 0.1 or more; None: as fast as they are decided.
    """

    id: str
    act: DeadAct
    where: LetterFilter = field(default_factory=LetterFilter)
    by: str = ""
    reason: str = ""
    per_second: float | None = None


async def act_on_letters(
    client: Client, bulk: DeadBulk, *, dry_run: bool, limit: int = 50, cursor: str | None = None
) -> BulkPage:
    """Looks at up to ``limit`` letters and sends the act to each. A dry run says what would be done and sends nothing.

    If some are unsure or have failed, send the bulk again from its first page: a later page may have letters of their
    keys.

    Raises:
        InvalidRequest: the request is malformed for all letters; ``field`` says where.
        TransientError: the read model does not answer.
    """
    _check(bulk)
    where = bulk.where if bulk.where.state is not None else bulk.where._replace(state=DeadStatus.OPEN)
    page = await client.dead.list(where, limit=limit, cursor=cursor, oldest_first=True)
    if dry_run:
        asked = [_expected(client, bulk, row) for row in page.letters]
        return BulkPage(asked=asked, looked_at=len(asked), cursor=page.cursor)
    pace = _Pace(bulk.per_second, begins=cursor is None)
    lanes: dict[tuple[str, str | None], list[LetterRow]] = {}
    for row in page.letters:
        lanes.setdefault((row.record.topic, row.record.key), []).append(row)
    done: dict[str, Asked] = {}
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def lane(rows: Sequence[LetterRow]) -> None:
        async with at_once:
            decided = True
            for row in rows:
                if decided:
                    await pace.turn()
                asked = await _asked(client, bulk, row) if decided else _after_undecided(row)
                decided = asked.fate not in (Fate.UNSURE, Fate.FAILED)
                done[row.record.name] = asked

    async with asyncio.TaskGroup() as group:
        for rows in lanes.values():
            group.create_task(lane(rows))
    asked = [done[row.record.name] for row in page.letters]
    return BulkPage(asked=asked, looked_at=len(asked), cursor=page.cursor)


class _Pace:
    """Spaces letters evenly. The first letter of the first page does not wait."""

    def __init__(self, per_second: float | None, *, begins: bool) -> None:
        self._seconds = 0.0 if per_second is None else 1 / per_second
        self._next = 0.0 if begins else self._seconds
        self._one = asyncio.Lock()

    async def turn(self) -> None:
        async with self._one:
            if self._next:
                await sleep(self._next)
            self._next = self._seconds


def _check(bulk: DeadBulk) -> None:
    check_id(bulk.id)
    if bulk.act is DeadAct.EDIT:
        raise InvalidRequest("letters are edited one by one; redrive or discard many", field="act")
    if bulk.per_second is not None and not bulk.per_second >= _PER_SECOND_MIN:
        raise InvalidRequest(f"the rate must be {_PER_SECOND_MIN} or more; give letters per second", field="per_second")
    check_text(bulk.by, "by", BY_CHARS_MAX)
    check_text(bulk.reason, "reason", REASON_CHARS_MAX)


def _expected(client: Client, bulk: DeadBulk, row: LetterRow) -> Asked:
    if (reason := client.dead.why_not(row, bulk.act)) is not None:
        return Asked(instance=row.record.name, fate=Fate.DENIED, code=reason.code, reason=reason.text)
    goal = DeadStatus.REDRIVEN if bulk.act is DeadAct.REDRIVE else DeadStatus.DISCARDED
    return Asked(instance=row.record.name, fate=Fate.UNCHANGED if row.state is goal else Fate.DONE)


def _after_undecided(row: LetterRow) -> Asked:
    reason = "the letter before it is not decided; send the bulk again"
    return Asked(instance=row.record.name, fate=Fate.FAILED, reason=reason)


async def _asked(client: Client, bulk: DeadBulk, row: LetterRow) -> Asked:
    id = part_id(bulk.id, f"{bulk.act}/{row.record.id}")
    options = RequestOptions(by=bulk.by, reason=bulk.reason, request_id=id, wait=BULK_WAIT)
    return await asked_of(row.record.name, client.dead.act(row, bulk.act, options))
