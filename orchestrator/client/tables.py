"""``Tables``: reads and changes the rules of dynamic routers while flows run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from ..errors import InvalidRequest, TransientError, UnknownTable, VersionConflict
from ..kernel.table import check_rules
from ..messages.entities import Table
from ..messages.entity_messages import Rule, SetRules, table_id
from ..messages.outputs import Outcome
from ..messages.own_tables import OWN_TABLES, RESERVED
from ..messages.reasons import ReasonCode
from ..ports.read_model import HistoryRow
from .asking import Asking
from .options import RequestOptions, told
from .parts import ClientParts

__all__ = ["RulesSet", "Tables", "TablesPage"]

_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesSet:
    """The rules are in effect. ``version`` is their version; ``changed`` False: they were in effect before."""

    table: str
    version: int
    changed: bool
    trace_id: str | None


class TablesPage(NamedTuple):
    """One page of tables. ``cursor`` selects the next page; None: this is the last page."""

    tables: Sequence[Table]
    cursor: str | None


class Tables:
    """Every table that a deployed definition routes by, and the tables of ``OWN_TABLES``, such as limits of queues.

    A change applies to instances that reach a router after it; an instance that was routed before keeps its branch and
    the table's version.
    """

    def __init__(self, parts: ClientParts, asking: Asking) -> None:
        self._parts, self._asking = parts, asking

    def branches(self, name: str) -> tuple[str, ...]:
        """The branches that rules of a table may name.

        Raises:
            UnknownTable: no deployed definition routes by it.
            InvalidRequest: it is one that has routes and commands of its own.
        """
        if name in RESERVED:
            text = f"the table {name!r} is not read or changed as a table; use {RESERVED[name]}"
            raise InvalidRequest(text, field="name")
        if name in OWN_TABLES:
            return ()
        known = self._parts.registry.tables
        if name not in known:
            raise UnknownTable(name, tuple(known))
        return known[name]

    async def list(self, *, limit: int = 50, cursor: str | None = None) -> TablesPage:
        """All tables of routers by name, one that was never set with version 0; and own ones that were ever set.

        Args:
            limit: the largest number per page.
            cursor: from the page before.

        Raises:
            TransientError: the read model has not caught up yet, or does not answer.
        """
        await self._asking.all_followed()
        own = [name for name in OWN_TABLES if name not in RESERVED and (await self._read(name)).version]
        left = [name for name in sorted([*self._parts.registry.tables, *own]) if cursor is None or name > cursor]
        tables = [await self._read(name) for name in left[:limit]]
        return TablesPage(tables, left[limit - 1] if len(left) > limit else None)

    async def get(self, name: str) -> Table:
        """The current table; it includes the last change by this client. A table that was never set has version 0.

        Raises:
            UnknownTable: no deployed definition routes by it.
            TransientError: the read model has not caught up yet, or does not answer.
        """
        self.branches(name)
        return await self.read(name)

    async def read(self, name: str) -> Table:
        """As ``get``, any table: for who has checked that it may be read.

        Raises:
            TransientError: as ``get``.
        """
        await self._asking.settled()
        followed = await self._asking.followed(table_id(name))
        found = await self._read(name)
        if not followed:
            raise TransientError(f"table {name!r} was changed but cannot be read yet: the read model is behind")
        return found

    async def set(
        self,
        name: str,
        rules: Sequence[Rule],
        *,
        version: int | None = None,
        by: str = "",
        reason: str = "",
        request_id: str | None = None,
        wait: timedelta = timedelta(seconds=10),
        traceparent: str | None = None,
    ) -> RulesSet:
        """Replaces the rules of a table and returns when that is decided. Setting the same rules again changes nothing.

        Args:
            name: of the table.
            rules: in order; the first rule that matches decides.
            version: the version that these rules replace, 0: no rules yet; None: any version.
            by: the caller's name, for the history; at most 256 characters.
            reason: why, for the history; at most 2,000 characters.
            request_id: the request's id in the history; None: a new one is generated.
            wait: how long to wait for the decision.
            traceparent: the W3C trace context to continue; None: a new trace.

        Raises:
            UnknownTable: no deployed definition routes by it.
            InvalidRequest: a text is malformed, or a rule can never work; the message says which rule and why.
            VersionConflict: the table no longer has this ``version``.
            NotYetDecided, LogUnavailable, ValueTooLarge: as ``Client.start``.
        """
        branches = self.branches(name)
        if name not in OWN_TABLES and (wrong := check_rules(rules, branches)) is not None:
            raise InvalidRequest(wrong, field="rules")
        options = RequestOptions(by=by, reason=reason, request_id=request_id, wait=wait, traceparent=traceparent)
        return await self.write(name, rules, version=version, options=options)

    async def write(
        self, name: str, rules: Sequence[Rule], *, version: int | None, options: RequestOptions
    ) -> RulesSet:
        """As ``set``, any table: for who has checked that it may be changed.

        Raises:
            InvalidRequest, VersionConflict, NotYetDecided, LogUnavailable, ValueTooLarge: as ``set``.
        """
        own = OWN_TABLES.get(name)
        if own is not None and (wrong := own(rules)) is not None:
            raise InvalidRequest(wrong, field="rules")
        id, by, reason = told(options, self._parts.clock)
        request = SetRules(id=id, instance=table_id(name), rules=tuple(rules), version=version, by=by, reason=reason)
        record, trace = await self._asking.ask(request, options.wait, options.traceparent)
        if record.code is ReasonCode.VERSION_DIFFERS and version is not None:
            raise VersionConflict(name, version, record.revision)
        if record.outcome is not Outcome.APPLIED and record.outcome is not Outcome.UNCHANGED:
            raise InvalidRequest(f"the engine denied the rules: {record.reason}", field="rules")
        return RulesSet(table=name, version=record.revision, changed=record.outcome is Outcome.APPLIED, trace_id=trace)

    async def change(
        self, name: str, change: Callable[[Sequence[Rule]], Sequence[Rule]], options: RequestOptions
    ) -> RulesSet:
        """As ``write``, of what ``change`` makes of the rules; again if somebody else has changed them meanwhile.

        Raises:
            VersionConflict: others change them all the time.
            InvalidRequest, NotYetDecided, LogUnavailable, ValueTooLarge: as ``write``.
        """
        for left in reversed(range(_TRIES)):
            table = await self.read(name)
            try:
                return await self.write(name, change(table.rules), version=table.version, options=options)
            except VersionConflict:
                if not left:
                    raise
        raise AssertionError("there is at least one try")

    async def history(self, name: str, *, after: int = -1, limit: int = 100) -> Sequence[HistoryRow]:
        """Every request to change a table with a sequence above ``after``, oldest first, denied ones included.

        Raises:
            UnknownTable: no deployed definition routes by it.
            TransientError: the read model does not answer.
        """
        self.branches(name)
        await self._asking.settled()
        await self._asking.followed(table_id(name))
        return await self._parts.read_model.history(table_id(name), after=after, limit=limit)

    async def recent(self, name: str, limit: int) -> Sequence[HistoryRow]:
        """The newest requests to change any table, newest first, those of this client included.

        Raises:
            TransientError: as ``get``.
        """
        await self.read(name)
        return await self._parts.read_model.history(table_id(name), limit=limit, newest_first=True)

    async def _read(self, name: str) -> Table:
        found = await self._parts.read_model.entity(table_id(name))
        return found if isinstance(found, Table) else Table(id=table_id(name), name=name)
