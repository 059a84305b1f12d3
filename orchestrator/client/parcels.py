"""``Parcels``: delayed messages and the keys of groups whose messages are retried: list, show and act on them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from ..errors import InvalidRequest, TransientError, UnknownParcel
from ..messages.entities import Parcel, ParcelStatus
from ..messages.keys import id_wrong
from ..messages.parcels import (
    Discard,
    Edit,
    ParcelRequest,
    Redrive,
    Reschedule,
    Skip,
    delayed_id,
    from_base64,
    parcel_id,
    to_base64,
)
from ..ports.read_model import EntityFilter
from .asking import Asking, EntityChanged
from .checks import check_edit, check_time
from .entities import EntitiesPage
from .options import PLAIN, RequestOptions, told
from .parts import ClientParts
from .personal import check_letter

__all__ = ["Parcels", "delayed_named", "parked_named"]

_PREFIX = "@parcel/"


def parked_named(group: str, name: str) -> str:
    """The parcel of a key of a group, by the key's text, or by the name that a list shows (``~…``)."""
    return f"{_PREFIX}{group}/{name}" if name.startswith("~") else parcel_id(group, name.encode())


def delayed_named(name: str) -> str:
    """The parcel of a delayed message, by the message's id, or by the name that a list shows (``~…``)."""
    return f"{_PREFIX}{name}" if name.startswith("~") else delayed_id(name)


class Parcels:
    """Delayed messages and parked keys; what is shown includes the last request by this client.

    A request is decided through the log and answered when it is. It may be repeated with the same ``request_id``. Each
    raises ``UnknownParcel`` (nothing waits there), ``ActDenied`` (not possible in the parcel's status), and
    ``InvalidRequest``, ``NotYetDecided``, ``LogUnavailable``, ``ValueTooLarge`` as ``Client.start``.
    """

    def __init__(self, parts: ClientParts, asking: Asking) -> None:
        self._parts, self._asking = parts, asking

    async def get(self, id: str) -> Parcel:
        """A parcel with its letters.

        Raises:
            UnknownParcel: nothing waits there.
            TransientError: the read model has not caught up yet, or does not answer.
        """
        await self._asking.settled()
        if not await self._asking.followed(_checked(id)):
            raise TransientError(f"{id!r} was changed but cannot be read yet: the read model is behind")
        found = await self._parts.read_model.entity(id)
        if not isinstance(found, Parcel) or not found.letters:
            raise UnknownParcel(id)
        return found

    async def list(
        self, status: ParcelStatus, *, group: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> EntitiesPage[Parcel]:
        """Parcels of a status, by their ids.

        Args:
            status: ``delayed``, ``parked``, ``retrying`` or ``released``.
            group: only keys of this group.
            limit: the largest number per page.
            cursor: from the page before.

        Raises:
            InvalidRequest: the cursor is not valid.
            TransientError: the read model has not caught up yet, or does not answer.
        """
        await self._asking.all_followed()
        where = EntityFilter(_PREFIX if group is None else f"{_PREFIX}{group}/", status.value)
        page = await self._parts.read_model.entities(where, limit=limit, cursor=cursor)
        return EntitiesPage([each for each in page.entities if isinstance(each, Parcel)], page.cursor)

    async def redrive(self, id: str, options: RequestOptions = PLAIN) -> EntityChanged:
        """Delivers the first letter of a key now, with all attempts of its policy; then those that follow it."""
        said = told(options, self._parts.clock)
        return await self._ask(Redrive(id=said.id, instance=_checked(id), by=said.by, reason=said.reason), options)

    async def reschedule(self, id: str, at: datetime, options: RequestOptions = PLAIN) -> EntityChanged:
        """Gives a delayed message another time; a time in the past sends it at once.

        Args:
            id: of the parcel.
            at: the time, with a time zone.
            options: see ``RequestOptions``.
        """
        said = told(options, self._parts.clock)
        due_ms = check_time(at, "at")
        request = Reschedule(id=said.id, instance=_checked(id), due_ms=due_ms, by=said.by, reason=said.reason)
        return await self._ask(request, options)

    async def edit(
        self,
        id: str,
        letter: str,
        *,
        value: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] | None = None,
        options: RequestOptions = PLAIN,
    ) -> EntityChanged:
        """Replaces the value of a letter, all its headers, or both; only while it is delayed or parked.

        Args:
            id: of the parcel.
            letter: the id of the letter.
            value: None: unchanged.
            headers: None: unchanged.
            options: see ``RequestOptions``.
        """
        check_edit(value, headers)
        if value is not None:
            found = await self._parts.read_model.entity(_checked(id))
            for each in found.letters if isinstance(found, Parcel) else ():
                if each.id == letter:
                    check_letter(from_base64(each.value), value)
        said = told(options, self._parts.clock)
        coded = None if headers is None else tuple((name, to_base64(each) or "") for name, each in headers)
        request = Edit(
            id=said.id,
            instance=_checked(id),
            letter=letter,
            value=to_base64(value),
            headers=coded,
            by=said.by,
            reason=said.reason,
        )
        return await self._ask(request, options)

    async def skip(self, id: str, letter: str = "", options: RequestOptions = PLAIN) -> EntityChanged:
        """Makes the first letter of a key a dead letter and goes on with the next.

        Args:
            id: of the parcel.
            letter: denied unless this is the first letter; empty: whichever it is.
            options: see ``RequestOptions``.
        """
        said = told(options, self._parts.clock)
        request = Skip(id=said.id, instance=_checked(id), letter=letter, by=said.by, reason=said.reason)
        return await self._ask(request, options)

    async def discard(self, id: str, options: RequestOptions = PLAIN) -> EntityChanged:
        """Ends a parcel. The letters of a key become dead letters; a delayed message is cancelled without one: its
        history keeps it.
        """
        said = told(options, self._parts.clock)
        return await self._ask(Discard(id=said.id, instance=_checked(id), by=said.by, reason=said.reason), options)

    async def _ask(self, request: ParcelRequest, options: RequestOptions) -> EntityChanged:
        unknown = partial(UnknownParcel, request.instance)
        return await self._asking.carried_out(request, options, act=request.kind, field="value", unknown=unknown)


def _checked(id: str) -> str:
    wrong = id_wrong(id) if id.startswith(_PREFIX) else f"does not begin with {_PREFIX}"
    if wrong is not None:
        raise InvalidRequest(f"{id[:300]!r} is not a parcel's id: it {wrong}", field="id")
    return id
