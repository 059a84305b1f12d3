"""``Registered``: shows and changes the named things that users register, such as webhooks: rules of one table.

A request is decided through the log and answered when it is; two at the same time are carried out one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import Generic, TypeAlias, TypeVar

from ...sagas.policy import to_ms
from ..codec.webhook_signatures import secrets_of
from ..errors import CallerError, InvalidRequest
from ..messages.entity_messages import Rule, SetRules
from ..messages.named_rules import Named, NamedRules, Secret
from ..messages.outputs import Outcome
from ..messages.texts import storable
from ..tracing import trace_id_of
from .checks import REASON_CHARS_MAX, check_text
from .options import PLAIN, RequestOptions
from .parts import ClientParts
from .tables import RulesSet, Tables

__all__ = ["Changed", "May", "Registered", "WithSecrets", "anyone"]

_OVERLAP = timedelta(hours=24)
_KNOWN_MAX = 50
"""Changes of a table among which a deletion that is repeated is looked for."""
_OVERLAPPING_MAX = 4
"""Secrets beside the newest one: a signature of each is in one header of a webhook."""
N = TypeVar("N", bound=Named)
S = TypeVar("S", bound=Secret)


May: TypeAlias = Callable[[N], bool]
"""Whether the caller may see and remove a thing. One that he may not is unknown to him."""


def anyone(thing: Named) -> bool:
    """All may."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed(Generic[N]):
    """A request was carried out. ``thing``: as it is now, or was before it was deleted. ``created``: it is new."""

    thing: N
    created: bool
    trace_id: str | None


class Registered(Generic[N]):
    """All things of one kind. Each change raises ``InvalidRequest``, ``NotYetDecided``, ``LogUnavailable`` as
    ``Tables.set``, and ``VersionConflict`` when others change them all the time.
    """

    def __init__(self, tables: Tables, kind: NamedRules[N], unknown: Callable[[str], CallerError]) -> None:
        self._tables, self._kind, self._unknown = tables, kind, unknown

    async def list(self) -> Sequence[N]:
        """All of them, by name.

        Raises:
            TransientError: the read model has not caught up yet, or does not answer.
        """
        found = self._kind.of((await self._tables.read(self._kind.table)).rules)
        return sorted(found, key=lambda each: each.name)

    async def get(self, name: str) -> N:
        """One of them.

        Raises:
            CallerError: there is none of that name.
            TransientError: as ``list``.
        """
        return self.known(next((each for each in await self.list() if each.name == name), None), name)

    async def delete(self, name: str, options: RequestOptions = PLAIN, *, may: May[N] = anyone) -> Changed[N]:
        """Removes one. Repeated with its ``request_id`` it answers as before, and leaves what was put under that name
        since; the last 50 changes are known.

        Args:
            name: of the thing.
            options: see ``RequestOptions``.
            may: whether the caller may.

        Raises:
            CallerError: there is none of that name.
        """
        if options.request_id and (done := await self._deleted(name, options.request_id)) is not None:
            self.known(done.thing if may(done.thing) else None, name)
            return done

        def change(before: N | None) -> None:
            self.known(before if before is not None and may(before) else None, name)

        return await self.change(name, change, options)

    async def noted(self, name: str, what: str, options: RequestOptions) -> Changed[N]:
        """Changes nothing, and is decided and kept as a change is. What is too long together is shortened."""
        given = check_text(options.reason, "reason", REASON_CHARS_MAX)
        reason = storable(f"{what}: {given}" if given else what, REASON_CHARS_MAX)
        return await self.change(name, lambda before: self.known(before, name), replace(options, reason=reason))

    async def change(
        self, name: str, change: Callable[[N | None], N | None], options: RequestOptions = PLAIN
    ) -> Changed[N]:
        """Replaces the one of that name by what ``change`` makes of it; None: there is none, or is to be none."""
        before: N | None = None
        after: N | None = None

        def rules(found: Sequence[Rule]) -> Sequence[Rule]:
            nonlocal before, after
            before = next((each for each in self._kind.of(found) if each.name == name), None)
            if before is None and any(each.when.get("name") == name for each in found):
                text = f"{self._kind.noun} {name!r} was put by a newer release of Sagaline; change it by that one"
                raise InvalidRequest(text)
            after = change(before)
            changed = found if after == before else self._changed(found, name, after)
            wrong = None if after is None else self._kind.check_one(after)
            if (wrong := wrong or self._kind.check(changed)) is not None:
                raise InvalidRequest(wrong)
            return changed

        done = await self._write(rules, options)
        shown = after or before
        assert shown is not None
        return Changed(thing=shown, created=before is None, trace_id=done.trace_id)

    def _changed(self, rules: Sequence[Rule], name: str, thing: N | None) -> Sequence[Rule]:
        """The rules after a change. Raises InvalidRequest: the change is not allowed."""
        return self._kind.replaced(rules, name, thing)

    async def _deleted(self, name: str, request_id: str) -> Changed[N] | None:
        """What a request of before has removed; None: it has not removed one of that name."""
        rows = await self._tables.recent(self._kind.table, _KNOWN_MAX + 1)
        set_by = [(row.record, row.record.message) for row in rows if isinstance(row.record.message, SetRules)]
        applied = [(record, message) for record, message in set_by if record.outcome is Outcome.APPLIED]
        for (record, after), (_, before) in pairwise(applied):
            if after.id == request_id and all(each.when.get("name") != name for each in after.rules):
                gone = next((each for each in self._kind.of(before.rules) if each.name == name), None)
                if gone is not None:
                    return Changed(thing=gone, created=False, trace_id=trace_id_of(record.traceparent))
        return None

    async def _write(self, change: Callable[[Sequence[Rule]], Sequence[Rule]], options: RequestOptions) -> RulesSet:
        return await self._tables.change(self._kind.table, change, options)

    def known(self, found: N | None, name: str) -> N:
        """The thing. Raises CallerError: there is none of that name."""
        if found is None:
            raise self._unknown(name)
        return found


class WithSecrets(Registered[S]):
    """Things that have secrets.

    Args:
        tables: of the namespace.
        kind: how they are kept.
        unknown: the error about a name.
        parts: of the client.
    """

    def __init__(
        self, tables: Tables, kind: NamedRules[S], unknown: Callable[[str], CallerError], parts: ClientParts
    ) -> None:
        super().__init__(tables, kind, unknown)
        self._parts = parts

    def secrets(self, thing: S, keys: Sequence[bytes]) -> Sequence[str]:
        """The secrets that count for a thing now, the newest first. ``keys``: of the settings, at least one."""
        return secrets_of(self._kind.noun, thing, keys, self._parts.topics.namespace, self._parts.clock.now_ms())

    async def reveal(self, name: str, options: RequestOptions = PLAIN) -> Changed[S]:
        """Changes nothing, but is in the history of the table: who has asked for the secret, when and why.

        Raises:
            CallerError: there is none of that name.
        """
        return await self.noted(name, f"the secret of {self._kind.noun} {name} was asked for", options)

    async def rotate(self, name: str, overlap: timedelta = _OVERLAP, options: RequestOptions = PLAIN) -> Changed[S]:
        """Gives one a new secret. For the time of ``overlap`` the one before counts too. The request that was carried
        out last changes nothing when it is repeated.

        Rotated again within that time all since it began count: whichever the other side has stays good.

        Raises:
            CallerError: there is none of that name.
            InvalidRequest: five secrets count at once; ask for the newest one, or end the overlap by one of zero.
        """
        noun, now_ms, id = self._kind.noun, self._parts.clock.now_ms(), options.request_id
        return await self.change(
            name, lambda before: _rotated(noun, self.known(before, name), overlap, now_ms, id), options
        )


def _rotated(noun: str, thing: S, overlap: timedelta, now_ms: int, request_id: str | None) -> S:
    if request_id and request_id == thing.rotated_by:
        return thing
    first = thing.overlap_from if now_ms < thing.overlap_until_ms else thing.generation
    if overlap and thing.generation - first >= _OVERLAPPING_MAX:
        raise InvalidRequest(
            f"{_OVERLAPPING_MAX + 1} secrets of {noun} {thing.name!r} count at once, and the other side may have any "
            f"of them; ask for the newest one (`saga {noun}s secret`) instead of rotating again, or rotate with an "
            "overlap of 0 seconds, which ends all others now",
            field="overlap_seconds",
        )
    until_ms = now_ms + to_ms(overlap)
    return replace(
        thing,
        generation=thing.generation + 1,
        rotated_by=request_id or "",
        overlap_from=first,
        overlap_until_ms=until_ms,
    )
