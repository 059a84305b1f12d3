"""``DeadLetters``: the inbox of dead letters: list, group, show, redrive, edit and discard them.

The letters are read from the read model. An act is a request to the entity of the letter and is decided through the
log, so two people, or a request that is repeated, redrive a letter once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..errors import ActDenied, InvalidRequest, TransientError, UnknownDeadLetter
from ..kernel.dead import why_not
from ..kernel.limits import Limits
from ..messages.dead import DEAD, DeadAct, DeadRecord, DeadRequest, place_of_dead
from ..messages.parcels import Letter, Source, from_base64, to_base64
from ..messages.reasons import Reason, invalid
from ..ports.read_model import HistoryRow, LetterFilter, LetterGroups, LetterPage, LetterRow
from ..ports.topics import Topics
from .asking import Asking, EntityChanged
from .checks import BY_CHARS_MAX, ID_CHARS_MAX, REASON_CHARS_MAX, check_edit, check_text
from .options import PLAIN, RequestOptions
from .parts import ClientParts
from .personal import check_letter

__all__ = ["DeadLetters", "Edits", "LetterShown", "request_about"]

_ALL = LetterFilter()
_ACTS_MAX = 100
_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """The new value of a letter, all its new headers, or both; None: unchanged."""

    value: bytes | None = None
    headers: Sequence[tuple[str, bytes]] | None = None


class LetterShown(NamedTuple):
    """A dead letter with its acts, oldest first. ``denied``: why it cannot be redriven; None: it can."""

    row: LetterRow
    acts: Sequence[HistoryRow]
    denied: Reason | None


class DeadLetters:
    """The dead letters of the namespace; a view is some milliseconds old and includes this client's last acts.

    A letter is named by its place in the dead letter topic: ``{partition}-{offset}``. Acts raise ``UnknownDeadLetter``,
    ``ActDenied`` (not possible with this letter, or not any more), and ``InvalidRequest``, ``NotYetDecided``,
    ``LogUnavailable``, ``ValueTooLarge`` as ``Client.start``.
    """

    def __init__(self, parts: ClientParts, asking: Asking) -> None:
        self._parts, self._asking = parts, asking

    async def list(
        self, where: LetterFilter = _ALL, *, limit: int = 50, cursor: str | None = None, oldest_first: bool = False
    ) -> LetterPage:
        """Letters that match, newest first.

        Args:
            where: all its conditions hold.
            limit: the largest number per page.
            cursor: from the page before.
            oldest_first: in the order of the topic instead, partition by partition.

        Raises:
            InvalidRequest: the cursor is not valid.
            TransientError: the read model has not caught up yet, or does not answer.
        """
        await self._asking.all_followed()
        return await self._parts.read_model.letters(where, limit=limit, cursor=cursor, oldest_first=oldest_first)

    async def count(self, where: LetterFilter = _ALL) -> int:
        """How many letters match.

        Raises:
            TransientError: as ``list``.
        """
        await self._asking.all_followed()
        return await self._parts.read_model.letter_count(where)

    async def groups(self, where: LetterFilter = _ALL, *, limit: int = 50, cursor: str | None = None) -> LetterGroups:
        """Letters that match, by the fingerprint of their failure: the group whose first letter is newest first.

        Raises:
            InvalidRequest, TransientError: as ``list``.
        """
        await self._asking.all_followed()
        return await self._parts.read_model.letter_groups(where, limit=limit, cursor=cursor)

    async def get(self, name: str) -> LetterShown:
        """One letter, what was done with it, and whether it can be redriven.

        Raises:
            UnknownDeadLetter: there is none.
            TransientError: as ``list``.
        """
        row = await self._row(name)
        acts = await self._parts.read_model.history(row.record.id, limit=_ACTS_MAX)
        return LetterShown(row, acts, self.why_not(row, DeadAct.REDRIVE))

    async def redrive(self, name: str, options: RequestOptions = PLAIN) -> EntityChanged:
        """Puts the original record, or what it was edited to, back where it was: on its topic, or for a message of a
        group into the parcel of its key, for that group only. ``changed`` False: it was redriven before.
        """
        return await self.act(await self._row(name), DeadAct.REDRIVE, options)

    async def discard(self, name: str, options: RequestOptions = PLAIN) -> EntityChanged:
        """Closes a letter without a redrive. It can still be redriven by name."""
        return await self.act(await self._row(name), DeadAct.DISCARD, options)

    async def edit(self, name: str, edits: Edits, options: RequestOptions = PLAIN) -> EntityChanged:
        """Sets what is redriven instead of the original; the history keeps both."""
        check_edit(edits.value, edits.headers)
        return await self.act(await self._row(name), DeadAct.EDIT, options, edits)

    def why_not(self, row: LetterRow, act: DeadAct) -> Reason | None:
        """Why an act on the letter would be denied, and what to do instead; None: it would not."""
        reason = _unusable(row.record, self._parts.topics) if act is not DeadAct.DISCARD else None
        return reason or why_not(row.mark, act, row.record.at_ms, self._parts.clock.now_ms(), _LIMITS)

    async def act(
        self, row: LetterRow, act: DeadAct, options: RequestOptions = PLAIN, edits: Edits | None = None
    ) -> EntityChanged:
        """One act on a letter as a list shows it; what is newer in the log is decided upon, not ``row``."""
        record, topics, edits = row.record, self._parts.topics, edits or Edits()
        given, coded = options.request_id, edits.headers
        if act is not DeadAct.DISCARD and (reason := _unusable(record, topics)) is not None:
            raise ActDenied(record.id, act, "", reason)
        check_letter(from_base64(record.value), edits.value)
        request = replace(
            request_about(record, act, topics),
            id=check_text(given, "request_id", ID_CHARS_MAX) if given else self._parts.clock.new_id(),
            value=to_base64(edits.value),
            headers=None if coded is None else tuple((name, to_base64(each) or "") for name, each in coded),
            by=check_text(options.by, "by", BY_CHARS_MAX),
            reason=check_text(options.reason, "reason", REASON_CHARS_MAX),
        )
        return await self._asking.carried_out(request, options, act=act, field="value")

    async def _row(self, name: str) -> LetterRow:
        place = place_of_dead(name)
        if place is None:
            raise InvalidRequest(f"{name[:80]!r} is no dead letter's name; give one that the list shows", field="id")
        await self._asking.settled()
        if not await self._asking.followed(f"{DEAD}{name}"):
            raise TransientError(f"{name!r} was changed but cannot be read yet: the read model is behind")
        found = await self._parts.read_model.letter(*place)
        if found is None:
            raise UnknownDeadLetter(name)
        return found


def request_about(record: DeadRecord, act: DeadAct, topics: Topics) -> DeadRequest:
    """The request for an act on this letter, still without its own id, who asks and why."""
    return DeadRequest(
        id="",
        instance=record.id,
        act=act,
        dead_ms=record.at_ms,
        letter=_letter(record) if act is not DeadAct.DISCARD else None,
        group=record.group,
        redeliver_to=_redeliver_to(record, topics),
    )


def _unusable(record: DeadRecord, topics: Topics) -> Reason | None:
    """Why the original cannot be restored from the letter, and what to do; None: it can."""
    place = f"{record.topic}/{record.source_partition}/{record.source_offset}"
    if record.cut is not None:
        return invalid(f"it was too large and is cut; the original is at {place} while that topic keeps it")
    if not record.topic:
        return invalid("it does not say where it came from; send it as a new message")
    ours = record.topic == topics.inputs or record.topic.startswith(topics.commands(""))
    if not record.group and not ours and record.source_offset >= 0:
        return invalid(f"it does not say whose message it was; a copy on {record.topic} would reach all its groups")
    return None


def _redeliver_to(record: DeadRecord, topics: Topics) -> str:
    """The topic by which the group gets its message again."""
    foreign = None if record.topic == topics.events else record.topic
    return topics.redelivered(record.group, foreign) if record.group else ""


def _letter(record: DeadRecord) -> Letter:
    partition, offset = max(0, record.source_partition), max(0, record.source_offset)
    source = Source(topic=record.topic, partition=partition, offset=offset) if record.group else None
    return Letter(
        id=f"{record.group}/{source}" if source is not None else record.id,
        topic=record.topic,
        partition=None if record.source_partition < 0 else record.source_partition,
        key=record.key,
        value=record.value,
        headers=record.headers,
        source=source,
    )
