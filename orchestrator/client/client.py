"""``Client``: every request goes through the log and is answered by the record of its decision.

A start or an act carries a request id and is appended to ``inputs``; the history record that names the id says what
became of it. Queries are answered from the read model; what this client itself has started is waited for, so that it
can always be read back. ``tables``, ``locks`` and ``mailboxes`` are the entities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, JsonValue

from ...sagas import Event
from ...sagas.definition import AnyDefinition
from ...sagas.policy import to_ms
from ..errors import (
    ActDenied,
    CorruptRecord,
    EventDenied,
    InvalidRequest,
    StartConflict,
    TransientError,
    UnknownDefinition,
    UnknownEvent,
    UnknownInstance,
)
from ..kernel import Registry, decide
from ..messages.document import Document, Status
from ..messages.entity_messages import Published, mailbox_id
from ..messages.history import HistoryRecord
from ..messages.inputs import ActName, Arrival, Start
from ..messages.outputs import Decision, Outcome
from ..messages.reasons import Reason, ReasonCode
from ..ports.read_model import HistoryRow, InstanceFilter, Page, WaitFilter, WaitKind
from .asking import Asking
from .checks import ID_CHARS_MAX, check_act, check_body, check_input, check_key, check_text, split_instance
from .entities import Locks, Mailboxes
from .parts import ClientParts
from .questions import overdue_of, questions_of
from .results import Acted, OnStep, OverduePage, QuestionsPage, Started
from .tables import Tables

__all__ = ["Client"]

DEFAULT_WAIT = timedelta(seconds=10)
_LAG_MAX = 10_000
_ALL = InstanceFilter()


class Client:
    """Starts instances, asks about them and acts on them. Safe for concurrent use by tasks of one event loop."""

    def __init__(self, parts: ClientParts) -> None:
        self._parts = parts
        self._asking = Asking(parts)
        self.tables = Tables(parts, self._asking)
        self.locks = Locks(parts.read_model, self._asking)
        self.mailboxes = Mailboxes(parts.read_model, self._asking)

    @property
    def registry(self) -> Registry:
        """The definitions that it can start."""
        return self._parts.registry

    def fresh_id(self) -> str:
        """An id that nobody else has."""
        return self._parts.clock.new_id()

    @property
    def now_ms(self) -> int:
        """The wall clock, milliseconds since epoch."""
        return self._parts.clock.now_ms()

    async def start(
        self,
        definition: str | AnyDefinition,
        input: BaseModel | Mapping[str, JsonValue],
        *,
        key: str | None = None,
        version: int | None = None,
        wait: timedelta = DEFAULT_WAIT,
        traceparent: str | None = None,
    ) -> Started:
        """Starts an instance and returns when the decision is committed: from then on it is never lost.

        An engine that does not know the definition or the version yet lets it wait, visibly; see ``Started.waits``.

        The same key with the same input again is the same instance (``created`` False), so a start may be repeated.

        Args:
            definition: its name, or the definition itself.
            input: the first value of the saga's state, as a model or as JSON.
            key: the business identity, 1 to 256 characters and at most 512 bytes; None: a fresh one is made.
            version: None: the newest that this client knows. The instance is of the version whose model has checked its
                input, also where another one is the newest on the engine.
            wait: how long the decision is waited for, once the request is in the log.
            traceparent: the W3C context to go on from; None: a new trace.

        Raises:
            UnknownDefinition: nothing of that name is deployed.
            InvalidRequest: key, version or input is wrong; ``field`` says where.
            StartConflict: the key is taken by an instance with another input.
            NotYetDecided: the request is in the log and no decision was seen within ``wait``.
            LogUnavailable: it may or may not have been written; repeat it with the same key.
            ValueTooLarge: the input is larger than the log takes.
        """
        saga = self._definition(definition, version)
        start = Start(
            id=self._parts.clock.new_id(),
            definition=saga.name,
            key=check_key(key) if key is not None else self._parts.clock.new_id(),
            input=check_input(saga, input),
            version=saga.version,
        )
        record, trace = await self._asking.ask(start, wait, traceparent)
        if record.outcome is Outcome.DENIED:
            if record.code is ReasonCode.KEY_TAKEN:
                raise StartConflict(start.instance)
            raise InvalidRequest(f"the engine denied the start: {record.reason}", field="input")
        return Started(
            instance=start.instance,
            definition=saga.name,
            key=start.key,
            created=record.outcome in (Outcome.APPLIED, Outcome.DEFERRED),
            status=_status(record),
            revision=record.revision,
            trace_id=trace,
            request_id=start.id,
            waits=_reason(record) if record.outcome is Outcome.DEFERRED else None,
        )

    async def act(
        self,
        instance: str,
        act: ActName,
        *,
        by: str = "",
        reason: str = "",
        on: OnStep | None = None,
        request_id: str | None = None,
        wait: timedelta = DEFAULT_WAIT,
        traceparent: str | None = None,
    ) -> Acted:
        """Asks for an operator's act and returns when it is decided.

        Args:
            instance: ``definition/key``.
            act: what is asked for.
            by: who asks, for the history; at most 256 characters.
            reason: why, for the history; at most 2,000 characters. Of ``waive`` the evidence of the loss.
            on: the step that the act is about, and what it brings; see ``OnStep``.
            request_id: a request that comes twice acts once, as long as it is among the last 20 of the instance; None:
                a fresh one is made.
            wait: how long the decision is waited for.
            traceparent: the W3C context to go on from; None: a new trace.

        Raises:
            UnknownInstance: there is none of that id.
            ActDenied: the act is illegal as the instance stands now; ``code`` and ``reason`` say why.
            InvalidRequest: id or text is malformed, or the act cannot use the step or the value that it brings.
            NotYetDecided, LogUnavailable: as ``start``.
        """
        id = check_text(request_id, "request_id", ID_CHARS_MAX) if request_id else self._parts.clock.new_id()
        request = check_act(instance, act, id=id, by=by, reason=reason, on=on)
        record, trace = await self._asking.ask(request, wait, traceparent)
        if record.status is None:
            raise UnknownInstance(instance)
        if record.outcome is Outcome.DENIED:
            why = _reason(record)
            if why.code is ReasonCode.INVALID:
                raise InvalidRequest(f"{act} of {instance!r}: {why.text}")
            raise ActDenied(instance, act.value, record.status.value, why)
        return Acted(
            instance=instance,
            changed=record.outcome is Outcome.APPLIED,
            status=record.status,
            revision=record.revision,
            trace_id=trace,
        )

    def rehearse(
        self, document: Document, act: ActName, *, by: str = "", reason: str = "", on: OnStep | None = None
    ) -> Decision:
        """What an act would come to now: decided as the engine would, and nothing is sent or changed.

        Args:
            document: the instance as ``get`` or ``list`` gives it; it may have moved on when the act is asked for.
            act: as of ``act``, with all that follows.

        Raises:
            InvalidRequest: as ``act``.
        """
        request = check_act(document.id, act, id=self._parts.clock.new_id(), by=by, reason=reason, on=on)
        arrival = Arrival(message=request, now_ms=self._parts.clock.now_ms())
        return decide(self.registry.deciding(document), document, arrival)

    async def cancel(self, instance: str, *, by: str = "", reason: str = "", wait: timedelta = DEFAULT_WAIT) -> Acted:
        """Asks that an instance is unwound; see ``act``."""
        return await self.act(instance, ActName.CANCEL, by=by, reason=reason, wait=wait)

    async def publish(
        self,
        event: str | Event[Any],
        body: BaseModel | Mapping[str, JsonValue],
        *,
        key: str,
        id: str | None = None,
        wait: timedelta = DEFAULT_WAIT,
        traceparent: str | None = None,
    ) -> str:
        """Publishes an event and returns its id once it is taken or kept: from then on it is never lost.

        It comes to whoever waits for that event and key, now or within its ``keep``, and to the process managers that
        listen to it. While it is kept, one of the same id changes nothing, so publishing may be repeated with one.

        Args:
            event: its name, or the event itself.
            body: as its model or as JSON.
            key: what it is about, as for ``start``.
            id: None: a fresh one is made.
            wait: how long the decision is waited for, once the event is in the log.
            traceparent: the W3C context to go on from; None: a new trace.

        Raises:
            UnknownEvent: no deployed definition waits for, listens to or emits one of that name.
            InvalidRequest: key, id or body is wrong; ``field`` says where.
            EventDenied: nobody takes it, and there is no room to keep it.
            NotYetDecided: it is in the log and no decision was seen within ``wait``. Should it be denied after all, it
                goes to the dead letters.
            LogUnavailable: it may or may not have been written; repeat it with the same id.
            ValueTooLarge: the body is larger than the log takes.
        """
        parts = self._parts
        known = {each.name: each for definition in parts.registry for each in definition.events}
        name = event if isinstance(event, str) else event.name
        if name not in known:
            raise UnknownEvent(name, tuple(sorted(known)))
        if id is not None and not id:
            raise InvalidRequest("the id is empty; leave it out, or give one", field="id")
        published = self._to_subscribers(
            Published(
                id=check_text(id, "id", ID_CHARS_MAX) if id is not None else parts.clock.new_id(),
                instance=mailbox_id(name, check_key(key)),
                event=name,
                key=key,
                body=check_body(known[name].model, body),
                keep_ms=to_ms(known[name].keep),
                source=self._asking.source,
            )
        )
        record, _ = await self._asking.ask(published, wait, traceparent)
        if record.outcome is Outcome.DENIED:
            raise EventDenied(name, key, _reason(record))
        return published.id

    def _to_subscribers(self, event: Published) -> Published:
        """Names those that we know to listen: the engine may be older."""
        found, _ = self._parts.registry.subscribers(event)  # what is wrong with the others the engine says
        return replace(event, to=found)

    async def get(self, instance: str) -> Document:
        """The instance as it stands; at least as new as the last decision this client has asked for.

        Raises:
            UnknownInstance: there is none, or its retention is over.
            InvalidRequest: the id is malformed.
            TransientError: the read model has not followed yet, or does not answer.
        """
        split_instance(instance)
        followed = await self._asking.followed(instance)
        document = await self._parts.read_model.get(instance)
        if document is None and followed:
            await self._asking.caught_up()
            document = await self._parts.read_model.get(instance)
        if document is None:
            raise UnknownInstance(instance) if followed else _lagging(instance)
        return document

    async def list(self, where: InstanceFilter = _ALL, *, limit: int = 50, cursor: str | None = None) -> Page:
        """Instances by the time of their start, newest first, page by page; with all that this client has started.

        What matches from the first page to the last is on exactly one of them, also when it changes in between.

        Raises:
            InvalidRequest: the cursor is not one of ours.
            TransientError: the read model has not followed yet, or does not answer.
        """
        await self._asking.all_followed()
        return await self._parts.read_model.list(where, limit=limit, cursor=cursor)

    async def overdue(
        self, definition: str | None = None, *, limit: int = 200, cursor: str | None = None
    ) -> OverduePage:
        """Steps that were expected to be done by now and are not, those overdue longest first.

        Args:
            definition: only of this one.
            limit: at most so many on a page.
            cursor: of the page before.

        Raises:
            InvalidRequest, TransientError: as ``list``.
        """
        await self._asking.all_followed()
        where = WaitFilter(WaitKind.OVERDUE, definition)
        page = await self._parts.read_model.waits(where, limit=limit, cursor=cursor)
        return OverduePage(overdue_of(page.rows), page.cursor)

    async def questions(
        self, definition: str | None = None, *, who: str | None = None, limit: int = 200, cursor: str | None = None
    ) -> QuestionsPage:
        """Questions that wait for a person, those due soonest first.

        Args:
            definition: only of this one.
            who: only those that this one may answer now.
            limit: at most so many on a page.
            cursor: of the page before.

        Raises:
            InvalidRequest, TransientError: as ``list``.
        """
        if who == "":
            raise InvalidRequest("who is empty; name somebody, or leave it out", field="who")
        await self._asking.all_followed()
        where = WaitFilter(WaitKind.QUESTION, definition, who)
        page = await self._parts.read_model.waits(where, limit=limit, cursor=cursor)
        return QuestionsPage(questions_of(page.rows, self._parts.registry), page.cursor)

    async def history(self, instance: str, *, after: int = -1, limit: int = 100) -> Sequence[HistoryRow]:
        """Decisions about an instance with a sequence above ``after``, oldest first; kept longer than the instance.

        Raises:
            UnknownInstance: nothing is known of it.
            InvalidRequest: the id is malformed.
            TransientError: as ``get``.
        """
        split_instance(instance)
        followed = await self._asking.followed(instance)
        rows = await self._parts.read_model.history(instance, after=after, limit=limit)
        if not rows and await self._nothing_known(instance):
            if not followed:
                raise _lagging(instance)
            await self._asking.caught_up()
            rows = await self._parts.read_model.history(instance, after=after, limit=limit)
            if not rows and await self._nothing_known(instance):
                raise UnknownInstance(instance)
        return rows

    def stop_waiting(self) -> None:
        """Ends every wait for a decision, those to come included: each request that is in the log raises
        ``NotYetDecided`` at once. For a process that is about to end.
        """
        self._parts.feed.stop_waiting()

    async def check_ready(self) -> None:
        """Returns if requests can be served: a start can be written, and will be decided.

        Raises:
            TransientError: the log does not answer, a topic is gone, no engine owns a partition or one stands still, or
                the read model does not answer, has not followed the log yet, is far behind or that of another log; the
                message says which.
        """
        if not self._parts.feed.is_open:
            raise TransientError("the feed of decisions is not open yet")
        await self._parts.read_model.standing()
        await self._parts.projector.followed(timeout=0)
        lag = await self._parts.projector.lag()
        if lag > _LAG_MAX:
            raise TransientError(f"the read model is about {lag:,} records behind the log")
        await self._parts.watch.check()

    def _definition(self, definition: str | AnyDefinition, version: int | None) -> AnyDefinition:
        name = definition if isinstance(definition, str) else definition.name
        if not isinstance(definition, str) and version is None:
            version = definition.version
        saga = self._parts.registry.find(name, version)
        if saga is not None:
            return saga
        known = sorted(each.version for each in self._parts.registry if each.name == name)
        if not known:
            raise UnknownDefinition(name, self._parts.registry.names)
        raise InvalidRequest(
            f"version {version} of {name!r} is not deployed; deployed are: {', '.join(map(str, known))}",
            field="version",
        )

    async def _nothing_known(self, instance: str) -> bool:
        if await self._parts.read_model.get(instance) is not None:
            return False
        return not await self._parts.read_model.history(instance, limit=1)


def _status(record: HistoryRecord) -> Status:
    if record.status is None:
        raise CorruptRecord(record.instance, "a start was applied and has no status")
    return record.status


def _reason(record: HistoryRecord) -> Reason:
    if record.code is None:
        raise CorruptRecord(record.instance, f"its decision about {record.outcome} has no code")
    return Reason(record.code, record.reason)


def _lagging(instance: str) -> TransientError:
    return TransientError(f"{instance!r} was decided but cannot be read yet: the read model is behind; try again")
